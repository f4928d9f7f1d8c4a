//! The forwarding path as the list of its steps: read this file first.
//!
//! A step is a function in the file that the list names. It looks at the packet record
//! ([`Packet`](crate::packet::Packet)), may rewrite the packet, and says whether the packet goes on
//! (`Continue`) or its way ends here, with which verdict or for which reason (`Break`). A reason that asks
//! for an ICMP error gets it here, in one place for each IP version.
//!
//! The steps of a packet that passes through are inlined by order: each is a few instructions, and its
//! outcome is to stay in registers.

use std::ops::ControlFlow::{Break, Continue};

use nsrouter_wire::eth;
use nsrouter_wire::frame::Frame;

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::egress::{self, Egress};
use crate::link::ethernet::{self, Arrival};
use crate::link::{arp, output};
use crate::nexthop::NextHopEntry;
use crate::own::host;
use crate::packet::{IpHeaders, L3, LinkDestination, Packet4, Packet6};
use crate::port::Port;
use crate::verdict::{End, Step, Verdict};
use crate::{ip4, ip6};

/// A frame from a link.
#[inline(always)]
pub(crate) fn link_frame<O: Originate>(frame: &mut Frame<'_>, context: &mut Context<'_, O>) -> Verdict {
    let arrival = match ethernet::input(frame, context.tables) {
        Ok(arrival) => arrival,
        Err(reason) => return Verdict::Drop(reason),
    };
    match arrival.ether_type {
        eth::TYPE_IPV4 => match ip4::input::validate(frame, arrival.destination) {
            Ok(mut packet) => ipv4(&mut packet, context),
            Err(reason) => Verdict::Drop(reason),
        },
        eth::TYPE_IPV6 if !arrival.port.has_ipv6 => Verdict::Drop(DropReason::Ip6Off),
        eth::TYPE_IPV6 => match ip6::input::validate(frame, arrival.destination) {
            Ok(mut packet) => ipv6(&mut packet, &arrival, context),
            Err(reason) => Verdict::Drop(reason),
        },
        eth::TYPE_ARP => arp::input(frame, &arrival, context),
        _ => Verdict::Drop(DropReason::EthType),
    }
}

/// An IPv4 packet from a link, in the order of RFC 1812 section 5.2.
#[inline(always)]
fn ipv4<O: Originate>(packet: &mut Packet4<'_, '_>, context: &mut Context<'_, O>) -> Verdict {
    match forward4(packet, context) {
        Continue((egress, true)) => output::send(packet, &egress, context),
        Continue((egress, false)) => ip4::fragment::replace(packet, &egress, context),
        Break(end) => conclude4(packet, end, context),
    }
}

/// The steps of an IPv4 packet that passes through: where it leaves, and whether it fits there.
#[inline(always)]
fn forward4<'t, O: Originate>(
    packet: &mut Packet4<'_, '_>,
    context: &mut Context<'t, O>,
) -> Step<(Egress<'t>, bool)> {
    let tables = context.tables;
    ip4::input::check_source(packet, tables)?;
    ip4::local::groups(packet, context)?;
    ip4::input::check_unicast(packet)?;
    ip4::options::check(packet)?;
    let target = ip4::forward::route(packet, context);
    ip4::local::unicast(packet, target, context)?;
    egress::check_route(packet, target)?;
    ip4::options::router_alert(packet, tables.settings())?;
    ip4::options::arrive(packet, context);
    ip4::forward::check_ttl(packet)?;
    let egress = egress::choose(packet, target, tables)?;
    ip4::redirect::check_source(packet, &egress, context)?;
    let fits = ip4::forward::check_mtu(packet, egress.mtu)?;
    packet.decrement_ttl();
    ip4::redirect::tell(packet, &egress, context);
    ip4::options::depart(packet, &egress, tables);
    Continue((egress, fits))
}

/// An IPv6 packet from a link, in the order of Linux `ip6_rcv_core` and `ip6_forward`.
#[inline(always)]
fn ipv6<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    arrival: &Arrival<'_>,
    context: &mut Context<'_, O>,
) -> Verdict {
    let mut same_link = None;
    match forward6(packet, arrival.port, &mut same_link, context) {
        Continue(egress) => output::send(packet, &egress, context),
        Break(end) => conclude6(packet, end, context),
    }
}

/// The steps of an IPv6 packet that passes through: where it leaves. `same_link` has room for the target of a
/// link-local destination.
#[inline(always)]
fn forward6<'s, 't: 's, O: Originate>(
    packet: &mut Packet6<'_, '_>,
    ingress: &Port,
    same_link: &'s mut Option<NextHopEntry>,
    context: &mut Context<'t, O>,
) -> Step<Egress<'s>> {
    let tables = context.tables;
    ip6::input::check_source(packet)?;
    ip6::local::groups(packet, ingress, context)?;
    ip6::input::check_unicast(packet)?;
    ip6::local::link_local(packet, ingress, context)?;
    let target = ip6::forward::route(packet, ingress, same_link, context);
    ip6::local::unicast(packet, target, ingress, context)?;
    egress::check_route(packet, target)?;
    ip6::forward::router_alert(packet, tables.settings())?;
    ip6::forward::check_hop_limit(packet)?;
    let egress = egress::choose(packet, target, tables)?;
    ip6::redirect::tell(packet, &egress, context);
    ip6::forward::check_scope(packet, &egress, context)?;
    ip6::forward::check_mtu(packet, egress.mtu)?;
    packet.decrement_hop_limit();
    Continue(egress)
}

