//! Link ports of the router: what a port is, and which one is meant.

use ipnet::IpNet;
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

/// A link port of the router, in either mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Interface name in the router's namespace.
    pub name: String,
    /// Interface index there; 0 where the port is no interface there, as a TAP's: then it is up as long as it
    /// lives.
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

/// Identifies a port of a userspace engine among all that it ever has: a slot is used again after its port
/// was removed, by a port of another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortHandle {
    /// The port's number while it is there: the index of its entry in tables and counters.
    pub slot: PortId,
    /// How many ports the slot had before.
    pub generation: u32,
}
