//! From declared ports and routes to the forwarding table: connected subnets, own addresses, gateways resolved.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nsrouter_wire::frame::PortId;

use crate::config::{Hop, Route, RouteKind, TablesError};
use crate::drop::DropReason;
use crate::fib::{Fib, Rib};
use crate::multipath::{GroupHop, HopGroup};
use crate::tables::{Port, Target, Way};

/// How many recursive routes may lead to each other before a gateway counts as unreachable.
const MAX_RECURSION: usize = 4;

pub(crate) struct Built {
    pub(crate) fib: Arc<Fib>,
    pub(crate) targets: Vec<Target>,
}

/// Builds the table: declared routes first, then connected subnets, then own addresses, which nothing overrides.
pub(crate) fn build(ports: &[Port], routes: &[Route]) -> Result<Built, TablesError> {
    let mut builder = Builder { ports, routes, ..Builder::default() };
    for (prefix, way) in best_ways(&mut builder)? {
        builder.insert(prefix, way)?;
    }
    builder.connected()?;
    Ok(Built { fib: builder.rib.fib(), targets: builder.targets })
}

/// Of the routes to each prefix that can be used now, the one with the lowest metric; of equals the first.
fn best_ways(builder: &mut Builder<'_>) -> Result<HashMap<IpNet, Way>, TablesError> {
    let mut best: HashMap<IpNet, (u32, Way)> = HashMap::new();
    for route in builder.routes {
        let prefix = route.prefix.trunc();
        let Some(way) = builder.way(route)? else { continue };
        match best.get(&prefix) {
            Some((metric, _)) if *metric <= route.metric => {}
            Some(_) | None => {
                best.insert(prefix, (route.metric, way));
            }
        }
    }
    Ok(best.into_iter().map(|(prefix, (_, way))| (prefix, way)).collect())
}

#[derive(Default)]
struct Builder<'a> {
    ports: &'a [Port],
    routes: &'a [Route],
    rib: Rib,
    targets: Vec<Target>,
    known: HashMap<Target, u32>,
    /// The answers of [`Builder::resolve`] for gateways without a port.
    gateways: HashMap<IpAddr, Resolved>,
}

/// What a gateway's address turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolved {
    /// On this link, under this address.
    Link(PortId, IpAddr),
    /// Only behind links that are down.
    Down,
    /// On no link.
    Nowhere,
}

