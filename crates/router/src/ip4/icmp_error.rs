//! A drop reason becomes an ICMP error (RFC 792): which packets are never answered (RFC 1812 section 4.3.2),
//! what is quoted, and how often.

use std::net::{IpAddr, Ipv4Addr};

use nsrouter_wire::bytes::length16;
use nsrouter_wire::frame::PortId;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4;
use nsrouter_wire::protocol;

use crate::context::{Context, Originate};
use crate::drop::{DropReason, IcmpAnswer};
use crate::egress::{self, Outgoing};
use crate::ip4::options;
use crate::nexthop::Adjacency;
use crate::own::{originate, source};
use crate::packet::{LinkDestination, Packet4};
use crate::tables::Tables;
use crate::verdict::Verdict;

/// An ICMP error is no longer than this (RFC 1812 section 4.3.2.3).
const MAX_ERROR_BYTES: usize = 576;
/// Internetwork control, the precedence of ICMP errors (RFC 1812 section 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;
/// What ICMP errors keep of the type of service (Linux `IPTOS_TOS_MASK`).
const TOS_MASK: u8 = 0x1e;

/// The code of a destination unreachable message that tells an MTU.
const FRAGMENTATION_NEEDED: u8 = 4;

/// Type and code of an error, and which limits apply.
#[derive(Clone, Copy)]
struct Message {
    kind: u8,
    code: u8,
    /// Linux's mask spares the message that path MTU discovery lives by.
    is_limited: bool,
    /// The route look-up failed, which costs the sender more.
    is_by_lookup: bool,
}

fn message(answer: IcmpAnswer) -> Option<Message> {
    let (kind, code) = match answer {
        IcmpAnswer::Silent | IcmpAnswer::BeyondScope => return None,
        IcmpAnswer::TimeExceeded => (icmp::v4::TIME_EXCEEDED, 0),
        IcmpAnswer::NoRoute => (icmp::v4::UNREACHABLE, 0),
        IcmpAnswer::HostUnreachable | IcmpAnswer::Rejected => (icmp::v4::UNREACHABLE, 1),
        IcmpAnswer::ProtocolUnreachable => (icmp::v4::UNREACHABLE, 2),
        IcmpAnswer::PortUnreachable => (icmp::v4::UNREACHABLE, 3),
        IcmpAnswer::TooBig => (icmp::v4::UNREACHABLE, FRAGMENTATION_NEEDED),
        IcmpAnswer::Prohibited => (icmp::v4::UNREACHABLE, 13),
        IcmpAnswer::ParameterProblem => (icmp::v4::PARAMETER_PROBLEM, 0),
    };
    let is_by_lookup = matches!(answer, IcmpAnswer::NoRoute | IcmpAnswer::Rejected | IcmpAnswer::Prohibited);
    Some(Message { kind, code, is_limited: answer != IcmpAnswer::TooBig, is_by_lookup })
}

/// Drops the packet for `reason`, and tells its sender where the reason asks for that. `detail` is the MTU of
/// a packet too big, or the pointer of a parameter problem.
#[cold]
pub(crate) fn refuse<O: Originate>(
    packet: &mut Packet4<'_, '_>,
    reason: DropReason,
    detail: u32,
    context: &mut Context<'_, O>,
) -> Verdict {
    if let Some(message) = message(reason.answer()) {
        options::arrive(packet, context);
        tell(packet, message, detail, context);
    }
    Verdict::Drop(reason)
}

/// Tells the sender, where the standards do not forbid it and no limit is reached.
fn tell<O: Originate>(packet: &Packet4<'_, '_>, message: Message, detail: u32, context: &mut Context<'_, O>) {
    let settings = context.tables.settings();
    // Nor does Linux limit what stays within the host.
    let interval_ms = if context.ingress == PortId::HOST { 0 } else { settings.icmp_interval_ms };
    let interval_ns = u64::from(interval_ms) * 1_000_000;
    let sender = u128::from(packet.ip.source.to_ipv6_mapped());
    let now_ns = context.now.mono_ns;
    let limits = &context.state.limits;
    let is_charged = message.is_by_lookup && interval_ns > 0;
    let is_paid = !is_charged || limits.allow_lookup_error(sender, now_ns);
    if !may_answer(packet, context.tables) {
        return;
    }
    if !is_paid || message.is_limited && !limits.allow(sender, interval_ns, settings, now_ns) {
        context.state.counters.icmp_rate_limited += 1;
        return;
    }
    let word = match (message.kind, message.code) {
        // The pointer is the first octet of the second word (RFC 792), the MTU its second half (RFC 1191).
        (icmp::v4::PARAMETER_PROBLEM, _) => detail << 24,
        (icmp::v4::UNREACHABLE, FRAGMENTATION_NEEDED) => detail & 0xffff,
        _ => 0,
    };
    send(packet, [message.kind, message.code], word, context);
}

