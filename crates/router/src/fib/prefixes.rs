//! Prefixes of one family in order, each with something that belongs to it.

use std::collections::BTreeMap;

/// An address as a number.
pub(crate) trait Bits: Copy + Ord {
    /// The first `length` bits, the others zero.
    fn masked(self, length: u8) -> Self;
    /// How many leading bits are the same.
    fn common(self, other: Self) -> u8;
}

impl Bits for u32 {
    fn masked(self, length: u8) -> u32 {
        self & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
    }

    fn common(self, other: u32) -> u8 {
        u8::try_from((self ^ other).leading_zeros()).unwrap_or(32)
    }
}

impl Bits for u128 {
    fn masked(self, length: u8) -> u128 {
        self & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
    }

    fn common(self, other: u128) -> u8 {
        u8::try_from((self ^ other).leading_zeros()).unwrap_or(128)
    }
}

/// A map of prefixes that finds the shorter ones too.
#[derive(Clone, Debug)]
pub(crate) struct Prefixes<A, T> {
    map: BTreeMap<(A, u8), T>,
}

impl<A, T> Default for Prefixes<A, T> {
    fn default() -> Self {
        Prefixes { map: BTreeMap::new() }
    }
}

impl<A: Bits, T> Prefixes<A, T> {
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn get(&self, address: A, length: u8) -> Option<&T> {
        self.map.get(&(address, length))
    }

    pub(crate) fn get_mut(&mut self, address: A, length: u8) -> Option<&mut T> {
        self.map.get_mut(&(address, length))
    }

    pub(crate) fn insert(&mut self, address: A, length: u8, thing: T) -> Option<T> {
        self.map.insert((address, length), thing)
    }

    pub(crate) fn remove(&mut self, address: A, length: u8) -> Option<T> {
        self.map.remove(&(address, length))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (A, u8, &T)> {
        self.map.iter().map(|((address, length), thing)| (*address, *length, thing))
    }

    /// The longest prefix shorter than `length` bits that covers the address.
    ///
    /// In this order a prefix stands right before what it covers, or is found among the few that share less with the
    /// address each time.
    pub(crate) fn cover(&self, address: A, length: u8) -> Option<(A, u8, &T)> {
        let mut bound = (address.masked(length), length);
        loop {
            let ((found, its_length), thing) = self.map.range(..bound).next_back()?;
            let common = found.common(address);
            if *its_length <= common {
                return Some((*found, *its_length, thing));
            }
            // Nothing that covers the address is longer than what they share.
            bound = (address.masked(common), common + 1);
        }
    }
}
