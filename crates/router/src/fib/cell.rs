//! What the cells and nodes of the trie say: links, values, levels, and the prefix as a key.

use ipnet::IpNet;

use crate::fib::arena::UNIT_CELLS;

/// Set in a cell that links to a node, whose first unit the low bits number.
pub(super) const LINK: u32 = 1 << 31;
/// Set in a link that skips levels.
pub(super) const SKIP: u32 = 1 << 30;
/// Where a link keeps the first bit of the node's level, in fours: so that the node's cell can be read
/// together with its key, and not after it.
pub(super) const AT_SHIFT: u32 = 25;
pub(super) const UNIT_MASK: u32 = (1 << AT_SHIFT) - 1;
/// Where the prefix length (0 to 128) is kept in a cell with a value.
pub(super) const LENGTH_SHIFT: u32 = 23;
pub(super) const VALUE_MASK: u32 = (1 << LENGTH_SHIFT) - 1;

/// The largest value that a prefix can have.
pub const MAX_VALUE: u32 = VALUE_MASK - 1;

pub(super) const ROOT_BITS: u32 = 16;
pub(super) const ROOT_CELLS: usize = 1 << ROOT_BITS;
/// Where levels become narrow.
pub(super) const WIDE_BITS: u32 = 32;

/// A node begins with a unit of its own: four cells of key, then these.
pub(super) const AT: usize = 4;
pub(super) const DEFAULT: usize = 5;
pub(super) const PREFIXES: usize = 6;
pub(super) const CHILDREN: usize = 7;

/// A family's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    V4,
    V6,
}

impl Root {
    /// Its first cell.
    pub(super) const fn cell(self) -> usize {
        match self {
            Root::V4 => 0,
            Root::V6 => ROOT_CELLS,
        }
    }
}

/// A prefix as the trie knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) root: Root,
    /// The address in the first bits, zero beyond the prefix.
    pub(super) bits: u128,
    pub(super) length: u32,
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
pub(super) const fn stride(at: u32) -> u32 {
    if at < WIDE_BITS { 8 } else { 4 }
}

/// The first bit of the level that bit number `bit` belongs to; 0 for the root's.
pub(super) const fn level_of(bit: u32) -> u32 {
    match bit {
        0..16 => 0,
        16..WIDE_BITS => bit / 8 * 8,
        _ => bit / 4 * 4,
    }
}

/// The first bit of the level in which a prefix of this length ends.
pub(super) const fn level_of_prefix(length: u32) -> u32 {
    if length == 0 { 0 } else { level_of(length - 1) }
}

pub(super) const fn value_cell(value: u32, length: u32) -> u32 {
    length << LENGTH_SHIFT | (value + 1)
}

#[inline]
pub(super) fn value_of(cell: u32) -> Option<u32> {
    (cell & VALUE_MASK).checked_sub(1)
}

pub(super) const fn length_of(cell: u32) -> u32 {
    cell >> LENGTH_SHIFT
}

/// Whether a prefix of `length` bits decides over what the cell holds: nothing, or a prefix that is no
/// longer.
pub(super) const fn gives_way(cell: u32, length: u32) -> bool {
    cell == 0 || length_of(cell) <= length
}

/// The first cell of the node that a link leads to.
#[inline]
pub(super) const fn node_of(link: u32) -> usize {
    // 25 bits: they fit a usize wherever this crate is used.
    (link & UNIT_MASK) as usize * UNIT_CELLS
}

/// The first bit of the level of the node that a link leads to.
#[inline]
pub(super) const fn at_of(link: u32) -> u32 {
    (link & (SKIP - 1)) >> AT_SHIFT << 2
}

/// The first `bits` of the key, the others zero.
pub(super) const fn masked(key: u128, bits: u32) -> u128 {
    if bits == 0 { 0 } else { key & u128::MAX << (128 - bits) }
}

/// The `bits` bits of the key that begin at bit `at`, as an index.
pub(super) fn index(key: u128, at: u32, bits: u32) -> usize {
    // At most 16 bits: they fit.
    usize::try_from(key << at >> (128 - bits)).unwrap_or(0)
}