/// A packet from a program of the router's own host: it begins at its IP header, and grows into its headroom
/// by an Ethernet header.
pub(crate) fn host_packet<O: Originate>(frame: &mut Frame<'_>, context: &mut Context<'_, O>) -> Verdict {
    if !ethernet::add_link_header(frame) {
        return Verdict::Drop(DropReason::NoBuffer);
    }
    match frame.data().get(L3).map(|octet| octet >> 4) {
        Some(4) => match ip4::input::validate(frame, LinkDestination::Router) {
            Ok(mut packet) => host4(&mut packet, context),
            Err(reason) => Verdict::Drop(reason),
        },
        Some(6) => match ip6::input::validate(frame, LinkDestination::Router) {
            Ok(mut packet) => host6(&mut packet, context),
            Err(reason) => Verdict::Drop(reason),
        },
        Some(_) => Verdict::Drop(DropReason::Ip4Version),
        None => Verdict::Drop(DropReason::Ip4Short),
    }
}

fn host4<O: Originate>(packet: &mut Packet4<'_, '_>, context: &mut Context<'_, O>) -> Verdict {
    match originate4(packet, context) {
        Continue((egress, true)) => output::send(packet, &egress, context),
        Continue((egress, false)) => ip4::fragment::replace(packet, &egress, context),
        Break(end) => conclude4(packet, end, context),
    }
}

/// The steps of an IPv4 packet of the host.
fn originate4<'t, O>(packet: &Packet4<'_, '_>, context: &mut Context<'t, O>) -> Step<(Egress<'t>, bool)> {
    host::check_destination4(packet.ip.destination)?;
    let target = ip4::forward::route(packet, context);
    host::check_route(target)?;
    let egress = egress::choose(packet, target, context.tables)?;
    let fits = ip4::forward::check_mtu(packet, egress.mtu)?;
    Continue((egress, fits))
}

fn host6<O: Originate>(packet: &mut Packet6<'_, '_>, context: &mut Context<'_, O>) -> Verdict {
    match originate6(packet, context) {
        Continue(egress) => output::send(packet, &egress, context),
        Break(end) => conclude6(packet, end, context),
    }
}

/// The steps of an IPv6 packet of the host.
fn originate6<'t, O>(packet: &Packet6<'_, '_>, context: &mut Context<'t, O>) -> Step<Egress<'t>> {
    host::check_destination6(packet.ip.destination)?;
    let target = ip6::forward::route_beyond_link(packet, context);
    host::check_route(target)?;
    let egress = egress::choose(packet, target, context.tables)?;
    ip6::forward::check_mtu(packet, egress.mtu)?;
    Continue(egress)
}

/// The verdict on an IPv4 packet whose way ended in a step. Its sender is told where it was refused.
#[inline]
fn conclude4<O: Originate>(packet: &mut Packet4<'_, '_>, end: End, context: &mut Context<'_, O>) -> Verdict {
    match end {
        End::Verdict(verdict) => verdict,
        End::Refuse { reason, detail } => ip4::icmp_error::refuse(packet, reason, detail, context),
    }
}

/// The verdict on an IPv6 packet whose way ended in a step. Its sender is told where it was refused.
#[inline]
fn conclude6<O: Originate>(packet: &mut Packet6<'_, '_>, end: End, context: &mut Context<'_, O>) -> Verdict {
    match end {
        End::Verdict(verdict) => verdict,
        End::Refuse { reason, detail } => ip6::icmp_error::refuse(packet, reason, detail, context),
    }
}

/// A packet was given up after it had waited: drops it for `reason`, and tells its sender where that reason
/// asks for it.
pub(crate) fn give_up<O: Originate>(
    frame: &mut Frame<'_>,
    reason: DropReason,
    context: &mut Context<'_, O>,
) -> Verdict {
    let packet = frame.data().get(L3..).unwrap_or_default();
    match packet.first().map(|octet| octet >> 4) {
        Some(4) => {
            if let Some(ip) = IpHeaders::read(packet, LinkDestination::Router) {
                let mut packet = Packet4 { frame, ip };
                // As in Linux `ipv4_send_dest_unreach`, options are looked at afresh.
                if ip4::options::check_afresh(&mut packet).is_ok() {
                    return ip4::icmp_error::refuse(&mut packet, reason, 0, context);
                }
            }
        }
        Some(6) => {
            if let Some(ip) = IpHeaders::read(packet, LinkDestination::Router) {
                return ip6::icmp_error::refuse(&mut Packet6 { frame, ip }, reason, 0, context);
            }
        }
        Some(_) | None => {}
    }
    Verdict::Drop(reason)
}
