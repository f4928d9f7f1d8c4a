//! What to do with a packet: an IPv4 and IPv6 router over bytes, tables and time.
//!
//! No file descriptor, no clock, no log. [`Router::forward`] takes one frame and gives a [`Verdict`]; begin
//! reading in `pipeline.rs`. Two ports, one route, one neighbour and one UDP datagram:
//!
//! ```
//! use nsrouter_router::{
//!     Config, Event, Limits, MacAddr, NeighConfig, Neighbours, NextHop, Originate, PortConfig, Rib, Route, RouteKind,
//!     RouteNextHop, Router, Settings, Time, Verdict,
//! };
//! use nsrouter_wire::frame::{Frame, PortId};
//! use nsrouter_wire::offload::Offload;
//! use nsrouter_wire::{eth, ipv4, protocol};
//!
//! /// Where packets would go that the router makes itself.
//! struct Nowhere;
//!
//! impl Originate for Nowhere {
//!     fn buffer(&mut self, _bytes: usize) -> Option<&mut [u8]> {
//!         None
//!     }
//!     fn send(&mut self, _egress: PortId, _offload: Offload) {}
//!     fn hold(&mut self, _next_hop: NextHop) {}
//!     fn report(&mut self, _event: Event) {}
//! }
//!
//! let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
//! let port = |n: u8| PortConfig {
//!     name: format!("port{n}"),
//!     mac: mac(n),
//!     mtu: 1500,
//!     addresses: vec![format!("10.0.{n}.1/24").parse().expect("an address")],
//!     up: true,
//! };
//! let mut rib = Rib::new(&[port(0), port(1)], Settings::default())?;
//! let gateway = RouteNextHop { port: None, via: Some([10, 0, 1, 9].into()), weight: 1 };
//! rib.configure(&[Route {
//!     prefix: "10.9.0.0/16".parse().expect("a prefix"),
//!     kind: RouteKind::Unicast(vec![gateway]),
//!     metric: 0,
//!     mtu: None,
//! }])?;
//! let mut neighbours = Neighbours::new(NeighConfig::default());
//! let known = NextHop { port: PortId(1), addr: [10, 0, 1, 9].into() };
//! neighbours.set_permanent(known, mac(9), &mut Vec::new());
//! rib.set_neighbours(neighbours.map().expect("a neighbour that is new"));
//! let tables = rib.tables();
//! let mut router = Router::new(0, Config { ports: 2, seed: 1 }, Limits::new(1));
//!
//! let mut bytes = vec![0; eth::HEADER_BYTES];
//! eth::write(&mut bytes, mac(0), mac(8), eth::TYPE_IPV4);
//! let mut header = [0; ipv4::HEADER_BYTES];
//! ipv4::Fields {
//!     traffic_class: 0,
//!     total_bytes: 28,
//!     identification: 0,
//!     flags_offset: ipv4::DONT_FRAGMENT,
//!     ttl: 64,
//!     protocol: protocol::UDP,
//!     source: [10, 0, 0, 8].into(),
//!     destination: [10, 9, 0, 1].into(),
//! }
//! .write(&mut header);
//! bytes.extend(header);
//! // From port 1000 to port 2000, 8 bytes, without a checksum.
//! bytes.extend([3, 232, 7, 208, 0, 8, 0, 0]);
//! let len = bytes.len();
//! let mut frame = Frame::new(&mut bytes, 0, len, PortId(0), Offload::default()).expect("a frame that fits");
//!
//! let verdict = router.forward(&mut frame, &tables, Time::default(), &mut Nowhere);
//! assert_eq!(verdict, Verdict::Send(PortId(1)));
//! assert_eq!(frame.data()[..6], mac(9).0);
//! # Ok::<(), nsrouter_router::TablesError>(())
//! ```
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
