//! Longest-prefix match by direct indexing, in cells that one writer changes in place while any number of
//! readers look up.
//!
//! An address is 128 bits, an IPv4 address the first 32 of them. The root takes 16 bits, the levels below it
//! 8 up to bit 32 (as IPv4 wants it, where a level is full) and 4 from there on (as IPv6 wants it, where it
//! is nearly empty). A cell is empty, a value with the length of the prefix that put it there, or a link to a
//! node further down; a link may skip levels in which there is nothing to decide, and then the node's key
//! says what has to stand in the bits between.
//!
//! Each cell holds what the longest prefix covering it says, shorter ones included, so that exactly one cell,
//! read once, decides a lookup: readers get the answer of before or after a change, and there is no way for
//! them to miss a shorter prefix while a longer one goes. The price is the writer's: a change of a short
//! prefix rewrites all cells under it which no longer one covers.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use ipnet::IpNet;

use crate::fib::arena::{Arena, UNIT_CELLS};

/// Set in a cell that links to a node, whose first unit the low bits number.
const LINK: u32 = 1 << 31;
/// Set in a link that skips levels.
const SKIP: u32 = 1 << 30;
/// Where a link keeps the first bit of the node's level, in fours: so that the node's cell can be read
/// together with its key, and not after it.
const AT_SHIFT: u32 = 25;
const UNIT_MASK: u32 = (1 << AT_SHIFT) - 1;
/// Where the prefix length (0 to 128) is kept in a cell with a value.
const LENGTH_SHIFT: u32 = 23;
const VALUE_MASK: u32 = (1 << LENGTH_SHIFT) - 1;

/// The largest value that a prefix can have.
pub const MAX_VALUE: u32 = VALUE_MASK - 1;

const ROOT_BITS: u32 = 16;
const ROOT_CELLS: usize = 1 << ROOT_BITS;
/// Where levels become narrow.
const WIDE_BITS: u32 = 32;

/// A node begins with a unit of its own: four cells of key, then these.
const AT: usize = 4;
const DEFAULT: usize = 5;
const PREFIXES: usize = 6;
const CHILDREN: usize = 7;

/// A family's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    V4,
    V6,
}

impl Root {
    /// Its first cell.
    const fn cell(self) -> usize {
        match self {
            Root::V4 => 0,
            Root::V6 => ROOT_CELLS,
        }
    }
}

/// A prefix as the trie knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    root: Root,
    /// The address in the first bits, zero beyond the prefix.
    bits: u128,
    length: u32,
}

impl From<IpNet> for Key {
    fn from(prefix: IpNet) -> Key {
        let length = u32::from(prefix.prefix_len());
        match prefix {
            IpNet::V4(net) => {
                let bits = u128::from(u32::from(net.network())) << 96;
                Key { root: Root::V4, bits, length }
            }
            IpNet::V6(net) => Key { root: Root::V6, bits: net.network().into(), length },
        }
    }
}

/// The number of index bits of the level that begins at bit `at`.
#[inline]
const fn stride(at: u32) -> u32 {
    if at < WIDE_BITS { 8 } else { 4 }
}

/// The first bit of the level that bit number `bit` belongs to; 0 for the root's.
const fn level_of(bit: u32) -> u32 {
    match bit {
        0..16 => 0,
        16..WIDE_BITS => bit / 8 * 8,
        _ => bit / 4 * 4,
    }
}

/// The first bit of the level in which a prefix of this length ends.
const fn level_of_prefix(length: u32) -> u32 {
    if length == 0 { 0 } else { level_of(length - 1) }
}

const fn value_cell(value: u32, length: u32) -> u32 {
    length << LENGTH_SHIFT | (value + 1)
}

#[inline]
fn value_of(cell: u32) -> Option<u32> {
    (cell & VALUE_MASK).checked_sub(1)
}

const fn length_of(cell: u32) -> u32 {
    cell >> LENGTH_SHIFT
}

/// Whether a prefix of `length` bits decides over what the cell holds: nothing, or a prefix that is no
/// longer.
const fn gives_way(cell: u32, length: u32) -> bool {
    cell == 0 || length_of(cell) <= length
}

/// The first cell of the node that a link leads to.
#[inline]
const fn node_of(link: u32) -> usize {
    // 25 bits: they fit a usize wherever this crate is used.
    (link & UNIT_MASK) as usize * UNIT_CELLS
}

/// The first bit of the level of the node that a link leads to.
#[inline]
const fn at_of(link: u32) -> u32 {
    (link & (SKIP - 1)) >> AT_SHIFT << 2
}

/// The first `bits` of the key, the others zero.
const fn masked(key: u128, bits: u32) -> u128 {
    if bits == 0 { 0 } else { key & u128::MAX << (128 - bits) }
}

/// The `bits` bits of the key that begin at bit `at`, as an index.
fn index(key: u128, at: u32, bits: u32) -> usize {
    // At most 16 bits: they fit.
    usize::try_from(key << at >> (128 - bits)).unwrap_or(0)
}

/// Walks that go on together, as many as a processor's outstanding misses are worth.
const LANES: usize = 16;

