//! The read-only view that workers use: ports, routes, neighbours and settings, published as one snapshot.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

use crate::neigh::NeighbourMap;

/// A link port, as the control plane declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Interface name, for messages.
    pub name: String,
    /// The port's own MAC address.
    pub mac: MacAddr,
    /// Largest IP packet in bytes, link-layer header excluded.
    pub mtu: u32,
    /// The port's addresses with their subnets. A link-local address is derived from `mac` when none is given.
    pub addresses: Vec<IpNet>,
    /// Whether the link is up. The routes of a port that is down are not used.
    pub up: bool,
}

/// A way on: out by a port, directly or through a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The port, or `None` to find it by looking up `via` (a recursive route).
    pub port: Option<PortId>,
    /// The gateway, or `None` when destinations are on the link.
    pub via: Option<IpAddr>,
    /// Share of the flows among several hops; 0 counts as 1.
    pub weight: u16,
}

/// What a route does with its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends them on by one or several hops.
    Unicast(Vec<Hop>),
    /// Discards them in silence.
    Blackhole,
    /// Answers host unreachable.
    Unreachable,
    /// Answers communication prohibited.
    Prohibit,
}

/// A route; of several with the same prefix the lowest metric whose port is up is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations.
    pub prefix: IpNet,
    /// What to do.
    pub kind: RouteKind,
    /// Preference: lower is better.
    pub metric: u32,
}

/// Which fields choose among several next hops (Linux `fib_multipath_hash_policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FlowHash {
    /// Addresses (and for IPv6 the flow label): Linux's default, policy 0.
    #[default]
    L3,
    /// Addresses, protocol and ports: policy 1.
    L3L4,
}

/// What router advertisements say on one port (RFC 4861 section 6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// The port.
    pub port: PortId,
    /// Time between unsolicited advertisements, at most, in milliseconds.
    pub interval_ms: u32,
    /// Router lifetime in seconds; 0 means not a default router.
    pub lifetime_s: u16,
    /// Lifetime of the advertised on-link prefixes, in seconds.
    pub prefix_lifetime_s: u32,
}

/// What can be set. The defaults are Linux's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether a host port takes packets for our addresses that the router does not answer itself.
    pub host_port: bool,
    /// Send redirects (`send_redirects`).
    pub redirects: bool,
    /// Time to earn one ICMP error towards a destination, in milliseconds (`icmp_ratelimit`); 0 switches limits off.
    pub icmp_interval_ms: u32,
    /// ICMP errors that a destination may get at once (`XRLIM_BURST_FACTOR`).
    pub icmp_burst: u32,
    /// Fields that choose among several next hops.
    pub flow_hash: FlowHash,
    /// Deliver packets with the router alert option to the host (a listener is configured).
    pub router_alert: bool,
    /// Forward packets to the broadcast address of a subnet (`bc_forwarding`).
    pub directed_broadcast: bool,
    /// Router advertisements, by port; none by default.
    pub advertise: Vec<Advertise>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            host_port: false,
            redirects: true,
            icmp_interval_ms: 1000,
            icmp_burst: 6,
            flow_hash: FlowHash::L3,
            router_alert: false,
            directed_broadcast: false,
            advertise: Vec::new(),
        }
    }
}

/// The declared ports and routes make no tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TablesError {
    /// Too many ports for a port number.
    #[error("{0} ports are more than the {max} that can be numbered", max = u16::MAX - 1)]
    TooManyPorts(usize),
    /// An MTU that IP cannot work with.
    #[error("port {name}: an MTU of {mtu} is outside 68 (1280 with IPv6) to 65535")]
    Mtu {
        /// The port.
        name: String,
        /// What it was given.
        mtu: u32,
    },
    /// A route names a port that is not there.
    #[error("the route to {prefix} goes by port {port}, but there is no such port", port = port.0)]
    NoSuchPort {
        /// The route's destinations.
        prefix: IpNet,
        /// The port that it names.
        port: PortId,
    },
    /// A gateway that is on no link.
    #[error(
        "the route to {prefix} goes via {via}, which is on no link; add its subnet to a port, or name the port"
    )]
    GatewayUnreachable {
        /// The route's destinations.
        prefix: IpNet,
        /// Its gateway.
        via: IpAddr,
    },
    /// A unicast route with no hop, or with neither port nor gateway.
    #[error("the route to {prefix} leads nowhere: give it a port or a gateway")]
    NoHop {
        /// The route's destinations.
        prefix: IpNet,
    },
    /// More routes than the table can hold.
    #[error("the route to {prefix} does not fit: the forwarding table is full")]
    Full {
        /// The route's destinations.
        prefix: IpNet,
    },
}

/// One port, ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) config: PortConfig,
    pub(crate) link_local: Ipv6Addr,
}

/// The snapshot. Cloning is cheap: everything behind it is shared.
#[derive(Clone, Debug)]
pub struct Tables {
    ports: Arc<[Port]>,
    neighbours: Arc<NeighbourMap>,
    pub(crate) settings: Arc<Settings>,
}

impl Tables {
    /// Builds tables. Routes to the ports' own subnets and addresses are added by themselves.
    ///
    /// # Errors
    /// [`TablesError`] names the port or route that does not fit.
    pub fn new(ports: &[PortConfig], routes: &[Route], settings: Settings) -> Result<Tables, TablesError> {
        let _ = routes;
        let ports = ports
            .iter()
            .map(|config| Port { config: config.clone(), link_local: link_local(config.mac) })
            .collect();
        Ok(Tables { ports, neighbours: Arc::default(), settings: Arc::new(settings) })
    }

    /// The same tables with other neighbours.
    #[must_use]
    pub fn with_neighbours(&self, neighbours: Arc<NeighbourMap>) -> Tables {
        Tables { neighbours, ..self.clone() }
    }

    /// The neighbours of this snapshot.
    pub fn neighbour_map(&self) -> Arc<NeighbourMap> {
        Arc::clone(&self.neighbours)
    }

    /// Number of link ports.
    pub fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// Whether the port is there and its link is up.
    pub fn port_is_up(&self, port: PortId) -> bool {
        self.ports.get(port.index()).is_some_and(|port| port.config.up)
    }

    /// The port's MTU in bytes, 0 for a port that is not there.
    pub fn port_mtu(&self, port: PortId) -> u32 {
        self.ports.get(port.index()).map_or(0, |port| port.config.mtu)
    }

    /// The port's link-local address, `None` for a port that is not there.
    pub fn port_link_local(&self, port: PortId) -> Option<Ipv6Addr> {
        self.ports.get(port.index()).map(|port| port.link_local)
    }
}

/// The link-local address of a station with this MAC address: fe80::/64 and the modified EUI-64 (RFC 4291 appendix A).
pub const fn link_local(mac: MacAddr) -> Ipv6Addr {
    let m = mac.0;
    Ipv6Addr::from_octets([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        m[0] ^ 0x02,
        m[1],
        m[2],
        0xff,
        0xfe,
        m[3],
        m[4],
        m[5],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_flips_the_universal_bit() {
        assert_eq!(link_local(MacAddr([2, 1, 2, 3, 4, 1])).to_string(), "fe80::1:2ff:fe03:401");
    }
}