/// Sends an ICMP message of this type and code about `packet` to its sender, unless that has no way back.
pub(crate) fn send<O: Originate>(
    packet: &Packet4<'_, '_>,
    [kind, code]: [u8; 2],
    word: u32,
    context: &mut Context<'_, O>,
) {
    let (tables, sender) = (context.tables, packet.ip.source);
    let back = egress::outgoing(tables, IpAddr::V4(sender), context.ingress, Some(packet.bytes()));
    let Some(back) = back else { return };
    let Some(source) = source(packet, back, tables) else { return };
    let Some(echoed) = options::echo(packet, context, source) else { return };
    let header_bytes = ipv4::HEADER_BYTES + echoed.bytes().len();
    let most = match back {
        Outgoing::Link { egress, .. } => MAX_ERROR_BYTES.min(egress.mtu),
        Outgoing::Host => MAX_ERROR_BYTES,
    };
    let room = most.saturating_sub(header_bytes + icmp::HEADER_BYTES);
    // Linux `icmp_send` too: what has no room for more than a header says nothing.
    if room <= ipv4::HEADER_BYTES {
        return;
    }
    let quoted = packet.bytes();
    let quoted = &quoted[..quoted.len().min(room)];
    let bytes = header_bytes + icmp::HEADER_BYTES + quoted.len();
    let fields = ipv4::Fields {
        traffic_class: packet.ip.traffic_class & TOS_MASK | PRECEDENCE,
        total_bytes: length16(bytes),
        identification: context.state.next_identification(),
        flags_offset: 0,
        ttl: ipv4::DEFAULT_TTL,
        protocol: protocol::ICMP,
        source,
        destination: sender,
    };
    let sent = originate::packet(context, back, source.into(), bytes, |buffer| {
        let (ip, body) = buffer.split_at_mut(header_bytes);
        if let Some(ip) = ip.first_chunk_mut() {
            fields.write(ip);
        }
        if header_bytes > ipv4::HEADER_BYTES {
            ip[0] = 0x40 | u8::try_from(header_bytes / 4).unwrap_or(15);
            ip[ipv4::HEADER_BYTES..].copy_from_slice(echoed.bytes());
            ipv4::fill_checksum(ip);
        }
        body[..4].copy_from_slice(&[kind, code, 0, 0]);
        body[4..8].copy_from_slice(&word.to_be_bytes());
        body[8..].copy_from_slice(quoted);
        icmp::v4_fill(body);
    });
    context.state.counters.icmp_errors += u64::from(sent);
}

/// RFC 1812 section 4.3.2.7: never about an ICMP error, a broadcast or multicast of either layer, a fragment
/// that is not the first, or a source that is no single host.
pub(crate) fn may_answer(packet: &Packet4<'_, '_>, tables: &Tables) -> bool {
    let (source, destination) = (packet.ip.source, packet.ip.destination);
    if packet.ip.link_destination == LinkDestination::Group
        || destination.is_multicast()
        || destination.is_broadcast()
        || tables.route4(destination).adjacency == Adjacency::Broadcast
        || packet.ip.fragment_offset_bytes() > 0
        || source.is_unspecified()
        || source.is_multicast()
        || source.is_broadcast()
        || source.is_loopback()
    {
        return false;
    }
    if packet.ip.protocol != protocol::ICMP {
        return true;
    }
    // Truncated before its type: Linux too says nothing.
    packet.bytes().get(packet.ip.header_bytes).is_some_and(|kind| icmp::v4::may_be_answered(*kind))
}

/// Linux `icmp_route_lookup`: the address that was asked for, if it is the router's; else that of the way
/// back.
fn source(packet: &Packet4<'_, '_>, back: Outgoing<'_>, tables: &Tables) -> Option<Ipv4Addr> {
    if tables.is_own4(packet.ip.destination) {
        return Some(packet.ip.destination);
    }
    match back {
        Outgoing::Host => Some(packet.ip.source),
        Outgoing::Link { next_hop, .. } => source::v4_towards(tables, next_hop),
    }
}
