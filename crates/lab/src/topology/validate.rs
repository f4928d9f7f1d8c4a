//! Whether a topology can be built: the rules of the kernel, and those of a lab.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::model::{Endpoint, HOST_PORT, Link, Node, Route, Topology};

/// Why a topology cannot be built: a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTopology(pub(super) String);

macro_rules! invalid {
    ($($sentence:tt)*) => { return Err(InvalidTopology(format!($($sentence)*))) };
}

impl Topology {
    /// Checks that the kernel would accept it, and that it makes a working lab.
    ///
    /// # Errors
    /// A sentence that names the first item that is not valid.
    pub fn validate(&self) -> Result<(), InvalidTopology> {
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
        self.check_links()?;
        for node in &self.nodes {
            if self.endpoints(&node.name).next().is_none() {
                invalid!("node `{}` has no link", node.name);
            }
            self.check_routes(node)?;
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), InvalidTopology> {
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
        Ok(())
    }

    fn check_end(&self, end: &Endpoint, link: &Link) -> Result<(), InvalidTopology> {
        let ifname = &end.ifname;
        if self.node(&end.node).is_none() {
            invalid!("interface `{ifname}` is in node `{}`, which is not declared", end.node);
        }
        // IFNAMSIZ is 16 with the terminating zero; dev_valid_name() in net/core/dev.c.
        if !is_name(ifname, 15) {
            invalid!("interface name `{ifname}`: use 1 to 15 letters, digits, `.`, `_` or `-`");
        }
        if [HOST_PORT, "lo", "all", "default"].contains(&ifname.as_str()) {
            invalid!("interface name `{ifname}` is reserved, choose another");
        }
        if let Some(mac) = end.mac
            && !mac.is_unicast()
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

    fn check_routes(&self, node: &Node) -> Result<(), InvalidTopology> {
        let mut destinations = BTreeSet::new();
        for Route { to, via } in &node.routes {
            let name = &node.name;
            if to.addr().is_ipv4() != via.is_ipv4() {
                invalid!(
                    "node `{name}`: the route to {to} has a next hop of the other address family, {via}"
                );
            }
            if *to != to.trunc() {
                invalid!("node `{name}`: the route to {to} has host bits set, write {}", to.trunc());
            }
            if self.interface_to(name, *via).is_none() {
                invalid!("node `{name}`: the next hop {via} is on no subnet of its links");
            }
            if !destinations.insert(*to) {
                invalid!("node `{name}` has two routes to {to}");
            }
        }
        Ok(())
    }
}

/// Both ends of a link share a subnet in each address family that both have.
fn check_subnets(link: &Link) -> Result<(), InvalidTopology> {
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

/// Whether a name is safe for a file, a namespace and an interface, and needs no quoting in a shell.
pub(crate) fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.starts_with(['.', '-'])
}
