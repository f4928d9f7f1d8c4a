//! Connected routes: what follows from the ports' own addresses.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::nexthop::Adjacency;
use crate::port::Ports;

/// The subnets of ports that are up, their broadcast addresses, and the addresses of all ports; of two that
/// say something about the same prefix the one named later.
pub(super) fn adjacencies(ports: &Ports) -> HashMap<IpNet, Adjacency> {
    let mut adjacencies = HashMap::new();
    for port in ports.iter().filter(|port| port.up) {
        adjacencies.extend(port.v4.iter().map(|net| (IpNet::V4(net.trunc()), Adjacency::OnLink(port.id))));
        adjacencies.extend(port.v6.iter().map(|net| (IpNet::V6(net.trunc()), Adjacency::OnLink(port.id))));
    }
    // A /31 link and a /32 address have no broadcast address (RFC 3021).
    let broadcast = ports.iter().filter(|port| port.up).flat_map(|port| &port.v4);
    let broadcast = broadcast.filter(|net| net.prefix_len() < 31).map(|net| host4(net.broadcast()));
    adjacencies.extend(broadcast.map(|address| (address, Adjacency::Broadcast)));
    for port in ports.iter() {
        adjacencies.extend(port.v4.iter().map(|net| (host4(net.addr()), Adjacency::Local)));
        // The subnet-router anycast address (RFC 4291 section 2.6.1) is ours too.
        let anycast = port.v6.iter().filter(|net| net.prefix_len() < 127).map(|net| host6(net.network()));
        adjacencies.extend(anycast.map(|address| (address, Adjacency::Local)));
        adjacencies.extend(port.v6.iter().map(|net| (host6(net.addr()), Adjacency::Local)));
    }
    adjacencies
}

fn host4(address: Ipv4Addr) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(address, 32))
}

fn host6(address: Ipv6Addr) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, 128))
}
