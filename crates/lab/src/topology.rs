//! The declared shape of a lab: nodes, links, addresses and routes, as data.
//!
//! The default lab is the two hosts and one router of the seed; a TOML file can say anything else that
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

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nsrouter_wire::eth::{MacAddr, ParseMacError};
use serde::{Deserialize, Serialize};

/// The TUN device through which a userspace router's own programs talk to the lab.
pub const HOST_PORT: &str = "nsr-host";

/// A link's MTU where the topology does not say one, in bytes (RFC 894).
pub const DEFAULT_MTU_BYTES: u32 = 1500;

/// The longest value that is quoted from a topology file, in bytes.
const QUOTED_BYTES: usize = 60;

/// A whole lab: what exists and how it is joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The hosts and routers, each to be a network namespace.
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
    /// What `nsrouter exec NODE` calls it; also its namespace's name in the lab `default`.
    pub name: String,
    /// Whether it forwards.
    pub role: Role,
    /// Static routes, beside those that the addresses bring.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// What a node is in the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends and receives for itself.
    Host,
    /// Forwards between its links.
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

/// How a route is written: `to` may be the word `default`, of the family of `via`.
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

/// The default route's prefix of `addr`'s family.
fn default_of(addr: IpAddr) -> IpNet {
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
    /// The node in which it is.
    pub node: String,
    /// The interface's name there, at most 15 bytes.
    pub ifname: String,
    /// Its MAC address; the kernel chooses one when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its addresses, with the length of the subnet's prefix.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
}

/// An Ethernet address, in the order of transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.parse().map(|MacAddr(mac)| Self(mac));
        parsed.map_err(|error: ParseMacError| format!("`{text}` is {error}"))
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// Why a topology cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

macro_rules! invalid {
    ($($sentence:tt)*) => { return Err(Invalid(format!($($sentence)*))) };
}

impl Topology {
    /// The seed's lab: `t1` and `t2`, each on a link of its own to `router`.
    pub fn default_lab() -> Self {
        let host = |n: u8| Node {
            name: format!("t{n}"),
            role: Role::Host,
            routes: [v4(n, 2), v6(n, 2)]
                .map(|net| Route { to: default_of(net.addr()), via: net.addr() })
                .to_vec(),
        };
        let link = |n: u8| Link {
            a: Endpoint {
                node: format!("t{n}"),
                ifname: format!("t{n}-eth0"),
                mac: None,
                addresses: vec![v4(n, 1), v6(n, 1)],
            },
            b: Endpoint {
                node: "router".to_owned(),
                ifname: format!("eth-t{n}"),
                mac: Some(Mac([0x02, 0x01, 0x02, 0x03, 0x04, n])),
                addresses: vec![v4(n, 2), v6(n, 2)],
            },
            mtu: DEFAULT_MTU_BYTES,
        };
        let router = Node { name: "router".to_owned(), role: Role::Router, routes: Vec::new() };
        Self { nodes: vec![host(1), host(2), router], links: vec![link(1), link(2)] }
    }

