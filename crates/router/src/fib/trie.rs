//! Longest-prefix match by direct indexing: 16 bits at the root, then 8 bits a level, in cells that one writer changes
//! in place while any number of readers look up.
//!
//! A cell is empty, a value with the length of the prefix that put it there, or a link to a group of 256 cells one
//! level down. A prefix is written only at the level in which its length falls; a lookup that ends in an empty cell
//! falls back to what the cell above would have held (a group remembers that as its default). So one insertion writes
//! at most 65,536 cells (a default route), and usually one.
//!
//! Readers see each cell before or after its change, never between: a lookup during an update gives the old or the new
//! answer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Set in a cell that links to a group.
const LINK: u32 = 1 << 31;
/// Where the length within the level (0 to 16) is kept in a cell with a value.
const LENGTH_SHIFT: u32 = 26;
const VALUE_MASK: u32 = (1 << LENGTH_SHIFT) - 1;

/// The largest value that a prefix can have.
pub const MAX_VALUE: u32 = VALUE_MASK - 1;

const ROOT_BITS: u32 = 16;
const GROUP_CELLS: usize = 256;
/// Groups are allocated this many at a time: 256 KiB, so that a small table stays small.
const CHUNK_GROUPS: usize = 256;
/// Room for a million groups, 1 GiB; the chunks beyond those in use cost 24 bytes each.
const MAX_CHUNKS: usize = 4096;

fn cells(count: usize) -> Box<[AtomicU32]> {
    (0..count).map(|_| AtomicU32::new(0)).collect()
}

fn value_cell(value: u32, length: u32) -> u32 {
    length << LENGTH_SHIFT | (value + 1)
}

fn length_of(cell: u32) -> u32 {
    cell >> LENGTH_SHIFT
}

/// Index of a group in the arena.
fn group_of(cell: u32) -> usize {
    // 31 bits: fits a usize wherever this crate is used.
    (cell & !LINK) as usize
}

#[derive(Debug)]
struct Chunk {
    cells: Box<[AtomicU32]>,
    /// What a group's empty cells fall back to: the value of the cell above, had it no group.
    defaults: Box<[AtomicU32]>,
}

/// The table for addresses of `N` bytes: readers' side, and the writer's through [`Writer`].
#[derive(Debug)]
pub(crate) struct Trie<const N: usize> {
    root: Box<[AtomicU32]>,
    chunks: Box<[OnceLock<Chunk>]>,
}

impl<const N: usize> Default for Trie<N> {
    fn default() -> Self {
        let chunks = (0..MAX_CHUNKS).map(|_| OnceLock::new()).collect();
        Trie { root: cells(1 << ROOT_BITS), chunks }
    }
}

impl<const N: usize> Trie<N> {
    /// The value of the longest prefix that covers `address`.
    #[inline]
    pub(crate) fn lookup(&self, address: [u8; N]) -> Option<u32> {
        let mut cell =
            self.root[usize::from(u16::from_be_bytes([address[0], address[1]]))].load(Ordering::Acquire);
        if cell & LINK != 0 {
            let mut path = [0u32; N];
            let mut depth = 0;
            for octet in &address[2..] {
                path[depth] = cell;
                depth += 1;
                let group = group_of(cell);
                let chunk = self.chunks[group / CHUNK_GROUPS].get()?;
                let at = group % CHUNK_GROUPS * GROUP_CELLS + usize::from(*octet);
                cell = chunk.cells[at].load(Ordering::Acquire);
                if cell & LINK == 0 {
                    break;
                }
            }
            // Rare in a full table: no prefix of this level covers the address, so a level above decides.
            while cell == 0 && depth > 0 {
                depth -= 1;
                cell = self.default_of(group_of(path[depth])).load(Ordering::Acquire);
            }
        }
        (cell & VALUE_MASK).checked_sub(1)
    }

    fn default_of(&self, group: usize) -> &AtomicU32 {
        static NONE: AtomicU32 = AtomicU32::new(0);
        match self.chunks[group / CHUNK_GROUPS].get() {
            Some(chunk) => &chunk.defaults[group % CHUNK_GROUPS],
            None => &NONE,
        }
    }

    fn group(&self, group: usize) -> &[AtomicU32] {
        match self.chunks[group / CHUNK_GROUPS].get() {
            Some(chunk) => &chunk.cells[group % CHUNK_GROUPS * GROUP_CELLS..][..GROUP_CELLS],
            None => &[],
        }
    }

    /// Bytes of memory in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        let chunks = self.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        let cells = self.root.len() + chunks * CHUNK_GROUPS * (GROUP_CELLS + 1);
        cells * size_of::<AtomicU32>() + self.chunks.len() * size_of::<OnceLock<Chunk>>()
    }
}

/// The table is full: no group is left for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the forwarding table is full")]
pub struct TrieFull;

/// The one writer's own notes about a [`Trie`]: which groups are in use, and by how many prefixes.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    users: Vec<u32>,
    free: Vec<usize>,
    /// Unlinked, but a reader that began before may still be inside.
    retired: Vec<usize>,
}

