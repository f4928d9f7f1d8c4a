//! The forwarding engine, running: kernel and userspace mode behind one interface.
//!
//! | module | contents |
//! |---|---|
//! | [`kernel`] | kernel mode: the kernel's counters in the userspace router's names |
//! | [`userspace`] | userspace mode: its configuration, its ports and its worker threads |
//! | [`control`] | the control thread: tables, neighbours, links, ports; and the control socket |
//! | [`status`] | the state and counters of a running engine, one shape for both modes |
//!
//! # Threads and channels of userspace mode
//!
//! ```text
//!   holder of Userspace            control thread                       worker 0 .. n
//!  (CLI, control socket)       (one tokio runtime)                   (hot loop: no allocation,
//!                                                                     no waiting)
//!  +------------------+       +-----------------------+             +----------------------+
//!  | status, routes   |       | netlink: links,       |   Command   | rx queues -> router  |
//!  | add, remove port | ----> |  addresses, routes    | ----------> |  -> tx queues        |
//!  | stop             |Request| neighbour machine     |   Report    | pending frames       |
//!  +------------------+       | Rib, port slots       | <---------- | its counters         |
//!           |                 +-----------------------+             +----------------------+
//!           | reads               | writes                              | reads    | writes
//!           v                     v                                     v          v
//!  +-----------------------------------------------------------------------------------------+
//!  | Shared:  tables (ArcSwap)   ports, neighbours, warnings (Mutex)   counters (one Mutex   |
//!  |          the FIB's cells, written in place by control alone        a worker, try_lock)  |
//!  +-----------------------------------------------------------------------------------------+
//! ```
//!
//! | from, to | channel | when full |
//! |---|---|---|
//! | holder, control | requests, unbounded, each with a channel for its answer | - |
//! | control, worker | commands, 1,024 | the control thread keeps a backlog and tries again |
//! | worker, control | observations of neighbours, 1,024 | the worker keeps 256 and tries again |
//! | worker, control | requests to resolve neighbours, 1,024 | refused; the next frame requests it again |
//! | worker, control | answers to commands about ports, unbounded | - |
//!
//! A thread that has sent a message wakes the receiver by its waker: a pipe, which stands in a worker's epoll
//! set and in the control thread's runtime.
//!
//! Tables have one writer, the control thread. It publishes tables before it sends a command that refers to
//! them, and a worker takes its commands before it takes the tables, so that it never carries out a command
//! with older tables. A worker publishes its counters before it sleeps and every 1,024 rounds; it skips that
//! while somebody reads them.
//!
//! # Example
//!
//! A router between two ports in this process's own memory: no privileges, no interface. One host asks for
//! the router's MAC address, so that the router knows it; the other sends it a packet.
//!
//! ```
//! use nsrouter_engine::userspace::{OpenPort, Spin, Userspace, UserspaceConfig};
//! use nsrouter_engine::{MacAddr, NeighConfig, Port, PortId, Settings};
//! use nsrouter_rings::memory::{self, Stored, Wire};
//! use nsrouter_rings::port::{Capabilities, QueuePair};
//! use nsrouter_wire::offload::Offload;
//!
//! let mut wires = Vec::new();
//! let mut open = |number: u8| -> std::io::Result<OpenPort> {
//!     let all = Capabilities { checksum: true, tso: true, uso: true };
//!     let (rx, tx, wire) = memory::port(PortId(number.into()), 64, all)?;
//!     wires.push(wire);
//!     let port = Port {
//!         name: format!("port{number}"),
//!         ifindex: 0,
//!         mac: MacAddr([2, 0, 0, 0, 0, number]),
//!         mtu: 1500,
//!         addresses: vec![format!("10.0.{number}.254/24").parse().unwrap()],
//!         up: true,
//!     };
//!     // One worker, so one pair of queues.
//!     Ok(OpenPort { port, queues: vec![QueuePair::new((rx, tx))], guard: None, far_link: None })
//! };
//! let engine = Userspace::start(UserspaceConfig {
//!     backend: "memory".to_owned(),
//!     ports: vec![open(0)?, open(1)?],
//!     host: Err("not in this example".to_owned()),
//!     routes: Vec::new(),
//!     settings: Settings { mld_reports: false, ..Settings::default() },
//!     neighbours: NeighConfig::default(),
//!     spin: Spin::Never,
//!     cpus: Vec::new(),
//!     nice: None,
//! })?;
//!
//! let send = |wire: &Wire, frame: &[&[u8]]| {
//!     wire.put(Stored { bytes: frame.concat(), offload: Offload::default() });
//! };
//! let receive = |wire: &Wire| loop {
//!     match wire.take() {
//!         Some(frame) => break frame.bytes,
//!         None => std::thread::yield_now(),
//!     }
//! };
//! // ARP: who has 10.0.1.254? The answer comes from the port's MAC address.
//! let host = [2, 9, 9, 9, 9, 1];
//! send(&wires[1], &[
//!     &[0xff; 6], &host, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
//!     &host, &[10, 0, 1, 1], &[0; 6], &[10, 0, 1, 254],
//! ]);
//! assert_eq!(receive(&wires[1])[6..12], [2, 0, 0, 0, 0, 1]);
//!
//! // IPv4 from 10.0.0.1 to 10.0.1.1, TTL 64, for experiments: it leaves by the other port with a TTL of 63.
//! let mut header = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 1, 1];
//! nsrouter_wire::ipv4::fill_checksum(&mut header);
//! send(&wires[0], &[&[2, 0, 0, 0, 0, 0], &[2, 9, 9, 9, 9, 0], &[8, 0], &header]);
//! let frame = receive(&wires[1]);
//! assert_eq!((&frame[..6], frame[22]), (&host[..], 63));
//!
//! let status = engine.stop();
//! assert_eq!((status.totals.received, status.totals.sent), (2, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod clock;
mod command;
pub mod control;
mod engine;
pub mod kernel;
mod netlink;
mod open_port;
mod port;
mod report;
mod request;
mod shared;
pub mod status;
pub mod userspace;
mod waker;
mod warnings;

pub use engine::Engine;
pub use nsrouter_router::{Advertise, FlowHash, NeighConfig, Route, RouteKind, RouteNextHop, Settings};
pub use nsrouter_wire::eth::MacAddr;
pub use nsrouter_wire::frame::PortId;
pub use port::{Port, PortHandle};

/// Holds the README's links and examples to what compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
