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

use crate::fib::arena::{Arena, UNIT_CELLS};
use crate::fib::cell::{AT, DEFAULT, LINK, ROOT_BITS, Root, SKIP, at_of, node_of, stride, value_of};
use crate::hash::halves;

/// Walks that go on together, as many as a CPU's outstanding misses are worth.
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
    pub(super) arena: Arena,
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
        let [high, low] = halves(address);
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

    pub(super) fn key(&self, node: usize) -> u128 {
        (0..AT).fold(0, |key, cell| key << 32 | u128::from(self.arena.load(node + cell)))
    }

    pub(super) fn at(&self, node: usize) -> u32 {
        self.arena.load(node + AT)
    }

    /// The node's cells: their number, and where they begin.
    pub(super) fn cells(&self, node: usize) -> std::ops::Range<usize> {
        let first = node + UNIT_CELLS;
        first..first + (1 << stride(self.at(node)))
    }
}
