//! The types of a topology, in the shape in which they are written down.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nsrouter_wire::eth::MacAddr;
use serde::{Deserialize, Serialize};

use super::mac_text;

/// The TUN device through which local programs on a userspace router use the lab.
pub const HOST_PORT: &str = "nsr-host";

/// The MTU of a link for which the topology declares none, in bytes (RFC 894).
pub const DEFAULT_MTU_BYTES: u32 = 1500;

/// A whole lab: its nodes and the links between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The hosts and routers, each in a network namespace of its own.
    #[serde(rename = "node")]
    pub nodes: Vec<Node>,
    /// The veth pairs between them.
    #[serde(rename = "link")]
    pub links: Vec<Link>,
}

/// A host or a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The name that `nsrouter exec NODE` takes; in the lab `default` also the name of its namespace.
    pub name: String,
    /// Whether it forwards.
    pub role: Role,
    /// Static routes, in addition to the connected routes of its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// The role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends and receives packets of its own.
    Host,
    /// Forwards packets between its links.
    Router,
}

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RouteText", into = "RouteText")]
pub struct Route {
    /// The destination; length 0 for a default route.
    pub to: IpNet,
    /// The next hop, on a subnet of one of the node's links.
    pub via: IpAddr,
}

/// A route as text: `to` may be the word `default`, of the address family of `via`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteText {
    to: String,
    via: IpAddr,
}

impl TryFrom<RouteText> for Route {
    type Error = String;

    fn try_from(text: RouteText) -> Result<Self, String> {
        let to = if text.to == "default" {
            default_of(text.via)
        } else {
            text.to.parse().map_err(|_| {
                format!("route destination `{}` is neither `default` nor a prefix like 10.0.0.0/8", text.to)
            })?
        };
        Ok(Self { to, via: text.via })
    }
}

impl From<Route> for RouteText {
    fn from(route: Route) -> Self {
        let to = if route.to.prefix_len() == 0 { "default".to_owned() } else { route.to.to_string() };
        Self { to, via: route.via }
    }
}

/// The prefix of the default route in the address family of `addr`.
pub(super) fn default_of(addr: IpAddr) -> IpNet {
    match addr {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
    }
}

/// A veth pair between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One end.
    pub a: Endpoint,
    /// The other end.
    pub b: Endpoint,
    /// MTU of both ends, bytes.
    #[serde(default = "default_mtu_bytes")]
    pub mtu: u32,
}

fn default_mtu_bytes() -> u32 {
    DEFAULT_MTU_BYTES
}

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The node that it belongs to.
    pub node: String,
    /// The name of the interface there, at most 15 bytes.
    pub ifname: String,
    /// Its MAC address; the kernel chooses one if none is declared.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "mac_text::option")]
    pub mac: Option<MacAddr>,
    /// Its addresses, each with the prefix length of its subnet.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
}

impl Topology {
    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The link ends of a node, in the order of the links.
    pub fn endpoints<'a>(&'a self, node: &'a str) -> impl Iterator<Item = (&'a Endpoint, &'a Link)> + 'a {
        self.links
            .iter()
            .flat_map(|link| [(&link.a, link), (&link.b, link)])
            .filter(move |(end, _)| end.node == node)
    }

    /// The routers, in the order of the topology.
    pub fn routers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Router)
    }

    /// The interface by which `node` reaches the next hop `via`: of those with `via` on their subnet, the one
    /// with the longest prefix.
    pub(crate) fn interface_to<'a>(&'a self, node: &'a str, via: IpAddr) -> Option<&'a Endpoint> {
        self.endpoints(node)
            .flat_map(|(end, _)| end.addresses.iter().map(move |net| (net, end)))
            .filter(|(net, _)| net.contains(&via) && net.addr() != via)
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(_, end)| end)
    }
}
