//! What to do with a packet: a pure IPv4 and IPv6 router over bytes, tables and time.
//!
//! No file descriptor, no clock, no log. [`Router::forward`] takes one frame and gives a [`Verdict`]; begin reading in
//! `pipeline.rs`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_possible_truncation))]

mod config;
mod context;
mod counters;
mod drop;
mod egress;
mod epoch;
mod events;
pub mod fib;
mod hash;
mod ip4;
mod ip6;
mod limit;
mod link;
mod neigh;
mod nexthop;
mod own;
mod packet;
mod pipeline;
#[cfg(test)]
mod pipeline_tests;
mod port;
mod random;
mod rib;
mod router;
mod tables;
#[cfg(test)]
mod testing;
mod verdict;

pub use config::{Advertise, FlowHash, PortConfig, Route, RouteKind, RouteNextHop, Settings, TablesError};
pub use context::{Originate, Time};
pub use counters::{Accounting, Counter, Counters, PortCounters, Unit};
pub use drop::{DropReason, IcmpAnswer};
pub use epoch::Epoch;
pub use events::{Event, Seen};
pub use limit::Limits;
pub use neigh::{Action, NeighConfig, NeighbourEntry, NeighbourMap, Neighbours};
pub use nsrouter_wire::eth::MacAddr;
pub use packet::{Family, IpHeaders, LinkDestination};
pub use port::{Port, link_local};
pub use rib::{InsertMode, Origin, Rib};
pub use router::{Config, Router};
pub use tables::Tables;
pub use verdict::{NextHop, Verdict};
