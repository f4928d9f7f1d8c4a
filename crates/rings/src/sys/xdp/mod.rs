//! AF_XDP sockets: set-up, the memory of their rings, and who may write where (include/uapi/linux/if_xdp.h,
//! net/xdp/xsk.c).

pub(crate) mod area;
pub(crate) mod ring;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::sys::socket;
use crate::sys::xdp::area::{Area, Chunk};
use crate::sys::xdp::ring::{Consumer, Memory, Producer};

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

/// Has the kernel send what is in the tx ring, as much as it will in one go. `EAGAIN` is normal.
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

/// The memory of one ring, shared with the kernel.
#[derive(Debug)]
pub(crate) struct Mapped {
    base: NonNull<u8>,
    length: usize,
    producer: usize,
    consumer: usize,
    slots: usize,
    words: usize,
}

// SAFETY: a mapping belongs to no thread, and is only ever accessed atomically.
unsafe impl Send for Mapped {}

impl Mapped {
    fn map(
        fd: BorrowedFd<'_>,
        at: libc::off_t,
        offsets: libc::xdp_ring_offset,
        words: usize,
    ) -> io::Result<Mapped> {
        let invalid = || io::Error::from_raw_os_error(libc::EPROTO);
        let as_usize = |offset: u64| usize::try_from(offset).map_err(|_| invalid());
        let [producer, consumer, slots] =
            [as_usize(offsets.producer)?, as_usize(offsets.consumer)?, as_usize(offsets.desc)?];
        let length = slots + words * size_of::<u64>();
        let aligned = producer.is_multiple_of(4) && consumer.is_multiple_of(4) && slots.is_multiple_of(8);
        if !aligned || producer + 4 > length || consumer + 4 > length {
            return Err(invalid());
        }
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; its failure is checked.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                at,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Mapped { base, length, producer, consumer, slots, words })
    }

    fn index(&self, at: usize) -> &AtomicU32 {
        // SAFETY: `map` checked that the word lies in the mapping and is aligned, and mappings begin at a page; it is
        // only ever accessed atomically on our side.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(at).cast()) }
    }
}

impl Memory for Mapped {
    fn producer(&self) -> &AtomicU32 {
        self.index(self.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.index(self.consumer)
    }

    fn slots(&self) -> &[AtomicU64] {
        // SAFETY: `map` made the mapping so long that `words` aligned words lie behind `slots`; an AtomicU64 is one such
        // word, and they are only ever accessed atomically on our side.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(self.slots).cast(), self.words) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, unmapped once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// The four rings of one socket.
pub(crate) struct Rings {
    /// Fill and rx.
    pub(crate) inbound: Inbound,
    /// Frames to be sent: where in the area, and how long with options.
    pub(crate) transmit: Producer<Mapped, 2>,
    /// Frames that were sent: where in the area.
    pub(crate) completion: Consumer<Mapped, 1>,
}

/// Makes and maps the rings of a socket that is not bound yet, with so many entries, powers of two, in the fill and rx ring and
/// in the tx and completion ring. The chunks that will be given to the kernel have the numbers from `first` on, `chunks` of
/// them.
pub(crate) fn rings(
    fd: BorrowedFd<'_>,
    inbound: u32,
    outbound: u32,
    first: usize,
    chunks: usize,
) -> io::Result<Rings> {
    for (ring, entries) in [
        (libc::XDP_UMEM_FILL_RING, inbound),
        (libc::XDP_UMEM_COMPLETION_RING, outbound),
        (libc::XDP_RX_RING, inbound),
        (libc::XDP_TX_RING, outbound),
    ] {
        socket::set_option(fd, libc::SOL_XDP, ring, entries)?;
    }
    let zero = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let zeros = libc::xdp_mmap_offsets { rx: zero, tx: zero, fr: zero, cr: zero };
    let offsets = socket::get_option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, zeros)?;
    let (inbound, outbound) = (inbound as usize, outbound as usize);
    let umem_offset = |at: libc::c_ulonglong| libc::off_t::try_from(at).unwrap_or(libc::off_t::MAX);
    let fill = Mapped::map(fd, umem_offset(libc::XDP_UMEM_PGOFF_FILL_RING), offsets.fr, inbound)?;
    let completion =
        Mapped::map(fd, umem_offset(libc::XDP_UMEM_PGOFF_COMPLETION_RING), offsets.cr, outbound)?;
    let receive = Mapped::map(fd, libc::XDP_PGOFF_RX_RING, offsets.rx, 2 * inbound)?;
    let transmit = Mapped::map(fd, libc::XDP_PGOFF_TX_RING, offsets.tx, 2 * outbound)?;
    Ok(Rings {
        inbound: Inbound {
            fill: Producer::new(fill),
            receive: Consumer::new(receive),
            given: (0..chunks).map(|_| None).collect(),
            first,
        },
        transmit: Producer::new(transmit),
        completion: Consumer::new(completion),
    })
}

/// The length and the options of a descriptor (struct xdp_desc, behind the address) as one word.
pub(crate) fn length_word(length: u32) -> u64 {
    let [a, b, c, d] = length.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

/// The length in such a word.
pub(crate) fn length_of(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// The rings by which the kernel gets chunks and gives them back with a frame in each.
///
/// A chunk that is the kernel's to write lies in `given`, where nobody can touch its bytes; the only way out is the rx
/// ring. So the fill ring's memory is shown to nobody.
#[derive(Debug)]
pub(crate) struct Inbound {
    fill: Producer<Mapped, 1>,
    receive: Consumer<Mapped, 2>,
    given: Box<[Option<Chunk>]>,
    first: usize,
}

/// A frame that arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) chunk: Chunk,
    /// Where it begins in the chunk.
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Inbound {
    /// Gives a chunk to the kernel; it comes back when the fill ring is full.
    pub(crate) fn give(&mut self, chunk: Chunk) -> Result<(), Chunk> {
        let place = chunk.index().checked_sub(self.first).and_then(|place| self.given.get_mut(place));
        let Some(place @ None) = place else { return Err(chunk) };
        if !self.fill.push([chunk.offset() as u64]) {
            return Err(chunk);
        }
        *place = Some(chunk);
        Ok(())
    }

    /// Shows the kernel what it was given.
    pub(crate) fn publish(&self) {
        self.fill.publish();
    }

    /// The oldest frame that arrived; `Some(None)` for one in a chunk that the kernel never had.
    pub(crate) fn take(&mut self, area: &Area) -> Option<Option<Arrival>> {
        let [address, word] = self.receive.pop()?;
        let given = area
            .index_of(address)
            .checked_sub(self.first)
            .and_then(|place| self.given.get_mut(place))
            .and_then(Option::take);
        Some(given.and_then(|chunk| {
            let start = usize::try_from(address).ok()? - chunk.offset();
            Some(Arrival { chunk, start, len: length_of(word) as usize })
        }))
    }

    /// Lets the kernel write over the rx entries that were taken.
    pub(crate) fn release(&self) {
        self.receive.release();
    }
}

/// Makes an AF_XDP socket with a small memory area and binds it to queue 0 in copy mode, then closes it.
pub(crate) fn try_bind(ifindex: u32) -> io::Result<()> {
    let fd = open()?;
    let (area, _chunks) = Area::map(4096, 16)?;
    register(fd.as_fd(), &area)?;
    let _rings = rings(fd.as_fd(), 16, 16, 0, 16)?;
    bind(fd.as_fd(), ifindex, 0, None)
}