    /// Reads and validates the text of a topology file.
    ///
    /// # Errors
    /// A sentence that names the line or the thing at fault.
    pub fn from_toml(text: &str) -> Result<Self, Invalid> {
        let topology: Self = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let line = text.get(..span.start).unwrap_or_default().matches('\n').count() + 1;
            let message = error.message().replace('\n', " ");
            // The parser says what is wrong, not always with what: a value of one line is quoted.
            let value = text.get(span).unwrap_or_default().trim();
            let is_telling = (1..=QUOTED_BYTES).contains(&value.len()) && !value.contains('\n');
            if is_telling && !message.contains(value.trim_matches('"')) {
                Invalid(format!("line {line}: {value}: {message}"))
            } else {
                Invalid(format!("line {line}: {message}"))
            }
        })?;
        topology.validate()?;
        Ok(topology)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The link ends in a node, in the order of the links.
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

    /// Whether the kernel would take it, and whether it makes sense as a lab.
    ///
    /// # Errors
    /// A sentence that names the first thing at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut names = HashSet::new();
        for node in &self.nodes {
            if !is_name(&node.name, 64) {
                invalid!("node name `{}`: use 1 to 64 letters, digits, `.`, `_` or `-`", node.name);
            }
            if !names.insert(&node.name) {
                invalid!("two nodes are called `{}`", node.name);
            }
        }
        if self.routers().next().is_none() {
            invalid!("no node has role = \"router\"");
        }
        let mut interfaces = HashSet::new();
        let mut addresses = HashMap::new();
        let mut macs = HashSet::new();
        for link in &self.links {
            if link.a.node == link.b.node {
                invalid!("a link joins `{}` to itself", link.a.node);
            }
            if !(68..=65_535).contains(&link.mtu) {
                invalid!("link {}: MTU {} is not within 68 to 65535 bytes", link.a.ifname, link.mtu);
            }
            for end in [&link.a, &link.b] {
                self.check_end(end, link)?;
                if !interfaces.insert((&end.node, &end.ifname)) {
                    invalid!("node `{}` has two interfaces called `{}`", end.node, end.ifname);
                }
                if let Some(mac) = end.mac
                    && !macs.insert(mac)
                {
                    invalid!("two interfaces have the MAC address {mac}");
                }
                for net in &end.addresses {
                    if let Some(other) = addresses.insert(net.addr(), &end.ifname) {
                        invalid!("address {} is on both `{other}` and `{}`", net.addr(), end.ifname);
                    }
                }
            }
            check_subnets(link)?;
        }
        for node in &self.nodes {
            if self.endpoints(&node.name).next().is_none() {
                invalid!("node `{}` has no link", node.name);
            }
            self.check_routes(node)?;
        }
        Ok(())
    }

    fn check_end(&self, end: &Endpoint, link: &Link) -> Result<(), Invalid> {
        let ifname = &end.ifname;
        if self.node(&end.node).is_none() {
            invalid!("interface `{ifname}` is in node `{}`, which is not declared", end.node);
        }
        // IFNAMSIZ is 16 with the closing zero; dev_valid_name() in net/core/dev.c.
        if !is_name(ifname, 15) {
            invalid!("interface name `{ifname}`: use 1 to 15 letters, digits, `.`, `_` or `-`");
        }
        if [HOST_PORT, "lo", "all", "default"].contains(&ifname.as_str()) {
            invalid!("interface name `{ifname}` is taken, choose another");
        }
        if let Some(mac) = end.mac
            && (mac.0[0] & 1 == 1 || mac.0 == [0; 6])
        {
            invalid!("`{ifname}`: {mac} is not a unicast MAC address");
        }
        for net in &end.addresses {
            if !is_host_address(*net) {
                invalid!("`{ifname}`: {net} is not an address that an interface can have");
            }
            // RFC 8200 section 5; the kernel removes IPv6 from a link with a smaller MTU.
            if net.addr().is_ipv6() && link.mtu < 1280 {
                invalid!("`{ifname}`: IPv6 needs an MTU of at least 1280 bytes, this link has {}", link.mtu);
            }
        }
        Ok(())
    }

    fn check_routes(&self, node: &Node) -> Result<(), Invalid> {
        let mut seen = BTreeSet::new();
        for Route { to, via } in &node.routes {
            let name = &node.name;
            if to.addr().is_ipv4() != via.is_ipv4() {
                invalid!("node `{name}`: the route to {to} has a next hop of the other family, {via}");
            }
            if *to != to.trunc() {
                invalid!("node `{name}`: the route to {to} has host bits set, say {}", to.trunc());
            }
            if self.out_of(name, *via).is_none() {
                invalid!("node `{name}`: the next hop {via} is on no subnet of its links");
            }
            if !seen.insert(*to) {
                invalid!("node `{name}` has two routes to {to}");
            }
        }
        Ok(())
    }

    /// The interface of `node` on whose subnet `via` is, longest prefix first.
    pub(crate) fn out_of<'a>(&'a self, node: &'a str, via: IpAddr) -> Option<&'a Endpoint> {
        self.endpoints(node)
            .flat_map(|(end, _)| end.addresses.iter().map(move |net| (net, end)))
            .filter(|(net, _)| net.contains(&via) && net.addr() != via)
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(_, end)| end)
    }
}

/// Both ends of a link have a subnet in common for each family that both have.
fn check_subnets(link: &Link) -> Result<(), Invalid> {
    for v4 in [true, false] {
        let nets = |end: &Endpoint| -> Vec<IpNet> {
            end.addresses.iter().filter(|net| net.addr().is_ipv4() == v4).map(IpNet::trunc).collect()
        };
        let (a, b) = (nets(&link.a), nets(&link.b));
        if !a.is_empty() && !b.is_empty() && !a.iter().any(|net| b.contains(net)) {
            let (family, a, b) = (if v4 { "IPv4" } else { "IPv6" }, &link.a.ifname, &link.b.ifname);
            invalid!("`{a}` and `{b}` are two ends of one link but have no {family} subnet in common");
        }
    }
    Ok(())
}

fn is_host_address(net: IpNet) -> bool {
    let addr = net.addr();
    let within = match net {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            net.addr() != net.network() && net.addr() != net.broadcast()
        }
        IpNet::V4(_) | IpNet::V6(_) => true,
    };
    within
        && net.prefix_len() > 0
        && !addr.is_unspecified()
        && !addr.is_multicast()
        && !addr.is_loopback()
        && addr != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// A name that is safe as a file's, a namespace's and an interface's, and that no shell splits.
pub(crate) fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.starts_with(['.', '-'])
}

/// The default lab's 10.10.25n.host/24.
fn v4(n: u8, host: u8) -> IpNet {
    IpNet::new_assert(Ipv4Addr::new(10, 10, 250 + n, host).into(), 24)
}

/// The default lab's fd00:25n::host/64.
fn v6(n: u8, host: u8) -> IpNet {
    let addr = Ipv6Addr::new(0xfd00, 0x250 + u16::from(n), 0, 0, 0, 0, 0, u16::from(host));
    IpNet::new_assert(addr.into(), 64)
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
