//! AF_XDP: frames are redirected before the kernel's own input path into memory that is ours, and what was received on
//! one port is sent on another from where it lies.
//!
//! All ports of a worker (which has a queue of its own of each interface) share one memory area. Each chunk of it has a home, the port in whose fill ring it goes. A
//! received frame is lent in its chunk; a [`XdpTx`] that finds the frame it is to send in the area takes it as it is and
//! marks the chunk as in flight, and the home port gives the chunk to the kernel again only when the frame's loan is over
//! and the mark is gone. Any other frame (one that the router made, a segment, one of another kind of port) is copied into
//! a chunk of the sending port's own.
//!
//! There is no metadata here: checksums are complete and no frame is larger than the MTU, both ways. So hosts have to
//! send complete frames (their links' offloads are off), and this is the mechanism for many small packets rather than
//! for bulk TCP. Frames other than IPv4, IPv6 and ARP are not ours to route, and pass on to the kernel.
//! Source: Documentation/networking/af_xdp.rst, net/xdp/xsk.c.

pub(crate) mod ring;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrayvec::ArrayVec;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

use crate::port::{BURST_FRAMES, Burst, Capabilities, Receive, Received, Refusal, Sent, Transmit};
use crate::sys::bpf::{
    Instruction, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, create_xsk_map, link_xdp, load_xdp, set_xsk,
};
use crate::sys::umem::{Area, Chunk};
use crate::sys::xdp::{self, Inbound, Mapped, Rings, length_of, length_word};
use crate::sys::{bpf, socket};
use crate::xdp::ring::{Consumer, Producer};

/// How xdp ports are set up; [`Settings::default`] is what measured best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Entries of each ring, a power of two: frames that may wait for us. Where they hold less than a sender's TCP window,
    /// every window costs some retransmits.
    pub entries: u32,
    /// Frames that may be on their way out by one port, at most `entries`.
    pub in_flight: u32,
    /// Bytes that may be on their way out (`SO_SNDBUF`); without CAP_NET_ADMIN over the machine no more than
    /// `net.core.wmem_max`.
    pub send_buffer_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { entries: 4096, in_flight: 1024, send_buffer_bytes: 8 << 20 }
    }
}

