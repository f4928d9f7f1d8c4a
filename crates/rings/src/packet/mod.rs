//! AF_PACKET: a TPACKET_V2 receive ring with small slots, and `sendmmsg` straight from the memory that the
//! frame lies in.
//!
//! A frame that fits into its slot is read and rewritten in place. A larger one (a TCP super-frame of up to
//! 512 KiB) is marked `TP_STATUS_COPY` in ring order while its whole skb waits on the socket's receive queue;
//! it is fetched with `recvmmsg` into one of a few hot buffers. So small packets cost no system call on the
//! way in, large ones do not spread over a huge ring, and the order is kept. Every COPY slot takes exactly
//! one message from the queue, or the two would slip against each other.
//!
//! TPACKET_V2 shows each frame at once; V3 holds blocks back for a timer. The virtio-net header
//! (`PACKET_VNET_HDR`) carries checksum and segmentation state both ways; it must be on before the ring is made.
//! Source: net/packet/af_packet.c, Documentation/networking/packet_mmap.rst.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use arrayvec::ArrayVec;
use nsrouter_wire::frame::{Frame, PortId};

use crate::limits::way_out;
use crate::port::{BURST_FRAMES, Burst, Capabilities, Receive, Received, Refusal, Sent, Transmit};
use crate::sys::messages::{Arrived, receive_each, send_each};
use crate::sys::slots::{STATUS_BYTES, SlotRing};
use crate::sys::socket::{self, Buffer};
use crate::vnet::{self, VNET_HEADER_BYTES};

/// How a packet port is set up; [`Settings::default`] is what measured best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Slots of the receive ring; a multiple of 32, so that they fill whole 64 KiB blocks.
    pub slots: u32,
    /// Bytes that the kernel may queue for frames larger than a slot (`SO_RCVBUF`). Beyond what
    /// `net.core.rmem_max` grants without CAP_NET_ADMIN over the machine, less is taken.
    pub receive_buffer_bytes: u32,
    /// Bytes that may be on their way out (`SO_SNDBUF`), likewise.
    pub send_buffer_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { slots: 1024, receive_buffer_bytes: 8 << 20, send_buffer_bytes: 8 << 20 }
    }
}

