//! The one writer of the trie: puts prefixes in, takes them out, and gives nodes back once no reader is inside.

use crate::fib::arena::UNIT_CELLS;
use crate::fib::cell::{
    AT, AT_SHIFT, CHILDREN, DEFAULT, Key, LINK, PREFIXES, ROOT_BITS, ROOT_CELLS, Root, SKIP, gives_way,
    index, level_of, level_of_prefix, masked, node_of, stride, value_cell,
};
use crate::fib::trie::Trie;

/// The table is full: no node is left for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the forwarding table is full")]
pub struct TrieFull;

/// The one writer's own notes about a [`Trie`]: which units are in use.
#[derive(Debug)]
pub(super) struct Writer {
    next_unit: usize,
    /// Unused nodes, by whether they are wide.
    free: [Vec<usize>; 2],
    /// Unlinked, but a reader that began before may still be inside.
    retired: Vec<usize>,
}

impl Default for Writer {
    fn default() -> Self {
        Writer { next_unit: 2 * ROOT_CELLS / UNIT_CELLS, free: Default::default(), retired: Vec::new() }
    }
}

/// A step on the way down: the cell that was followed, and the node that it links to.
#[derive(Clone, Copy)]
struct Step {
    cell: usize,
    node: usize,
}

/// Units of a node: its first one, and its cells.
const fn units(wide: bool) -> usize {
    if wide { 17 } else { 2 }
}

impl Writer {
    /// Bytes of memory in use.
    pub(super) fn memory_bytes(&self) -> usize {
        self.next_unit * UNIT_CELLS * size_of::<u32>()
    }

    /// Gives a prefix a value, in place of any that it had; `is_new` when it had none.
    pub(super) fn insert(
        &mut self,
        trie: &Trie,
        prefix: Key,
        value: u32,
        is_new: bool,
    ) -> Result<(), TrieFull> {
        let Key { root, bits: key, length } = prefix;
        // At most two nodes: one where ways part, and the prefix's own.
        if self.next_unit + 2 * units(true) > trie.arena.units().min(1 << AT_SHIFT) {
            return Err(TrieFull);
        }
        let level = level_of_prefix(length);
        let cells = if level == 0 {
            covered(root.cell(), key, 0, ROOT_BITS, length)
        } else {
            let node = self.reach(trie, root, key, level);
            if is_new {
                trie.adjust(node + PREFIXES, 1);
            }
            covered(node + UNIT_CELLS, key, level, stride(level), length)
        };
        trie.spread(cells, length, value_cell(value, length));
        Ok(())
    }

    /// Takes a prefix out that is there; `cover` is the longest shorter one that covers it, with its value.
    pub(super) fn remove(&mut self, trie: &Trie, prefix: Key, cover: Option<(u8, u32)>) {
        let Key { root, bits: key, length } = prefix;
        let new = cover.map_or(0, |(length, value)| value_cell(value, u32::from(length)));
        let level = level_of_prefix(length);
        if level == 0 {
            return trie.spread(covered(root.cell(), key, 0, ROOT_BITS, length), length, new);
        }
        let mut path = Vec::with_capacity(28);
        let mut cell = root.cell() + index(key, 0, ROOT_BITS);
        loop {
            let link = trie.arena.load(cell);
            if link & LINK == 0 {
                return;
            }
            let node = node_of(link);
            path.push(Step { cell, node });
            let at = trie.at(node);
            if at >= level {
                break;
            }
            cell = node + UNIT_CELLS + index(key, at, stride(at));
        }
        let Some(Step { node, .. }) = path.last().copied() else { return };
        trie.spread(covered(node + UNIT_CELLS, key, level, stride(level), length), length, new);
        trie.adjust(node + PREFIXES, -1);
        self.prune(trie, &mut path);
    }

    /// Unlinks the last nodes of the path as long as they decide nothing.
    fn prune(&mut self, trie: &Trie, path: &mut Vec<Step>) {
        while let Some(Step { cell, node }) = path.pop() {
            if trie.arena.load(node + PREFIXES) > 0 {
                return;
            }
            let links = trie.arena.load(node + CHILDREN);
            if links > 1 {
                return;
            }
            let child = trie.cells(node).map(|cell| trie.arena.load(cell)).find(|cell| cell & LINK != 0);
            // What its cells hold beside a link is what the node as a whole lies in.
            trie.arena.store(cell, child.map_or(trie.arena.load(node + DEFAULT), |link| link | SKIP));
            self.retired.push(node);
            match path.last() {
                Some(above) if child.is_none() => trie.adjust(above.node + CHILDREN, -1),
                Some(_) | None => return,
            }
        }
    }