/// The level of a prefix: how many whole groups lie above its cells, and its length within them.
fn level(length: u8) -> (usize, u32) {
    let length = u32::from(length);
    if length <= ROOT_BITS {
        return (0, length);
    }
    let below = length - ROOT_BITS;
    ((below.div_ceil(8)) as usize, (below - 1) % 8 + 1)
}

impl Writer {
    /// Gives `prefix` a value, in place of any that it had; `is_new` when it had none.
    pub(crate) fn insert<const N: usize>(
        &mut self,
        trie: &Trie<N>,
        prefix: [u8; N],
        length: u8,
        value: u32,
        is_new: bool,
    ) -> Result<(), TrieFull> {
        let (depth, within) = level(length);
        if self.free.len() < depth && self.users.len() + depth > MAX_CHUNKS * CHUNK_GROUPS {
            return Err(TrieFull);
        }
        let mut group = None;
        for step in 0..depth {
            let cell = Self::cell(trie, group, prefix, step);
            let link = cell.load(Ordering::Relaxed);
            let next = if link & LINK != 0 {
                group_of(link)
            } else {
                let next = self.allocate(trie);
                trie.default_of(next).store(link, Ordering::Relaxed);
                let index = u32::try_from(next).map_err(|_| TrieFull)?;
                // Whoever sees the link also sees the group's default and its empty cells.
                cell.store(LINK | index, Ordering::Release);
                next
            };
            self.users[next] += u32::from(is_new);
            group = Some(next);
        }
        let new = value_cell(value, within);
        Self::each_cell(trie, group, prefix, depth, within, |old| {
            (old == 0 || length_of(old) <= within).then_some(new)
        });
        Ok(())
    }

    /// Takes `prefix` out; `replacement` is the longest shorter prefix with its value that covers it.
    pub(crate) fn remove<const N: usize>(
        &mut self,
        trie: &Trie<N>,
        prefix: [u8; N],
        length: u8,
        replacement: Option<(u8, u32)>,
    ) {
        let (depth, within) = level(length);
        let mut path = [0; N];
        let mut group = None;
        for (step, slot) in path.iter_mut().enumerate().take(depth) {
            let link = Self::cell(trie, group, prefix, step).load(Ordering::Relaxed);
            if link & LINK == 0 {
                return;
            }
            *slot = group_of(link);
            group = Some(*slot);
        }
        // A shorter prefix of another level is found by falling back, so the cells become empty.
        let new = match replacement.map(|(length, value)| (level(length), value)) {
            Some(((its_depth, its_within), value)) if its_depth == depth => value_cell(value, its_within),
            _ => 0,
        };
        Self::each_cell(trie, group, prefix, depth, within, |old| {
            (old != 0 && length_of(old) == within).then_some(new)
        });
        for step in (0..depth).rev() {
            let used = path[step];
            self.users[used] -= 1;
            if self.users[used] == 0 {
                let above = if step == 0 { None } else { Some(path[step - 1]) };
                let default = trie.default_of(used).load(Ordering::Relaxed);
                Self::cell(trie, above, prefix, step).store(default, Ordering::Release);
                self.retired.push(used);
            }
        }
    }

    /// Makes groups that were unlinked usable again. Only when every reader has finished the lookups that it had begun
    /// before: once all workers have gone through a round.
    pub(crate) fn reclaim(&mut self) {
        self.free.append(&mut self.retired);
    }

    /// The cell that `prefix` goes through at `step`: in the root, or in `group`.
    fn cell<const N: usize>(
        trie: &Trie<N>,
        group: Option<usize>,
        prefix: [u8; N],
        step: usize,
    ) -> &AtomicU32 {
        match group {
            None => &trie.root[usize::from(u16::from_be_bytes([prefix[0], prefix[1]]))],
            Some(group) => &trie.group(group)[usize::from(prefix[step + 1])],
        }
    }

    fn allocate<const N: usize>(&mut self, trie: &Trie<N>) -> usize {
        if let Some(group) = self.free.pop() {
            for cell in trie.group(group) {
                cell.store(0, Ordering::Relaxed);
            }
            return group;
        }
        let group = self.users.len();
        trie.chunks[group / CHUNK_GROUPS].get_or_init(|| Chunk {
            cells: cells(CHUNK_GROUPS * GROUP_CELLS),
            defaults: cells(CHUNK_GROUPS),
        });
        self.users.push(0);
        group
    }

    /// Changes every cell that the prefix covers at its level, or the default of the group that it links to.
    fn each_cell<const N: usize>(
        trie: &Trie<N>,
        group: Option<usize>,
        prefix: [u8; N],
        depth: usize,
        within: u32,
        change: impl Fn(u32) -> Option<u32>,
    ) {
        let (cells, first, count) = match group {
            None => {
                let first = usize::from(u16::from_be_bytes([prefix[0], prefix[1]]));
                (&trie.root[..], first, 1 << (ROOT_BITS - within))
            }
            Some(group) => (trie.group(group), usize::from(prefix[depth + 1]), 1 << (8 - within)),
        };
        for cell in &cells[first..first + count] {
            let seen = cell.load(Ordering::Relaxed);
            let target = if seen & LINK != 0 { trie.default_of(group_of(seen)) } else { cell };
            if let Some(new) = change(target.load(Ordering::Relaxed)) {
                target.store(new, Ordering::Release);
            }
        }
    }
}
