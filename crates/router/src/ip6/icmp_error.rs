//! A drop reason becomes an ICMPv6 error (RFC 4443): which packets are never answered (section 2.4), what is
//! quoted, and how often.

use std::net::{IpAddr, Ipv6Addr};

use nsrouter_wire::icmp::{self, Icmp6};
use nsrouter_wire::ipv6;
use nsrouter_wire::protocol;

use crate::context::{Context, Originate};
use crate::drop::{DropReason, IcmpAnswer};
use crate::egress::{self, Outgoing};
use crate::own::{originate, source};
use crate::packet::{LinkDestination, Packet6};
use crate::port::Port;
use crate::tables::Tables;
use crate::verdict::Verdict;

/// Type and code of an error.
#[derive(Clone, Copy)]
struct Message {
    kind: u8,
    code: u8,
    /// Linux's mask spares the message that path MTU discovery lives by.
    is_limited: bool,
}

fn message(answer: IcmpAnswer) -> Option<Message> {
    let (kind, code) = match answer {
        IcmpAnswer::Silent => return None,
        IcmpAnswer::TimeExceeded => (icmp::v6::TIME_EXCEEDED, 0),
        IcmpAnswer::NoRoute | IcmpAnswer::Rejected => (icmp::v6::UNREACHABLE, 0),
        IcmpAnswer::Prohibited => (icmp::v6::UNREACHABLE, 1),
        IcmpAnswer::BeyondScope => (icmp::v6::UNREACHABLE, 2),
        IcmpAnswer::HostUnreachable => (icmp::v6::UNREACHABLE, 3),
        IcmpAnswer::PortUnreachable => (icmp::v6::UNREACHABLE, 4),
        IcmpAnswer::TooBig => (icmp::v6::TOO_BIG, 0),
        IcmpAnswer::ParameterProblem => (icmp::v6::PARAMETER_PROBLEM, 0),
        IcmpAnswer::ProtocolUnreachable => (icmp::v6::PARAMETER_PROBLEM, 1),
    };
    Some(Message { kind, code, is_limited: answer != IcmpAnswer::TooBig })
}

/// Drops the packet for `reason`, and tells its sender where the reason asks for that. `detail` is the MTU of
/// a packet too big, or the pointer of a parameter problem.
#[cold]
pub(crate) fn refuse<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    reason: DropReason,
    detail: u32,
    context: &mut Context<'_, O>,
) -> Verdict {
    if let Some(message) = message(reason.answer()) {
        tell(packet, message, detail, context);
    }
    Verdict::Drop(reason)
}

/// Tells the sender, where the standards do not forbid it and no limit is reached.
fn tell<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    message: Message,
    detail: u32,
    context: &mut Context<'_, O>,
) {
    if !may_answer(packet, message.kind) {
        return;
    }
    let (tables, sender) = (context.tables, packet.ip.source);
    let back = egress::outgoing(tables, IpAddr::V6(sender), context.ingress, Some(packet.bytes()));
    let Some(back) = back else { return };
    let Some(source) = source(packet, back, context) else { return };
    let (settings, now_ns) = (tables.settings(), context.now.mono_ns);
    if message.is_limited
        && !context.state.limits.allow(u128::from(sender), interval_ns(tables, back), settings, now_ns)
    {
        context.state.counters.icmp_rate_limited += 1;
        return;
    }
    let quoted = packet.bytes();
    let room = ipv6::MIN_MTU_BYTES - ipv6::HEADER_BYTES - icmp::HEADER_BYTES;
    let quoted = &quoted[..quoted.len().min(room)];
    let error = Icmp6 { source, destination: sender, hop_limit: ipv6::DEFAULT_HOP_LIMIT, extension: &[] };
    let sent = originate::icmp6(context, back, &error, icmp::HEADER_BYTES + quoted.len(), |body| {
        body[..4].copy_from_slice(&[message.kind, message.code, 0, 0]);
        body[4..8].copy_from_slice(&detail.to_be_bytes());
        body[8..].copy_from_slice(quoted);
    });
    context.state.counters.icmp_errors += u64::from(sent);
}

/// RFC 4443 section 2.4 (e): as for IPv4, but a group may hear that a packet was too big.
fn may_answer(packet: &mut Packet6<'_, '_>, kind: u8) -> bool {
    let (source, destination) = (packet.ip.source, packet.ip.destination);
    let to_group = packet.ip.link_destination == LinkDestination::Group || destination.is_multicast();
    if to_group && kind != icmp::v6::TOO_BIG
        || source.is_unspecified()
        || source.is_multicast()
        || source.is_loopback()
    {
        return false;
    }
    let Some(upper) = packet.upper() else { return true };
    if upper.protocol != protocol::ICMPV6 || upper.fragment.is_some_and(|(offset, _)| offset > 0) {
        return true;
    }
    let kind = packet.bytes().get(upper.offset);
    kind.is_some_and(|kind| *kind >= 128 && *kind != icmp::v6::REDIRECT)
}

/// Linux `icmp6_send`: the address that was asked for, if it is the router's, of the link where that is
/// link-local; else one of the link that the packet came by, by which its sender knows the router, whatever
/// the way back is.
fn source<O>(packet: &Packet6<'_, '_>, back: Outgoing<'_>, context: &Context<'_, O>) -> Option<Ipv6Addr> {
    let (tables, sender, asked) = (context.tables, packet.ip.source, packet.ip.destination);
    let is_of = |port: &Port| port.has6(asked) || port.has_anycast6(asked);
    let is_own = if asked.is_unicast_link_local() {
        tables.port(context.ingress).is_some_and(is_of)
    } else {
        tables.ports().any(is_of)
    };
    if is_own {
        return Some(asked);
    }
    match back {
        Outgoing::Host => Some(sender),
        Outgoing::Link { egress, .. } => {
            source::v6(tables, context.ingress, sender).or_else(|| source::v6(tables, egress.port.id, sender))
        }
    }
}

/// Linux `icmpv6_xrlim_allow`: a wider route earns faster.
fn interval_ns(tables: &Tables, back: Outgoing<'_>) -> u64 {
    let interval_ns = u64::from(tables.settings().icmp6_interval_ms) * 1_000_000;
    match back {
        Outgoing::Host => 0,
        Outgoing::Link { prefix_len, .. } => interval_ns >> ((128 - u32::from(prefix_len.min(128))) >> 5),
    }
}
