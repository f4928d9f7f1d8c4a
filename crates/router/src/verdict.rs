//! What becomes of a frame: the verdict that the caller gets, and how a step ends a packet's way.

use std::net::IpAddr;
use std::ops::ControlFlow;

use nsrouter_wire::frame::PortId;

use crate::drop::DropReason;

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
    /// Forwarded, but the next hop's MAC address is not known yet. The frame begins with an Ethernet header
    /// whose source and type are filled in and whose destination is zero;
    /// [`Router::release`](crate::Router::release) completes it.
    Hold(NextHop),
    /// For programs of the router's own host: the data begin at the IP header.
    ToHost,
    /// Fully handled here, or replaced by frames that were originated.
    Consumed,
    /// Dropped, and counted.
    Drop(DropReason),
}

/// How a step ends a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this verdict.
    Verdict(Verdict),
    /// Dropped, and its sender is told by ICMP where the reason asks for that ([`DropReason::answer`]).
    Refuse {
        /// Why.
        reason: DropReason,
        /// The MTU of a packet too big, the pointer of a parameter problem, else 0.
        detail: u32,
    },
}

/// The outcome of a step: the packet goes on to the next one, with what this one found out, or its way ends
/// here.
pub(crate) type Step<T = ()> = ControlFlow<End, T>;

/// Ends a packet's way with a verdict.
#[inline]
pub(crate) fn end<T>(verdict: Verdict) -> Step<T> {
    ControlFlow::Break(End::Verdict(verdict))
}

/// Drops a packet in silence.
#[inline]
pub(crate) fn drop<T>(reason: DropReason) -> Step<T> {
    ControlFlow::Break(End::Verdict(Verdict::Drop(reason)))
}

/// Drops a packet and tells its sender, where the reason asks for that.
#[inline]
pub(crate) fn refuse<T>(reason: DropReason) -> Step<T> {
    refuse_with(reason, 0)
}

/// Drops a packet and tells its sender with an MTU or a pointer.
#[inline]
pub(crate) fn refuse_with<T>(reason: DropReason, detail: u32) -> Step<T> {
    ControlFlow::Break(End::Refuse { reason, detail })
}