/// Opening a packet port failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `socket(AF_PACKET, SOCK_RAW)`.
    #[error(
        "cannot open a packet socket ({hint}): {0}",
        hint = way_out(.0, "it takes CAP_NET_RAW in the router's namespace")
    )]
    Socket(#[source] io::Error),
    /// One of the socket options that the ring needs.
    #[error("the kernel refuses the packet socket option {option}: {source}")]
    Option {
        /// The option's name in packet(7).
        option: &'static str,
        /// What setsockopt said.
        source: io::Error,
    },
    /// `PACKET_RX_RING`.
    #[error("cannot make a receive ring of {slots} slots (is locked memory limited?): {source}")]
    Ring {
        /// Slots asked for.
        slots: u32,
        /// What setsockopt said.
        source: io::Error,
    },
    /// Mapping the ring.
    #[error("cannot map the receive ring: {0}")]
    Map(#[source] io::Error),
    /// Binding to the interface.
    #[error("cannot bind a packet socket to interface index {ifindex} (is it still there and up?): {source}")]
    Bind {
        /// The interface.
        ifindex: u32,
        /// What bind said.
        source: io::Error,
    },
    /// `PACKET_FANOUT`: several sockets that share an interface's frames.
    #[error("cannot share the frames of interface index {ifindex} among {queues} sockets: {source}")]
    Fanout {
        /// The interface.
        ifindex: u32,
        /// Sockets that were to share.
        queues: usize,
        /// What the system call said.
        source: io::Error,
    },
}

/// Bytes a slot: room for an Ethernet frame at an MTU of 1500 with headroom, two slots a page.
const SLOT_BYTES: usize = 2048;
/// Bytes a block that the kernel allocates the ring in; 32 slots.
const BLOCK_BYTES: usize = 64 << 10;
/// `PACKET_RESERVE`. With the kernel's own 80 bytes of slot header and the virtio-net header of 10 the IP header
/// comes to lie on a multiple of 4, and an ICMP error finds the space to be prepended.
const RESERVE_BYTES: u32 = 130;
/// struct tpacket2_hdr and struct sockaddr_ll at the beginning of a slot: not part of the headroom.
const SLOT_HEADER_BYTES: usize = libc::TPACKET2_HDRLEN;

/// Buffers for frames larger than a slot. Few, so that they stay in the second-level cache.
const HOT_BUFFERS: usize = 8;
/// Headroom of a hot buffer, the virtio-net header included.
const HOT_HEADROOM_BYTES: usize = 192;
/// The largest GSO packet that a link can be set to (GSO_MAX_SIZE in include/linux/netdevice.h) with its Ethernet and VLAN
/// headers. Most are no larger than 64 KiB (GSO_LEGACY_MAX_SIZE), and the memory beyond that is the kernel's until a frame is
/// written there (BIG TCP).
const HOT_FRAME_BYTES: usize = 8 * 65_535 + 18;

/// Opens a port on interface `ifindex`, in the network namespace of the calling thread.
///
/// # Errors
/// [`OpenError`], one variant a step.
pub fn open(ifindex: u32, port: PortId, settings: Settings) -> Result<(PacketRx, PacketTx), OpenError> {
    let receive = open_receive(port, settings)?;
    listen(&receive, ifindex)?;
    Ok((receive, open_transmit(ifindex, settings)?))
}

/// Opens a port with `queues` pairs of halves that share its frames by flow: both directions of a flow, and everything
/// of it that is no fragment, come by the same one, in order.
///
/// What is a fragment is shared by its addresses alone. A queue that is closed leaves its flows to the others.
///
/// # Errors
/// [`OpenError`], one variant a step.
pub fn open_queues(
    ifindex: u32,
    port: PortId,
    settings: Settings,
    queues: usize,
) -> Result<Vec<(PacketRx, PacketTx)>, OpenError> {
    if queues <= 1 {
        return Ok(vec![open(ifindex, port, settings)?]);
    }
    let opened: Vec<PacketRx> =
        (0..queues).map(|_| open_receive(port, settings)).collect::<Result<_, _>>()?;
    let fanout = |source| OpenError::Fanout { ifindex, queues, source };
    let mut group = None;
    // A socket has to listen before it can join. It hears nothing before all have joined, or each would hear all.
    for receive in &opened {
        socket::deafen(receive.fd()).map_err(fanout)?;
        listen(receive, ifindex)?;
        group = Some(join(receive.fd(), group).map_err(fanout)?);
    }
    for receive in &opened {
        socket::hear(receive.fd()).map_err(fanout)?;
    }
    opened.into_iter().map(|receive| Ok((receive, open_transmit(ifindex, settings)?))).collect()
}

/// Joins a fanout group, or founds one that no other process can have the number of; returns its number.
///
/// The hash is of addresses, protocol and ports, and the same both ways (fanout_demux_hash, __skb_get_hash_symmetric).
fn join(fd: BorrowedFd<'_>, group: Option<u32>) -> io::Result<u32> {
    let found = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
    let kind = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING | found;
    socket::set_option(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, group.unwrap_or(0) | kind << 16)?;
    // The number is in the lower half; what kind it is, in the upper.
    let told: u32 = socket::get_option(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, 0)?;
    Ok(told & 0xffff)
}

fn set(
    fd: BorrowedFd<'_>,
    option: &'static str,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<(), OpenError> {
    socket::set_option(fd, libc::SOL_PACKET, name, value)
        .map_err(|source| OpenError::Option { option, source })
}

fn open_receive(port: PortId, settings: Settings) -> Result<PacketRx, OpenError> {
    // Protocol 0: nothing arrives until bind, so no frame of another interface can slip into the ring.
    let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0).map_err(OpenError::Socket)?;
    let descriptor = fd.as_fd();
    set(descriptor, "PACKET_VERSION", libc::PACKET_VERSION, 1)?; // TPACKET_V2
    set(descriptor, "PACKET_VNET_HDR", libc::PACKET_VNET_HDR, 1)?;
    set(descriptor, "PACKET_IGNORE_OUTGOING", libc::PACKET_IGNORE_OUTGOING, 1)?;
    set(descriptor, "PACKET_COPY_THRESH", libc::PACKET_COPY_THRESH, 1)?;
    socket::set_option(descriptor, libc::SOL_PACKET, libc::PACKET_RESERVE, RESERVE_BYTES)
        .map_err(|source| OpenError::Option { option: "PACKET_RESERVE", source })?;
    socket::set_buffer(descriptor, Buffer::Receive, settings.receive_buffer_bytes);

    let slots_per_block = BLOCK_BYTES / SLOT_BYTES;
    let blocks = (settings.slots as usize).div_ceil(slots_per_block).max(1);
    let slots = blocks * slots_per_block;
    let as_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let request = libc::tpacket_req {
        tp_block_size: as_u32(BLOCK_BYTES),
        tp_block_nr: as_u32(blocks),
        tp_frame_size: as_u32(SLOT_BYTES),
        tp_frame_nr: as_u32(slots),
    };
    socket::set_option(descriptor, libc::SOL_PACKET, libc::PACKET_RX_RING, request)
        .map_err(|source| OpenError::Ring { slots: as_u32(slots), source })?;
    let ring = SlotRing::map(descriptor, SLOT_BYTES, slots).map_err(OpenError::Map)?;
    let hot = (0..HOT_BUFFERS).map(|_| vec![0; HOT_HEADROOM_BYTES + HOT_FRAME_BYTES].into()).collect();
    Ok(PacketRx { port, ring, hot, owed: 0, fd })
}

