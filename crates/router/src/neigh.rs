//! The neighbour table and its state machine (RFC 826, RFC 4861 section 7.3).

use std::net::IpAddr;
use std::sync::Arc;

use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

use crate::tables::Tables;
use crate::types::{Event, NextHop};

/// Timers and bounds; the defaults are Linux's (`net.ipv4.neigh.default`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighConfig {
    /// Mean time for which a confirmed neighbour counts as reachable, in milliseconds; each is drawn from 0.5 to 1.5 times it.
    pub reachable_ms: u64,
    /// Time between solicitations, in milliseconds (`retrans_time_ms`).
    pub retransmit_ms: u64,
    /// Time to wait for a hint of reachability before probing, in milliseconds (`delay_first_probe_time`).
    pub delay_ms: u64,
    /// Multicast or broadcast solicitations before resolution fails (`mcast_solicit`).
    pub multicast_probes: u8,
    /// Unicast probes before a known neighbour is given up (`ucast_solicit`).
    pub unicast_probes: u8,
    /// Unused entries older than this go, in milliseconds (`gc_stale_time`).
    pub stale_ms: u64,
    /// Entries at most, by family (`gc_thresh3`).
    pub max_entries: usize,
    /// Where jitter starts.
    pub seed: u64,
}

impl Default for NeighConfig {
    fn default() -> Self {
        NeighConfig {
            reachable_ms: 30_000,
            retransmit_ms: 1000,
            delay_ms: 5000,
            multicast_probes: 3,
            unicast_probes: 3,
            stale_ms: 60_000,
            max_entries: 1024,
            seed: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

/// What the control plane is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this complete frame (an ARP request or a neighbour solicitation).
    Probe {
        /// By this port.
        port: PortId,
        /// Ethernet header included.
        frame: Vec<u8>,
    },
    /// Frames held for this next hop may go, once the new map is published.
    Resolved(NextHop),
    /// Frames held for this next hop are to be given up.
    Failed(NextHop),
}

/// A line of the neighbour table, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourEntry {
    /// The link.
    pub port: PortId,
    /// The neighbour's address.
    pub addr: IpAddr,
    /// Its MAC address, when known.
    pub mac: Option<MacAddr>,
    /// Its state, in the words of `ip neigh`, lower case.
    pub state: &'static str,
}

/// The workers' view of the neighbour table: who has which MAC address.
#[derive(Debug, Default)]
pub struct NeighbourMap {}

/// The neighbour table, owned by the control plane.
#[derive(Debug)]
pub struct Neighbours {
    config: NeighConfig,
}

impl Neighbours {
    /// An empty table.
    pub fn new(config: NeighConfig) -> Self {
        Neighbours { config }
    }

    /// Takes in what a worker reported; appends what is to be done.
    pub fn event(&mut self, event: &Event, tables: &Tables, now_ns: u64, actions: &mut Vec<Action>) {
        let _ = (&self.config, event, tables, now_ns, actions);
    }

    /// Lets timers that are due fire; appends what is to be done.
    pub fn tick(&mut self, tables: &Tables, now_ns: u64, actions: &mut Vec<Action>) {
        let _ = (tables, now_ns, actions);
    }

    /// When [`Neighbours::tick`] is next due, in nanoseconds of the same clock.
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// The map to publish, if it changed since it was last asked for.
    pub fn map(&mut self) -> Option<Arc<NeighbourMap>> {
        None
    }

    /// The table, for people.
    pub fn list(&self) -> impl Iterator<Item = NeighbourEntry> {
        std::iter::empty()
    }
}
