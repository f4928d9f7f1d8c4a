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
    for port in ports.iter().filter(|port| port.up) {
        adjacencies.extend(port.broadcasts4().map(|address| (host4(address), Adjacency::Broadcast)));
    }
    for port in ports.iter() {
        adjacencies.extend(port.v4.iter().map(|net| (host4(net.addr()), Adjacency::Local)));
        adjacencies.extend(port.anycast6().map(|address| (host6(address), Adjacency::Local)));
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
