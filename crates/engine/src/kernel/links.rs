//! Links and addresses of one network namespace, asked for afresh by each status (rtnetlink(7)).

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// State of one link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// Administratively up and with a carrier.
    pub(super) up: bool,
    /// Largest IP packet in bytes.
    pub(super) mtu: u32,
    /// Its addresses, link-local ones left out.
    pub(super) addresses: Vec<IpNet>,
}

/// Asks the kernel of the namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Links {
    /// One question at a time: the answers to two would mix.
    socket: Mutex<Socket>,
}

impl Links {
    /// Opens a socket in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Links> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Links { socket: Mutex::new(socket) })
    }

    /// Every link by its name.
    pub(super) fn all(&self) -> io::Result<BTreeMap<String, Link>> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = BTreeMap::new();
        let mut links = BTreeMap::new();
        for message in dump(&socket, RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
            let RouteNetlinkMessage::NewLink(link) = message else { continue };
            let mut known = Link {
                up: link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
                ..Link::default()
            };
            let mut name = None;
            for attribute in link.attributes {
                if let LinkAttribute::Mtu(mtu) = attribute {
                    known.mtu = mtu;
                } else if let LinkAttribute::IfName(ifname) = attribute {
                    name = Some(ifname);
                }
            }
            if let Some(name) = name {
                names.insert(link.header.index, name.clone());
                links.insert(name, known);
            }
        }
        for message in dump(&socket, RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
            let RouteNetlinkMessage::NewAddress(address) = message else { continue };
            let link = names.get(&address.header.index).and_then(|name| links.get_mut(name));
            if let (Some(link), Some(net)) = (link, net(&address)) {
                link.addresses.push(net);
            }
        }
        Ok(links)
    }
}

/// The address with its subnet, unless it is link-local, which every link with IPv6 has.
fn net(message: &AddressMessage) -> Option<IpNet> {
    let of = |kind: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(kind);
    // On a point-to-point link IFA_ADDRESS is the peer's (linux/if_addr.h).
    let local = of(|it| if let AddressAttribute::Local(address) = it { Some(*address) } else { None });
    let any = || of(|it| if let AddressAttribute::Address(address) = it { Some(*address) } else { None });
    let address = local.or_else(any)?;
    let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    if is_link_local { None } else { IpNet::new(address, message.header.prefix_len).ok() }
}

/// Asks one question and reads its whole answer.
fn dump(socket: &Socket, question: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(question));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                // Noop, overrun and whatever the library learns of later carry nothing.
                _ => {}
            }
            // Messages stand at multiples of four bytes (NLMSG_ALIGN of linux/netlink.h).
            let bytes = usize::try_from(message.header.length).unwrap_or(usize::MAX).max(1);
            rest = rest.get(bytes.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_loopback_interface_is_seen() {
        let links = Links::open().unwrap().all().unwrap();
        assert!(links["lo"].mtu > 0, "{links:?}");
        let again = Links::open().unwrap();
        assert_eq!(again.all().unwrap().keys().collect::<Vec<_>>(), links.keys().collect::<Vec<_>>());
    }
}
