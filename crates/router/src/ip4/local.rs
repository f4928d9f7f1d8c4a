//! IPv4 packets addressed to the router (RFC 1812 section 5.2.3): echo is answered here, the rest is for the
//! host port or refused.

use std::net::Ipv4Addr;
use std::ops::ControlFlow::Continue;

use nsrouter_wire::bytes::length16;
use nsrouter_wire::checksum;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4;
use nsrouter_wire::protocol;

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::ip4::{fragment, options};
use crate::nexthop::{Adjacency, NextHopEntry};
use crate::own::{deliver, reply};
use crate::packet::Packet4;
use crate::verdict::{Step, Verdict, drop, end};

/// Takes what is for a group or for everybody.
#[inline(always)]
pub(crate) fn groups<O: Originate>(packet: &mut Packet4<'_, '_>, context: &mut Context<'_, O>) -> Step {
    let destination = packet.ip.destination;
    if destination.octets()[0] >= 224 && (destination.is_multicast() || destination.is_broadcast()) {
        return end(group(packet, context));
    }
    Continue(())
}

/// Takes what is for one of the router's addresses, at any TTL, or for all stations of one of its subnets.
#[inline(always)]
pub(crate) fn unicast<O: Originate>(
    packet: &mut Packet4<'_, '_>,
    target: &NextHopEntry,
    context: &mut Context<'_, O>,
) -> Step {
    match target.adjacency {
        Adjacency::Local => end(own_address(packet, context)?),
        Adjacency::Broadcast if !context.tables.settings().directed_broadcast => end(group(packet, context)),
        Adjacency::Broadcast
        | Adjacency::Reject(_)
        | Adjacency::OnLink(_)
        | Adjacency::Via(..)
        | Adjacency::Group(_) => Continue(()),
    }
}

fn own_address<O: Originate>(packet: &mut Packet4<'_, '_>, context: &mut Context<'_, O>) -> Step<Verdict> {
    if packet.ip.is_fragment() {
        return Continue(deliver::fragment(packet, context));
    }
    if packet.ip.protocol == protocol::ICMP {
        return icmp(packet, context);
    }
    let Some(upper) = packet.upper() else { return drop(DropReason::Ip4Short) };
    deliver::transport(packet, &upper, context)?;
    answer(packet, context)
}

/// Only UDP has listeners for a broadcast or a group, and they are on the host; echo to everybody is not
/// answered (Linux `icmp_echo_ignore_broadcasts`).
#[cold]
fn group<O: Originate>(packet: &mut Packet4<'_, '_>, context: &Context<'_, O>) -> Verdict {
    let destination = packet.ip.destination;
    if destination.is_multicast() {
        if is_igmp_query(packet) {
            return Verdict::Consumed;
        }
        // RFC 5771 section 4: the local network control block stays on its link.
        let stays_on_link = destination.octets()[..3] == [224, 0, 0];
        let reason = if stays_on_link { DropReason::LinkMulticast } else { DropReason::Multicast };
        return Verdict::Drop(reason);
    }
    if packet.ip.protocol == protocol::UDP && context.tables.settings().host_port {
        return packet.hand_to_host();
    }
    Verdict::Drop(DropReason::Broadcast)
}

/// Whether this is a sound IGMP query to all systems (RFC 3376 section 4.1). The router has joined no other
/// IPv4 group, and that one is never reported (section 5), so there is nothing to answer.
fn is_igmp_query(packet: &Packet4<'_, '_>) -> bool {
    const QUERY: u8 = 0x11;
    let message = packet.bytes().get(packet.ip.header_bytes..).unwrap_or_default();
    packet.ip.protocol == protocol::IGMP
        && packet.ip.destination == Ipv4Addr::new(224, 0, 0, 1)
        && message.len() >= icmp::HEADER_BYTES
        && message[0] == QUERY
        && icmp::v4_is_valid(message)
}

fn icmp<O: Originate>(packet: &mut Packet4<'_, '_>, context: &mut Context<'_, O>) -> Step<Verdict> {
    let header_bytes = packet.ip.header_bytes;
    if !packet.complete_checksum(header_bytes) {
        return drop(DropReason::BadOffload);
    }
    let message = &mut packet.bytes_mut()[header_bytes..];
    if message.len() < icmp::HEADER_BYTES || !icmp::v4_is_valid(message) {
        return drop(DropReason::IcmpMalformed);
    }
    if message[0] != icmp::v4::ECHO {
        return Continue(deliver::icmp(packet, context));
    }
    message[0] = icmp::v4::ECHO_REPLY;
    let old = u16::from_be_bytes([message[2], message[3]]);
    let sum = checksum::update(old, u16::from(icmp::v4::ECHO) << 8, u16::from(icmp::v4::ECHO_REPLY) << 8);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    write_echo_header(packet, context)?;
    answer(packet, context)
}

/// Makes the header of an echo request that of its reply.
fn write_echo_header<O: Originate>(packet: &mut Packet4<'_, '_>, context: &mut Context<'_, O>) -> Step {
    let (source, destination) = (packet.ip.destination, packet.ip.source);
    if packet.ip.has_options() && !echo_options(packet, context) {
        return drop(DropReason::Ip4Options);
    }
    let identification = context.state.next_identification();
    let header_bytes = packet.ip.header_bytes;
    let header = &mut packet.bytes_mut()[..header_bytes];
    header[4..6].copy_from_slice(&identification.to_be_bytes());
    // Linux sends echo replies that may be fragmented.
    header[6..8].fill(0);
    header[8] = ipv4::DEFAULT_TTL;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    ipv4::fill_checksum(header);
    packet.ip.flags_offset = 0;
    packet.ip.ttl = ipv4::DEFAULT_TTL;
    packet.ip.source = source;
    packet.ip.destination = destination;
    Continue(())
}

/// Puts the options of the reply in place of those of the request, and corrects the lengths; false when there
/// is to be no reply.
#[cold]
fn echo_options<O: Originate>(packet: &mut Packet4<'_, '_>, context: &Context<'_, O>) -> bool {
    options::arrive(packet, context);
    let own = packet.ip.destination;
    let Some(echoed) = options::echo(packet, context, own) else { return false };
    let bytes = ipv4::HEADER_BYTES + echoed.bytes().len();
    // The reply's header is not longer, so it moves towards its payload.
    let surplus = packet.ip.header_bytes - bytes;
    packet.bytes_mut().copy_within(..ipv4::HEADER_BYTES, surplus);
    packet.frame.pull_front(surplus);
    let header = packet.bytes_mut();
    header[ipv4::HEADER_BYTES..bytes].copy_from_slice(echoed.bytes());
    // At most 15 words.
    header[0] = 0x40 | u8::try_from(bytes / 4).unwrap_or(15);
    let packet_bytes = header.len();
    header[2..4].copy_from_slice(&length16(packet_bytes).to_be_bytes());
    packet.ip.header_bytes = bytes;
    packet.ip.packet_bytes = packet_bytes;
    true
}

/// Sends a packet that was rewritten into an answer; one that is larger than the link takes in fragments.
fn answer<O: Originate>(packet: &mut Packet4<'_, '_>, context: &mut Context<'_, O>) -> Step<Verdict> {
    let egress = reply::way_back(packet, context)?;
    if packet.ip.packet_bytes > egress.mtu {
        return Continue(fragment::replace(packet, &egress, context));
    }
    Continue(reply::send(packet, &egress, context))
}
