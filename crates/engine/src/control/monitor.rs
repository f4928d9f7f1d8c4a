//! Links, addresses and routes of the router's namespace, as the kernel tells of them (rtnetlink(7)).
//!
//! Links go down, come up, change their MTU or vanish. Routes and addresses are how the userspace router is configured
//! while it runs: what `ip route` puts into the main table there, and what `ip addr` gives the host port, our router takes
//! over. Each change of a route comes as a message of its own; only where messages were lost is the whole table asked for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{FutureExt, Stream, StreamExt};
use ipnet::IpNet;
use nix::sys::socket::{setsockopt, sockopt};
use nsrouter_router::{Hop, Placement, Route, RouteKind};
use nsrouter_wire::frame::PortId;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_REPLACE, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::AsyncSocket;
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};

/// Bytes of messages that may wait in the kernel: those of some 30,000 routes, which `ip -batch` writes in a tenth of a
/// second. Only used up while they wait.
const WAITING_BYTES: usize = 32 << 20;

/// The state of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkState {
    pub(crate) ifindex: u32,
    /// Administratively up and with a carrier.
    pub(crate) up: bool,
    /// Largest IP packet in bytes, if the message says it.
    pub(crate) mtu: Option<u32>,
}

/// What the monitor has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KernelEvent {
    Link(LinkState),
    /// An address came, went or changed: ask for them.
    Addresses,
    /// A route came, went or changed.
    Route(RouteChange),
    /// The kernel had more to say than the socket could hold (ENOBUFS): ask for everything again.
    Lost,
}

/// A change of the kernel's main table, as far as it is ours to take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteChange {
    Insert(Placement, Route),
    Remove(Route),
    /// The first route with this prefix and metric gave way to one that is not ours.
    Displace(IpNet, u32),
}

/// Watches the network namespace in which it was made.
pub(crate) struct Monitor {
    handle: Handle,
    interfaces: Arc<Interfaces>,
    events: Pin<Box<dyn Stream<Item = KernelEvent>>>,
}

impl Monitor {
    /// Begins to watch; the runtime that this is called in carries the connection.
    pub(crate) fn new(interfaces: Interfaces) -> io::Result<Monitor> {
        let interfaces = Arc::new(interfaces);
        let (mut connection, handle, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])?;
        let socket = connection.socket_mut().socket_mut();
        // Beyond the system's limit where we may; otherwise up to it, and what is lost is asked for again.
        if setsockopt(socket, sockopt::RcvBufForce, &WAITING_BYTES).is_err() {
            let _ = setsockopt(socket, sockopt::RcvBuf, &WAITING_BYTES);
        }
        tokio::spawn(connection);
        let ours = Arc::clone(&interfaces);
        let events = messages.filter_map(move |(message, _)| std::future::ready(event(&message, &ours)));
        Ok(Monitor { handle, interfaces, events: Box::pin(events) })
    }

    /// The next event; never returns when the connection is gone.
    pub(crate) async fn next(&mut self) -> KernelEvent {
        match self.events.next().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// An event that has come already.
    pub(crate) fn try_next(&mut self) -> Option<KernelEvent> {
        self.events.next().now_or_never().flatten()
    }

    /// The state of every link, asked for afresh.
    pub(crate) async fn links(&self) -> Vec<LinkState> {
        let mut links = self.handle.link().get().execute();
        let mut states = Vec::new();
        while let Some(Ok(link)) = links.next().await {
            states.push(state(&link));
        }
        states
    }

    /// The addresses of the host port, asked for afresh.
    ///
    /// # Errors
    /// What the kernel said, such as that there is no such interface any more.
    pub(crate) async fn addresses(&self, host_ifindex: u32) -> Result<Vec<IpNet>, rtnetlink::Error> {
        let mut messages = self.handle.address().get().set_link_index_filter(host_ifindex).execute();
        let mut found = Vec::new();
        while let Some(message) = messages.next().await {
            found.extend(net(&message?));
        }
        Ok(found)
    }

    /// The routes of the main table that our router takes over: those by the host port, those by a port of ours, and
    /// those that refuse.
    ///
    /// The kernel knows the lab's subnets by the host port, so a route by a gateway in the lab leads there; which
    /// port of ours it means follows from the gateway. Routes that the kernel made itself, for the subnets, are ours
    /// already. `None` if the answer broke off.
    pub(crate) fn routes(&self) -> impl Future<Output = Option<Vec<Route>>> + Send + 'static {
        let (handle, interfaces) = (self.handle.clone(), Arc::clone(&self.interfaces));
        async move {
            let mut found = Vec::new();
            let requests = [
                RouteMessageBuilder::<Ipv4Addr>::new().build(),
                RouteMessageBuilder::<Ipv6Addr>::new().build(),
            ];
            for request in requests {
                let mut routes = handle.route().get(request).execute();
                while let Some(message) = routes.next().await {
                    found.extend(route(&message.ok()?, &interfaces).and_then(Parsed::into_route));
                }
            }
            Some(found)
        }
    }
}