/// A look-up on its way down.
#[derive(Clone, Copy)]
struct Walk {
    /// The address, in two halves.
    high: u64,
    low: u64,
    /// What it has come to.
    cell: u32,
    /// The first bit of the level of the node that the cell links to, unless it skips levels.
    at: u32,
}

/// The readers' side.
#[derive(Debug, Default)]
pub(super) struct Trie {
    arena: Arena,
}

impl Trie {
    /// The value of the longest IPv4 prefix that covers the address.
    #[inline]
    pub(super) fn lookup4(&self, address: u32) -> Option<u32> {
        self.lookup::<32>(self.walk(Root::V4, u64::from(address) << 32, 0))
    }

    /// The value of the longest IPv6 prefix that covers the address.
    #[inline]
    pub(super) fn lookup6(&self, address: u128) -> Option<u32> {
        self.lookup::<128>(self.walk6(address))
    }

    /// What [`Trie::lookup6`] finds for each of them, in their order: [`LANES`] at a time, a step of each in
    /// turn, so that while one waits for memory the others do too.
    pub(super) fn lookup6_each(&self, addresses: &[u128], mut found: impl FnMut(Option<u32>)) {
        for addresses in addresses.chunks(LANES) {
            let mut walks: ArrayVec<Walk, LANES> =
                addresses.iter().map(|address| self.walk6(*address)).collect();
            let mut under_way = true;
            while under_way {
                under_way = false;
                for walk in walks.iter_mut().filter(|walk| walk.cell & LINK != 0) {
                    match self.step::<128>(*walk) {
                        ControlFlow::Continue(next) => (walk.cell, walk.at) = next,
                        ControlFlow::Break(cell) => walk.cell = cell,
                    }
                    under_way = true;
                }
            }
            walks.iter().for_each(|walk| found(value_of(walk.cell)));
        }
    }

    #[inline(always)]
    fn walk6(&self, address: u128) -> Walk {
        #[allow(clippy::cast_possible_truncation)] // the two halves
        let (high, low) = ((address >> 64) as u64, address as u64);
        self.walk(Root::V6, high, low)
    }

    #[inline(always)]
    fn walk(&self, root: Root, high: u64, low: u64) -> Walk {
        // Masked to at most 16 bits: they fit a usize.
        let cell = self.arena.load(root.cell() + (high >> (64 - ROOT_BITS)) as usize);
        Walk { high, low, cell, at: ROOT_BITS }
    }

    #[inline(always)]
    fn lookup<const BITS: u32>(&self, walk: Walk) -> Option<u32> {
        let Walk { high, low, mut cell, mut at } = walk;
        while cell & LINK != 0 {
            match self.step::<BITS>(Walk { high, low, cell, at }) {
                ControlFlow::Continue(next) => (cell, at) = next,
                ControlFlow::Break(last) => {
                    cell = last;
                    break;
                }
            }
        }
        value_of(cell)
    }

    /// Follows the link that the walk has come to: the next cell and the level that it may link to, or the
    /// last cell. `BITS` is the family's address length; what lies beyond is compiled away.
    #[inline(always)]
    fn step<const BITS: u32>(&self, walk: Walk) -> ControlFlow<u32, (u32, u32)> {
        let Walk { high, low, cell, mut at } = walk;
        let node = node_of(cell);
        if cell & SKIP != 0 {
            at = at_of(cell);
            if !self.key_matches::<BITS>(node, at, high, low) {
                return ControlFlow::Break(self.arena.load(node + DEFAULT));
            }
        }
        let bits = stride(at);
        let word = if BITS <= 64 || at < 64 { high } else { low };
        #[allow(clippy::cast_possible_truncation)] // 8 bits at most
        let index = (word << (at % 64) >> (64 - bits)) as usize;
        ControlFlow::Continue((self.arena.load(node + UNIT_CELLS + index), at + bits))
    }

    /// Whether the address begins with the first `at` bits of the node's key; `at` is 24 to 128.
    #[inline(always)]
    fn key_matches<const BITS: u32>(&self, node: usize, at: u32, high: u64, low: u64) -> bool {
        let Some(key) = self.arena.unit(node) else { return false };
        let word = |first: usize| {
            let load = |cell: usize| u64::from(key[cell].load(Ordering::Acquire));
            load(first) << 32 | load(first + 1)
        };
        let differs = high ^ word(0);
        if BITS <= 64 || at <= 64 {
            return differs >> (64 - at.min(64)) == 0;
        }
        (differs | (low ^ word(2)) >> (128 - at)) == 0
    }

    fn key(&self, node: usize) -> u128 {
        (0..AT).fold(0, |key, cell| key << 32 | u128::from(self.arena.load(node + cell)))
    }

    fn at(&self, node: usize) -> u32 {
        self.arena.load(node + AT)
    }

    /// The node's cells: their number, and where they begin.
    fn cells(&self, node: usize) -> std::ops::Range<usize> {
        let first = node + UNIT_CELLS;
        first..first + (1 << stride(self.at(node)))
    }

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
