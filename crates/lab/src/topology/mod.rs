//! The declared shape of a lab: nodes, links, addresses and routes, as data.
//!
//! The default lab has two hosts and one router; a TOML file can declare anything else that
//! [`Topology::validate`] accepts: any number of hosts, several routers in a chain.
//!
//! ```toml
//! [[node]]
//! name = "t1"
//! role = "host"
//! routes = [{ to = "default", via = "10.10.251.2" }]
//!
//! [[node]]
//! name = "router"
//! role = "router"
//!
//! [[link]]
//! a = { node = "t1", ifname = "t1-eth0", addresses = ["10.10.251.1/24"] }
//! b = { node = "router", ifname = "eth-t1", mac = "02:01:02:03:04:01", addresses = ["10.10.251.2/24"] }
//! ```

mod default_lab;
mod file;
pub(crate) mod mac_text;
mod model;
mod validate;

pub use model::{DEFAULT_MTU_BYTES, Endpoint, HOST_PORT, Link, Node, Role, Route, Topology};
pub use validate::InvalidTopology;
pub(crate) use validate::is_name;

#[cfg(test)]
mod tests;
