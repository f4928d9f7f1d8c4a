//! Which of our addresses a packet of our own carries, as Linux chooses it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use nsrouter_wire::frame::PortId;

use crate::tables::Tables;
use crate::verdict::NextHop;

/// The source for a packet that leaves by `port` towards `next_hop` (the gateway, or the destination): the
/// address of the port whose subnet holds the next hop, else its first, else any other port's (Linux
/// `inet_select_addr`).
pub(crate) fn v4(tables: &Tables, port: PortId, next_hop: Ipv4Addr) -> Option<Ipv4Addr> {
    let own = tables.port(port)?;
    let fits = own.v4.iter().find(|net| net.contains(&next_hop));
    let any = || tables.ports().flat_map(|port| &port.v4).next();
    fits.or_else(|| own.v4.first()).or_else(any).map(Ipv4Net::addr)
}

/// The same for a next hop of either family: by an IPv6 one (RFC 8950) it is the port's first address.
pub(crate) fn v4_towards(tables: &Tables, next_hop: NextHop) -> Option<Ipv4Addr> {
    match next_hop.addr {
        IpAddr::V4(addr) => v4(tables, next_hop.port, addr),
        IpAddr::V6(_) => v4(tables, next_hop.port, Ipv4Addr::UNSPECIFIED),
    }
}

/// The source for a packet that leaves by `port` to `destination`: right scope first, then an address of that
/// port, then the longest common prefix (RFC 6724 section 5, rules 2, 5 and 8).
pub(crate) fn v6(tables: &Tables, port: PortId, destination: Ipv6Addr) -> Option<Ipv6Addr> {
    let own = tables.port(port)?;
    if destination.is_unicast_link_local() || destination.is_multicast() {
        return Some(own.link_local);
    }
    let common = |net: &&Ipv6Net| (u128::from(net.addr()) ^ u128::from(destination)).leading_zeros();
    // Of equals the first declared one is taken, so later ones do not replace it.
    let best = |nets: &mut dyn Iterator<Item = &Ipv6Net>| {
        nets.fold(None::<(u32, Ipv6Addr)>, |best, net| match (best, common(&net)) {
            (Some((length, address)), mine) if length >= mine => Some((length, address)),
            (_, mine) => Some((mine, net.addr())),
        })
    };
    best(&mut own.v6.iter())
        .or_else(|| best(&mut tables.ports().flat_map(|port| &port.v6)))
        .map(|(_, address)| address)
        .or(Some(own.link_local))
}
