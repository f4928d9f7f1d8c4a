//! Routes of the kernel's tables, parsed into routes of the router, with a sentence on each that it cannot
//! take over.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nsrouter_router::{Route, RouteKind};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteType, RouteVia,
};

use crate::netlink::interfaces::Interfaces;
use crate::netlink::nexthop::{KernelHop, NextHops, hops_of};

/// The table of a host's own addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;
/// The kernel's unit of a route's lifetime: a hundredth of a second (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// A route of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    pub(crate) prefix: IpNet,
    pub(crate) metric: u32,
    /// The kernel's table, and the type of service that the route is for: the router takes over routes of
    /// table 254 and type of service 0 alone.
    pub(crate) scope: (u32, u8),
    /// The largest packet that it lets pass, in bytes (`RTAX_MTU`).
    pub(crate) mtu: Option<u32>,
    /// Its kind and hops; `None` when it is not taken over.
    pub(crate) kind: Option<RouteKind>,
    /// A sentence on what is not taken over of it, and why.
    pub(crate) unsupported: Option<String>,
    /// How long it is used, in nanoseconds; 0 when its time is over.
    pub(crate) lifetime_ns: Option<u64>,
}

impl KernelRoute {
    /// The route, as far as it is taken over.
    pub(crate) fn route(&self) -> Option<Route> {
        Some(Route { prefix: self.prefix, kind: self.kind.clone()?, metric: self.metric, mtu: self.mtu })
    }

    /// Whether it is in the table that the router takes over.
    pub(crate) fn is_main(&self) -> bool {
        self.scope == (u32::from(RouteHeader::RT_TABLE_MAIN), 0)
    }

    /// Identifies it among the kernel's routes.
    pub(crate) fn key(&self) -> (IpNet, u32, (u32, u8)) {
        (self.prefix, self.metric, self.scope)
    }
}

/// The outcome of [`parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ParsedRoute {
    /// The router ignores it: one that the kernel made itself, or that the lab gave the host port.
    Irrelevant,
    /// A route to take over, or to warn of.
    Route(KernelRoute),
    /// It names an unknown next-hop object.
    UnknownNextHop,
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// The gateway, of the route's own family or the other (`RTA_VIA`, RFC 8950).
fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(gateway) => address(gateway),
        RouteAttribute::Via(RouteVia::Inet(gateway)) => Some(IpAddr::V4(*gateway)),
        RouteAttribute::Via(RouteVia::Inet6(gateway)) => Some(IpAddr::V6(*gateway)),
        _ => None,
    })
}

fn is_encapsulated(attributes: &[RouteAttribute]) -> bool {
    let is_encapsulation = |attribute: &RouteAttribute| {
        matches!(attribute, RouteAttribute::Encap(_) | RouteAttribute::EncapType(_))
    };
    attributes.iter().any(is_encapsulation)
}

