//! Resolution of gateways: on which link a route's next hops are.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use nsrouter_wire::frame::PortId;

use crate::config::{Route, RouteKind, RouteNextHop, TablesError};
use crate::drop::DropReason;
use crate::nexthop::Adjacency;
use crate::nexthop::group::{GroupMember, NextHopGroup};
use crate::port::{Port, Ports};
use crate::rib::declared::Declared;
use crate::rib::route_info::{Resolution, RouteInfos};

/// How many recursive routes may lead to each other before a gateway counts as unreachable.
pub(super) const MAX_RECURSION: usize = 4;

/// Where a gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GatewayLocation {
    /// On the link of this port; the address is the gateway's, or that of the next hop towards it.
    OnLink(PortId, IpAddr),
    /// Only behind links that are down, or ports that were removed.
    LinkDown,
    /// On no link, and no route leads there.
    Unresolved,
}

/// Checks that each next hop names a port that is there, or a gateway.
pub(super) fn check(ports: &Ports, route: &Route) -> Result<(), TablesError> {
    let prefix = route.prefix;
    let RouteKind::Unicast(hops) = &route.kind else { return Ok(()) };
    if hops.is_empty() {
        return Err(TablesError::NoHop { prefix });
    }
    for hop in hops {
        match (hop.port, hop.via) {
            (Some(port), _) if ports.get(port).is_none() => {
                return Err(TablesError::NoSuchPort { prefix, port });
            }
            (None, None) => return Err(TablesError::NoHop { prefix }),
            (Some(_), _) | (None, Some(_)) => {}
        }
    }
    Ok(())
}

/// The gateways of a route that name no port.
pub(super) fn gateways(kind: &RouteKind) -> impl Iterator<Item = IpAddr> {
    let hops = match kind {
        RouteKind::Unicast(hops) => hops.as_slice(),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => &[],
    };
    hops.iter().filter(|hop| hop.port.is_none()).filter_map(|hop| hop.via)
}

/// The ports that a route names.
pub(super) fn ports(kind: &RouteKind) -> impl Iterator<Item = PortId> {
    let hops = match kind {
        RouteKind::Unicast(hops) => hops.as_slice(),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => &[],
    };
    hops.iter().filter_map(|hop| hop.port)
}

/// What gateways are found by: the ports' subnets, and the declared routes where a gateway is in none of
/// these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver<'a> {
    pub(super) ports: &'a Ports,
    pub(super) declared: &'a Declared,
    pub(super) infos: &'a RouteInfos,
}

impl Resolver<'_> {
    /// What a route comes to now.
    pub(super) fn resolve(&self, kind: &RouteKind) -> Resolution {
        let rejects = |reason| Resolution {
            adjacency: Some(Adjacency::Reject(reason)),
            unresolved: None,
            recursive: false,
        };
        let hops = match kind {
            RouteKind::Blackhole => return rejects(DropReason::Blackhole),
            RouteKind::Unreachable => return rejects(DropReason::Unreachable),
            RouteKind::Prohibit => return rejects(DropReason::Prohibited),
            RouteKind::Unicast(hops) => hops,
        };
        let mut resolution = Resolution { adjacency: None, unresolved: None, recursive: false };
        let mut usable = Vec::with_capacity(hops.len());
        for RouteNextHop { port, via, weight } in hops.iter().copied() {
            match (port, via) {
                (Some(port), via) => {
                    // A port that was removed may come back.
                    let Some(port) = self.ports.get(port) else { continue };
                    let is_up = via.map_or(port.up, |via| port.is_up_for(via));
                    usable.extend(is_up.then_some(GroupMember { port: port.id, via, weight }));
                }
                (None, Some(via)) => {
                    let direct = connected_to(self.ports, via);
                    resolution.recursive |= direct.is_none();
                    match direct.unwrap_or_else(|| self.recurse(via, MAX_RECURSION)) {
                        GatewayLocation::OnLink(port, via) => {
                            usable.push(GroupMember { port, via: Some(via), weight })
                        }
                        GatewayLocation::LinkDown => {}
                        GatewayLocation::Unresolved => resolution.unresolved = Some(via),
                    }
                }
                (None, None) => {}
            }
        }
        resolution.adjacency = match usable.as_slice() {
            [] => None,
            [GroupMember { port, via: None, .. }] => Some(Adjacency::OnLink(*port)),
            [GroupMember { port, via: Some(via), .. }] => Some(Adjacency::Via(*port, *via)),
            _ => Some(Adjacency::Group(Arc::new(NextHopGroup::new(usable)))),
        };
        resolution
    }

    /// Where a gateway is that other routes lead to: by the longest prefix first, and of those by metric.
    fn recurse(&self, via: IpAddr, depth: usize) -> GatewayLocation {
        let Some(depth) = depth.checked_sub(1) else { return GatewayLocation::Unresolved };
        let mut answer = GatewayLocation::Unresolved;
        for entry in self.declared.covering(via) {
            let Some(info) = self.infos.get(entry.info) else { continue };
            let RouteKind::Unicast(hops) = &info.kind else { return answer };
            for hop in hops {
                let found = match (hop.port, hop.via) {
                    (Some(port), next) => match self.ports.get(port) {
                        Some(port) if port.is_up_for(next.unwrap_or(via)) => {
                            GatewayLocation::OnLink(port.id, next.unwrap_or(via))
                        }
                        Some(_) | None => GatewayLocation::LinkDown,
                    },
                    (None, Some(next)) if next != via => {
                        connected_to(self.ports, next).unwrap_or_else(|| self.recurse(next, depth))
                    }
                    (None, _) => GatewayLocation::Unresolved,
                };
                match found {
                    GatewayLocation::OnLink(..) => return found,
                    GatewayLocation::LinkDown => answer = GatewayLocation::LinkDown,
                    GatewayLocation::Unresolved => {}
                }
            }
        }
        answer
    }
}

/// The port in whose subnet a gateway is.
fn connected_to(ports: &Ports, via: IpAddr) -> Option<GatewayLocation> {
    let covers = |port: &Port| match via {
        IpAddr::V4(via) => port.v4.iter().filter(|net| net.contains(&via)).map(Ipv4Net::prefix_len).max(),
        IpAddr::V6(via) => {
            let subnets = port.v6.iter().chain(&port.v6_off);
            subnets.filter(|net| net.contains(&via)).map(Ipv6Net::prefix_len).max()
        }
    };
    let on_link = ports.iter().filter_map(|port| Some((port.is_up_for(via), covers(port)?, port.id)));
    // A link that is up before any that is down, then the narrowest subnet.
    on_link
        .max_by_key(|(up, length, _)| (*up, *length))
        .map(|(up, _, id)| if up { GatewayLocation::OnLink(id, via) } else { GatewayLocation::LinkDown })
}

#[cfg(test)]
#[path = "gateways_tests.rs"]
mod tests;
