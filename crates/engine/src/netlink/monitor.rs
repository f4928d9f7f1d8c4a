//! Watching one network namespace: changes as the kernel reports them, and lists read afresh (rtnetlink(7)).
//!
//! Links go down, come up, change their MTU or vanish. Routes and addresses are how the userspace router is
//! configured while it runs: it takes over what `ip route` puts into the main table there, and what `ip addr`
//! gives the host port. Each change of a route comes as a message of its own; only where messages were lost,
//! or the kernel reports nothing, is the whole table read.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use ipnet::IpNet;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::RouteNetlinkMessage;

use crate::netlink::event::{KernelEvent, StaticNeighbour, event, neighbour, net};
use crate::netlink::interfaces::Interfaces;
use crate::netlink::link::LinkState;
use crate::netlink::nexthop::{self, NextHops};
use crate::netlink::route::{self, KernelRoute, ParsedRoute};
use crate::netlink::rule::unsupported_rule;
use crate::netlink::socket::{self, List, ListError, Socket};

/// Changes that the kernel reports by itself.
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
/// A list of the kernel's.
#[derive(Clone, Debug)]
pub(crate) struct Answer<T> {
    pub(crate) found: Vec<T>,
    /// False if the list changed while it was read: something may be missing.
    pub(crate) is_whole: bool,
}

/// Watches the network namespace that it was created in.
pub(crate) struct Monitor {
    socket: Socket,
    interfaces: Arc<Interfaces>,
}

impl Monitor {
    /// Begins to watch; to be called within a runtime.
    pub(crate) fn new(interfaces: Interfaces) -> io::Result<Monitor> {
        Ok(Monitor { socket: Socket::subscribe(GROUPS)?, interfaces: Arc::new(interfaces) })
    }

    /// The kernel reaches the router's links by other interfaces from now on.
    pub(crate) fn set_interfaces(&mut self, interfaces: Interfaces) {
        let names = Arc::clone(&self.interfaces.names);
        self.interfaces = Arc::new(Interfaces { names, ..interfaces });
    }

    /// Watches afresh after reports were lost: those that still wait are older than the lists that are read
    /// now, and until all of them are read the kernel drops any other without notice (`NETLINK_S_CONGESTED`).
    ///
    /// # Errors
    /// The error of the socket; the watch goes on as it was.
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

    /// An event that has arrived already.
    pub(crate) fn try_next(&mut self) -> Option<KernelEvent> {
        self.next().now_or_never()
    }

    /// Reads the state of every link.
    ///
    /// # Errors
    /// [`ListError`].
    pub(crate) async fn links(&self) -> Result<Answer<LinkState>, ListError> {
        let mut found = Vec::new();
        let is_whole = socket::read_list(List::Links, 0, |message| {
            if let Some(RouteNetlinkMessage::NewLink(link)) = message.parse() {
                found.push(self.interfaces.link(&link, true));
            }
        });
        Ok(Answer { is_whole: is_whole.await?, found })
    }

    /// Reads the addresses of the host port.
    ///
    /// # Errors
    /// [`ListError`].
    pub(crate) async fn addresses(&self, host_ifindex: u32) -> Result<Answer<IpNet>, ListError> {
        let mut found = Vec::new();
        let is_whole = socket::read_list(List::Addresses, 0, |message| {
            if let Some(RouteNetlinkMessage::NewAddress(address)) = message.parse()
                && address.header.index == host_ifindex
            {
                found.extend(net(&address));
            }
        });
        Ok(Answer { is_whole: is_whole.await?, found })
    }

    /// Reads the neighbours that were set by hand.
    ///
    /// # Errors
    /// [`ListError`].
    pub(crate) async fn neighbours(&self) -> Result<Answer<StaticNeighbour>, ListError> {
        let mut found = Vec::new();
        let is_whole = socket::read_list(List::Neighbours, 0, |message| {
            if let Some(RouteNetlinkMessage::NewNeighbour(entry)) = message.parse() {
                found.extend(neighbour(&entry, true).filter(|entry| entry.mac.is_some()));
            }
        });
        Ok(Answer { is_whole: is_whole.await?, found })
    }

    /// Reads the policy routing rules (`ip rule`) beside those that every namespace has: a sentence on each.
    ///
    /// # Errors
    /// [`ListError`].
    pub(crate) async fn rules(&self) -> Result<Answer<String>, ListError> {
        let mut found = Vec::new();
        let is_whole =
            socket::read_list(List::Rules, 0, |message| found.extend(unsupported_rule(message.payload())));
        Ok(Answer { is_whole: is_whole.await?, found })
    }

    /// Reads the routes of the kernel's tables, without those that the router ignores.
    ///
    /// The kernel reaches the lab's subnets by the host port, so a route by a gateway in the lab leads there;
    /// the router port that it means follows from the gateway. The routes that the kernel made itself, for
    /// the subnets, the router has already.
    pub(crate) fn routes(
        &self,
    ) -> impl Future<Output = Result<Answer<KernelRoute>, ListError>> + Send + 'static {
        let interfaces = Arc::clone(&self.interfaces);
        async move {
            let mut objects = NextHops::new();
            let next_hops = socket::read_list(List::NextHops, 0, |message| {
                objects.extend(nexthop::parse(message.payload()));
            });
            let mut is_whole = match next_hops.await {
                Ok(is_whole) => is_whole,
                // Kernels before 5.3 have none.
                Err(ListError::Refused(_)) => true,
                Err(error) => return Err(error),
            };
            let mut found = Vec::new();
            for family in [libc::AF_INET, libc::AF_INET6] {
                let family = u8::try_from(family).unwrap_or(0);
                let answer = socket::read_list(List::Routes, family, |message| {
                    let Some(RouteNetlinkMessage::NewRoute(route)) = message.parse() else { return };
                    match route::parse(&route, &interfaces, &objects) {
                        ParsedRoute::Route(learned) if learned.lifetime_ns == Some(0) => {}
                        ParsedRoute::Route(learned) => found.push(learned),
                        // The object has come since.
                        ParsedRoute::UnknownNextHop => is_whole = false,
                        ParsedRoute::Irrelevant => {}
                    }
                });
                let answer = answer.await?;
                is_whole &= answer;
            }
            Ok(Answer { found, is_whole })
        }
    }
}
