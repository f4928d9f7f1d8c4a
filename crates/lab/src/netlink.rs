//! Links, addresses and routes of the namespace of the thread that opened it, through rtnetlink.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State as OperState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RoutePreference, RouteProtocol,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::Runtime;

use crate::Error;
use crate::state::SavedRoute;
use crate::topology::Mac;

/// Frames that a TAP device keeps for its reader; the default of 1000 overflows in less than a millisecond.
const TAP_QUEUE_FRAMES: u32 = 4096;

/// Ticks a second of the times in netlink messages (`USER_HZ`, a constant of the kernel's interface).
const USER_HZ: u32 = 100;

/// A netlink socket and the runtime that drives it, for one thread.
pub(crate) struct Netlink {
    runtime: Runtime,
    handle: rtnetlink::Handle,
}

/// One end of a veth pair that is to be.
#[derive(Clone, Copy)]
pub(crate) struct VethEnd<'a> {
    pub(crate) ifname: &'a str,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    /// Queues to send by and to receive by.
    pub(crate) queues: u32,
    /// The namespace that it is made in, if not the socket's.
    pub(crate) ns: Option<BorrowedFd<'a>>,
}

/// What is known about a link.
pub(crate) struct LinkFacts {
    pub(crate) index: u32,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    pub(crate) alias: Option<String>,
    /// Up at both ends, and seen to be so.
    pub(crate) is_operational: bool,
}

