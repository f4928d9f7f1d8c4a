//! Forwarding of an IPv4 packet: route, TTL, MTU (RFC 1812 sections 5.2.4, 5.3.1 and 5.2.6).

use std::ops::ControlFlow::Continue;

use crate::context::Context;
use crate::drop::DropReason;
use crate::nexthop::NextHopEntry;
use crate::packet::Packet4;
use crate::verdict::{Step, drop, refuse, refuse_with};

/// Looks up the route (RFC 1812 section 5.2.4).
#[inline(always)]
pub(crate) fn route<'t, O>(packet: &Packet4<'_, '_>, context: &mut Context<'t, O>) -> &'t NextHopEntry {
    context.state.counters.lookups += 1;
    context.tables.route4(packet.ip.destination)
}

/// Only a packet with hops left goes on (RFC 1812 section 5.3.1).
#[inline(always)]
pub(crate) fn check_ttl(packet: &Packet4<'_, '_>) -> Step {
    if packet.ip.ttl <= 1 { refuse(DropReason::TtlExceeded) } else { Continue(()) }
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