/// Binds the receive half to its interface: from now on frames arrive.
fn listen(receive: &PacketRx, ifindex: u32) -> Result<(), OpenError> {
    let protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or(3);
    socket::bind_packet(receive.fd(), ifindex, protocol).map_err(|source| OpenError::Bind { ifindex, source })
}

fn open_transmit(ifindex: u32, settings: Settings) -> Result<PacketTx, OpenError> {
    let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0).map_err(OpenError::Socket)?;
    let descriptor = fd.as_fd();
    set(descriptor, "PACKET_VNET_HDR", libc::PACKET_VNET_HDR, 1)?;
    socket::set_buffer(descriptor, Buffer::Send, settings.send_buffer_bytes);
    socket::bind_packet(descriptor, ifindex, 0).map_err(|source| OpenError::Bind { ifindex, source })?;
    Ok(PacketTx { fd })
}

/// The receive half of a packet port.
#[derive(Debug)]
pub struct PacketRx {
    port: PortId,
    // Before `fd`: the mapping goes first.
    ring: SlotRing,
    hot: Vec<Box<[u8]>>,
    /// Messages of slots that were given back which are still on the receive queue, before those of the next slots.
    owed: usize,
    fd: OwnedFd,
}

impl PacketRx {
    /// Takes the messages off the queue whose slots are gone, or the next slots would be given them.
    fn discard_owed(&mut self) -> io::Result<()> {
        while self.owed > 0 {
            let mut arrived = [Arrived::default(); HOT_BUFFERS];
            let count = self.owed.min(HOT_BUFFERS);
            let (done, outcome) = fetch_copies(self.fd.as_fd(), &mut self.hot, &mut arrived[..count]);
            self.owed -= done;
            outcome?;
        }
        Ok(())
    }
}

/// One filled slot, read once.
struct Descriptor<'r> {
    bytes: &'r mut [u8],
    status: u32,
    wire_bytes: usize,
    captured_bytes: usize,
    /// Where the Ethernet header begins, from the beginning of `bytes`.
    mac: usize,
    vlan_tci: u16,
    vlan_tpid: u16,
}

impl<'r> Descriptor<'r> {
    /// Reads struct tpacket2_hdr; offsets are its fields' less the status word's 4 bytes.
    #[inline]
    fn read(status: u32, bytes: &'r mut [u8]) -> Self {
        let u32_at = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u16_at = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Descriptor {
            wire_bytes: u32_at(0) as usize,
            captured_bytes: u32_at(4) as usize,
            mac: usize::from(u16_at(8)).saturating_sub(STATUS_BYTES),
            vlan_tci: u16_at(20),
            vlan_tpid: u16_at(22),
            status,
            bytes,
        }
    }

    fn is_copy(&self) -> bool {
        self.status & libc::TP_STATUS_COPY != 0
    }
}

/// Bytes between the two MAC addresses' end and the frame's beginning: where a VLAN tag belongs.
const MAC_ADDRESSES_BYTES: usize = 12;
const VLAN_TAG_BYTES: usize = 4;

/// Puts the tag back that the kernel took out of the frame, so that the router sees what was on the wire.
fn restore_vlan_tag(frame: &mut Frame<'_>, tpid: u16, tci: u16) {
    if frame.len() < MAC_ADDRESSES_BYTES || !frame.push_front(VLAN_TAG_BYTES) {
        return;
    }
    let data = frame.data_mut();
    data.copy_within(VLAN_TAG_BYTES..VLAN_TAG_BYTES + MAC_ADDRESSES_BYTES, 0);
    data[MAC_ADDRESSES_BYTES..MAC_ADDRESSES_BYTES + 2].copy_from_slice(&tpid.to_be_bytes());
    data[MAC_ADDRESSES_BYTES + 2..MAC_ADDRESSES_BYTES + 4].copy_from_slice(&tci.to_be_bytes());
    if let Some(pending) = &mut frame.offload.checksum {
        pending.start = pending.start.saturating_add(4);
    }
}