/// An interface that is to be a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index in the calling thread's network namespace.
    pub ifindex: u32,
    /// The port that it is to be.
    pub port: PortId,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// Opening xdp ports failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An MTU whose frames fit no chunk.
    #[error("an MTU of {mtu} is more than the {max} that a frame in one AF_XDP chunk can have")]
    Mtu {
        /// The MTU asked for.
        mtu: u32,
        /// The largest possible one.
        max: usize,
    },
    /// The memory area.
    #[error("cannot map memory for {chunks} AF_XDP chunks: {source}")]
    Area {
        /// Chunks asked for.
        chunks: usize,
        /// What mmap said.
        source: io::Error,
    },
    /// `socket(AF_XDP)`.
    #[error("cannot open an AF_XDP socket (it takes CAP_NET_RAW, and a kernel with CONFIG_XDP_SOCKETS): {0}")]
    Socket(#[source] io::Error),
    /// `XDP_UMEM_REG`.
    #[error("cannot register memory with an AF_XDP socket (is locked memory limited?): {0}")]
    Register(#[source] io::Error),
    /// Making or mapping the rings.
    #[error("cannot make AF_XDP rings of {entries} entries: {source}")]
    Rings {
        /// Entries asked for, each ring.
        entries: u32,
        /// What the system call said.
        source: io::Error,
    },
    /// Binding to the interface.
    #[error("cannot bind an AF_XDP socket to interface index {ifindex}: {source}")]
    Bind {
        /// The interface.
        ifindex: u32,
        /// What bind said.
        source: io::Error,
    },
    /// bpf(2): the map or the program.
    #[error("cannot load the XDP program (it takes CAP_BPF over the whole machine): {0}")]
    Program(#[source] io::Error),
    /// Attaching the program, in the driver and behind it.
    #[error("cannot attach an XDP program to interface index {ifindex}: {source}")]
    Attach {
        /// The interface.
        ifindex: u32,
        /// What bpf(2) said.
        source: io::Error,
    },
}

/// Bytes that the kernel leaves free in front of a frame (`XDP_PACKET_HEADROOM`).
const HEADROOM_BYTES: usize = 256;
/// Ethernet header and a VLAN tag.
const LINK_BYTES: usize = 18;
/// Chunk sizes that the kernel takes, smaller first.
const CHUNK_BYTES: [usize; 2] = [2048, 4096];
/// Chunks of each port for frames that have to be copied.
const COPIES: usize = 512;
/// Calls to the kernel, at most, for one burst to be sent: before 6.17 each sends up to 32.
const KICKS: usize = 8;

/// Opens ports on the first `queues` queues of interfaces that have as many, in the network namespace of the calling
/// thread. The ports of one queue, which are next to each other in the result, share one memory area.
///
/// # Errors
/// [`OpenError`], one variant a step.
pub fn open(
    interfaces: &[Interface],
    queues: u32,
    settings: Settings,
) -> Result<Vec<Vec<(XdpRx, XdpTx)>>, OpenError> {
    let redirects: Vec<Redirect> =
        interfaces.iter().map(|interface| redirect(interface.ifindex, queues)).collect::<Result<_, _>>()?;
    (0..queues).map(|queue| open_queue(interfaces, &redirects, queue, settings)).collect()
}

fn open_queue(
    interfaces: &[Interface],
    redirects: &[Redirect],
    queue: u32,
    settings: Settings,
) -> Result<Vec<(XdpRx, XdpTx)>, OpenError> {
    let mtu = interfaces.iter().map(|interface| interface.mtu).max().unwrap_or(0);
    let chunk_bytes = chunk_bytes(mtu)?;
    // Enough that a port is never out of chunks, were all that may be on their way out by any port its own.
    let limit = settings.in_flight.min(settings.entries);
    let home = settings.entries as usize + limit as usize * interfaces.len();
    let chunks = (home + COPIES) * interfaces.len();
    let (area, mut pool) =
        Area::map(chunk_bytes, chunks).map_err(|source| OpenError::Area { chunks, source })?;
    let in_flight: Arc<[AtomicBool]> = (0..chunks).map(|_| AtomicBool::new(false)).collect();
    let mut first_socket: Option<Arc<OwnedFd>> = None;
    let mut ports = Vec::new();
    for (interface, redirect) in interfaces.iter().zip(redirects) {
        let fd = Arc::new(xdp::open().map_err(OpenError::Socket)?);
        if first_socket.is_none() {
            xdp::register(fd.as_fd(), &area).map_err(OpenError::Register)?;
        }
        let copies = pool.split_off(pool.len() - COPIES);
        let mut spare = pool.split_off(pool.len() - home);
        let first = spare.first().map_or(0, Chunk::index);
        let rings = xdp::rings(fd.as_fd(), settings.entries, first, home)
            .map_err(|source| OpenError::Rings { entries: settings.entries, source })?;
        let Rings { mut inbound, transmit, completion } = rings;
        let shared = first_socket.as_ref().map(|first| first.as_fd());
        xdp::bind(fd.as_fd(), interface.ifindex, queue, shared)
            .map_err(|source| OpenError::Bind { ifindex: interface.ifindex, source })?;
        tune(fd.as_fd(), settings);
        // Before the first frame can come.
        refill(&mut inbound, &mut spare);
        set_xsk(&redirect.map, queue, &fd).map_err(OpenError::Program)?;
        let receive = XdpRx {
            port: interface.port,
            _redirect: Arc::clone(&redirect.link),
            area: Arc::clone(&area),
            inbound,
            in_flight: Arc::clone(&in_flight),
            lent: ArrayVec::new(),
            away: VecDeque::with_capacity(home),
            spare,
            lost_before: 0,
            fd: Arc::clone(&fd),
        };
        let transmit = XdpTx {
            area: Arc::clone(&area),
            ring: transmit,
            completion,
            in_flight: Arc::clone(&in_flight),
            first_copy: copies.first().map_or(0, Chunk::index),
            away: copies.iter().map(|_| None).collect(),
            copies,
            unsent: Unsent::default(),
            outstanding: 0,
            limit,
            frame_bytes: interface.mtu as usize + LINK_BYTES,
            fd: Arc::clone(&fd),
        };
        first_socket.get_or_insert(fd);
        ports.push((receive, transmit));
    }
    Ok(ports)
}

fn chunk_bytes(mtu: u32) -> Result<usize, OpenError> {
    let frame = mtu as usize + LINK_BYTES;
    let max = CHUNK_BYTES[1] - HEADROOM_BYTES - LINK_BYTES;
    let fitting = CHUNK_BYTES.into_iter().find(|bytes| bytes - HEADROOM_BYTES >= frame);
    fitting.ok_or(OpenError::Mtu { mtu, max })
}

/// What makes a socket faster, but is not to be had everywhere.
fn tune(fd: BorrowedFd<'_>, settings: Settings) {
    // A kernel before 6.17 sends 32 frames a call whatever we ask for; a smaller buffer is what the machine grants.
    let _ = xdp::set_send_budget(fd, u32::try_from(BURST_FRAMES).unwrap_or(32));
    let bytes = settings.send_buffer_bytes;
    if socket::set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).is_err() {
        let _ = socket::set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes);
    }
}

