//! The configuration: ports, routes and settings, and the errors of a configuration that does not fit.

use std::net::IpAddr;

use ipnet::IpNet;
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

/// A link port, as the control plane declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Interface name, for messages.
    pub name: String,
    /// The port's own MAC address.
    pub mac: MacAddr,
    /// Largest IP packet in bytes, link-layer header excluded. Under 1280 the port is without IPv6, as a
    /// Linux interface (RFC 8200 section 5; `addrconf_notify`, net/ipv6/addrconf.c).
    pub mtu: u32,
    /// The port's addresses with their subnets. A link-local address is derived from `mac` when none is
    /// given.
    pub addresses: Vec<IpNet>,
    /// Whether the link is up. The routes of a port that is down are not used.
    pub up: bool,
}

/// A next hop of a route, as declared: an egress port, a gateway, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteNextHop {
    /// The port, or `None` to find it by looking up `via` (a recursive route).
    pub port: Option<PortId>,
    /// The gateway, or `None` when destinations are on the link.
    pub via: Option<IpAddr>,
    /// Share of the flows among several hops; 0 counts as 1.
    pub weight: u16,
}

/// The action of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Forwards packets by one or several next hops.
    Unicast(Vec<RouteNextHop>),
    /// Discards packets silently.
    Blackhole,
    /// Rejects packets: host unreachable.
    Unreachable,
    /// Rejects packets: communication administratively prohibited.
    Prohibit,
}

/// A route; of several with the same prefix the lowest metric whose port is up is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations.
    pub prefix: IpNet,
    /// The action.
    pub kind: RouteKind,
    /// Preference: lower is better.
    pub metric: u32,
    /// The route's MTU in bytes, where it is less than the link's (`ip route ... mtu`).
    pub mtu: Option<u32>,
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

/// The router advertisements of one port (RFC 4861 section 6.2.1).
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

/// The settings of a router. The defaults are Linux's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether there is a host port, which takes packets to the router that it does not answer itself.
    pub host_port: bool,
    /// Send redirects (`send_redirects`).
    pub redirects: bool,
    /// Time to earn one ICMP error towards a destination, in milliseconds (`icmp_ratelimit`); 0 switches
    /// limits off. Errors by route look-up cost another second each, as in Linux (`route/error_cost`,
    /// `route/error_burst`).
    pub icmp_interval_ms: u32,
    /// The same for `ICMPv6` (`net.ipv6.icmp.ratelimit`); Linux grants more to wide prefixes, and so do we.
    pub icmp6_interval_ms: u32,
    /// ICMP errors that a destination may get at once (`XRLIM_BURST_FACTOR`).
    pub icmp_burst: u32,
    /// ICMP errors of both families to all destinations, a second (`icmp_msgs_per_sec`); 0 switches this
    /// limit off. All workers share it.
    pub icmp_total_per_s: u32,
    /// ICMP errors to all destinations at once (`icmp_msgs_burst`).
    pub icmp_total_burst: u32,
    /// Fields that choose among several next hops.
    pub flow_hash: FlowHash,
    /// Deliver packets with the router alert option to the host (a listener is configured).
    pub router_alert: bool,
    /// Answer multicast listener queries, and report groups as they are joined and left.
    pub mld_reports: bool,
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
            icmp6_interval_ms: 100,
            icmp_burst: 6,
            icmp_total_per_s: 1000,
            icmp_total_burst: 50,
            flow_hash: FlowHash::L3,
            router_alert: false,
            mld_reports: true,
            directed_broadcast: false,
            advertise: Vec::new(),
        }
    }
}

/// A port or route that does not fit into the tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TablesError {
    /// Too many ports for a port number.
    #[error("{0} ports are more than the {max} that can be numbered", max = u16::MAX - 1)]
    TooManyPorts(usize),
    /// A port was added to a slot that has one.
    #[error("slot {} has a port already", .0.0)]
    SlotTaken(PortId),
    /// A port was changed in a slot that has none.
    #[error("slot {} has no port", .0.0)]
    SlotEmpty(PortId),
    /// An MTU that IP cannot work with.
    #[error("port {name}: an MTU of {mtu} is outside 68 (1280 with IPv6) to 65535; set another on the link")]
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