impl Builder<'_> {
    fn insert(&mut self, prefix: IpNet, way: Way) -> Result<(), TablesError> {
        let prefix_len = if prefix.addr().is_ipv6() { prefix.prefix_len() } else { 0 };
        let target = Target { way, prefix_len };
        let full = |_| TablesError::Full { prefix };
        let value = match self.known.get(&target) {
            Some(value) => *value,
            None => {
                let value = u32::try_from(self.targets.len()).map_err(|_| TablesError::Full { prefix })?;
                self.targets.push(target.clone());
                self.known.insert(target, value);
                value
            }
        };
        self.rib.insert(prefix, value).map_err(full)
    }

    /// The subnets of ports that are up, their broadcast addresses, and the addresses of all ports.
    fn connected(&mut self) -> Result<(), TablesError> {
        let ports = self.ports;
        for port in ports.iter().filter(|port| port.up) {
            for net in &port.v4 {
                self.insert(IpNet::V4(net.trunc()), Way::OnLink(port.id))?;
            }
            for net in &port.v6 {
                self.insert(IpNet::V6(net.trunc()), Way::OnLink(port.id))?;
            }
        }
        for net in ports.iter().filter(|port| port.up).flat_map(|port| &port.v4) {
            // A /31 link and a /32 address have no broadcast address (RFC 3021).
            if net.prefix_len() < 31 {
                self.insert(IpNet::V4(host4(net.broadcast())), Way::Broadcast)?;
            }
        }
        for port in ports {
            for net in &port.v4 {
                self.insert(IpNet::V4(host4(net.addr())), Way::Local)?;
            }
            for net in &port.v6 {
                // The subnet-router anycast address (RFC 4291 section 2.6.1) is ours too.
                if net.prefix_len() < 127 {
                    self.insert(IpNet::V6(host6(net.network())), Way::Local)?;
                }
                self.insert(IpNet::V6(host6(net.addr())), Way::Local)?;
            }
        }
        Ok(())
    }

    /// Where the route leads, or `None` when all of its hops are behind links that are down.
    fn way(&mut self, route: &Route) -> Result<Option<Way>, TablesError> {
        let hops = match &route.kind {
            RouteKind::Blackhole => return Ok(Some(Way::Reject(DropReason::Blackhole))),
            RouteKind::Unreachable => return Ok(Some(Way::Reject(DropReason::Unreachable))),
            RouteKind::Prohibit => return Ok(Some(Way::Reject(DropReason::Prohibited))),
            RouteKind::Unicast(hops) => hops,
        };
        if hops.is_empty() {
            return Err(TablesError::NoHop { prefix: route.prefix });
        }
        let mut usable = Vec::with_capacity(hops.len());
        for hop in hops {
            usable.extend(self.hop(route.prefix, hop)?);
        }
        Ok(match usable.as_slice() {
            [] => None,
            [GroupHop { port, via: None, .. }] => Some(Way::OnLink(*port)),
            [GroupHop { port, via: Some(via), .. }] => Some(Way::Via(*port, *via)),
            _ => Some(Way::Group(Arc::new(HopGroup::new(usable)))),
        })
    }

    fn hop(&mut self, prefix: IpNet, hop: &Hop) -> Result<Option<GroupHop>, TablesError> {
        let weight = hop.weight;
        if let Some(id) = hop.port {
            let port = self.ports.get(id.index()).ok_or(TablesError::NoSuchPort { prefix, port: id })?;
            return Ok(port.up.then_some(GroupHop { port: id, via: hop.via, weight }));
        }
        let Some(via) = hop.via else { return Err(TablesError::NoHop { prefix }) };
        match self.resolve(via, MAX_RECURSION) {
            Resolved::Link(port, via) => Ok(Some(GroupHop { port, via: Some(via), weight })),
            Resolved::Down => Ok(None),
            Resolved::Nowhere => Err(TablesError::GatewayUnreachable { prefix, via }),
        }
    }

    /// Finds the link of a gateway: on a port's own subnet, or by the longest declared route to it.
    fn resolve(&mut self, via: IpAddr, depth: usize) -> Resolved {
        if let Some(resolved) = self.gateways.get(&via) {
            return *resolved;
        }
        let resolved = self.connected_to(via).unwrap_or_else(|| self.recurse(via, depth));
        self.gateways.insert(via, resolved);
        resolved
    }

    fn connected_to(&self, via: IpAddr) -> Option<Resolved> {
        let covers = |port: &Port| match via {
            IpAddr::V4(via) => port.v4.iter().filter(|net| net.contains(&via)).map(Ipv4Net::prefix_len).max(),
            IpAddr::V6(via) => port.v6.iter().filter(|net| net.contains(&via)).map(Ipv6Net::prefix_len).max(),
        };
        let on_link = self.ports.iter().filter_map(|port| Some((port.up, covers(port)?, port.id)));
        // A link that is up before any that is down, then the narrowest subnet.
        on_link
            .max_by_key(|(up, length, _)| (*up, *length))
            .map(|(up, _, id)| if up { Resolved::Link(id, via) } else { Resolved::Down })
    }

    fn recurse(&mut self, via: IpAddr, depth: usize) -> Resolved {
        let Some(depth) = depth.checked_sub(1) else { return Resolved::Nowhere };
        let mut covering: Vec<&Route> =
            self.routes.iter().filter(|route| route.prefix.contains(&via)).collect();
        covering.sort_by_key(|route| (u8::MAX - route.prefix.prefix_len(), route.metric));
        let mut answer = Resolved::Nowhere;
        for route in covering {
            let RouteKind::Unicast(hops) = &route.kind else { return answer };
            for hop in hops {
                let found = match (hop.port.and_then(|id| self.ports.get(id.index())), hop.via) {
                    (Some(port), _) if !port.up => Resolved::Down,
                    (Some(port), next) => Resolved::Link(port.id, next.unwrap_or(via)),
                    (None, Some(next)) if next != via => self.resolve(next, depth),
                    (None, _) => Resolved::Nowhere,
                };
                match found {
                    Resolved::Link(..) => return found,
                    Resolved::Down => answer = Resolved::Down,
                    Resolved::Nowhere => {}
                }
            }
        }
        answer
    }
}

fn host4(address: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::new_assert(address, 32)
}

fn host6(address: Ipv6Addr) -> Ipv6Net {
    Ipv6Net::new_assert(address, 128)
}
