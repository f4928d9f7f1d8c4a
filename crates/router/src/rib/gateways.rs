//! Where the hops of a route are: on which link, behind which gateway.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use nsrouter_wire::frame::PortId;

use crate::config::{Hop, Route, RouteKind, TablesError};
use crate::drop::DropReason;
use crate::nexthop::Way;
use crate::nexthop::group::{GroupHop, HopGroup};
use crate::port::{Port, Ports};

/// How many recursive routes may lead to each other before a gateway counts as unreachable.
pub(crate) const MAX_RECURSION: usize = 4;

/// The routes by which gateways are found that are not on a link of ours.
pub(crate) trait Lookup {
    /// What the routes to the address do, the longest prefix first, and of those by metric.
    fn kinds_to(&self, address: IpAddr) -> Vec<&RouteKind>;
}

/// What a route comes to with the ports and routes of the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// `None` when no hop can be used now.
    pub(crate) way: Option<Way>,
    /// A gateway that is on no link, whether up or down.
    pub(crate) unreachable: Option<IpAddr>,
    /// Whether other routes had to be asked.
    pub(crate) recursive: bool,
}

/// What a gateway's address turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On this link, under this address.
    Link(PortId, IpAddr),
    /// Only behind links that are down.
    Down,
    /// On no link.
    Nowhere,
}

/// Whether the route's hops are hops at all.
pub(crate) fn check(ports: &Ports, route: &Route) -> Result<(), TablesError> {
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

/// The gateways of a route whose ports have to be found.
pub(crate) fn gateways(kind: &RouteKind) -> impl Iterator<Item = IpAddr> {
    let hops = match kind {
        RouteKind::Unicast(hops) => hops.as_slice(),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => &[],
    };
    hops.iter().filter(|hop| hop.port.is_none()).filter_map(|hop| hop.via)
}

/// The ports that a route names.
pub(crate) fn ports(kind: &RouteKind) -> impl Iterator<Item = PortId> {
    let hops = match kind {
        RouteKind::Unicast(hops) => hops.as_slice(),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => &[],
    };
    hops.iter().filter_map(|hop| hop.port)
}

/// Where a route leads.
pub(crate) fn resolve(ports: &Ports, routes: &impl Lookup, kind: &RouteKind) -> Resolution {
    let rejects = |reason| Resolution { way: Some(Way::Reject(reason)), unreachable: None, recursive: false };
    let hops = match kind {
        RouteKind::Blackhole => return rejects(DropReason::Blackhole),
        RouteKind::Unreachable => return rejects(DropReason::Unreachable),
        RouteKind::Prohibit => return rejects(DropReason::Prohibited),
        RouteKind::Unicast(hops) => hops,
    };
    let mut resolution = Resolution { way: None, unreachable: None, recursive: false };
    let mut usable = Vec::with_capacity(hops.len());
    for Hop { port, via, weight } in hops.iter().copied() {
        match (port, via) {
            (Some(port), via) => {
                // A port that was removed may come back.
                let Some(port) = ports.get(port) else { continue };
                let is_up = via.map_or(port.up, |via| port.is_up_for(via));
                usable.extend(is_up.then_some(GroupHop { port: port.id, via, weight }));
            }
            (None, Some(via)) => {
                let direct = connected_to(ports, via);
                resolution.recursive |= direct.is_none();
                match direct.unwrap_or_else(|| recurse(ports, routes, via, MAX_RECURSION)) {
                    Place::Link(port, via) => usable.push(GroupHop { port, via: Some(via), weight }),
                    Place::Down => {}
                    Place::Nowhere => resolution.unreachable = Some(via),
                }
            }
            (None, None) => {}
        }
    }
    resolution.way = match usable.as_slice() {
        [] => None,
        [GroupHop { port, via: None, .. }] => Some(Way::OnLink(*port)),
        [GroupHop { port, via: Some(via), .. }] => Some(Way::Via(*port, *via)),
        _ => Some(Way::Group(Arc::new(HopGroup::new(usable)))),
    };
    resolution
}

/// The port in whose subnet a gateway is.
fn connected_to(ports: &Ports, via: IpAddr) -> Option<Place> {
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
        .map(|(up, _, id)| if up { Place::Link(id, via) } else { Place::Down })
}

/// The place of a gateway that other routes lead to.
fn recurse(ports: &Ports, routes: &impl Lookup, via: IpAddr, depth: usize) -> Place {
    let Some(depth) = depth.checked_sub(1) else { return Place::Nowhere };
    let mut answer = Place::Nowhere;
    for kind in routes.kinds_to(via) {
        let RouteKind::Unicast(hops) = kind else { return answer };
        for hop in hops {
            let found = match (hop.port, hop.via) {
                (Some(port), next) => match ports.get(port) {
                    Some(port) if port.is_up_for(next.unwrap_or(via)) => {
                        Place::Link(port.id, next.unwrap_or(via))
                    }
                    Some(_) | None => Place::Down,
                },
                (None, Some(next)) if next != via => {
                    connected_to(ports, next).unwrap_or_else(|| recurse(ports, routes, next, depth))
                }
                (None, _) => Place::Nowhere,
            };
            match found {
                Place::Link(..) => return found,
                Place::Down => answer = Place::Down,
                Place::Nowhere => {}
            }
        }
    }
    answer
}

#[cfg(test)]
mod tests;
