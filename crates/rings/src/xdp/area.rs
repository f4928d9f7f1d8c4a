//! A memory area that ports share, and which of its chunks the kernel is sending from.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::xdp::area::{Area, Chunk};

/// An area and a mark for each of its chunks: set by the port that sends from the chunk, cleared when the
/// kernel has sent.
#[derive(Clone, Debug)]
pub(super) struct SharedArea {
    area: Arc<Area>,
    in_flight: Arc<[AtomicBool]>,
}

impl SharedArea {
    /// Maps an area, and returns it with all its chunks in order.
    pub(super) fn map(chunk_bytes: usize, chunks: usize) -> io::Result<(SharedArea, Vec<Chunk>)> {
        let (area, all) = Area::map(chunk_bytes, chunks)?;
        let in_flight = (0..chunks).map(|_| AtomicBool::new(false)).collect();
        Ok((SharedArea { area, in_flight }, all))
    }

    /// The area without the marks.
    pub(super) fn area(&self) -> &Area {
        &self.area
    }

    /// Whether a chunk is being sent from.
    pub(super) fn is_in_flight(&self, chunk: &Chunk) -> bool {
        self.in_flight[chunk.index()].load(Ordering::Acquire)
    }

    /// Marks the chunk that `data` lies in, and returns where in the area that is; `None` where it lies
    /// elsewhere, or the chunk is marked already.
    pub(super) fn mark(&self, data: &[u8]) -> Option<usize> {
        let offset = self.area.offset_of(data)?;
        let mark = self.in_flight.get(offset / self.area.chunk_bytes())?;
        // Only the worker that sends sets marks, so nothing comes between the two.
        if mark.load(Ordering::Relaxed) {
            return None;
        }
        mark.store(true, Ordering::Relaxed);
        Some(offset)
    }

    /// Clears the mark of the chunk of this number.
    pub(super) fn unmark(&self, index: usize) {
        if let Some(mark) = self.in_flight.get(index) {
            mark.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_sent_from_once_at_a_time() {
        let (shared, mut chunks) = SharedArea::map(2048, 2).expect("a page");
        let frame = chunks[1].bytes_mut()[256..316].to_vec();
        assert_eq!(shared.mark(&frame), None, "a copy lies elsewhere");
        let offset = shared.mark(&chunks[1].bytes_mut()[256..316]);
        assert_eq!(offset, Some(2048 + 256));
        assert!(shared.is_in_flight(&chunks[1]) && !shared.is_in_flight(&chunks[0]));
        assert_eq!(shared.mark(&chunks[1].bytes_mut()[256..316]), None, "it is in flight");
        shared.unmark(1);
        assert!(!shared.is_in_flight(&chunks[1]));
        shared.unmark(2);
    }
}
