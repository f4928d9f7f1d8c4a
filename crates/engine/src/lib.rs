//! The forwarding engine, running: kernel and userspace mode behind one face.
//!
//! | file | what |
//! |---|---|
//! | [`kernel`] | kernel mode: which switches it takes, and the kernel's counters |
//! | [`userspace`] | the hot loop, egress, held frames and what is originated |
//! | [`control`] | tables, neighbours, links, and the control socket |
//! | [`status`] | what a running engine tells of itself, one shape for both modes |
#![forbid(unsafe_code)]

pub mod control;
pub mod kernel;
pub mod status;
pub mod userspace;

pub use nsrouter_router::{Advertise, FlowHash, Hop, NeighConfig, Route, RouteKind, Settings};
pub use nsrouter_wire::eth::MacAddr;
pub use nsrouter_wire::frame::PortId;

use ipnet::IpNet;

/// A port of the router, as the lab made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Interface name in the router's namespace.
    pub name: String,
    /// Interface index there; 0 where the port is no interface there, as a TAP's: then it is up as long as it lives.
    pub ifindex: u32,
    /// Link-layer address.
    pub mac: MacAddr,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// The router's addresses on this link with their subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Whether the link is up.
    pub up: bool,
}

/// A forwarding engine in either mode.
#[derive(Debug)]
pub enum Engine {
    /// The kernel forwards.
    Kernel(kernel::Kernel),
    /// Our own router forwards.
    Userspace(Box<userspace::Userspace>),
}

impl Engine {
    /// What the engine tells of itself.
    ///
    /// # Errors
    /// When the kernel's counters can no longer be read.
    pub fn status(&self) -> Result<status::Status, kernel::KernelError> {
        match self {
            Engine::Kernel(kernel) => kernel.status(),
            Engine::Userspace(userspace) => Ok(userspace.status()),
        }
    }

    /// The routes of our own router; none in kernel mode, where they are the kernel's.
    pub fn routes(&self) -> Option<impl Future<Output = status::RouteList> + use<>> {
        match self {
            Engine::Kernel(_) => None,
            Engine::Userspace(userspace) => Some(userspace.routes()),
        }
    }

    /// Whether forwarding has ended by itself; the status says why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Engine::Kernel(_) => false,
            Engine::Userspace(userspace) => userspace.has_ended(),
        }
    }

    /// Stops forwarding and returns the last status.
    ///
    /// # Errors
    /// When the kernel's counters can no longer be read.
    pub fn stop(self) -> Result<status::Status, kernel::KernelError> {
        match self {
            Engine::Kernel(kernel) => kernel.status(),
            Engine::Userspace(userspace) => Ok(userspace.stop()),
        }
    }
}
