//! Forwarding of an IPv6 packet: route, router alert, hop limit, scope, MTU (in the order of Linux
//! `ip6_forward`).

use std::ops::ControlFlow::Continue;

use nsrouter_wire::protocol;

use crate::config::Settings;
use crate::context::Context;
use crate::drop::DropReason;
use crate::egress::Egress;
use crate::nexthop::{Adjacency, NO_MTU, NextHopEntry};
use crate::packet::Packet6;
use crate::port::Port;
use crate::verdict::{Step, drop, end, refuse, refuse_with};

/// Looks up the route. A link-local destination is not on other links (RFC 4291 section 2.5.6); within its
/// own Linux sends the packet on, with a redirect: `same_link` holds that target.
#[inline(always)]
pub(crate) fn route<'s, 't: 's, O>(
    packet: &Packet6<'_, '_>,
    ingress: &Port,
    same_link: &'s mut Option<NextHopEntry>,
    context: &mut Context<'t, O>,
) -> &'s NextHopEntry {
    if packet.ip.destination.is_unicast_link_local() {
        return same_link.insert(NextHopEntry {
            adjacency: Adjacency::OnLink(ingress.id),
            prefix_len: 64,
            mtu: NO_MTU,
        });
    }
    route_beyond_link(packet, context)
}

/// Looks up the route of a packet whose destination is not link-local.
#[inline]
pub(crate) fn route_beyond_link<'t, O>(
    packet: &Packet6<'_, '_>,
    context: &mut Context<'t, O>,
) -> &'t NextHopEntry {
    context.state.counters.lookups += 1;
    context.tables.route6(packet.ip.destination)
}

/// RFC 2711: a packet with a router alert goes to the host, if a listener is configured there. Only the first
/// extension header can have one (RFC 8200 section 4.3).
#[inline(always)]
pub(crate) fn router_alert(packet: &mut Packet6<'_, '_>, settings: &Settings) -> Step {
    if packet.ip.protocol == protocol::HOP_BY_HOP
        && settings.router_alert
        && settings.host_port
        && packet.upper().is_some_and(|upper| upper.router_alert.is_some())
    {
        return end(packet.hand_to_host());
    }
    Continue(())
}

/// Only a packet with hops left goes on (RFC 8200 section 3), and only one that has a sender (RFC 4291
/// section 2.5.2).
#[inline(always)]
pub(crate) fn check_hop_limit(packet: &Packet6<'_, '_>) -> Step {
    if packet.ip.ttl <= 1 {
        return refuse(DropReason::TtlExceeded);
    }
    if packet.ip.source.is_unspecified() {
        return drop(DropReason::MartianSource);
    }
    Continue(())
}

/// A link-local source means nothing beyond its link (RFC 4291 section 2.5.6).
#[inline(always)]
pub(crate) fn check_scope<O>(
    packet: &Packet6<'_, '_>,
    egress: &Egress<'_>,
    context: &Context<'_, O>,
) -> Step {
    if egress.port.id != context.ingress && packet.ip.source.is_unicast_link_local() {
        return refuse(DropReason::BeyondScope);
    }
    Continue(())
}

/// Whether the packet fits the link, as a whole or as each segment of a GSO packet: routers do not fragment
/// (RFC 8200 section 5).
#[inline(always)]
pub(crate) fn check_mtu(packet: &Packet6<'_, '_>, mtu: usize) -> Step {
    let Some(wire_bytes) = packet.wire_bytes() else { return drop(DropReason::BadOffload) };
    if wire_bytes > mtu {
        return refuse_with(DropReason::TooBig, u32::try_from(mtu).unwrap_or(0));
    }
    Continue(())
}