/// The way from an interface into our sockets.
struct Redirect {
    /// The socket of each queue.
    map: OwnedFd,
    /// The attached program goes when nobody holds this any more.
    link: Arc<OwnedFd>,
}

/// Attaches the program that redirects an interface's frames into the socket of their queue. Where there is none yet they
/// go to the kernel.
fn redirect(ifindex: u32, queues: u32) -> Result<Redirect, OpenError> {
    let map = create_xsk_map(queues).map_err(OpenError::Program)?;
    let program = load_xdp(&redirect_program(bpf::immediate_fd(&map))).map_err(OpenError::Program)?;
    let link = link_xdp(&program, ifindex, XDP_FLAGS_DRV_MODE)
        .or_else(|_| link_xdp(&program, ifindex, XDP_FLAGS_SKB_MODE))
        .map_err(|source| OpenError::Attach { ifindex, source })?;
    Ok(Redirect { map, link: Arc::new(link) })
}

/// `XDP_PASS` (include/uapi/linux/bpf.h): the frame goes on into the kernel.
const PASS: i32 = 2;
/// `bpf_redirect_map()`.
const REDIRECT_MAP: i32 = 51;

/// An ethertype as the program finds it in a frame: loaded as a number of this machine.
fn ethertype(number: u16) -> i32 {
    i32::from(u16::from_ne_bytes(number.to_be_bytes()))
}

/// IPv4, ARP and IPv6 go to the socket of their queue, everything else to the kernel.
fn redirect_program(map: i32) -> [Instruction; 18] {
    let op = Instruction::new;
    [
        op(0xbf, 6, 1, 0, 0),                 //      r6 = r1: struct xdp_md
        op(0x61, 2, 1, 0, 0),                 //      r2 = data
        op(0x61, 3, 1, 4, 0),                 //      r3 = data_end
        op(0xbf, 4, 2, 0, 0),                 //      r4 = r2
        op(0x07, 4, 0, 0, 14),                //      r4 += 14: an Ethernet header
        op(0x2d, 4, 3, 4, 0),                 //      if r4 > r3 goto pass
        op(0x69, 5, 2, 12, 0),                //      r5 = ethertype
        op(0x15, 5, 0, 4, ethertype(0x0800)), //      if r5 == IPv4 goto ours
        op(0x15, 5, 0, 3, ethertype(0x0806)), //      if r5 == ARP goto ours
        op(0x15, 5, 0, 2, ethertype(0x86dd)), //      if r5 == IPv6 goto ours
        Instruction::return_value(PASS),      // pass:
        Instruction::exit(),
        op(0x61, 2, 6, 16, 0),  // ours: r2 = rx_queue_index
        op(0x18, 1, 1, 0, map), //      r1 = map (two instructions long)
        op(0, 0, 0, 0, 0),
        op(0xb7, 3, 0, 0, PASS), //      r3 = what to do where there is no socket
        op(0x85, 0, 0, 0, REDIRECT_MAP), //      r0 = bpf_redirect_map(r1, r2, r3)
        Instruction::exit(),
    ]
}

/// The receive half of an xdp port.
#[derive(Debug)]
pub struct XdpRx {
    port: PortId,
    /// With the last of these goes the program. Before the socket, so that nothing is redirected into none.
    _redirect: Arc<OwnedFd>,
    area: Arc<Area>,
    inbound: Inbound,
    /// By the number of the chunk: somebody is sending from it.
    in_flight: Arc<[AtomicBool]>,
    /// Chunks whose frames are lent.
    lent: ArrayVec<Chunk, BURST_FRAMES>,
    /// Chunks whose loan is over while they are in flight, oldest first.
    away: VecDeque<Chunk>,
    /// Chunks that are free, the last used one last.
    spare: Vec<Chunk>,
    lost_before: u64,
    fd: Arc<OwnedFd>,
}

impl XdpRx {
    fn is_in_flight(&self, chunk: &Chunk) -> bool {
        self.in_flight[chunk.index()].load(Ordering::Acquire)
    }