fn event(message: &NetlinkMessage<RouteNetlinkMessage>, interfaces: &Interfaces) -> Option<KernelEvent> {
    match &message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            Some(KernelEvent::Link(state(link)))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
            Some(KernelEvent::Link(LinkState { up: false, ..state(link) }))
        }
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_),
        ) => Some(KernelEvent::Addresses),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(new)) => {
            route_came(route(new, interfaces)?, message.header.flags).map(KernelEvent::Route)
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(old)) => {
            Some(KernelEvent::Route(RouteChange::Remove(route(old, interfaces)?.into_route()?)))
        }
        NetlinkPayload::Overrun(_) => Some(KernelEvent::Lost),
        _ => None,
    }
}

/// What a new route means for those with the same prefix and metric, by the flags of the message
/// (`fib_table_insert`, net/ipv4/fib_trie.c).
fn route_came(parsed: Parsed, flags: u16) -> Option<RouteChange> {
    let (prefix, metric) = (parsed.prefix, parsed.metric);
    // IPv6 has one route with a metric, of which the message tells all hops.
    let placement = if prefix.addr().is_ipv6() || flags & NLM_F_REPLACE != 0 {
        Placement::Replace
    } else if flags & NLM_F_APPEND != 0 {
        Placement::Last
    } else {
        Placement::First
    };
    match (parsed.into_route(), placement) {
        (Some(route), placement) => Some(RouteChange::Insert(placement, route)),
        (None, Placement::Replace) => Some(RouteChange::Displace(prefix, metric)),
        (None, Placement::First | Placement::Last) => None,
    }
}

fn state(link: &LinkMessage) -> LinkState {
    LinkState {
        ifindex: link.header.index,
        up: link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        mtu: link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        }),
    }
}

/// The interface's address with its subnet; the kernel's IPv4 name for it is `IFA_LOCAL` (if_addr.h).
fn net(message: &AddressMessage) -> Option<IpNet> {
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

/// What the kernel calls the ways out that are ours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interfaces {
    /// The host port's index.
    pub(crate) host: Option<u32>,
    /// The ports' indexes, in the order of their numbers; 0 for one that is no interface.
    pub(crate) ports: Vec<u32>,
}

impl Interfaces {
    /// The hop that a route by this interface, through this gateway, takes. By the host port it needs a gateway, from
    /// which the port follows; by a port of ours everything is on the link.
    fn hop(&self, ifindex: u32, via: Option<IpAddr>, weight: u16) -> Option<Hop> {
        if Some(ifindex) == self.host {
            return via.map(|via| Hop { port: None, via: Some(via), weight });
        }
        let number = self.ports.iter().position(|port| *port == ifindex && ifindex != 0)?;
        Some(Hop { port: Some(PortId(u16::try_from(number).ok()?)), via, weight })
    }
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(gateway) => address(gateway),
        _ => None,
    })
}

/// A route of the kernel's main table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parsed {
    prefix: IpNet,
    metric: u32,
    /// `None` when it is not ours to take over.
    kind: Option<RouteKind>,
}

impl Parsed {
    fn into_route(self) -> Option<Route> {
        Some(Route { prefix: self.prefix, kind: self.kind?, metric: self.metric })
    }
}

/// What the message says about a route; `None` when that is nothing to us. Our router does not look at the type of
/// service, so routes for one are not ours.
fn route(message: &RouteMessage, interfaces: &Interfaces) -> Option<Parsed> {
    /// Linux's metric of an IPv6 route that must never win (IP6_RT_PRIO_... in net/ipv6/route.c).
    const NEVER: u32 = u32::MAX;
    let header = &message.header;
    let is_main = header.table == RouteHeader::RT_TABLE_MAIN;
    if !is_main || header.protocol == RouteProtocol::Kernel || header.tos != 0 {
        return None;
    }
    let mut destination = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut metric, mut hops) = (0, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => destination = address(to)?,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => {
                hops.extend(interfaces.hop(*index, gateway(&message.attributes), 1));
            }
            // The kernel counts weights from 0.
            RouteAttribute::MultiPath(list) => hops.extend(list.iter().filter_map(|hop| {
                interfaces.hop(hop.interface_index, gateway(&hop.attributes), u16::from(hop.hops) + 1)
            })),
            _ => {}
        }
    }
    let kind = match header.kind {
        RouteType::BlackHole => Some(RouteKind::Blackhole),
        RouteType::Unreachable => Some(RouteKind::Unreachable),
        RouteType::Prohibit => Some(RouteKind::Prohibit),
        RouteType::Unicast if !hops.is_empty() => Some(RouteKind::Unicast(hops)),
        _ => None,
    };
    let prefix = IpNet::new(destination, header.destination_prefix_length).ok()?;
    (metric != NEVER).then_some(Parsed { prefix, metric, kind })
}