impl Receive for PacketRx {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        let mut received = Received::default();
        let mut descriptors: ArrayVec<Descriptor<'r>, BURST_FRAMES> = ArrayVec::new();
        let mut copies = 0;
        let limit = max.min(burst.remaining_capacity());
        self.discard_owed()?;
        let mut loan = self.ring.lend();
        while descriptors.len() < limit && copies < HOT_BUFFERS {
            let Some(slot) = loan.next() else { break };
            let descriptor = Descriptor::read(slot.status, slot.bytes);
            copies += usize::from(descriptor.is_copy());
            descriptors.push(descriptor);
        }
        let mut arrived = [Arrived::default(); HOT_BUFFERS];
        if copies > 0 {
            // What could not be had now stays empty, and its frame counts as truncated.
            let (done, _) = fetch_copies(self.fd.as_fd(), &mut self.hot, &mut arrived[..copies]);
            self.owed = copies - done;
        }
        let mut copied = self.hot.iter_mut().zip(arrived);
        for descriptor in descriptors {
            let Descriptor { bytes, status, wire_bytes, captured_bytes, mac, vlan_tci, vlan_tpid } =
                descriptor;
            let (buffer, start, len) = if status & libc::TP_STATUS_COPY != 0 {
                match copied.next() {
                    Some((hot, message))
                        if !message.truncated
                            && message.bytes.checked_sub(VNET_HEADER_BYTES) == Some(wire_bytes) =>
                    {
                        (&mut hot[..], HOT_HEADROOM_BYTES, wire_bytes)
                    }
                    Some(_) if wire_bytes > HOT_FRAME_BYTES => {
                        received.too_big_frames += 1;
                        continue;
                    }
                    _ => {
                        received.truncated_frames += 1;
                        continue;
                    }
                }
            } else if captured_bytes < wire_bytes {
                // Larger than the slot, and the receive queue had no room for it: its payload is lost.
                received.truncated_frames += 1;
                continue;
            } else {
                let header = SLOT_HEADER_BYTES - STATUS_BYTES;
                (&mut bytes[header..], mac.saturating_sub(header), captured_bytes)
            };
            let Some(offload) = start
                .checked_sub(VNET_HEADER_BYTES)
                .and_then(|at| buffer.get(at..start)?.try_into().ok())
                .and_then(vnet::parse)
            else {
                received.unsupported_frames += 1;
                continue;
            };
            let Some(mut frame) = Frame::new(buffer, start, len, self.port, offload) else {
                received.truncated_frames += 1;
                continue;
            };
            if status & libc::TP_STATUS_VLAN_VALID != 0 {
                restore_vlan_tag(&mut frame, vlan_tpid, vlan_tci);
            }
            burst.push(frame);
        }
        Ok(received)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn looks_are_free(&self) -> bool {
        true
    }

    fn take_error(&mut self) -> io::Result<()> {
        socket::take_error(self.fd.as_fd())
    }

    fn take_lost_frames(&mut self) -> u64 {
        let zero = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        // Reading resets the kernel's count. It fails only for a bad descriptor.
        socket::get_option(self.fd.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, zero)
            .map_or(0, |statistics| u64::from(statistics.tp_drops))
    }
}

/// Takes the messages that belong to the COPY slots off the receive queue, one a slot. Returns how many were had, and what
/// kept the others on the queue; where nothing did, the queue is empty.
fn fetch_copies(
    fd: BorrowedFd<'_>,
    hot: &mut [Box<[u8]>],
    arrived: &mut [Arrived],
) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < arrived.len() {
        let buffers =
            hot[done..].iter_mut().map(|buffer| &mut buffer[HOT_HEADROOM_BYTES - VNET_HEADER_BYTES..]);
        match receive_each(fd, buffers, &mut arrived[done..]) {
            Ok(got) if got > 0 => done += got,
            // An error that lay on the socket (ENETDOWN) was taken off by this call. The queue is filled before
            // the slot is, so the messages are still there.
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted
                    || Refusal::from_error(&error) == Refusal::Down => {}
            // Nothing is left on the queue, so what comes next belongs to the next slot again.
            Ok(_) => return (arrived.len(), Ok(())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (arrived.len(), Ok(())),
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

/// The transmit half of a packet port.
#[derive(Debug)]
pub struct PacketTx {
    fd: OwnedFd,
}

impl Transmit for PacketTx {
    fn capabilities(&self) -> Capabilities {
        // The kernel does in software what the interface does not.
        Capabilities { checksum: true, tso: true, uso: true }
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        let mut sent = Sent::default();
        for batch in frames.chunks(BURST_FRAMES) {
            let headers: ArrayVec<[u8; VNET_HEADER_BYTES], BURST_FRAMES> =
                batch.iter().map(|frame| vnet::emit(&frame.offload)).collect();
            let mut done = 0;
            while done < batch.len() {
                let rest =
                    headers[done..].iter().zip(&batch[done..]).map(|(header, frame)| (header, frame.data()));
                match send_each(self.fd.as_fd(), rest) {
                    Ok(count) if count > 0 => {
                        sent.frames += count as u64;
                        done += count;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => {
                        let refusal =
                            outcome.map_or_else(|error| Refusal::from_error(&error), |_| Refusal::Error);
                        sent.refuse(refusal, batch[done].len());
                        done += 1;
                    }
                }
            }
        }
        sent
    }
}
