//! What workers report to the control plane: neighbours that showed themselves, and next hops without a MAC
//! address.

use std::net::IpAddr;

use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

use crate::verdict::NextHop;

/// How a neighbour showed itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// It asked for one of the router's addresses by ARP.
    ArpRequest,
    /// An ARP packet that was not a request to the router: an announcement or a broadcast reply (gratuitous ARP).
    ArpAnnouncement,
    /// It answered by ARP, to the router alone.
    ArpReply,
    /// A neighbour solicitation, router solicitation or router advertisement of its that names its MAC
    /// address.
    Solicitation,
    /// A neighbour advertisement (RFC 4861 section 7.2.5).
    Advertisement {
        /// The S flag: it answers a solicitation.
        solicited: bool,
        /// The O flag: the MAC address replaces a different one.
        overrides: bool,
    },
}

/// What workers report to the control plane. Small and `Copy`, so that a channel never allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A neighbour showed itself.
    NeighbourSeen {
        /// On which link.
        port: PortId,
        /// Its address.
        addr: IpAddr,
        /// Its MAC address; an advertisement may leave it out.
        mac: Option<MacAddr>,
        /// How.
        kind: Seen,
    },
    /// A frame is pending for a next hop whose MAC address is not known.
    Unresolved {
        /// The neighbour to ask for.
        next_hop: NextHop,
        /// The source of the packet, if that is an address of the router: the request is sent in its name.
        asker: Option<IpAddr>,
    },
    /// A frame was sent to a neighbour whose entry is stale: time to confirm that it is reachable.
    InUse(NextHop),
    /// Another station uses one of the router's addresses.
    AddressConflict {
        /// On which link.
        port: PortId,
        /// The address.
        addr: IpAddr,
        /// The other station.
        mac: MacAddr,
    },
}
