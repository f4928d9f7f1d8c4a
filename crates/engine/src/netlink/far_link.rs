//! The other end of a port's link, for a port that is no interface itself: a TAP's, in the host's namespace.

use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::sync::mpsc;

use crate::netlink::link::{LinkState, PortState};
use crate::netlink::socket::{DetachedSocket, List};
use crate::port::PortHandle;

/// Watches the interface at the other end of a port's link, in its own network namespace.
#[derive(Debug)]
pub struct FarLink {
    socket: DetachedSocket,
    name: String,
}

impl FarLink {
    /// Begins to watch the interface of that name in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The error of the netlink socket.
    pub fn watch(name: &str) -> std::io::Result<FarLink> {
        Ok(FarLink { socket: DetachedSocket::open(&[MulticastGroup::Link])?, name: name.to_owned() })
    }

    /// Sends the state of the interface, and then each change of it, until the receiver is gone.
    pub(crate) async fn report(self, port: PortHandle, states: mpsc::Sender<(PortHandle, PortState)>) {
        let FarLink { socket, name } = self;
        // Without a socket that works there is nothing to report.
        let Ok(mut socket) = socket.into_socket() else { return };
        // What was told before the answer is older than it.
        const QUESTION: u32 = 1;
        let mut ifindex = None;
        let mut is_asked = false;
        loop {
            if !is_asked {
                is_asked = socket.request(List::Links, 0, QUESTION).is_ok();
            }
            // Messages that were lost are made up for by the list.
            is_asked &= socket.read().await.is_ok();
            while let Some(message) = socket.take() {
                let is_answer = message.sequence == QUESTION;
                let (link, exists) = match message.parse() {
                    Some(RouteNetlinkMessage::NewLink(link)) => (link, true),
                    Some(RouteNetlinkMessage::DelLink(link)) => (link, false),
                    _ => continue,
                };
                let link = LinkState::parse(&link, exists);
                if ifindex.is_none() && is_answer && link.name == name {
                    ifindex = Some(link.ifindex);
                }
                if ifindex != Some(link.ifindex) {
                    continue;
                }
                // The other end's state is the port's carrier.
                let state = match PortState::of(&link) {
                    PortState::Up => PortState::Up,
                    PortState::NoCarrier | PortState::Down => PortState::NoCarrier,
                    PortState::Gone => PortState::Gone,
                };
                if states.send((port, state)).await.is_err() {
                    return;
                }
            }
        }
    }
}
