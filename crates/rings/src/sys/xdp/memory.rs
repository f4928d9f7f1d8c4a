//! One AF_XDP ring in the memory that its socket shares with the kernel (xsk_mmap, net/xdp/xsk.c).

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::sys::mapping::Mapping;
use crate::sys::xdp::ring::Memory;

/// A mapped ring.
#[derive(Debug)]
pub(crate) struct RingMemory {
    mapping: Mapping,
    /// Bytes from the mapping's beginning to the producer index, the consumer index and the entries.
    producer: usize,
    consumer: usize,
    slots: usize,
    /// 64-bit words of all entries.
    words: usize,
}

impl RingMemory {
    /// Maps the ring that lies at `offset` of `fd` (`XDP_PGOFF_RX_RING` and the others), laid out as the
    /// kernel says (`XDP_MMAP_OFFSETS`), whose entries have `words` words in all.
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        offset: libc::off_t,
        layout: libc::xdp_ring_offset,
        words: usize,
    ) -> io::Result<RingMemory> {
        let invalid = || io::Error::from_raw_os_error(libc::EPROTO);
        let as_usize = |offset: u64| usize::try_from(offset).map_err(|_| invalid());
        let [producer, consumer, slots] =
            [as_usize(layout.producer)?, as_usize(layout.consumer)?, as_usize(layout.desc)?];
        let bytes = slots + words * size_of::<u64>();
        let aligned = producer.is_multiple_of(4) && consumer.is_multiple_of(4) && slots.is_multiple_of(8);
        if !aligned || producer + 4 > bytes || consumer + 4 > bytes {
            return Err(invalid());
        }
        Ok(RingMemory { mapping: Mapping::shared(fd, offset, bytes)?, producer, consumer, slots, words })
    }

    fn index(&self, at: usize) -> &AtomicU32 {
        // SAFETY: `map` checked that the word lies in the mapping and is aligned, and mappings begin at a
        // page; it is only ever accessed atomically on our side.
        unsafe { AtomicU32::from_ptr(self.mapping.base().as_ptr().add(at).cast()) }
    }
}

impl Memory for RingMemory {
    fn producer(&self) -> &AtomicU32 {
        self.index(self.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.index(self.consumer)
    }

    fn slots(&self) -> &[AtomicU64] {
        // SAFETY: `map` made the mapping so long that `words` aligned words lie behind `slots`; an AtomicU64
        // is one such word, and they are only ever accessed atomically on our side.
        unsafe { std::slice::from_raw_parts(self.mapping.base().as_ptr().add(self.slots).cast(), self.words) }
    }
}
