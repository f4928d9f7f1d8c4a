//! Links, addresses, routes and neighbours of the router's namespace, as the kernel tells of them (rtnetlink(7)).
//!
//! Links go down, come up, change their MTU or vanish. Routes and addresses are how the userspace router is configured
//! while it runs: what `ip route` puts into the main table there, and what `ip addr` gives the host port, our router takes
//! over. Each change of a route comes as a message of its own; only where messages were lost, or the kernel tells
//! nothing, is the whole table asked for.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use ipnet::IpNet;
use nsrouter_router::Placement;
use nsrouter_wire::eth::MacAddr;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_REPLACE, NlasIterator};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use crate::control::learn::{self, Interfaces, Learned, Look, NextHops};
use crate::control::netlink::{self, List, Message, QuestionError, Socket};

/// What the kernel tells of by itself.
const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];
/// `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP` (include/uapi/linux/rtnetlink.h).
const NEXT_HOP_MESSAGES: [u16; 2] = [104, 105];

/// The state of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkState {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    pub(crate) exists: bool,
    /// Administratively up (`IFF_UP`).
    pub(crate) up: bool,
    /// The other end is up too (`IFF_LOWER_UP`).
    pub(crate) carrier: bool,
    /// Largest IP packet in bytes, if the message says it.
    pub(crate) mtu: Option<u32>,
}

/// A neighbour that was set by hand, or is no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaticNeighbour {
    pub(crate) ifindex: u32,
    pub(crate) address: IpAddr,
    /// `None` when it is set no longer.
    pub(crate) mac: Option<MacAddr>,
}

/// What the monitor has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KernelEvent {
    Link(LinkState),
    /// An address came, went or changed: ask for them.
    Addresses,
    /// A route came, went or changed.
    Route(RouteChange),
    /// Routes may have changed of which the kernel tells nothing: ask for them.
    Routes,
    Neighbour(StaticNeighbour),
    /// A rule came or went: ask for them.
    Rules,
    /// The kernel had more to say than the socket could hold (ENOBUFS): ask for everything again.
    Lost,
}

/// A change of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteChange {
    Insert(Placement, Learned),
    Remove(Learned),
}

/// The answer to a question: what was found, and whether that is all.
#[derive(Clone, Debug)]
pub(crate) struct Answer<T> {
    pub(crate) found: Vec<T>,
    /// False if the list changed while it was read: something may be missing.
    pub(crate) is_whole: bool,
}

/// Watches the network namespace in which it was made.
pub(crate) struct Monitor {
    socket: Socket,
    interfaces: Arc<Interfaces>,
}

impl Monitor {
    /// Begins to watch; to be called within a runtime.
    pub(crate) fn new(interfaces: Interfaces) -> io::Result<Monitor> {
        Ok(Monitor { socket: Socket::subscribe(GROUPS)?, interfaces: Arc::new(interfaces) })
    }

    /// Watches afresh after something was lost: what still waits is older than what is asked for now, and until all of
    /// it is read the kernel drops whatever comes, without another word (`NETLINK_S_CONGESTED`).
    ///
    /// # Errors
    /// What the system said; the watch goes on as it was.
    pub(crate) fn renew(&mut self) -> io::Result<()> {
        self.socket = Socket::subscribe(GROUPS)?;
        Ok(())
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> KernelEvent {
        loop {
            while let Some(message) = self.socket.take() {
                if let Some(event) = event(&message, &self.interfaces) {
                    return event;
                }
            }
            if self.socket.read().await.is_err() {
                return KernelEvent::Lost;
            }
        }
    }

    /// An event that has come already.
    pub(crate) fn try_next(&mut self) -> Option<KernelEvent> {
        self.next().now_or_never()
    }

    /// The state of every link, asked for afresh.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub(crate) async fn links(&self) -> Result<Answer<LinkState>, QuestionError> {
        let mut found = Vec::new();
        let is_whole = netlink::ask(List::Links, 0, |message| {
            if let Some(RouteNetlinkMessage::NewLink(link)) = message.parse() {
                found.push(state(&link, true, &self.interfaces));
            }
        });
        Ok(Answer { is_whole: is_whole.await?, found })
    }

