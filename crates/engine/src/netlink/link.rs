//! Links: their state as the kernel reports it, and as the router's ports see it.

use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

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

impl LinkState {
    /// Parses a message about a link that exists, or no longer does.
    pub(crate) fn parse(link: &LinkMessage, exists: bool) -> LinkState {
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
        state
    }
}

/// The state of a port's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PortState {
    #[default]
    Up,
    /// Up, but the other end is down: its routes stay, and its neighbours do not answer (Linux with
    /// `ignore_routes_with_linkdown` 0, the default).
    NoCarrier,
    /// Administratively down: its routes go.
    Down,
    /// Deleted.
    Gone,
}

impl PortState {
    /// The state that the kernel reports.
    pub(crate) fn of(link: &LinkState) -> PortState {
        match (link.exists, link.up, link.carrier) {
            (false, ..) => PortState::Gone,
            (true, false, _) => PortState::Down,
            (true, true, false) => PortState::NoCarrier,
            (true, true, true) => PortState::Up,
        }
    }

    /// The end of a sentence on a port that has come into this state.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            PortState::Up => "is up again",
            PortState::NoCarrier => "lost its carrier: the other end of its link is down",
            PortState::Down => "went down",
            PortState::Gone => "was deleted; start the lab again to have it back",
        }
    }
}
