//! Interfaces: veth pairs, TAP devices, and what the kernel reports about a link.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use nsrouter_wire::eth::MacAddr;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State as OperState,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::socket::Netlink;
use crate::error::Error;

/// The queue of a TAP device, in frames; the default of 1000 overflows in less than a millisecond.
const TAP_QUEUE_FRAMES: u32 = 4096;

/// One end of a veth pair to create.
#[derive(Clone, Copy)]
pub(crate) struct VethEnd<'a> {
    pub(crate) ifname: &'a str,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: u32,
    /// Transmit queues, and as many receive queues.
    pub(crate) queues: u32,
    /// The namespace to create it in, if not that of the socket.
    pub(crate) ns: Option<BorrowedFd<'a>>,
}

/// What the kernel reports about a link.
pub(crate) struct LinkFacts {
    pub(crate) index: u32,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: u32,
    pub(crate) alias: Option<String>,
    /// Up at both ends, and known to be so.
    pub(crate) is_operational: bool,
}

impl Netlink {
    /// Creates a veth pair, each end in its namespace from the start.
    pub(crate) fn add_veth(&self, a: VethEnd<'_>, b: VethEnd<'_>) -> Result<(), Error> {
        let describe = |end: VethEnd<'_>| {
            let mut attributes =
                vec![LinkAttribute::IfName(end.ifname.to_owned()), LinkAttribute::Mtu(end.mtu)];
            // Only where it is not 1: veth enables every queue that is requested (veth_init_queues).
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
            || format!("create the link {} - {}", a.ifname, b.ifname),
            self.handle.link().add(message).execute(),
        )
    }

    /// The link of that name, if there is one.
    pub(crate) fn link(&self, ifname: &str) -> Result<Option<LinkFacts>, Error> {
        match self.drive(self.handle.link().get().match_name(ifname).execute().try_next()) {
            Ok(message) => Ok(message.map(|message| facts(&message))),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(source) => Err(Error::Step { step: format!("examine link {ifname}"), source }),
        }
    }

    /// The link of that name, which must exist.
    pub(crate) fn the_link(&self, ifname: &str) -> Result<LinkFacts, Error> {
        self.link(ifname)?.ok_or_else(|| Error::Step {
            step: format!("find link {ifname}"),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// The index and name of every link.
    pub(super) fn link_names(&self) -> Result<Vec<(u32, String)>, Error> {
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

    /// Marks a link, then brings it up.
    pub(crate) fn mark_and_up(&self, index: u32, mark: &str) -> Result<(), Error> {
        self.mark(index, mark)?;
        self.set(index, || format!("bring link {index} up"), LinkMessageBuilder::up)
    }

    /// Gives a link its alias: the mark that identifies it as a lab's.
    pub(crate) fn mark(&self, index: u32, mark: &str) -> Result<(), Error> {
        // As an attribute of its own: the builder's alias() is an alternative name in some versions.
        let alias = LinkAttribute::IfAlias(mark.to_owned());
        self.set(index, || format!("mark link {index}"), |link| link.append_extra_attribute(alias))
    }

    /// Sets a link's MTU, in bytes.
    pub(crate) fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Error> {
        self.set(index, || format!("set the MTU of link {index} to {mtu}"), |link| link.mtu(mtu))
    }

    /// Gives a TAP device the MAC address and MTU that a veth is created with, and a queue that holds a
    /// burst.
    pub(crate) fn set_tap(&self, index: u32, mac: Option<MacAddr>, mtu: u32) -> Result<(), Error> {
        let queue = LinkAttribute::TxQueueLen(TAP_QUEUE_FRAMES);
        let mac = mac.map(|mac| LinkAttribute::Address(mac.0.to_vec()));
        self.set(
            index,
            || format!("configure TAP device {index}"),
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

    /// Deletes a link; of a veth pair both ends.
    pub(crate) fn delete(&self, index: u32) -> Result<(), Error> {
        self.ask(|| format!("delete link {index}"), self.handle.link().del(index).execute())
    }
}

/// The facts in a message about a link.
fn facts(message: &LinkMessage) -> LinkFacts {
    let mut facts =
        LinkFacts { index: message.header.index, mac: None, mtu: 0, alias: None, is_operational: false };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => {
                facts.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr)
            }
            LinkAttribute::Mtu(mtu) => facts.mtu = *mtu,
            LinkAttribute::IfAlias(alias) => facts.alias = Some(alias.clone()),
            LinkAttribute::OperState(state) => {
                // A TAP device reports no state, only its carrier.
                facts.is_operational = matches!(state, OperState::Up | OperState::Unknown)
                    && message.header.flags.contains(LinkFlags::LowerUp);
            }
            _ => {}
        }
    }
    facts
}
