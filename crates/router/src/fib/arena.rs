//! The memory of the tries: one long row of atomic cells, of which pages that nobody has written to cost
//! nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use zerocopy::FromZeros;

/// Cells in a unit, the grain of allocation: a cache line.
pub(super) const UNIT_CELLS: usize = 16;

/// Cells asked for: 1 GiB of address space, room for nearly a million nodes of the largest kind.
const MOST_CELLS: usize = 1 << 28;
/// Cells at least; a process that may not even have these has other worries.
const LEAST_CELLS: usize = 1 << 20;

/// Cells by index. Never shrinks, never moves.
#[derive(Debug)]
pub(super) struct Arena {
    cells: Box<[AtomicU32]>,
    /// Cells before the first one that begins a cache line.
    skew: usize,
}

impl Default for Arena {
    fn default() -> Self {
        // Zeroed memory of this size comes from the kernel untouched. Where so much is not to be had (a limit
        // on address space, strict overcommit), the table holds fewer routes, and says so when it is full.
        let sizes = std::iter::successors(Some(MOST_CELLS), |cells| Some(cells / 2));
        let cells = sizes
            .take_while(|cells| *cells >= LEAST_CELLS)
            .find_map(|cells| <[AtomicU32]>::new_box_zeroed_with_elems(cells).ok())
            .unwrap_or_default();
        let skew = cells.as_ptr().align_offset(UNIT_CELLS * size_of::<AtomicU32>());
        Arena { cells, skew }
    }
}

impl Arena {
    /// Number of whole units.
    pub(super) fn units(&self) -> usize {
        self.cells.len().saturating_sub(self.skew) / UNIT_CELLS
    }

    /// The cell's content: what was stored before it is seen too. Nothing where there is no such cell.
    #[inline]
    pub(super) fn load(&self, at: usize) -> u32 {
        self.cells.get(self.skew + at).map_or(0, |cell| cell.load(Ordering::Acquire))
    }

    /// The unit that begins with this cell.
    #[inline]
    pub(super) fn unit(&self, at: usize) -> Option<&[AtomicU32; UNIT_CELLS]> {
        self.cells.get(self.skew + at..)?.first_chunk()
    }

    /// Changes a cell; whoever sees that sees all stores before it.
    #[inline]
    pub(super) fn store(&self, at: usize, content: u32) {
        if let Some(cell) = self.cells.get(self.skew + at) {
            cell.store(content, Ordering::Release);
        }
    }
}
