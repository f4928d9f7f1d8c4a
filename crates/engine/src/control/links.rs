//! Links that go down, come up or vanish, as the kernel tells of them (rtnetlink(7), RTNLGRP_LINK).

use std::io;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};

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
pub(crate) enum LinkEvent {
    Changed(LinkState),
    /// The kernel had more to say than the socket could hold (ENOBUFS): ask for everything again.
    Lost,
}

/// Watches the links of the network namespace in which it was made.
pub(crate) struct LinkMonitor {
    handle: Handle,
    events: Pin<Box<dyn Stream<Item = LinkEvent>>>,
}

impl LinkMonitor {
    /// Begins to watch; the runtime that this is called in carries the connection.
    pub(crate) fn new() -> io::Result<LinkMonitor> {
        let (connection, handle, messages) = new_multicast_connection(&[MulticastGroup::Link])?;
        tokio::spawn(connection);
        let events = messages.filter_map(|(message, _)| std::future::ready(event(&message)));
        Ok(LinkMonitor { handle, events: Box::pin(events) })
    }

    /// The next event; never returns when the connection is gone.
    pub(crate) async fn next(&mut self) -> LinkEvent {
        match self.events.next().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// The state of every link, asked for afresh.
    pub(crate) async fn all(&self) -> Vec<LinkState> {
        let mut links = self.handle.link().get().execute();
        let mut states = Vec::new();
        while let Some(Ok(link)) = links.next().await {
            states.push(state(&link));
        }
        states
    }
}

fn event(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<LinkEvent> {
    match &message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            Some(LinkEvent::Changed(state(link)))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
            Some(LinkEvent::Changed(LinkState { up: false, ..state(link) }))
        }
        NetlinkPayload::Overrun(_) => Some(LinkEvent::Lost),
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
