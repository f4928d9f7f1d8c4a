//! Forwarding of an IPv4 packet: route, TTL, next hop, MTU (RFC 1812 sections 5.2.4, 5.3.1 and 5.2.6).

use std::ops::ControlFlow::Continue;

use crate::context::Context;
use crate::drop::DropReason;
use crate::egress::{self, Egress};
use crate::nexthop::{Adjacency, NextHopEntry};
use crate::packet::{LinkDestination, Packet4};
use crate::tables::Tables;
use crate::verdict::{Step, drop, refuse, refuse_with};

/// Looks up the route (RFC 1812 section 5.2.4).
#[inline(always)]
pub(crate) fn route<'t, O>(packet: &Packet4<'_, '_>, context: &mut Context<'t, O>) -> &'t NextHopEntry {
    context.state.counters.lookups += 1;
    context.tables.route4(packet.ip.destination)
}

/// Whether the route lets the packet pass. No unicast packet leaves that came in a link-layer broadcast (RFC
/// 1812 section 5.3.4).
#[inline(always)]
pub(crate) fn check_route(packet: &Packet4<'_, '_>, target: &NextHopEntry) -> Step {
    if packet.ip.link_destination == LinkDestination::Group {
        return drop(DropReason::L2Broadcast);
    }
    match target.adjacency {
        Adjacency::Reject(reason) => refuse(reason),
        Adjacency::Local
        | Adjacency::Broadcast
        | Adjacency::OnLink(_)
        | Adjacency::Via(..)
        | Adjacency::Group(_) => Continue(()),
    }
}

/// Only a packet with hops left goes on (RFC 1812 section 5.3.1).
#[inline(always)]
pub(crate) fn check_ttl(packet: &Packet4<'_, '_>) -> Step {
    if packet.ip.ttl <= 1 { refuse(DropReason::TtlExceeded) } else { Continue(()) }
}

/// The port and next hop that the route gives.
#[inline(always)]
pub(crate) fn choose<'t>(
    packet: &Packet4<'_, '_>,
    target: &'t NextHopEntry,
    tables: &'t Tables,
) -> Step<Egress<'t>> {
    match egress::choose(packet, target, tables) {
        Some(egress) => Continue(egress),
        None => drop(DropReason::PortDown),
    }
}

/// Whether the packet fits the link, as a whole or as each segment of a GSO packet; false when it is to be
/// fragmented (RFC 1812 section 5.2.6).
#[inline(always)]
pub(crate) fn check_mtu(packet: &Packet4<'_, '_>, mtu: usize) -> Step<bool> {
    let Some(wire_bytes) = packet.wire_bytes() else { return drop(DropReason::BadOffload) };
    let fits = wire_bytes <= mtu;
    if !fits && packet.ip.dont_fragment() {
        return refuse_with(DropReason::TooBig, u32::try_from(mtu).unwrap_or(0));
    }
    Continue(fits)
}
