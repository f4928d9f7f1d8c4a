//! Links and addresses of one network namespace, asked for afresh by each status (rtnetlink(7)).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::netlink::event;
use crate::netlink::link::LinkState;

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
            let state = LinkState::parse(&link, true);
            if state.name.is_empty() {
                continue;
            }
            let known = Link {
                up: state.up && state.carrier,
                mtu: state.mtu.unwrap_or_default(),
                addresses: Vec::new(),
            };
            names.insert(state.ifindex, state.name.clone());
            links.insert(state.name, known);
        }
        for message in dump(&socket, RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
            let RouteNetlinkMessage::NewAddress(address) = message else { continue };
            let link = names.get(&address.header.index).and_then(|name| links.get_mut(name));
            // Every link with IPv6 has a link-local one.
            let net = event::net(&address)
                .filter(|net| !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local()));
            if let (Some(link), Some(net)) = (link, net) {
                link.addresses.push(net);
            }
        }
        Ok(links)
    }
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
