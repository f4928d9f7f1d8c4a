//! A link port of the router, as the lab made it.

use ipnet::IpNet;
use nsrouter_wire::eth::MacAddr;

/// A link port of the router, in either mode.
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