    /// The node in which prefixes end that begin with `key` and belong to the level at bit `level`.
    fn reach(&mut self, trie: &Trie, root: Root, key: u128, level: u32) -> usize {
        let mut above = None;
        let mut cell = root.cell() + index(key, 0, ROOT_BITS);
        let mut end = ROOT_BITS;
        loop {
            let seen = trie.arena.load(cell);
            let mut parts = level;
            if seen & LINK != 0 {
                let node = node_of(seen);
                let at = trie.at(node);
                let common = (trie.key(node) ^ key).leading_zeros();
                if at <= level && common >= at {
                    if at == level {
                        return node;
                    }
                    above = Some(node);
                    end = at + stride(at);
                    cell = node + UNIT_CELLS + index(key, at, stride(at));
                    continue;
                }
                parts = level_of(common).min(level);
            }
            // A new node, where the ways part or where the prefix ends, goes between the cell and what it
            // holds.
            let node = self.allocate(parts);
            let (key, default) = (
                masked(key, parts),
                match seen & LINK {
                    0 => seen,
                    _ => trie.arena.load(node_of(seen) + DEFAULT),
                },
            );
            for (word, at) in (node..node + AT).enumerate() {
                // The 32 bits of the key's word.
                trie.arena.store(at, u32::try_from(key << (32 * word) >> 96).unwrap_or(0));
            }
            trie.arena.store(node + AT, parts);
            trie.arena.store(node + DEFAULT, default);
            trie.arena.store(node + PREFIXES, 0);
            trie.arena.store(node + CHILDREN, 0);
            trie.cells(node).for_each(|cell| trie.arena.store(cell, default));
            if seen & LINK != 0 {
                let below = trie.key(node_of(seen));
                trie.arena.store(node + UNIT_CELLS + index(below, parts, stride(parts)), seen | SKIP);
                trie.arena.store(node + CHILDREN, 1);
            } else if let Some(above) = above {
                trie.adjust(above + CHILDREN, 1);
            }
            let skip = if parts == end { 0 } else { SKIP };
            // Whoever sees the link also sees the node.
            let unit = u32::try_from(node / UNIT_CELLS).unwrap_or(0);
            trie.arena.store(cell, LINK | skip | ((parts / 4) << AT_SHIFT) | unit);
        }
    }

    fn allocate(&mut self, at: u32) -> usize {
        let wide = stride(at) == 8;
        if let Some(node) = self.free[usize::from(wide)].pop() {
            return node;
        }
        let node = self.next_unit * UNIT_CELLS;
        self.next_unit += units(wide);
        node
    }

    /// The nodes that were unlinked since last asked. They may be used again when every reader has finished
    /// the lookups that it had begun before.
    pub(super) fn take_retired(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.retired)
    }

    /// Makes nodes usable again that were unlinked.
    pub(super) fn reuse(&mut self, trie: &Trie, nodes: Vec<usize>) {
        for node in nodes {
            self.free[usize::from(stride(trie.at(node)) == 8)].push(node);
        }
    }
}

/// The cells that a prefix covers at its level, which begins at bit `at` and has its cells from `first` on.
fn covered(first: usize, key: u128, at: u32, bits: u32, length: u32) -> std::ops::Range<usize> {
    let first = first + index(key, at, bits);
    first..first + (1 << (at + bits - length))
}

impl Trie {
    fn adjust(&self, counter: usize, by: i32) {
        self.arena.store(counter, self.arena.load(counter).wrapping_add_signed(by));
    }

    /// Stores `new` in every cell of `cells` and below that gives way to a prefix of this length.
    fn spread(&self, cells: std::ops::Range<usize>, length: u32, new: u32) {
        for at in cells {
            let seen = self.arena.load(at);
            if seen & LINK == 0 {
                if gives_way(seen, length) {
                    self.arena.store(at, new);
                }
                continue;
            }
            let node = node_of(seen);
            // What the whole node lies in: if that is longer, so is everything inside.
            if gives_way(self.arena.load(node + DEFAULT), length) {
                self.arena.store(node + DEFAULT, new);
                self.spread(self.cells(node), length, new);
            }
        }
    }
}
