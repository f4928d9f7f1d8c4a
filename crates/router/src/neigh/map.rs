//! The workers' view of the neighbour table: MAC addresses by next hop, in a flat hash table that does not
//! change once it is published.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

use crate::hash::{halves, spread};
use crate::port::Ports;
use crate::verdict::NextHop;

/// A neighbour whose MAC address is known.
#[derive(Debug)]
pub(crate) struct ResolvedNeighbour {
    pub(crate) mac: MacAddr,
    /// Whether the next use is to be reported to the control plane, because the entry is stale.
    report_use: AtomicBool,
}

impl ResolvedNeighbour {
    #[inline]
    fn reports_use(&self) -> bool {
        self.report_use.load(Ordering::Relaxed)
    }

    /// Whether this use is to be reported: true once for a stale entry, whoever of the workers is first.
    #[inline]
    pub(crate) fn take_report(&self) -> bool {
        // The load alone is all that an entry which is not stale costs.
        self.reports_use() && self.report_use.swap(false, Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Slot<K> {
    key: K,
    known: ResolvedNeighbour,
}

/// Open addressing with linear probing, at most half full.
#[derive(Debug)]
struct Flat<K> {
    slots: Box<[Option<Slot<K>>]>,
}

impl<K: Copy + Eq> Flat<K> {
    fn new(entries: usize) -> Self {
        Flat { slots: (0..(entries * 2).next_power_of_two().max(2)).map(|_| None).collect() }
    }

    fn insert(&mut self, hash: usize, key: K, known: ResolvedNeighbour) {
        let mask = self.slots.len() - 1;
        let mut at = hash & mask;
        while self.slots[at].as_ref().is_some_and(|slot| slot.key != key) {
            at = (at + 1) & mask;
        }
        self.slots[at] = Some(Slot { key, known });
    }

    #[inline]
    fn get(&self, hash: usize, key: K) -> Option<&ResolvedNeighbour> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash & mask;
        while let Some(slot) = self.slots.get(at)?.as_ref() {
            if slot.key == key {
                return Some(&slot.known);
            }
            at = (at + 1) & mask;
        }
        None
    }
}

impl<K> Default for Flat<K> {
    fn default() -> Self {
        Flat { slots: Box::default() }
    }
}

/// A snapshot of the neighbours whose MAC addresses are known.
#[derive(Debug, Default)]
pub struct NeighbourMap {
    v4: Flat<(Ipv4Addr, PortId)>,
    v6: Flat<(Ipv6Addr, PortId)>,
    /// The ports that the neighbours are behind.
    ports: Ports,
    /// Keeps others from choosing addresses that collide.
    seed: u64,
}

impl NeighbourMap {
    /// A map of these neighbours behind these ports; the flag says whether their use is to be reported.
    pub(crate) fn new(seed: u64, ports: Ports, entries: &[(NextHop, MacAddr, bool)]) -> NeighbourMap {
        let v4 = entries.iter().filter(|(next_hop, ..)| next_hop.addr.is_ipv4()).count();
        let mut map = NeighbourMap { v4: Flat::new(v4), v6: Flat::new(entries.len() - v4), ports, seed };
        for (next_hop, mac, stale) in entries {
            let known = ResolvedNeighbour { mac: *mac, report_use: AtomicBool::new(*stale) };
            let port = next_hop.port;
            match next_hop.addr {
                IpAddr::V4(addr) => map.v4.insert(hash4(seed, addr, port), (addr, port), known),
                IpAddr::V6(addr) => map.v6.insert(hash6(seed, addr, port), (addr, port), known),
            }
        }
        map
    }

    /// The same neighbours, without those behind ports that are gone: whoever has such a port's slot now has
    /// other neighbours.
    pub(crate) fn only_of(map: Arc<NeighbourMap>, ports: &Ports) -> Arc<NeighbourMap> {
        if map.ports.is(ports)
            || !map.entries().any(|(next_hop, ..)| ports.has_lost(&map.ports, next_hop.port))
        {
            return map;
        }
        let rest = map.entries().filter(|(next_hop, ..)| !ports.has_lost(&map.ports, next_hop.port));
        Arc::new(NeighbourMap::new(map.seed, ports.clone(), &rest.collect::<Vec<_>>()))
    }

    /// Whether decisions by this map are those by the one that was published before: the same neighbours with
    /// the same MAC addresses, and none whose use is to be reported where it was not.
    pub(crate) fn decides_as(&self, before: &NeighbourMap) -> bool {
        let is_same = |(next_hop, mac, report_use): (NextHop, MacAddr, bool)| {
            let known = before.get(&next_hop);
            known.is_some_and(|known| known.mac == mac && (known.reports_use() || !report_use))
        };
        self.entries().count() == before.entries().count() && self.entries().all(is_same)
    }

    /// Every neighbour, as [`NeighbourMap::new`] takes it.
    fn entries(&self) -> impl Iterator<Item = (NextHop, MacAddr, bool)> {
        let entry =
            |addr, port, known: &ResolvedNeighbour| (NextHop { port, addr }, known.mac, known.reports_use());
        let v4 = self.v4.slots.iter().flatten();
        let v4 = v4.map(move |Slot { key: (addr, port), known }| entry(IpAddr::V4(*addr), *port, known));
        let v6 = self.v6.slots.iter().flatten();
        v4.chain(v6.map(move |Slot { key: (addr, port), known }| entry(IpAddr::V6(*addr), *port, known)))
    }

    /// The neighbour with this address on this port, if its MAC address is known.
    #[inline]
    pub(crate) fn get(&self, next_hop: &NextHop) -> Option<&ResolvedNeighbour> {
        match next_hop.addr {
            IpAddr::V4(addr) => self.v4.get(hash4(self.seed, addr, next_hop.port), (addr, next_hop.port)),
            IpAddr::V6(addr) => self.v6.get(hash6(self.seed, addr, next_hop.port), (addr, next_hop.port)),
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // any bits of a hash will do
fn hash4(seed: u64, addr: Ipv4Addr, port: PortId) -> usize {
    spread(seed, u64::from(u32::from(addr)) << 16 | u64::from(port.0)) as usize
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // any bits of a hash will do
fn hash6(seed: u64, addr: Ipv6Addr, port: PortId) -> usize {
    let [high, low] = halves(u128::from(addr));
    spread(spread(seed, high ^ u64::from(port.0)), low) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_only_that() {
        let entries: Vec<_> = (0..500u32)
            .flat_map(|i| {
                let v4 = IpAddr::V4((0x0a00_0000 + i).into());
                let v6 = IpAddr::V6((0xfd00 << 112 | u128::from(i)).into());
                [v4, v6].map(|addr| {
                    let port = PortId((i % 3) as u16);
                    (NextHop { port, addr }, MacAddr([2, 0, 0, 0, (i >> 8) as u8, i as u8]), i == 7)
                })
            })
            .collect();
        let map = NeighbourMap::new(42, Ports::default(), &entries);
        for (next_hop, mac, stale) in &entries {
            let known = map.get(next_hop).unwrap();
            assert_eq!(known.mac, *mac);
            assert_eq!((known.take_report(), known.take_report()), (*stale, false));
            assert!(map.get(&NextHop { port: PortId(9), ..*next_hop }).is_none());
        }
        let anyone = NextHop { port: PortId(0), addr: [1, 2, 3, 4].into() };
        assert!(map.get(&anyone).is_none());
        assert!(NeighbourMap::default().get(&anyone).is_none());
    }
}