/// Parses a message about a route.
pub(crate) fn parse(message: &RouteMessage, interfaces: &Interfaces, objects: &NextHops) -> ParsedRoute {
    /// Linux's metric of an IPv6 route that must never win (IP6_RT_PRIO_... in net/ipv6/route.c).
    const NEVER: u32 = u32::MAX;
    let header = &message.header;
    let mut destination = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return ParsedRoute::Irrelevant,
    };
    let (mut table, mut metric, mut lifetime_ns) = (u32::from(header.table), 0, None);
    let (mut hops, mut object, mut source, mut mtu) = (Vec::new(), None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => match address(to) {
                Some(to) => destination = to,
                None => return ParsedRoute::Irrelevant,
            },
            RouteAttribute::Source(from) => source = address(from),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(ifindex) => hops.push(KernelHop {
                ifindex: *ifindex,
                via: gateway(&message.attributes),
                weight: 1,
                is_encapsulated: is_encapsulated(&message.attributes),
            }),
            // The kernel counts weights from 0.
            RouteAttribute::MultiPath(list) => hops.extend(list.iter().map(|hop| KernelHop {
                ifindex: hop.interface_index,
                via: gateway(&hop.attributes),
                weight: u16::from(hop.hops) + 1,
                is_encapsulated: is_encapsulated(&hop.attributes),
            })),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::NhId(id) => object = Some(*id),
            RouteAttribute::CacheInfo(info) if info.expires != 0 => {
                let ticks = u64::try_from(info.expires.cast_signed()).unwrap_or(0);
                lifetime_ns = Some(ticks.saturating_mul(TICK_NS));
            }
            _ => {}
        }
    }
    let Ok(prefix) = IpNet::new(destination, header.destination_prefix_length) else {
        return ParsedRoute::Irrelevant;
    };
    let is_main = table == u32::from(RouteHeader::RT_TABLE_MAIN);
    if header.protocol == RouteProtocol::Kernel || metric == NEVER || table == LOCAL_TABLE {
        return ParsedRoute::Irrelevant;
    }
    let mut kind = match header.kind {
        RouteType::BlackHole => Ok(RouteKind::Blackhole),
        RouteType::Unreachable => Ok(RouteKind::Unreachable),
        RouteType::Prohibit => Ok(RouteKind::Prohibit),
        RouteType::Unicast => Ok(RouteKind::Unicast(Vec::new())),
        // A host's routes for its own addresses.
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast => {
            return ParsedRoute::Irrelevant;
        }
        _ => Err("its type is unknown to the router"),
    };
    if let (Some(id), [], Ok(RouteKind::Unicast(_))) = (object, hops.as_slice(), &kind) {
        match hops_of(id, 1, objects) {
            None => return ParsedRoute::UnknownNextHop,
            Some(found) if found.is_empty() => kind = Ok(RouteKind::Blackhole),
            Some(found) => hops = found,
        }
    }
    if matches!(hops.as_slice(), [hop] if Some(hop.ifindex) == interfaces.host && hop.via.is_none())
        && interfaces.configured.contains(&prefix)
    {
        return ParsedRoute::Irrelevant;
    }
    let mut why = None;
    if let Ok(RouteKind::Unicast(ours)) = &mut kind {
        for hop in &hops {
            let found = match (hop.via, prefix) {
                _ if hop.is_encapsulated => Err("the router does not encapsulate"),
                (Some(IpAddr::V4(_)), IpNet::V6(_)) => Err("its next hop is of the other address family"),
                (via, _) => interfaces.hop(hop.ifindex, via, hop.weight),
            };
            match found {
                Ok(hop) => ours.push(hop),
                Err(reason) => why = Some(reason),
            }
        }
        if ours.is_empty() {
            kind = Err(why.unwrap_or("it names no interface"));
        }
    }
    if source.is_some() {
        kind = Err("the router does not choose routes by source address");
    }
    if header.tos != 0 {
        kind = Err("the router does not look at the type of service");
    }
    if !is_main {
        kind = Err("the router looks at the main table alone");
    }
    let (kind, why) = match kind {
        Ok(kind) => (Some(kind), why.map(|why| format!("is taken over in part: {why}"))),
        Err(why) => (None, Some(format!("is not taken over: {why}"))),
    };
    let tos = header.tos;
    let unsupported = why.map(|why| {
        let mut words = format!("route {prefix}");
        for hop in &hops {
            if let Some(via) = hop.via {
                let family = match (via, prefix) {
                    (IpAddr::V6(_), IpNet::V4(_)) => "inet6 ",
                    (IpAddr::V4(_), IpNet::V6(_)) => "inet ",
                    (IpAddr::V4(_), IpNet::V4(_)) | (IpAddr::V6(_), IpNet::V6(_)) => "",
                };
                // Writing to a string cannot fail.
                let _ = write!(words, " via {family}{via}");
            }
            if hop.ifindex != 0 {
                let _ = write!(words, " dev {}", interfaces.name_of(hop.ifindex));
            }
        }
        if tos != 0 {
            let _ = write!(words, " tos {tos:#04x}");
        }
        if !is_main {
            let _ = write!(words, " table {table}");
        }
        format!("{words} {why}")
    });
    ParsedRoute::Route(KernelRoute {
        prefix,
        metric,
        scope: (table, tos),
        mtu,
        kind,
        unsupported,
        lifetime_ns,
    })
}
