//! Routes of the kernel's tables, parsed into routes of the router, with a sentence on each that it cannot take over.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use nsrouter_router::{Hop, Route, RouteKind};
use nsrouter_wire::frame::PortId;
use rtnetlink::packet_core::NlasIterator;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteType, RouteVia,
};

/// The table of a host's own addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;
/// What the kernel counts the lifetime of a route in: hundredths of a second (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// The interfaces by which the kernel reaches the router's links.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interfaces {
    /// The host port's index.
    pub(crate) host: Option<u32>,
    /// The ports' indexes, in the order of their numbers; 0 for one that is no interface.
    pub(crate) ports: Vec<u32>,
    /// Destinations whose routes came with the configuration: the kernel's say only that they are the host port's.
    pub(crate) configured: HashSet<IpNet>,
    /// Names of all interfaces, for messages.
    pub(crate) names: Arc<Mutex<HashMap<u32, String>>>,
}

impl Interfaces {
    /// Remembers an interface's name.
    pub(super) fn name(&self, ifindex: u32, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(ifindex, name.to_owned());
    }

    fn name_of(&self, ifindex: u32) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(&ifindex).cloned().unwrap_or_else(|| format!("interface {ifindex}"))
    }

    /// The hop that a route by this interface, through this gateway, takes, or why there is none. By the host port it needs a
    /// gateway, from which the port follows; by a port of ours everything is on the link.
    fn hop(&self, ifindex: u32, via: Option<IpAddr>, weight: u16) -> Result<Hop, &'static str> {
        if Some(ifindex) == self.host {
            return match via {
                Some(IpAddr::V6(via)) if via.is_unicast_link_local() => {
                    Err("a link-local next hop could be on any port, and the host port does not say on which")
                }
                Some(via) => Ok(Hop { port: None, via: Some(via), weight }),
                None => Err("the port follows from the next hop's address, and it names none"),
            };
        }
        let number = self.ports.iter().position(|port| *port == ifindex && ifindex != 0);
        let number = number.and_then(|number| u16::try_from(number).ok());
        let number = number.ok_or("its interface is no port of the router")?;
        Ok(Hop { port: Some(PortId(number)), via, weight })
    }
}

/// A next-hop object (`ip nexthop`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextHopObject {
    Blackhole,
    /// Out by an interface, through a gateway or directly.
    Hop(u32, Option<IpAddr>),
    /// Others, with their weights.
    Group(Vec<(u32, u16)>),
    /// With an encapsulation.
    Encapsulated,
}

/// The next-hop objects by number.
pub(super) type NextHops = HashMap<u32, NextHopObject>;

/// A next-hop object as the kernel tells it (struct nhmsg and `NHA_...`, include/uapi/linux/nexthop.h).
pub(super) fn next_hop_object(payload: &[u8]) -> Option<(u32, NextHopObject)> {
    let (mut id, mut ifindex, mut gateway, mut object) = (None, None, None, None);
    let word = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    for attribute in NlasIterator::new(payload.get(8..)?).filter_map(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            1 => id = word(value),
            2 => {
                // struct nexthop_grp; the kernel counts weights from 0.
                let members = value.chunks_exact(8).filter_map(|member| {
                    let weight = u16::from_le_bytes([member[4], member[5]]);
                    Some((word(member)?, weight.saturating_add(1)))
                });
                object = Some(NextHopObject::Group(members.collect()));
            }
            4 => object = Some(NextHopObject::Blackhole),
            5 => ifindex = word(value),
            6 => {
                gateway = match value.len() {
                    4 => value.first_chunk().map(|bytes| IpAddr::from(*bytes as [u8; 4])),
                    _ => value.first_chunk().map(|bytes| IpAddr::from(*bytes as [u8; 16])),
                }
            }
            7 => object = Some(NextHopObject::Encapsulated),
            _ => {}
        }
    }
    let object = object.or_else(|| Some(NextHopObject::Hop(ifindex?, gateway)))?;
    Some((id?, object))
}

/// A route of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(super) prefix: IpNet,
    pub(super) metric: u32,
    /// The kernel's table, and the type of service that the route is for: where they are not 254 and 0, the route has
    /// nothing to do with those that our router takes over.
    pub(super) place: (u32, u8),
    /// The largest packet that it lets pass, in bytes (`RTAX_MTU`).
    pub(super) mtu: Option<u32>,
    /// What it does; `None` when it is not taken over.
    pub(super) kind: Option<RouteKind>,
    /// What is not taken over of it, and why.
    pub(super) lacks: Option<String>,
    /// How long it is used, in nanoseconds; 0 when its time is over.
    pub(super) lifetime_ns: Option<u64>,
}

