//! Network namespaces, links and addresses: a declared [`Topology`], built and taken down.
//!
//! [`Lab::build`] makes what a topology says, through netlink and a few system calls, and puts all of it
//! on record before it exists; [`Lab::down`], dropping the [`Lab`], or after a `kill -9`
//! [`clean::clean`] removes that and nothing else. [`enter`] is what a process does first: become a
//! private lab, or join one that runs. Nothing here knows what forwards the packets.

#![forbid(unsafe_code)]

mod build;
mod error;
mod lab;
mod labs;
mod netlink;
mod offloads;
mod pointer;
mod process;
mod settings;
mod stop;

pub mod clean;
pub mod enter;
pub mod state;
pub mod topology;
pub mod wait;

pub use clean::Removed;
pub use error::Error;
pub use lab::{Forwarder, Lab, MakeTap, Node, Options, RouterNs, TapEnd};
pub use labs::{LabInfo, Which, labs};
pub use process::{Ended, ProcessId};
pub use state::PortInfo;
pub use stop::Stop;
pub use topology::{HOST_PORT, Mac, Role, Topology};