    /// The addresses of the host port, asked for afresh.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub(crate) async fn addresses(&self, host_ifindex: u32) -> Result<Answer<IpNet>, QuestionError> {
        let mut found = Vec::new();
        let is_whole = netlink::ask(List::Addresses, 0, |message| {
            if let Some(RouteNetlinkMessage::NewAddress(address)) = message.parse()
                && address.header.index == host_ifindex
            {
                found.extend(net(&address));
            }
        });
        Ok(Answer { is_whole: is_whole.await?, found })
    }

    /// The neighbours that were set by hand, asked for afresh.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub(crate) async fn neighbours(&self) -> Result<Answer<StaticNeighbour>, QuestionError> {
        let mut found = Vec::new();
        let is_whole = netlink::ask(List::Neighbours, 0, |message| {
            if let Some(RouteNetlinkMessage::NewNeighbour(entry)) = message.parse() {
                found.extend(neighbour(&entry, true).filter(|entry| entry.mac.is_some()));
            }
        });
        Ok(Answer { is_whole: is_whole.await?, found })
    }

    /// The policy routing rules (`ip rule`) beside those that every namespace has, as sentences.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub(crate) async fn rules(&self) -> Result<Answer<String>, QuestionError> {
        let mut found = Vec::new();
        let is_whole = netlink::ask(List::Rules, 0, |message| found.extend(rule(message.payload())));
        Ok(Answer { is_whole: is_whole.await?, found })
    }

    /// The routes of the kernel's tables, as far as they are something to us.
    ///
    /// The kernel knows the lab's subnets by the host port, so a route by a gateway in the lab leads there; which
    /// port of ours it means follows from the gateway. Routes that the kernel made itself, for the subnets, are ours
    /// already.
    pub(crate) fn routes(
        &self,
    ) -> impl Future<Output = Result<Answer<Learned>, QuestionError>> + Send + 'static {
        let interfaces = Arc::clone(&self.interfaces);
        async move {
            let mut objects = NextHops::new();
            let next_hops = netlink::ask(List::NextHops, 0, |message| {
                objects.extend(learn::next_hop_object(message.payload()));
            });
            let mut is_whole = match next_hops.await {
                Ok(is_whole) => is_whole,
                // Kernels before 5.3 have none.
                Err(QuestionError::Refused(_)) => true,
                Err(error) => return Err(error),
            };
            let mut found = Vec::new();
            for family in [libc::AF_INET, libc::AF_INET6] {
                let family = u8::try_from(family).unwrap_or(0);
                let answer = netlink::ask(List::Routes, family, |message| {
                    let Some(RouteNetlinkMessage::NewRoute(route)) = message.parse() else { return };
                    match learn::look(&route, &interfaces, &objects) {
                        Look::Route(learned) if learned.lifetime_ns == Some(0) => {}
                        Look::Route(learned) => found.push(learned),
                        // The object has come since.
                        Look::UnknownNextHop => is_whole = false,
                        Look::Nothing => {}
                    }
                });
                let answer = answer.await?;
                is_whole &= answer;
            }
            Ok(Answer { found, is_whole })
        }
    }
}

