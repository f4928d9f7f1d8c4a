//! Changes that the kernel reports, parsed (rtnetlink(7)).

use std::net::IpAddr;

use ipnet::IpNet;
use nsrouter_router::InsertMode;
use nsrouter_wire::eth::MacAddr;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use crate::netlink::interfaces::Interfaces;
use crate::netlink::link::LinkState;
use crate::netlink::nexthop::NextHops;
use crate::netlink::route::{self, KernelRoute, ParsedRoute};
use crate::netlink::socket::Message;

/// `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP` (include/uapi/linux/rtnetlink.h).
const NEXT_HOP_MESSAGES: [u16; 2] = [104, 105];

/// A neighbour that was set by hand, or is no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaticNeighbour {
    pub(crate) ifindex: u32,
    pub(crate) address: IpAddr,
    /// `None` when it is set no longer.
    pub(crate) mac: Option<MacAddr>,
}

/// A change that the kernel reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KernelEvent {
    /// A link came, went or changed.
    Link(LinkState),
    /// An address came, went or changed: read the list.
    Addresses,
    /// A route came, went or changed.
    Route(RouteChange),
    /// Routes may have changed without a report: read the list.
    Routes,
    /// A neighbour was set by hand, or is no longer.
    Neighbour(StaticNeighbour),
    /// A rule came or went: read the list.
    Rules,
    /// Reports were lost, as the socket was full (ENOBUFS): read every list.
    Lost,
}

/// A change of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteChange {
    /// A route came, to this place among those with its prefix and metric.
    Insert(InsertMode, KernelRoute),
    /// A route went.
    Remove(KernelRoute),
}

/// Parses a message; `None` where it changes nothing for the router.
pub(crate) fn event(message: &Message<'_>, interfaces: &Interfaces) -> Option<KernelEvent> {
    if NEXT_HOP_MESSAGES.contains(&message.kind) {
        return Some(KernelEvent::Routes);
    }
    let learned = |route| match route::parse(&route, interfaces, &NextHops::new()) {
        ParsedRoute::Route(learned) => Ok(learned),
        ParsedRoute::UnknownNextHop => Err(Some(KernelEvent::Routes)),
        ParsedRoute::Irrelevant => Err(None),
    };
    match message.parse()? {
        RouteNetlinkMessage::NewLink(link) => Some(KernelEvent::Link(interfaces.link(&link, true))),
        RouteNetlinkMessage::DelLink(link) => Some(KernelEvent::Link(interfaces.link(&link, false))),
        RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => {
            Some(KernelEvent::Addresses)
        }
        RouteNetlinkMessage::NewRoute(route) => match learned(route) {
            Ok(learned) => {
                let placement = placement(&learned, message.flags);
                Some(KernelEvent::Route(RouteChange::Insert(placement, learned)))
            }
            Err(event) => event,
        },
        RouteNetlinkMessage::DelRoute(route) => match learned(route) {
            Ok(learned) => Some(KernelEvent::Route(RouteChange::Remove(learned))),
            Err(event) => event,
        },
        RouteNetlinkMessage::NewNeighbour(entry) => neighbour(&entry, true).map(KernelEvent::Neighbour),
        RouteNetlinkMessage::DelNeighbour(entry) => neighbour(&entry, false).map(KernelEvent::Neighbour),
        RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => Some(KernelEvent::Rules),
        _ => None,
    }
}

/// Where a new route goes among those with the same prefix and metric, by the flags of the message
/// (`fib_table_insert`, net/ipv4/fib_trie.c).
fn placement(learned: &KernelRoute, flags: u16) -> InsertMode {
    // IPv6 has one route with a metric, of which the message tells all hops.
    if learned.prefix.addr().is_ipv6() || flags & NLM_F_REPLACE != 0 {
        InsertMode::Replace
    } else if flags & NLM_F_APPEND != 0 {
        InsertMode::Append
    } else {
        InsertMode::Prepend
    }
}

/// Parses a message about an address, with its subnet. On a point-to-point link `IFA_ADDRESS` is the peer's,
/// and `IFA_LOCAL` the interface's own (linux/if_addr.h).
pub(crate) fn net(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

/// Parses a message about a neighbour; only one that was set by hand (`ip neigh add ... nud permanent`, the
/// default) has a MAC address then.
pub(crate) fn neighbour(message: &NeighbourMessage, exists: bool) -> Option<StaticNeighbour> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(to)) => address = Some(IpAddr::V4(*to)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(to)) => address = Some(IpAddr::V6(*to)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.first_chunk().copied().map(MacAddr),
            _ => {}
        }
    }
    let is_permanent = exists && message.header.state == NeighbourState::Permanent;
    let mac = mac.filter(|_| is_permanent);
    Some(StaticNeighbour { ifindex: message.header.ifindex, address: address?, mac })
}
