//! The memory area that AF_XDP sockets share with the kernel, cut into chunks of equal size.
//!
//! A [`Chunk`] is the only right to touch its bytes: it can be neither copied nor made anew. Code that lets
//! the kernel write into a chunk gives it away first ([`super::rx::RxRings`]).

use std::io;
use std::sync::Arc;

use crate::sys::mapping::Mapping;

/// The area's memory. It lives as long as any of its chunks, and the kernel keeps the pages for as long as a
/// socket uses them.
#[derive(Debug)]
pub(crate) struct Area {
    memory: Mapping,
    chunk_bytes: usize,
}

/// One chunk of an area, held exclusively.
#[derive(Debug)]
pub(crate) struct Chunk {
    area: Arc<Area>,
    index: u32,
}

impl Area {
    /// Maps an area and returns it with all its chunks, in order. `chunk_bytes` is a power of two.
    pub(crate) fn map(chunk_bytes: usize, chunks: usize) -> io::Result<(Arc<Area>, Vec<Chunk>)> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let length = chunk_bytes.checked_mul(chunks).filter(|length| *length > 0).ok_or_else(invalid)?;
        let count = u32::try_from(chunks).map_err(|_| invalid())?;
        let area = Arc::new(Area { memory: Mapping::anonymous(length)?, chunk_bytes });
        // The only place where chunks are made: each number once.
        let all = (0..count).map(|index| Chunk { area: Arc::clone(&area), index }).collect();
        Ok((area, all))
    }

    /// The argument of `XDP_UMEM_REG`.
    pub(crate) fn registration(&self) -> libc::xdp_umem_reg {
        libc::xdp_umem_reg {
            addr: self.memory.base().as_ptr() as u64,
            len: self.memory.bytes() as u64,
            chunk_size: u32::try_from(self.chunk_bytes).unwrap_or(u32::MAX),
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        }
    }

    /// Where in the area these bytes lie; `None` where they are other memory.
    pub(crate) fn offset_of(&self, bytes: &[u8]) -> Option<usize> {
        let offset = bytes.as_ptr().addr().checked_sub(self.memory.base().as_ptr().addr())?;
        (offset + bytes.len() <= self.memory.bytes()).then_some(offset)
    }

    /// Bytes a chunk.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// The number of the chunk that the area's byte `offset` is in; past the last one for an offset outside.
    pub(crate) fn index_of(&self, offset: u64) -> usize {
        usize::try_from(offset).unwrap_or(usize::MAX) / self.chunk_bytes
    }
}

impl Chunk {
    /// Its number in the area.
    pub(crate) fn index(&self) -> usize {
        self.index as usize
    }

    /// Where it begins in the area.
    pub(crate) fn offset(&self) -> usize {
        self.index() * self.area.chunk_bytes
    }

    /// Its bytes.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: inside the mapping, which lives as long as this chunk; this is the only chunk of that
        // number and it is borrowed exclusively; the kernel writes only into chunks that were given to it, so
        // not into this.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.area.memory.base().as_ptr().add(self.offset()),
                self.area.chunk_bytes,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_do_not_overlap_and_are_found_again() {
        let (area, mut chunks) = Area::map(2048, 4).expect("8 KiB");
        for (chunk, tag) in chunks.iter_mut().zip(1u8..) {
            chunk.bytes_mut().fill(tag);
        }
        for (index, (chunk, tag)) in chunks.iter_mut().zip(1u8..).enumerate() {
            assert_eq!(chunk.bytes_mut().iter().filter(|byte| **byte == tag).count(), 2048);
            let offset = area.offset_of(&chunk.bytes_mut()[100..200]).expect("inside");
            assert_eq!((offset, area.index_of(offset as u64)), (index * 2048 + 100, index));
        }
        assert_eq!(area.offset_of(&[0; 100]), None);
        drop(area);
        assert_eq!(chunks[3].bytes_mut()[2047], 4, "the chunks keep the area");
    }
}