impl Netlink {
    /// Opens a socket in the namespace of the calling thread, where it stays.
    pub(crate) fn open() -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            let (connection, handle, _) = {
                let _inside = runtime.enter();
                rtnetlink::new_connection()?
            };
            runtime.spawn(connection);
            Ok(Self { runtime, handle })
        };
        open().map_err(Error::step("open a netlink socket"))
    }

    /// Drives one request; `step` completes "cannot ...".
    fn ask<T>(
        &self,
        step: impl FnOnce() -> String,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, Error> {
        self.runtime.block_on(request).map_err(|error| Error::Step { step: step(), source: to_io(error) })
    }

    /// Makes a veth pair, each end at once in its namespace.
    pub(crate) fn add_veth(&self, a: VethEnd<'_>, b: VethEnd<'_>) -> Result<(), Error> {
        let describe = |end: VethEnd<'_>| {
            let mut attributes =
                vec![LinkAttribute::IfName(end.ifname.to_owned()), LinkAttribute::Mtu(end.mtu)];
            // Said only where it is not 1: a number that is said is a number that is used (veth_init_queues).
            if end.queues > 1 {
                attributes
                    .extend([LinkAttribute::NumTxQueues(end.queues), LinkAttribute::NumRxQueues(end.queues)]);
            }
            attributes.extend(end.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
            attributes.extend(end.ns.map(|ns| LinkAttribute::NetNsFd(ns.as_raw_fd())));
            attributes
        };
        let mut peer = LinkMessage::default();
        peer.attributes = describe(b);
        let mut message = LinkMessage::default();
        message.attributes = describe(a);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.ask(
            || format!("make the link {} - {}", a.ifname, b.ifname),
            self.handle.link().add(message).execute(),
        )
    }

    /// The link of that name, if there is one.
    pub(crate) fn link(&self, ifname: &str) -> Result<Option<LinkFacts>, Error> {
        let found = self.runtime.block_on(self.handle.link().get().match_name(ifname).execute().try_next());
        match found.map_err(to_io) {
            Ok(message) => Ok(message.map(|message| facts(&message))),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(source) => Err(Error::Step { step: format!("look at link {ifname}"), source }),
        }
    }

    /// The link of that name, which must be there.
    pub(crate) fn the_link(&self, ifname: &str) -> Result<LinkFacts, Error> {
        self.link(ifname)?.ok_or_else(|| Error::Step {
            step: format!("find link {ifname}"),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// Every link's name and index.
    pub(crate) fn link_names(&self) -> Result<Vec<(u32, String)>, Error> {
        let all: Vec<LinkMessage> =
            self.ask(|| "list the links".to_owned(), self.handle.link().get().execute().try_collect())?;
        let name = |message: &LinkMessage| {
            message.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            })
        };
        Ok(all.iter().filter_map(|message| Some((message.header.index, name(message)?))).collect())
    }

    fn set(
        &self,
        index: u32,
        what: impl FnOnce() -> String,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        let message = change(LinkUnspec::new_with_index(index)).build();
        self.ask(what, self.handle.link().set(message).execute())
    }

    /// Brings a link up, and gives it an alias first: the mark by which we know it again.
    pub(crate) fn mark_and_up(&self, index: u32, mark: &str) -> Result<(), Error> {
        self.mark(index, mark)?;
        self.set(index, || format!("bring link {index} up"), LinkMessageBuilder::up)
    }

    /// Gives a link its alias.
    pub(crate) fn mark(&self, index: u32, mark: &str) -> Result<(), Error> {
        // As an attribute of its own: the builder's alias() is an alternative name in some versions.
        let alias = LinkAttribute::IfAlias(mark.to_owned());
        self.set(index, || format!("mark link {index}"), |link| link.append_extra_attribute(alias))
    }

    /// Sets a link's MTU, in bytes.
    pub(crate) fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Error> {
        self.set(index, || format!("set the MTU of link {index} to {mtu}"), |link| link.mtu(mtu))
    }

    /// Gives a TAP device what a veth is made with, and a queue that a burst fits into.
    pub(crate) fn set_tap(&self, index: u32, mac: Option<Mac>, mtu: u32) -> Result<(), Error> {
        let queue = LinkAttribute::TxQueueLen(TAP_QUEUE_FRAMES);
        let mac = mac.map(|mac| LinkAttribute::Address(mac.0.to_vec()));
        self.set(
            index,
            || format!("set up TAP device {index}"),
            |link| {
                let link = link.mtu(mtu).append_extra_attribute(queue);
                match mac {
                    Some(mac) => link.append_extra_attribute(mac),
                    None => link,
                }
            },
        )
    }

    /// Moves a link into another namespace.
    pub(crate) fn move_to(&self, index: u32, ns: BorrowedFd<'_>) -> Result<(), Error> {
        self.set(index, || format!("move link {index}"), |link| link.setns_by_fd(ns.as_raw_fd()))
    }

    /// Deletes a link, and with a veth its other end.
    pub(crate) fn delete(&self, index: u32) -> Result<(), Error> {
        self.ask(|| format!("delete link {index}"), self.handle.link().del(index).execute())
    }

    /// Adds an address that is usable at once (RFC 4862 section 5.4 is for links with strangers).
    pub(crate) fn add_address(&self, index: u32, net: IpNet) -> Result<(), Error> {
        let mut request = self.handle.address().add(index, net.addr(), net.prefix_len());
        if net.addr().is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.ask(|| format!("add address {net} to link {index}"), request.execute())
    }

    /// Whether the link has an IPv6 link-local address, and no address that waits for its detection.
    pub(crate) fn has_usable_link_local(&self, index: u32) -> Result<bool, Error> {
        let all: Vec<AddressMessage> = self.ask(
            || format!("list the addresses of link {index}"),
            self.handle.address().get().set_link_index_filter(index).execute().try_collect(),
        )?;
        let on_link = |message: &&AddressMessage| {
            message.header.index == index && message.header.family == AddressFamily::Inet6
        };
        let is_link_local = |message: &AddressMessage| {
            message.attributes.iter().any(|attribute| {
                matches!(attribute, AddressAttribute::Address(IpAddr::V6(addr)) if addr.is_unicast_link_local())
            })
        };
        let is_tentative =
            |message: &AddressMessage| message.header.flags.contains(AddressHeaderFlags::Tentative);
        Ok(all.iter().filter(on_link).any(is_link_local) && !all.iter().filter(on_link).any(is_tentative))
    }

    /// Adds a route: by a next hop, or onto the link itself.
    pub(crate) fn add_route(&self, to: IpNet, via: Option<IpAddr>, index: u32) -> Result<(), Error> {
        let message = match (to, via) {
            (IpNet::V4(to), Some(IpAddr::V4(via))) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .gateway(via)
                .output_interface(index)
                .build(),
            (IpNet::V6(to), Some(IpAddr::V6(via))) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .gateway(via)
                .output_interface(index)
                .build(),
            (IpNet::V4(to), _) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .output_interface(index)
                .build(),
            (IpNet::V6(to), _) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .output_interface(index)
                .build(),
        };
        self.ask(|| format!("add the route to {to}"), self.handle.route().add(message).execute())
    }

    /// The IPv6 default routes that came from router advertisements.
    pub(crate) fn advertised_routes(&self) -> Result<Vec<SavedRoute>, Error> {
        let all: Vec<RouteMessage> = self.ask(
            || "list the IPv6 routes".to_owned(),
            self.handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build()).execute().try_collect(),
        )?;
        let names = self.link_names()?;
        Ok(all.iter().filter_map(|message| saved_route(message, &names)).collect())
    }

    /// Puts such a route back.
    pub(crate) fn restore_route(&self, route: &SavedRoute) -> Result<(), Error> {
        let index = self.the_link(&route.ifname)?.index;
        let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(route.gateway)
            .output_interface(index)
            .table_id(route.table)
            .priority(route.metric)
            .protocol(RouteProtocol::Ra);
        if let Some(seconds) = route.expires_seconds {
            builder = builder.expires(seconds);
        }
        let attributes = &mut builder.get_mut().attributes;
        attributes.push(RouteAttribute::Preference(RoutePreference::from(route.preference)));
        let metrics: Vec<RouteMetric> = route
            .hop_limit
            .map(RouteMetric::Hoplimit)
            .into_iter()
            .chain(route.mtu.map(RouteMetric::Mtu))
            .collect();
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        let message = builder.build();
        self.ask(
            || format!("put back the default route via {}", route.gateway),
            self.handle.route().add(message).execute(),
        )
    }
}