impl Learned {
    /// The route, as far as it is taken over.
    pub(super) fn route(&self) -> Option<Route> {
        Some(Route { prefix: self.prefix, kind: self.kind.clone()?, metric: self.metric, mtu: self.mtu })
    }

    /// Whether it is one of those that our router takes over, or could be in place of one.
    pub(super) fn is_main(&self) -> bool {
        self.place == (u32::from(RouteHeader::RT_TABLE_MAIN), 0)
    }

    /// What tells it from others.
    pub(super) fn key(&self) -> (IpNet, u32, (u32, u8)) {
        (self.prefix, self.metric, self.place)
    }
}

/// What came of a look at a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is nothing to us: the kernel's own, or one of the routes that the lab gave the host port.
    Nothing,
    Route(Learned),
    /// It names a next-hop object that is not among those known.
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

/// A hop as the kernel has it.
struct KernelHop {
    ifindex: u32,
    via: Option<IpAddr>,
    weight: u16,
    is_encapsulated: bool,
}

/// The hops of a next-hop object; `None` when one is not known.
fn hops_of(id: u32, weight: u16, objects: &NextHops) -> Option<Vec<KernelHop>> {
    let hop = |ifindex, via, is_encapsulated| vec![KernelHop { ifindex, via, weight, is_encapsulated }];
    match objects.get(&id)? {
        NextHopObject::Blackhole => Some(Vec::new()),
        NextHopObject::Hop(ifindex, via) => Some(hop(*ifindex, *via, false)),
        NextHopObject::Encapsulated => Some(hop(0, None, true)),
        // A group has no groups in it (valid_group_nh(), net/ipv4/nexthop.c).
        NextHopObject::Group(members) => {
            let mut all = Vec::new();
            for (member, weight) in members {
                if let NextHopObject::Group(_) = objects.get(member)? {
                    return None;
                }
                all.extend(hops_of(*member, *weight, objects)?);
            }
            Some(all)
        }
    }
}

/// What the message says about a route.
pub(super) fn look(message: &RouteMessage, interfaces: &Interfaces, objects: &NextHops) -> Look {
    /// Linux's metric of an IPv6 route that must never win (IP6_RT_PRIO_... in net/ipv6/route.c).
    const NEVER: u32 = u32::MAX;
    let header = &message.header;
    let mut destination = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return Look::Nothing,
    };
    let (mut table, mut metric, mut lifetime_ns) = (u32::from(header.table), 0, None);
    let (mut hops, mut object, mut source, mut mtu) = (Vec::new(), None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => match address(to) {
                Some(to) => destination = to,
                None => return Look::Nothing,
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
    let Ok(prefix) = IpNet::new(destination, header.destination_prefix_length) else { return Look::Nothing };
    let is_main = table == u32::from(RouteHeader::RT_TABLE_MAIN);
    if header.protocol == RouteProtocol::Kernel || metric == NEVER || table == LOCAL_TABLE {
        return Look::Nothing;
    }
    let mut kind = match header.kind {
        RouteType::BlackHole => Ok(RouteKind::Blackhole),
        RouteType::Unreachable => Ok(RouteKind::Unreachable),
        RouteType::Prohibit => Ok(RouteKind::Prohibit),
        RouteType::Unicast => Ok(RouteKind::Unicast(Vec::new())),
        // What a host keeps for its own addresses.
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast => {
            return Look::Nothing;
        }
        _ => Err("its type is unknown to the router"),
    };
    if let (Some(id), [], Ok(RouteKind::Unicast(_))) = (object, hops.as_slice(), &kind) {
        match hops_of(id, 1, objects) {
            None => return Look::UnknownNextHop,
            Some(found) if found.is_empty() => kind = Ok(RouteKind::Blackhole),
            Some(found) => hops = found,
        }
    }
    if matches!(hops.as_slice(), [hop] if Some(hop.ifindex) == interfaces.host && hop.via.is_none())
        && interfaces.configured.contains(&prefix)
    {
        return Look::Nothing;
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
    let lacks = why.map(|why| {
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
    Look::Route(Learned { prefix, metric, place: (table, tos), mtu, kind, lacks, lifetime_ns })
}
