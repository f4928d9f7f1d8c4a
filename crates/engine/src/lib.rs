//! The forwarding engine, running: kernel and userspace mode behind one interface.
//!
//! | module | contents |
//! |---|---|
//! | [`kernel`] | kernel mode: the kernel's counters in the userspace router's names |
//! | [`userspace`] | userspace mode: its ports, its configuration and its worker threads |
//! | [`control`] | the control thread: tables, neighbours, links; and the control socket |
//! | [`status`] | the state and counters of a running engine, one shape for both modes |
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