fn event(message: &Message<'_>, interfaces: &Interfaces) -> Option<KernelEvent> {
    if NEXT_HOP_MESSAGES.contains(&message.kind) {
        return Some(KernelEvent::Routes);
    }
    let learned = |route| match learn::look(&route, interfaces, &NextHops::new()) {
        Look::Route(learned) => Ok(learned),
        Look::UnknownNextHop => Err(Some(KernelEvent::Routes)),
        Look::Nothing => Err(None),
    };
    match message.parse()? {
        RouteNetlinkMessage::NewLink(link) => Some(KernelEvent::Link(state(&link, true, interfaces))),
        RouteNetlinkMessage::DelLink(link) => Some(KernelEvent::Link(state(&link, false, interfaces))),
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

/// Where a new route goes among those with the same prefix and metric, by the flags of the message (`fib_table_insert`,
/// net/ipv4/fib_trie.c).
fn placement(learned: &Learned, flags: u16) -> Placement {
    // IPv6 has one route with a metric, of which the message tells all hops.
    if learned.prefix.addr().is_ipv6() || flags & NLM_F_REPLACE != 0 {
        Placement::Replace
    } else if flags & NLM_F_APPEND != 0 {
        Placement::Last
    } else {
        Placement::First
    }
}

/// What the message says about a link, whose name is remembered.
pub(super) fn state(link: &LinkMessage, exists: bool, interfaces: &Interfaces) -> LinkState {
    let mut state = LinkState {
        ifindex: link.header.index,
        name: String::new(),
        exists,
        up: exists && link.header.flags.contains(LinkFlags::Up),
        carrier: exists && link.header.flags.contains(LinkFlags::LowerUp),
        mtu: None,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => state.mtu = Some(*mtu),
            LinkAttribute::IfName(name) => state.name.clone_from(name),
            _ => {}
        }
    }
    interfaces.name(state.ifindex, &state.name);
    state
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

/// What the message says about a neighbour that was set by hand (`ip neigh add ... nud permanent`, the default).
fn neighbour(message: &NeighbourMessage, is_there: bool) -> Option<StaticNeighbour> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(to)) => address = Some(IpAddr::V4(*to)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(to)) => address = Some(IpAddr::V6(*to)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.first_chunk().copied().map(MacAddr),
            _ => {}
        }
    }
    let is_permanent = is_there && message.header.state == NeighbourState::Permanent;
    let mac = mac.filter(|_| is_permanent);
    Some(StaticNeighbour { ifindex: message.header.ifindex, address: address?, mac })
}

/// A sentence on a rule that our router does not follow (struct fib_rule_hdr and `FRA_...`,
/// include/uapi/linux/fib_rules.h); nothing on one of those that every namespace begins with (`fib_default_rules_init`).
fn rule(payload: &[u8]) -> Option<String> {
    const DEFAULT_RULES: [(u32, u32); 3] = [(0, 255), (32_766, 254), (32_767, 253)];
    const LOOKUP: u8 = 1;
    let header: [u8; 12] = *payload.first_chunk()?;
    let family = match i32::from(header[0]) {
        libc::AF_INET => "",
        libc::AF_INET6 => "-6 ",
        // Multicast routing has rules of its own (RTNL_FAMILY_IPMR).
        _ => return None,
    };
    let (mut priority, mut table) = (0, u32::from(header[4]));
    for attribute in NlasIterator::new(payload.get(12..)?).filter_map(Result::ok) {
        let value = attribute.value().first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        match (attribute.kind(), value) {
            (6, Some(value)) => priority = value,
            (15, Some(value)) => table = value,
            _ => {}
        }
    }
    if header[7] == LOOKUP && DEFAULT_RULES.contains(&(priority, table)) {
        return None;
    }
    Some(format!(
        "rule {priority} of `ip {family}rule` is not followed: the router looks at the main table alone"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_that_every_namespace_begins_with_cause_no_warning() {
        // struct fib_rule_hdr, FRA_TABLE and FRA_PRIORITY, as the kernel lists them.
        let message = |family: i32, table: u8, priority: u32| {
            let mut payload =
                vec![u8::try_from(family).unwrap_or_default(), 0, 0, 0, table, 0, 0, 1, 0, 0, 0, 0];
            for (kind, value) in [(15, u32::from(table)), (6, priority)] {
                payload.extend([8, 0, kind, 0]);
                payload.extend(value.to_ne_bytes());
            }
            rule(&payload)
        };
        // RTNL_FAMILY_IPMR and RTNL_FAMILY_IP6MR, include/uapi/linux/rtnetlink.h.
        for (family, table, priority) in [
            (libc::AF_INET, 254, 32_766),
            (libc::AF_INET6, 254, 32_766),
            (128, 253, 32_767),
            (129, 254, 32_767),
        ] {
            assert_eq!(message(family, table, priority), None, "{family}");
        }
        let said = message(libc::AF_INET6, 100, 78);
        assert!(said.is_some_and(|said| said.contains("rule 78 of `ip -6 rule`")));
    }
}
