//! What to do with a packet: a pure IPv4 and IPv6 router over bytes, tables and time.
//!
//! No file descriptor, no clock, no log. [`Router::forward`] takes one frame and gives a [`Verdict`]; begin reading in
//! `pipeline.rs`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_possible_truncation))]

pub mod counters;
pub mod drop;
pub mod neigh;
mod pipeline;
pub mod tables;
mod types;

pub use counters::{Counters, PortCounters};
pub use drop::{DropReason, IcmpAnswer};
pub use neigh::{Action, NeighConfig, NeighbourEntry, NeighbourMap, Neighbours};
pub use nsrouter_wire::eth::MacAddr;
pub use pipeline::Router;
pub use tables::{
    Advertise, FlowHash, Hop, PortConfig, Route, RouteKind, Settings, Tables, TablesError, link_local,
};
pub use types::{Config, Event, NextHop, Originate, Seen, Time, Verdict};
