//! Network labs out of namespaces: a declared [`Topology`], built and taken down.
//!
//! [`Lab::build`] creates what a topology declares, over netlink and with a few system calls, and records
//! everything before it exists. [`Lab::down`], dropping the [`Lab`], or after a `kill -9` [`clean::clean`]
//! removes exactly that. [`enter`] is what a process does first: it becomes a private lab, or joins a running
//! one. Nothing here knows what forwards the packets.
//!
//! ```
//! use nsrouter_lab::topology::Topology;
//!
//! let topology = Topology::from_toml(
//!     r#"
//!     [[node]]
//!     name = "a"
//!     role = "host"
//!     routes = [{ to = "default", via = "10.1.0.1" }]
//!
//!     [[node]]
//!     name = "r"
//!     role = "router"
//!
//!     [[link]]
//!     a = { node = "a", ifname = "eth0", addresses = ["10.1.0.2/24"] }
//!     b = { node = "r", ifname = "eth-a", addresses = ["10.1.0.1/24"] }
//!     "#,
//! )?;
//! for link in &topology.links {
//!     println!("{}/{} -- {}/{}", link.a.node, link.a.ifname, link.b.node, link.b.ifname);
//! }
//! assert_eq!(topology.links.len(), 1);
//! assert_eq!(topology.routers().map(|router| router.name.as_str()).collect::<Vec<_>>(), ["r"]);
//! # Ok::<(), nsrouter_lab::topology::InvalidTopology>(())
//! ```
//!
//! [`Topology`]: topology::Topology

#![forbid(unsafe_code)]

mod build;
mod error;
mod lab;
mod netlink;
mod options;
mod settings;
mod stop;

pub mod clean;
pub mod enter;
pub mod process;
pub mod records;
pub mod topology;
pub mod wait;

pub use error::Error;
pub use lab::{Lab, LabNode};
pub use options::{Forwarder, LabOptions, MakeTap, RouterNs, TapEnd};
pub use stop::Stop;

/// Holds the example of the README to what compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
