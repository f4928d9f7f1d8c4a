//! The receive half: a TPACKET_V2 ring whose slots are lent, and bounce buffers for what is larger than a
//! slot.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use arrayvec::ArrayVec;
use nsrouter_wire::frame::PortId;

use crate::packet::bounce::{BOUNCE_BUFFERS, BounceBuffers};
use crate::packet::error::{OpenError, set};
use crate::packet::settings::Settings;
use crate::packet::slot::FilledSlot;
use crate::port::{BURST_FRAMES, Burst, Receive, Received};
use crate::sys::slots::SlotRing;
use crate::sys::socket::{self, Buffer};

/// Bytes a slot: room for an Ethernet frame at an MTU of 1500 with headroom, two slots a page.
const SLOT_BYTES: usize = 2048;
/// Bytes a block that the kernel allocates the ring in; 32 slots.
const BLOCK_BYTES: usize = 64 << 10;
/// `PACKET_RESERVE`. With the kernel's own 80 bytes of slot header and the virtio-net header of 10 the IP
/// header comes to lie on a multiple of 4, and an ICMP error finds the space to be prepended.
const RESERVE_BYTES: u32 = 130;

/// The receive half of a packet port.
#[derive(Debug)]
pub struct PacketRx {
    port: PortId,
    // Before `fd`: the mapping goes first.
    ring: SlotRing,
    bounce: BounceBuffers,
    fd: OwnedFd,
}

impl PacketRx {
    /// Makes the ring. Nothing arrives before [`PacketRx::bind`], so no frame of another interface can slip
    /// into it.
    pub(super) fn open(port: PortId, settings: Settings) -> Result<PacketRx, OpenError> {
        let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0).map_err(OpenError::Socket)?;
        let descriptor = fd.as_fd();
        set(descriptor, "PACKET_VERSION", libc::PACKET_VERSION, 1)?; // TPACKET_V2
        set(descriptor, "PACKET_VNET_HDR", libc::PACKET_VNET_HDR, 1)?;
        set(descriptor, "PACKET_IGNORE_OUTGOING", libc::PACKET_IGNORE_OUTGOING, 1)?;
        set(descriptor, "PACKET_COPY_THRESH", libc::PACKET_COPY_THRESH, 1)?;
        set(descriptor, "PACKET_RESERVE", libc::PACKET_RESERVE, RESERVE_BYTES)?;
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
        Ok(PacketRx { port, ring, bounce: BounceBuffers::new(), fd })
    }

    /// Binds the socket to its interface: from now on frames arrive.
    pub(super) fn bind(&self, ifindex: u32) -> Result<(), OpenError> {
        let protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or(3);
        socket::bind_packet(self.fd.as_fd(), ifindex, protocol)
            .map_err(|source| OpenError::Bind { ifindex, source })
    }
}

impl Receive for PacketRx {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        let mut received = Received::default();
        let mut slots: ArrayVec<FilledSlot<'r>, BURST_FRAMES> = ArrayVec::new();
        let mut copies = 0;
        let limit = max.min(burst.remaining_capacity());
        self.bounce.discard_owed(self.fd.as_fd())?;
        let mut loan = self.ring.lend();
        while slots.len() < limit && copies < BOUNCE_BUFFERS {
            let Some(slot) = loan.next() else { break };
            let slot = FilledSlot::read(slot.status, slot.bytes);
            copies += usize::from(slot.is_copy());
            slots.push(slot);
        }
        let mut copied = self.bounce.receive(self.fd.as_fd(), copies);
        for slot in slots {
            let copy = if slot.is_copy() { copied.next() } else { None };
            received.lend(slot.into_frame(copy, self.port), burst);
        }
        Ok(received)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn polls_without_syscall(&self) -> bool {
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