    /// Takes back the chunks of the last burst, and those that have come back from being sent.
    fn reclaim(&mut self) {
        for chunk in self.lent.take() {
            if self.is_in_flight(&chunk) { self.away.push_back(chunk) } else { self.spare.push(chunk) }
        }
        // In the order in which they went, nearly: one that is late is asked again after the others.
        for _ in 0..self.away.len().min(2 * BURST_FRAMES) {
            let Some(chunk) = self.away.pop_front() else { break };
            if self.is_in_flight(&chunk) { self.away.push_back(chunk) } else { self.spare.push(chunk) }
        }
    }
}

/// Gives the kernel as many free chunks as it takes.
fn refill(inbound: &mut Inbound, spare: &mut Vec<Chunk>) {
    while let Some(chunk) = spare.pop() {
        if let Err(chunk) = inbound.give(chunk) {
            spare.push(chunk);
            break;
        }
    }
    inbound.publish();
}

impl Receive for XdpRx {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        self.reclaim();
        refill(&mut self.inbound, &mut self.spare);
        let mut received = Received::default();
        let mut places: ArrayVec<(usize, usize), BURST_FRAMES> = ArrayVec::new();
        let limit = max.min(burst.remaining_capacity()).min(BURST_FRAMES);
        while places.len() < limit {
            match self.inbound.take(&self.area) {
                Some(Some(arrival)) => {
                    places.push((arrival.start, arrival.len));
                    self.lent.push(arrival.chunk);
                }
                Some(None) => received.unsupported_frames += 1,
                None => break,
            }
        }
        if !places.is_empty() {
            self.inbound.release();
        }
        for (chunk, (start, len)) in self.lent.iter_mut().zip(places) {
            match Frame::new(chunk.bytes_mut(), start, len, self.port, Offload::default()) {
                Some(frame) => burst.push(frame),
                None => received.unsupported_frames += 1,
            }
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
        match socket::get_option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR, 0)? {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn take_lost_frames(&mut self) -> u64 {
        // It fails only for a bad descriptor. A frame that finds no chunk is counted in rx_dropped.
        let Ok(statistics) = xdp::statistics(self.fd.as_fd()) else { return 0 };
        let lost = statistics.rx_dropped + statistics.rx_ring_full;
        lost - std::mem::replace(&mut self.lost_before, lost).min(lost)
    }
}

/// Which frame of the tx ring the kernel took last, though it tells so only at times.
#[derive(Debug, Default)]
struct Unsent {
    /// Frames that it took, ever.
    taken: u32,
}

impl Unsent {
    /// Notes a call's outcome: the ring's consumer index before and after it, and whether it ended by dropping a frame.
    ///
    /// The kernel stores the index only when the call has sent something (xsk_generic_xmit), counting what it dropped.
    fn note(&mut self, before: u32, after: u32, dropped: bool) {
        if before != after {
            self.taken = after;
        } else if dropped {
            self.taken = self.taken.wrapping_add(1);
        }
    }

    /// The number of the frame that was dropped, after a call that dropped one.
    fn dropped(&self) -> u32 {
        self.taken.wrapping_sub(1)
    }
}

/// The transmit half of an xdp port.
#[derive(Debug)]
pub struct XdpTx {
    area: Arc<Area>,
    ring: Producer<Mapped, 2>,
    completion: Consumer<Mapped, 1>,
    in_flight: Arc<[AtomicBool]>,
    /// The number of the first chunk for copies.
    first_copy: usize,
    /// Chunks for copies that are in flight, by their numbers from `first_copy`.
    away: Box<[Option<Chunk>]>,
    /// Chunks for copies that are free.
    copies: Vec<Chunk>,
    unsent: Unsent,
    /// Frames given to the kernel that have not come back by the completion ring.
    outstanding: u32,
    limit: u32,
    frame_bytes: usize,
    fd: Arc<OwnedFd>,
}

impl XdpTx {
    /// Takes back what was sent.
    fn reap(&mut self) {
        let mut reaped = false;
        while let Some([address]) = self.completion.pop() {
            reaped = true;
            self.outstanding = self.outstanding.saturating_sub(1);
            let index = self.area.index_of(address);
            let place = index.checked_sub(self.first_copy).and_then(|place| self.away.get_mut(place));
            match place {
                Some(copy) => self.copies.extend(copy.take()),
                None => {
                    if let Some(mark) = self.in_flight.get(index) {
                        mark.store(false, Ordering::Release);
                    }
                }
            }
        }
        if reaped {
            self.completion.release();
        }
    }

