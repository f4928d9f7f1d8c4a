//! The router's vocabulary: time, verdicts, next hops, events, and where originated frames go.

use std::net::IpAddr;

use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;
use nsrouter_wire::offload::Offload;

use crate::drop::DropReason;

/// The time of a burst, given by the caller: the router never asks a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Time {
    /// Monotonic, in nanoseconds since any fixed moment.
    pub mono_ns: u64,
    /// Milliseconds since midnight UT, for the IP timestamp option (RFC 791 section 3.1).
    pub utc_ms: u32,
}

/// A neighbour that a packet is to be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    /// The link that it is on.
    pub port: PortId,
    /// Its address on that link: the gateway, or the destination itself.
    pub addr: IpAddr,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forwarded: the frame is complete, Ethernet header included, and goes out by this port.
    Send(PortId),
    /// Rewritten in place into an answer (echo, ARP, neighbour advertisement) that goes out by this port.
    Reply(PortId),
    /// Forwarded, but the next hop's MAC address is not known yet. The frame begins with an Ethernet header whose
    /// source and type are filled in and whose destination is zero; [`Router::release`](crate::Router::release)
    /// completes it.
    Hold(NextHop),
    /// For programs of the router's own host: the data begin at the IP header.
    ToHost,
    /// Fully handled here, or replaced by frames that were originated.
    Consumed,
    /// Dropped, and counted.
    Drop(DropReason),
}

/// Where what the router originates goes: fragments, ICMP errors, redirects, advertisements.
///
/// Everything is preallocated by the implementor; no call may block or allocate.
pub trait Originate {
    /// Lends a buffer of exactly `len` bytes with undefined content, or nothing when the pool is empty. Lending again
    /// without sending takes the first one back.
    fn buffer(&mut self, len: usize) -> Option<&mut [u8]>;

    /// Sends the buffer lent last. For [`PortId::HOST`] it begins at the IP header, otherwise it is a complete
    /// Ethernet frame.
    fn send(&mut self, egress: PortId, offload: Offload);

    /// Holds the buffer lent last until `next_hop` is resolved; its layout is that of [`Verdict::Hold`].
    fn hold(&mut self, next_hop: NextHop);

    /// Tells the control plane what was seen. Never blocks; may be lost under overload, as packets may.
    fn report(&mut self, event: Event);
}

/// How a neighbour showed itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// It asked for one of our addresses by ARP.
    ArpRequest,
    /// An ARP packet that was not a question to us: an announcement or a broadcast reply (gratuitous ARP).
    ArpAnnouncement,
    /// It answered by ARP, to us alone.
    ArpReply,
    /// A neighbour solicitation, router solicitation or router advertisement of its that names its MAC address.
    Solicitation,
    /// A neighbour advertisement (RFC 4861 section 7.2.5).
    Advertisement {
        /// The S flag: it answers a solicitation.
        solicited: bool,
        /// The O flag: the MAC address replaces a different one.
        overrides: bool,
    },
}

/// What workers tell the control plane. Small and `Copy`, so that a channel never allocates.
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
    /// A frame is held for a next hop whose MAC address is not known.
    Unresolved {
        /// Who is to be asked for.
        next_hop: NextHop,
        /// The source of the packet, if that is an address of ours: the question is asked in its name.
        asker: Option<IpAddr>,
    },
    /// A frame was sent to a neighbour whose entry is stale: time to confirm that it is reachable.
    InUse(NextHop),
    /// Another station uses one of our addresses.
    AddressConflict {
        /// On which link.
        port: PortId,
        /// The address.
        addr: IpAddr,
        /// The other station.
        mac: MacAddr,
    },
}

/// What a worker's router starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Slots for link ports at the start; [`Router::add_port`](crate::Router::add_port) makes room for more.
    pub ports: usize,
    /// Where random numbers (IP identifications, jitter) start; any value, best one that cannot be guessed.
    pub seed: u64,
}
