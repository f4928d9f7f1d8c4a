//! The workers' read-only view: a snapshot of ports, neighbours and settings, and the FIB, whose changes show
//! in every snapshot at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrayvec::ArrayVec;
use nsrouter_wire::frame::{Frame, PortId};

use crate::config::Settings;
use crate::drop::DropReason;
use crate::epoch::{Epoch, SharedEpoch};
use crate::fib::Fib;
use crate::neigh::map::NeighbourMap;
use crate::nexthop::{Adjacency, NO_MTU, NextHopEntries, NextHopEntry};
use crate::port::{Port, Ports};
use crate::verdict::NextHop;

/// Frames whose look-ups are collected at once: a burst.
const PREFETCHED: usize = 64;

static NO_ROUTE: NextHopEntry =
    NextHopEntry { adjacency: Adjacency::Reject(DropReason::NoRoute), prefix_len: 0, mtu: NO_MTU };

/// The snapshot. Cloning is cheap: everything behind it is shared.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(crate) ports: Ports,
    pub(crate) fib: Arc<Fib>,
    /// The FIB is larger than the caches.
    pub(crate) is_large: bool,
    pub(crate) next_hops: Arc<NextHopEntries>,
    pub(crate) own4: Arc<[Ipv4Addr]>,
    pub(crate) neighbours: Arc<NeighbourMap>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) epoch: SharedEpoch,
    /// The epoch in which these tables were taken.
    pub(crate) taken_at: u64,
    /// Says how old the oldest tables are that somebody still reads.
    pub(crate) _generation: Arc<()>,
}

impl Tables {
    /// The epoch: a decision that was taken after reading it is what these tables say for as long as it reads
    /// the same. Nothing while the forwarding table is being changed, and once newer tables have other ports,
    /// settings or neighbours.
    #[inline]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch.read(self.taken_at)
    }

    /// Whether the next hop's port is up and carries packets of its family.
    pub(crate) fn is_up_for(&self, next_hop: NextHop) -> bool {
        self.port(next_hop.port).is_some_and(|port| port.is_up_for(next_hop.addr))
    }

    /// The port in that slot; `None` for an empty slot, and for [`PortId::HOST`].
    #[inline]
    pub fn port(&self, slot: PortId) -> Option<&Port> {
        self.ports.get(slot)
    }

    /// The ports that are there, by slot.
    pub fn ports(&self) -> impl Iterator<Item = &Port> + Clone {
        self.ports.iter()
    }

    #[inline]
    pub(crate) fn neighbours(&self) -> &NeighbourMap {
        &self.neighbours
    }

    #[inline]
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the address is the router's, on any port: the weak host model, as in Linux.
    #[inline]
    pub(crate) fn is_own4(&self, address: Ipv4Addr) -> bool {
        self.own4.contains(&address)
    }

    /// Whether the address is the router's, on any port; link-local addresses too.
    pub(crate) fn is_own6(&self, address: Ipv6Addr) -> bool {
        self.ports.iter().any(|port| port.has6(address))
    }

    /// The port that is up and has a subnet of this broadcast address.
    pub(crate) fn broadcast_port(&self, address: IpAddr) -> Option<PortId> {
        let IpAddr::V4(address) = address else { return None };
        let has = |port: &Port| port.broadcasts4().any(|broadcast| broadcast == address);
        self.ports.iter().find(|port| port.up && has(port)).map(|port| port.id)
    }

    /// Prefetches what forwarding the frames of a burst will read of the FIB.
    ///
    /// A look-up in a large table waits for memory; several that do not depend on each other wait at the same
    /// time. Call it before the frames are forwarded one by one. Does nothing for a table that fits the
    /// caches.
    pub fn prefetch(&self, frames: &[Frame<'_>]) {
        if !self.is_large {
            return;
        }
        for frames in frames.chunks(PREFETCHED) {
            let mut v6: ArrayVec<u128, PREFETCHED> = ArrayVec::new();
            for frame in frames {
                let data = frame.data();
                match data.get(12..14) {
                    Some([0x08, 0x00]) => {
                        let address = be_bytes(data, 30).map(Ipv4Addr::from_octets);
                        std::hint::black_box(address.and_then(|address| self.fib.lookup4(address)));
                    }
                    Some([0x86, 0xdd]) => v6.extend(be_bytes(data, 38).map(u128::from_be_bytes)),
                    Some(_) | None => {}
                }
            }
            self.fib.lookup6_each(&v6, |value| _ = std::hint::black_box(value));
        }
    }

    #[inline]
    pub(crate) fn route4(&self, destination: Ipv4Addr) -> &NextHopEntry {
        self.entry(self.fib.lookup4(destination))
    }

    #[inline]
    pub(crate) fn route6(&self, destination: Ipv6Addr) -> &NextHopEntry {
        self.entry(self.fib.lookup6(destination))
    }

    #[inline]
    fn entry(&self, value: Option<u32>) -> &NextHopEntry {
        let index = value.and_then(|value| usize::try_from(value).ok());
        index.and_then(|index| self.next_hops.get(index)).unwrap_or(&NO_ROUTE)
    }
}

/// The `N` bytes from `at` on, where there are as many.
fn be_bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}