/// What a message says about a link.
fn facts(message: &LinkMessage) -> LinkFacts {
    let mut facts =
        LinkFacts { index: message.header.index, mac: None, mtu: 0, alias: None, is_operational: false };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => facts.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
            LinkAttribute::Mtu(mtu) => facts.mtu = *mtu,
            LinkAttribute::IfAlias(alias) => facts.alias = Some(alias.clone()),
            LinkAttribute::OperState(state) => {
                // A TAP device never says more than that it has a carrier.
                facts.is_operational = matches!(state, OperState::Up | OperState::Unknown)
                    && message.header.flags.contains(LinkFlags::LowerUp);
            }
            _ => {}
        }
    }
    facts
}

/// The route, if it is a default route by a router's advertisement.
fn saved_route(message: &RouteMessage, names: &[(u32, String)]) -> Option<SavedRoute> {
    if message.header.protocol != RouteProtocol::Ra || message.header.destination_prefix_length != 0 {
        return None;
    }
    let (mut ifname, mut gateway, mut metric, mut preference) = (None, None, 0, 0);
    let (mut expires_seconds, mut hop_limit, mut mtu) = (None, None, None);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => {
                ifname = names.iter().find(|(known, _)| known == index).map(|(_, name)| name.clone());
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(addr)) => gateway = Some(*addr),
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Preference(value) => preference = u8::from(*value),
            RouteAttribute::CacheInfo(info) => {
                expires_seconds = (info.expires > 0).then_some(info.expires / USER_HZ);
            }
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Hoplimit(value) => hop_limit = Some(*value),
                        RouteMetric::Mtu(value) => mtu = Some(*value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let (ifname, gateway) = (ifname?, gateway?);
    Some(SavedRoute { ifname, gateway, table, metric, preference, expires_seconds, hop_limit, mtu })
}

/// The kernel's answer as an I/O error, so that it prints as one and its kind can be asked for.
fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