    /// Where a received frame lies in the area, if it does and nobody sends from there: taken as it is.
    fn take_in_place(&self, data: &[u8]) -> Option<usize> {
        let offset = self.area.offset_of(data)?;
        let mark = self.in_flight.get(offset / self.area.chunk_bytes())?;
        // Only the worker that sends sets marks, so nothing comes between the two.
        if mark.load(Ordering::Relaxed) {
            return None;
        }
        mark.store(true, Ordering::Relaxed);
        Some(offset)
    }

    /// Copies a frame into a chunk of our own; where it lies then.
    fn copy(&mut self, data: &[u8]) -> Option<usize> {
        let mut chunk = self.copies.pop()?;
        let offset = chunk.offset();
        let place = chunk.index() - self.first_copy;
        chunk.bytes_mut()[..data.len()].copy_from_slice(data);
        self.away[place] = Some(chunk);
        Some(offset)
    }

    /// Puts a frame into the tx ring.
    fn enqueue(&mut self, data: &[u8]) -> Result<(), Refusal> {
        if data.len() > self.frame_bytes {
            return Err(Refusal::TooBig);
        }
        // The completion ring must have room for whatever is in flight.
        if self.outstanding >= self.limit || !self.ring.has_room() {
            return Err(Refusal::Full);
        }
        let offset = self.take_in_place(data).or_else(|| self.copy(data)).ok_or(Refusal::Full)?;
        let length = u32::try_from(data.len()).map_err(|_| Refusal::TooBig)?;
        // There is room, so it is in.
        self.outstanding += u32::from(self.ring.push([offset as u64, length_word(length)]));
        Ok(())
    }

    /// Has the kernel send what is in the ring. What it does not take now goes with the next burst, or when the worker
    /// sleeps: poll(2) sends too.
    fn kick(&mut self, sent: &mut Sent) {
        let mut kicks = 0;
        while kicks < KICKS && self.ring.waiting() > 0 {
            let before = self.ring.consumed();
            let outcome = xdp::kick(self.fd.as_fd());
            let after = self.ring.consumed();
            let errno = outcome.err().map_or(0, |error| error.raw_os_error().unwrap_or(0));
            self.unsent.note(before, after, errno == libc::EBUSY);
            match errno {
                0 => return,
                // The next device had no room: one frame is dropped, and comes back like those that were sent.
                libc::EBUSY => {
                    let [_, word] = self.ring.entry(self.unsent.dropped());
                    sent.frames = sent.frames.saturating_sub(1);
                    sent.refuse(Refusal::Full, length_of(word) as usize);
                }
                libc::EINTR => {}
                // So many frames at once and no more, or no more memory for now.
                libc::EAGAIN if before != after => kicks += 1,
                _ => return,
            }
        }
    }
}

impl Transmit for XdpTx {
    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: false, tso: false, uso: false }
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        let mut sent = Sent::default();
        self.reap();
        for frame in frames {
            match self.enqueue(frame.data()) {
                Ok(()) => sent.frames += 1,
                Err(refusal) => sent.refuse(refusal, frame.len()),
            }
        }
        self.ring.publish();
        self.kick(&mut sent);
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_an_mtu_fit_their_chunk() {
        assert_eq!(chunk_bytes(1500).ok(), Some(2048));
        assert_eq!(chunk_bytes(1774).ok(), Some(2048));
        assert_eq!(chunk_bytes(1775).ok(), Some(4096));
        assert_eq!(chunk_bytes(3822).ok(), Some(4096));
        assert!(matches!(chunk_bytes(3823), Err(OpenError::Mtu { mtu: 3823, max: 3822 })));
    }

    #[test]
    fn the_program_s_jumps_lead_where_they_should() {
        let program = redirect_program(7);
        let target = |at: usize| at + 1 + usize::try_from(program[at].offset).unwrap_or(usize::MAX);
        assert_eq!(target(5), 10, "too short: pass");
        assert!([7, 8, 9].map(target).iter().all(|at| *at == 12), "ours");
        assert_eq!(program[13].immediate, 7);
    }

    #[test]
    fn the_dropped_frame_is_known_though_the_kernel_is_late_to_tell() {
        let mut unsent = Unsent::default();
        unsent.note(0, 5, true); // four sent, the fifth dropped
        assert_eq!(unsent.dropped(), 4);
        unsent.note(5, 5, true); // the first of this call dropped: not told
        assert_eq!(unsent.dropped(), 5);
        unsent.note(5, 5, true);
        assert_eq!(unsent.dropped(), 6);
        unsent.note(5, 10, false); // three more sent, and all told
        unsent.note(10, 10, true);
        assert_eq!(unsent.dropped(), 10);
    }
}
