//! Links, addresses and routes of the router's namespace, as the kernel tells of them (rtnetlink(7)).
//!
//! Links go down, come up, change their MTU or vanish. Routes and addresses are how the userspace router is configured
//! while it runs: what `ip route` puts into the main table there, and what `ip addr` gives the host port, our router takes
//! over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use ipnet::IpNet;
use nsrouter_router::{Hop, Route, RouteKind};
use nsrouter_wire::frame::PortId;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelEvent {
    Link(LinkState),
    /// A route or an address came, went or changed: ask for them.
    Configuration,
    /// The kernel had more to say than the socket could hold (ENOBUFS): ask for everything again.
    Lost,
}

/// Watches the network namespace in which it was made.
pub(crate) struct Monitor {
    handle: Handle,
    events: Pin<Box<dyn Stream<Item = KernelEvent>>>,
}

impl Monitor {
    /// Begins to watch; the runtime that this is called in carries the connection.
    pub(crate) fn new() -> io::Result<Monitor> {
        let (connection, handle, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])?;
        tokio::spawn(connection);
        let events = messages.filter_map(|(message, _)| std::future::ready(event(&message)));
        Ok(Monitor { handle, events: Box::pin(events) })
    }

    /// The next event; never returns when the connection is gone.
    pub(crate) async fn next(&mut self) -> KernelEvent {
        match self.events.next().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
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
    /// already.
    pub(crate) async fn routes(&self, interfaces: &Interfaces) -> Vec<Route> {
        let mut found = Vec::new();
        let requests =
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        for request in requests {
            let mut routes = self.handle.route().get(request).execute();
            while let Some(Ok(message)) = routes.next().await {
                found.extend(route(&message, interfaces));
            }
        }
        found
    }
}

fn event(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<KernelEvent> {
    match &message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            Some(KernelEvent::Link(state(link)))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
            Some(KernelEvent::Link(LinkState { up: false, ..state(link) }))
        }
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewRoute(_)
            | RouteNetlinkMessage::DelRoute(_)
            | RouteNetlinkMessage::NewAddress(_)
            | RouteNetlinkMessage::DelAddress(_),
        ) => Some(KernelEvent::Configuration),
        NetlinkPayload::Overrun(_) => Some(KernelEvent::Lost),
        _ => None,
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

/// The kernel's route as one of ours; `None` for one that is not ours to take over.
fn route(message: &RouteMessage, interfaces: &Interfaces) -> Option<Route> {
    /// Linux's metric of an IPv6 route that must never win (IP6_RT_PRIO_... in net/ipv6/route.c).
    const NEVER: u32 = u32::MAX;
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.protocol == RouteProtocol::Kernel {
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
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Unicast if !hops.is_empty() => RouteKind::Unicast(hops),
        _ => return None,
    };
    let prefix = IpNet::new(destination, header.destination_prefix_length).ok()?;
    (metric != NEVER).then_some(Route { prefix, kind, metric })
}
