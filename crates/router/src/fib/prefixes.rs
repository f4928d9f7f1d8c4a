//! Values by prefix, in an order in which the shorter prefixes that cover one are found too.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address as a number.
trait Bits: Copy + Ord {
    /// How many there are.
    const BITS: u8;
    /// The first `length` bits, the others zero.
    fn masked(self, length: u8) -> Self;
    /// How many leading bits are the same.
    fn common(self, other: Self) -> u8;
}

impl Bits for u32 {
    const BITS: u8 = 32;

    fn masked(self, length: u8) -> u32 {
        self & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
    }

    fn common(self, other: u32) -> u8 {
        u8::try_from((self ^ other).leading_zeros()).unwrap_or(32)
    }
}

impl Bits for u128 {
    const BITS: u8 = 128;

    fn masked(self, length: u8) -> u128 {
        self & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
    }

    fn common(self, other: u128) -> u8 {
        u8::try_from((self ^ other).leading_zeros()).unwrap_or(128)
    }
}

/// The prefixes of one family, each a number and a length.
#[derive(Debug)]
struct Family<A, T> {
    map: BTreeMap<(A, u8), T>,
}

impl<A, T> Default for Family<A, T> {
    fn default() -> Self {
        Family { map: BTreeMap::new() }
    }
}

impl<A: Bits, T> Family<A, T> {
    /// The longest prefix shorter than `length` bits that covers the address.
    ///
    /// In this order a prefix stands right before what it covers, or is found among the few that share less
    /// with the address each time.
    fn cover(&self, address: A, length: u8) -> Option<(u8, &T)> {
        let mut bound = (address.masked(length), length);
        loop {
            let ((found, its_length), value) = self.map.range(..bound).next_back()?;
            let common = found.common(address);
            if *its_length <= common {
                return Some((*its_length, value));
            }
            // Nothing that covers the address is longer than what they share.
            bound = (address.masked(common), common + 1);
        }
    }

    /// The values of all prefixes that cover the address, the longest first.
    fn covering(&self, address: A) -> impl Iterator<Item = &T> {
        let exact = self.map.get(&(address, A::BITS));
        let mut length = A::BITS;
        let shorter = std::iter::from_fn(move || {
            let (found, value) = self.cover(address, length)?;
            length = found;
            Some(value)
        });
        exact.into_iter().chain(shorter)
    }
}

fn key4(net: Ipv4Net) -> (u32, u8) {
    (u32::from(net.network()), net.prefix_len())
}

fn key6(net: Ipv6Net) -> (u128, u8) {
    (u128::from(net.network()), net.prefix_len())
}

/// The prefix of these numbers; a length that is too long is cut.
fn net4(address: u32, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(address), length.min(32)))
}

/// The prefix of these numbers; a length that is too long is cut.
fn net6(address: u128, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(address), length.min(128)))
}

/// A map from prefixes of both families to values. Host bits of the prefixes that it is asked for do not
/// matter.
#[derive(Debug)]
pub(crate) struct PrefixMap<T> {
    v4: Family<u32, T>,
    v6: Family<u128, T>,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        PrefixMap { v4: Family::default(), v6: Family::default() }
    }
}

impl<T> PrefixMap<T> {
    /// How many prefixes there are.
    pub(crate) fn len(&self) -> usize {
        self.v4.map.len() + self.v6.map.len()
    }

    /// The value of exactly this prefix.
    pub(crate) fn get(&self, prefix: IpNet) -> Option<&T> {
        match prefix {
            IpNet::V4(net) => self.v4.map.get(&key4(net)),
            IpNet::V6(net) => self.v6.map.get(&key6(net)),
        }
    }

    /// The value of exactly this prefix, to be changed.
    pub(crate) fn get_mut(&mut self, prefix: IpNet) -> Option<&mut T> {
        match prefix {
            IpNet::V4(net) => self.v4.map.get_mut(&key4(net)),
            IpNet::V6(net) => self.v6.map.get_mut(&key6(net)),
        }
    }

    /// Gives a prefix a value, and returns the one that it had.
    pub(crate) fn insert(&mut self, prefix: IpNet, value: T) -> Option<T> {
        match prefix {
            IpNet::V4(net) => self.v4.map.insert(key4(net), value),
            IpNet::V6(net) => self.v6.map.insert(key6(net), value),
        }
    }

    /// Takes a prefix out, and returns the value that it had.
    pub(crate) fn remove(&mut self, prefix: IpNet) -> Option<T> {
        match prefix {
            IpNet::V4(net) => self.v4.map.remove(&key4(net)),
            IpNet::V6(net) => self.v6.map.remove(&key6(net)),
        }
    }

    /// Every prefix with its value, in order, IPv4 first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNet, &T)> {
        let v4 = self.v4.map.iter().map(|((address, length), value)| (net4(*address, *length), value));
        let v6 = self.v6.map.iter().map(|((address, length), value)| (net6(*address, *length), value));
        v4.chain(v6)
    }

    /// The longest prefix that covers this one and is shorter: its length, and its value.
    pub(crate) fn cover(&self, prefix: IpNet) -> Option<(u8, &T)> {
        match prefix {
            IpNet::V4(net) => self.v4.cover(u32::from(net.network()), net.prefix_len()),
            IpNet::V6(net) => self.v6.cover(u128::from(net.network()), net.prefix_len()),
        }
    }

    /// The values of all prefixes that cover the address, the longest first.
    pub(crate) fn covering(&self, address: IpAddr) -> Vec<&T> {
        match address {
            IpAddr::V4(address) => self.v4.covering(u32::from(address)).collect(),
            IpAddr::V6(address) => self.v6.covering(u128::from(address)).collect(),
        }
    }
}
