//! AF_XDP sockets: opening, setting up, binding (include/uapi/linux/if_xdp.h, net/xdp/xsk.c).

pub(crate) mod area;
pub(crate) mod memory;
pub(crate) mod ring;
pub(crate) mod rx;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::sys::socket;
use crate::sys::xdp::area::Area;
use crate::sys::xdp::memory::RingMemory;
use crate::sys::xdp::ring::{Consumer, Producer};
use crate::sys::xdp::rx::RxRings;

/// `XDP_MAX_TX_SKB_BUDGET`: frames that one sendto(2) sends at most in copy mode (kernel 6.17 and later).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

// SAFETY: structures of integers without padding.
unsafe impl socket::OptionValue for libc::xdp_umem_reg {}
// SAFETY: as above.
unsafe impl socket::OptionValue for libc::xdp_ring_offset {}
// SAFETY: as above.
unsafe impl socket::OptionValue for libc::xdp_mmap_offsets {}
// SAFETY: as above.
unsafe impl socket::OptionValue for libc::xdp_statistics {}

/// Opens an AF_XDP socket.
pub(crate) fn open() -> io::Result<OwnedFd> {
    socket::open(libc::AF_XDP, libc::SOCK_RAW, 0)
}

/// Registers the area with a socket, for it and those that will share it.
pub(crate) fn register(fd: BorrowedFd<'_>, area: &Area) -> io::Result<()> {
    socket::set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, area.registration())
}

/// Sets how many frames one call sends; older kernels send 32.
pub(crate) fn set_send_budget(fd: BorrowedFd<'_>, frames: u32) -> io::Result<()> {
    socket::set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, frames)
}

/// The socket's counters, since it was opened.
pub(crate) fn statistics(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_statistics> {
    let zero = libc::xdp_statistics {
        rx_dropped: 0,
        rx_invalid_descs: 0,
        tx_invalid_descs: 0,
        rx_ring_full: 0,
        rx_fill_ring_empty_descs: 0,
        tx_ring_empty_descs: 0,
    };
    socket::get_option(fd, libc::SOL_XDP, libc::XDP_STATISTICS, zero)
}

/// Tells the kernel to send the frames in the tx ring, as many as it will in one call. `EAGAIN` is normal.
pub(crate) fn kick(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed.
    let rc =
        unsafe { libc::sendto(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Binds a socket to one queue of an interface: in copy mode, or sharing the area of another socket.
pub(crate) fn bind(
    fd: BorrowedFd<'_>,
    ifindex: u32,
    queue: u32,
    shared: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).unwrap_or(0),
        // A socket that shares takes the mode of the one that it shares with.
        sxdp_flags: match shared {
            None => libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP,
            Some(_) => libc::XDP_SHARED_UMEM,
        },
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared.and_then(|fd| u32::try_from(fd.as_raw_fd()).ok()).unwrap_or(0),
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_xdp>()).unwrap_or(0);
    // SAFETY: the pointer is to a live sockaddr_xdp of the stated length.
    let rc = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The four rings of one socket.
pub(crate) struct Rings {
    /// Fill and rx.
    pub(crate) rx: RxRings,
    /// Frames to be sent: where in the area, and how long with options.
    pub(crate) tx: Producer<RingMemory, 2>,
    /// Frames that were sent: where in the area.
    pub(crate) completion: Consumer<RingMemory, 1>,
}

/// How many entries the rings of a socket have, powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entries {
    /// Of the fill and the rx ring.
    pub(crate) rx: u32,
    /// Of the tx and the completion ring.
    pub(crate) tx: u32,
}

/// Makes and maps the rings of a socket that is not bound yet. The chunks that will be given to the kernel
/// have the numbers from `first` on, `chunks` of them.
pub(crate) fn rings(fd: BorrowedFd<'_>, entries: Entries, first: usize, chunks: usize) -> io::Result<Rings> {
    for (ring, entries) in [
        (libc::XDP_UMEM_FILL_RING, entries.rx),
        (libc::XDP_UMEM_COMPLETION_RING, entries.tx),
        (libc::XDP_RX_RING, entries.rx),
        (libc::XDP_TX_RING, entries.tx),
    ] {
        socket::set_option(fd, libc::SOL_XDP, ring, entries)?;
    }
    let zero = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let zeros = libc::xdp_mmap_offsets { rx: zero, tx: zero, fr: zero, cr: zero };
    let layout = socket::get_option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, zeros)?;
    let (rx_entries, tx_entries) = (entries.rx as usize, entries.tx as usize);
    let umem_offset = |at: libc::c_ulonglong| libc::off_t::try_from(at).unwrap_or(libc::off_t::MAX);
    let fill = RingMemory::map(fd, umem_offset(libc::XDP_UMEM_PGOFF_FILL_RING), layout.fr, rx_entries)?;
    let completion =
        RingMemory::map(fd, umem_offset(libc::XDP_UMEM_PGOFF_COMPLETION_RING), layout.cr, tx_entries)?;
    let rx = RingMemory::map(fd, libc::XDP_PGOFF_RX_RING, layout.rx, 2 * rx_entries)?;
    let tx = RingMemory::map(fd, libc::XDP_PGOFF_TX_RING, layout.tx, 2 * tx_entries)?;
    Ok(Rings {
        rx: RxRings::new(fill, rx, first, chunks),
        tx: Producer::new(tx),
        completion: Consumer::new(completion),
    })
}
