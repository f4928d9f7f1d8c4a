//! IPv6 packets addressed to the router: echo, neighbour discovery and multicast listener discovery are
//! handled here, the rest is for the host port or refused.

use std::net::Ipv6Addr;
use std::ops::ControlFlow::Continue;

use nsrouter_wire::bytes::length16;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv6;
use nsrouter_wire::protocol;

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::ip6::{mld, nd};
use crate::nexthop::{Adjacency, NextHopEntry};
use crate::own::{deliver, reply, source};
use crate::packet::Packet6;
use crate::port::Port;
use crate::verdict::{Step, Verdict, drop, end};

/// Takes what is for a group (RFC 4291 section 2.7).
#[inline(always)]
pub(crate) fn groups<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    ingress: &Port,
    context: &mut Context<'_, O>,
) -> Step {
    let group = packet.ip.destination;
    if !group.is_multicast() {
        return Continue(());
    }
    match group.octets()[1] & 0x0f {
        // Reserved, and interface-local.
        0 | 1 => drop(DropReason::MartianDestination),
        _ if ingress.is_member6(group) => end(own_address(packet, ingress, context)?),
        // Link-local scope.
        2 => drop(DropReason::LinkMulticast),
        _ => drop(DropReason::Multicast),
    }
}

/// Takes what is for the link-local address of the ingress port.
#[inline(always)]
pub(crate) fn link_local<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    ingress: &Port,
    context: &mut Context<'_, O>,
) -> Step {
    if packet.ip.destination == ingress.link_local {
        return end(own_address(packet, ingress, context)?);
    }
    Continue(())
}

/// Takes what is for one of the router's addresses.
#[inline(always)]
pub(crate) fn unicast<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    target: &NextHopEntry,
    ingress: &Port,
    context: &mut Context<'_, O>,
) -> Step {
    match target.adjacency {
        Adjacency::Local => end(own_address(packet, ingress, context)?),
        Adjacency::Broadcast
        | Adjacency::Reject(_)
        | Adjacency::OnLink(_)
        | Adjacency::Via(..)
        | Adjacency::Group(_) => Continue(()),
    }
}

fn own_address<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    ingress: &Port,
    context: &mut Context<'_, O>,
) -> Step<Verdict> {
    let Some(upper) = packet.upper() else { return drop(DropReason::Ip6Extension) };
    if upper.fragment.is_some() {
        return Continue(deliver::fragment(packet, context));
    }
    if upper.protocol != protocol::ICMPV6 {
        deliver::transport(packet, &upper, context)?;
        return answer(packet, context);
    }
    if !packet.complete_checksum(upper.offset) {
        return drop(DropReason::BadOffload);
    }
    let message = packet.bytes().get(upper.offset..).unwrap_or_default();
    if message.len() < icmp::HEADER_BYTES
        || !icmp::v6_is_valid(message, packet.ip.source, packet.ip.destination)
    {
        return drop(DropReason::IcmpMalformed);
    }
    match message[0] {
        // Extension headers that concern a receiver are the host's affair.
        icmp::v6::ECHO if upper.offset > ipv6::HEADER_BYTES && deliver::host_takes(packet, context) => {
            Continue(deliver::icmp(packet, context))
        }
        icmp::v6::ECHO => {
            write_echo_reply(packet, upper.offset, context)?;
            answer(packet, context)
        }
        icmp::v6::LISTENER_QUERY | icmp::v6::LISTENER_REPORT => {
            Continue(mld::input(packet, ingress, &upper, context))
        }
        icmp::v6::ROUTER_SOLICITATION..=icmp::v6::REDIRECT => {
            Continue(nd::input(packet, ingress, upper.offset, context))
        }
        _ => Continue(deliver::icmp(packet, context)),
    }
}

/// Makes an echo request, whose message begins at `offset`, its reply.
fn write_echo_reply<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    offset: usize,
    context: &Context<'_, O>,
) -> Step {
    let (asked, to) = (packet.ip.destination, packet.ip.source);
    if to.is_unspecified() {
        return drop(DropReason::MartianSource);
    }
    let Some(from) = echo_source(asked, to, context) else { return drop(DropReason::NoRoute) };
    // Extension headers concerned the receiver of the request: the reply has none.
    if offset > ipv6::HEADER_BYTES {
        packet.bytes_mut().copy_within(offset.., ipv6::HEADER_BYTES);
        packet.truncate(packet.ip.packet_bytes - (offset - ipv6::HEADER_BYTES));
    }
    let bytes = packet.bytes_mut();
    let payload_bytes = length16(bytes.len() - ipv6::HEADER_BYTES);
    bytes[4..6].copy_from_slice(&payload_bytes.to_be_bytes());
    bytes[6] = protocol::ICMPV6;
    bytes[7] = ipv6::DEFAULT_HOP_LIMIT;
    bytes[8..24].copy_from_slice(&from.octets());
    bytes[24..40].copy_from_slice(&to.octets());
    let message = &mut bytes[ipv6::HEADER_BYTES..];
    message[0] = icmp::v6::ECHO_REPLY;
    icmp::v6_fill(message, from, to);
    packet.read_again();
    Continue(())
}

/// The source of an echo reply: the address that was asked for, unless that is a group or an anycast address.
fn echo_source<O>(asked: Ipv6Addr, to: Ipv6Addr, context: &Context<'_, O>) -> Option<Ipv6Addr> {
    if context.tables.is_own6(asked) {
        return Some(asked);
    }
    source::v6(context.tables, context.ingress, to)
}

/// Sends a packet that was rewritten into an answer.
fn answer<O: Originate>(packet: &mut Packet6<'_, '_>, context: &mut Context<'_, O>) -> Step<Verdict> {
    let egress = reply::way_back(packet, context)?;
    if packet.ip.packet_bytes > egress.mtu {
        return drop(DropReason::TooBig);
    }
    Continue(reply::send(packet, &egress, context))
}
