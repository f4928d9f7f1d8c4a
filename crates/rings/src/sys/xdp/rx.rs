//! The fill ring and the rx ring together: chunks go to the kernel by the one and come back by the other,
//! each with a frame.

use crate::sys::xdp::area::{Area, Chunk};
use crate::sys::xdp::memory::RingMemory;
use crate::sys::xdp::ring::{Consumer, Producer, length_of};

/// The fill ring and the rx ring of a socket.
///
/// A chunk that is the kernel's to write lies in `given`, where nobody can touch its bytes; the only way out
/// is the rx ring. So the fill ring itself is shown to nobody.
#[derive(Debug)]
pub(crate) struct RxRings {
    fill: Producer<RingMemory, 1>,
    rx: Consumer<RingMemory, 2>,
    given: Box<[Option<Chunk>]>,
    first: usize,
}

/// A frame that arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The chunk that it lies in.
    pub(crate) chunk: Chunk,
    /// Where it begins in the chunk, in bytes.
    pub(crate) start: usize,
    /// Its length in bytes.
    pub(crate) len: usize,
}

impl RxRings {
    /// The rings of a socket to which nothing was given yet, and to which `chunks` chunks can be given, with
    /// numbers from `first` on.
    pub(super) fn new(fill: RingMemory, rx: RingMemory, first: usize, chunks: usize) -> RxRings {
        let given = (0..chunks).map(|_| None).collect();
        RxRings { fill: Producer::new(fill), rx: Consumer::new(rx), given, first }
    }

    /// Gives a chunk to the kernel; hands it back where the fill ring is full.
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
        let [address, word] = self.rx.pop()?;
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
        self.rx.release();
    }
}
