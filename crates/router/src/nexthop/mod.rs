//! Next-hop entries: what the values of the FIB stand for.

pub(crate) mod group;
pub(crate) mod writer;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use nsrouter_wire::frame::PortId;

use crate::drop::DropReason;
use crate::port::Port;
use group::NextHopGroup;

/// The adjacency of a prefix: what happens to packets that match it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Adjacency {
    /// An address of the router.
    Local,
    /// The broadcast address of a connected subnet.
    Broadcast,
    /// A route that rejects packets, or no route.
    Reject(DropReason),
    /// A connected subnet: the next hop is the destination itself.
    OnLink(PortId),
    /// A gateway on the link of this port.
    Via(PortId, IpAddr),
    /// Several next hops, of which the flow's hash picks one.
    Group(Arc<NextHopGroup>),
}

/// A next-hop entry: an adjacency, and what the route adds to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NextHopEntry {
    pub(crate) adjacency: Adjacency,
    /// Length of the route's prefix: Linux's `ICMPv6` rate limit depends on it. Always 0 for IPv4.
    pub(crate) prefix_len: u8,
    /// The route's MTU in bytes; [`NO_MTU`] where the link's alone counts.
    pub(crate) mtu: u16,
}

/// No MTU of the route's own: no packet is larger.
pub(crate) const NO_MTU: u16 = u16::MAX;

impl NextHopEntry {
    /// The largest packet that may leave by `port`, in bytes: the link's MTU, or the route's where that is
    /// less, as in Linux (`ip_dst_mtu_maybe_forward`, `ip6_dst_mtu_maybe_forward`).
    #[inline]
    pub(crate) fn mtu(&self, port: &Port) -> usize {
        port.mtu.min(usize::from(self.mtu))
    }
}

/// Slots in the first part of [`NextHopEntries`]; each further part doubles their number.
const FIRST_SLOTS: usize = 256;

/// Next-hop entries by number, the readers' side. A slot is filled before its number gets into the FIB and
/// never changed again, so whoever reads a number from there finds its target here, however old the tables
/// are that they came from.
#[derive(Debug)]
pub(crate) struct NextHopEntries {
    slots: Box<[OnceLock<NextHopEntry>]>,
    more: OnceLock<Box<NextHopEntries>>,
}

impl Default for NextHopEntries {
    fn default() -> Self {
        NextHopEntries::with_slots(FIRST_SLOTS)
    }
}

impl NextHopEntries {
    fn with_slots(slots: usize) -> Self {
        NextHopEntries { slots: (0..slots).map(|_| OnceLock::new()).collect(), more: OnceLock::new() }
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&NextHopEntry> {
        match self.slots.get(number) {
            Some(slot) => slot.get(),
            None => self.get_beyond(number),
        }
    }

    #[cold]
    fn get_beyond(&self, mut number: usize) -> Option<&NextHopEntry> {
        let mut part = self;
        while number >= part.slots.len() {
            number -= part.slots.len();
            part = part.more.get()?;
        }
        part.slots[number].get()
    }

    /// Fills a slot that is empty.
    pub(crate) fn set(&self, mut number: usize, entry: NextHopEntry) {
        let mut part = self;
        while number >= part.slots.len() {
            number -= part.slots.len();
            part = part.more.get_or_init(|| Box::new(NextHopEntries::with_slots(2 * part.slots.len())));
        }
        part.slots[number].get_or_init(|| entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_added_and_numbers_stay() {
        let targets = NextHopEntries::default();
        let target = |number: usize| NextHopEntry {
            adjacency: Adjacency::OnLink(PortId(number as u16)),
            prefix_len: 0,
            mtu: NO_MTU,
        };
        for number in 0..10_000 {
            assert_eq!(targets.get(number), None);
            targets.set(number, target(number));
        }
        assert!((0..10_000).all(|number| targets.get(number) == Some(&target(number))));
        assert_eq!(targets.get(1_000_000), None);
    }
}
