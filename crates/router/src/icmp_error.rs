//! A drop reason becomes an ICMP error: whom never to tell (RFC 1812 section 4.3.2, RFC 4443 section 2.4), what to quote,
//! and how often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nsrouter_wire::frame::PortId;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4::{self, protocol};
use nsrouter_wire::ipv6;
use nsrouter_wire::offload::Offload;

use crate::drop::IcmpAnswer;
use crate::ip4::options;
use crate::nexthop::Adjacency;
use crate::own::originate::{self, Exit};
use crate::own::source;
use crate::pipeline::{Cast, Context, Router};
use crate::port::Port;
use crate::tables::Tables;
use crate::verdict::Originate;

/// TTL and hop limit of packets of our own (Linux `ip_default_ttl`).
pub(crate) const TTL: u8 = 64;
/// An ICMP error is no longer than this (RFC 1812 section 4.3.2.3).
const MAX_ERROR4_BYTES: usize = 576;
/// Internetwork control, the precedence of ICMP errors (RFC 1812 section 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;
/// What ICMP errors keep of the type of service (Linux `IPTOS_TOS_MASK`).
const TOS_MASK: u8 = 0x1e;

/// Type, code and whether the rate limits apply: Linux's masks spare the two messages that path MTU discovery lives by.
#[derive(Clone, Copy)]
struct Message {
    kind: u8,
    code: u8,
    limited: bool,
    /// The look-up of the route was the end of it.
    by_lookup: bool,
}

fn is_by_lookup(answer: IcmpAnswer) -> bool {
    matches!(answer, IcmpAnswer::NoRoute | IcmpAnswer::Rejected | IcmpAnswer::Prohibited)
}

fn message4(answer: IcmpAnswer) -> Option<Message> {
    let (kind, code) = match answer {
        IcmpAnswer::Silent | IcmpAnswer::BeyondScope => return None,
        IcmpAnswer::TimeExceeded => (icmp::v4::TIME_EXCEEDED, 0),
        IcmpAnswer::NoRoute => (icmp::v4::UNREACHABLE, 0),
        IcmpAnswer::HostUnreachable | IcmpAnswer::Rejected => (icmp::v4::UNREACHABLE, 1),
        IcmpAnswer::ProtocolUnreachable => (icmp::v4::UNREACHABLE, 2),
        IcmpAnswer::PortUnreachable => (icmp::v4::UNREACHABLE, 3),
        IcmpAnswer::TooBig => (icmp::v4::UNREACHABLE, 4),
        IcmpAnswer::Prohibited => (icmp::v4::UNREACHABLE, 13),
        IcmpAnswer::ParameterProblem => (icmp::v4::PARAMETER_PROBLEM, 0),
    };
    Some(Message { kind, code, limited: answer != IcmpAnswer::TooBig, by_lookup: is_by_lookup(answer) })
}

fn message6(answer: IcmpAnswer) -> Option<Message> {
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
    Some(Message { kind, code, limited: answer != IcmpAnswer::TooBig, by_lookup: is_by_lookup(answer) })
}

impl Router {
    /// Tells the sender of `packet`, which begins at its IP header, what became of it; or does not, where the standards
    /// forbid it or a limit is reached.
    pub(crate) fn icmp_error(
        &mut self,
        packet: &[u8],
        context: &Context<'_>,
        answer: IcmpAnswer,
        detail: u32,
        out: &mut impl Originate,
    ) {
        match packet.first().map(|octet| octet >> 4) {
            Some(4) => {
                if let Some(message) = message4(answer) {
                    self.error4(packet, context, message, detail, out);
                }
            }
            Some(6) => {
                if let Some(message) = message6(answer) {
                    self.error6(packet, context, message, detail, out);
                }
            }
            _ => {}
        }
    }

    fn error4(
        &mut self,
        packet: &[u8],
        context: &Context<'_>,
        message: Message,
        detail: u32,
        out: &mut impl Originate,
    ) {
        let Some(header) = ipv4::Header::parse(packet) else { return };
        let settings = context.tables.settings();
        // Nor does Linux limit what stays within the host.
        let interval_ms = if context.ingress == PortId::HOST { 0 } else { settings.icmp_interval_ms };
        let interval_ns = u64::from(interval_ms) * 1_000_000;
        let destination = u128::from(header.source().to_ipv6_mapped());
        let now_ns = context.now.mono_ns;
        let is_charged = message.by_lookup && interval_ns > 0;
        let is_paid = !is_charged || self.limits.allow_lookup_error(destination, now_ns);
        if !may_answer4(packet, &header, context) {
            return;
        }
        if !is_paid || message.limited && !self.limits.allow(destination, interval_ns, settings, now_ns) {
            self.counters.icmp_rate_limited += 1;
            return;
        }
        // A parameter problem's pointer is the first octet of the second word (RFC 792), an MTU its second half.
        let word = if message.kind == icmp::v4::PARAMETER_PROBLEM { detail << 24 } else { detail & 0xffff };
        self.send_error4(packet, context, [message.kind, message.code], word, out);
    }

    /// Sends an ICMP message of this type and code about `packet` to its sender, unless that has no way back.
    pub(crate) fn send_error4(
        &mut self,
        packet: &[u8],
        context: &Context<'_>,
        kind_code: [u8; 2],
        word: u32,
        out: &mut impl Originate,
    ) {
        let tables = context.tables;
        let Some(header) = ipv4::Header::parse(packet) else { return };
        let Some(exit) = originate::exit(tables, IpAddr::V4(header.source()), context.ingress, Some(packet))
        else {
            return;
        };
        let Some(source) = source4(&header, exit, tables) else { return };
        let Some(echoed) = options::echo(packet, context, source) else { return };
        let header_bytes = ipv4::HEADER_BYTES + echoed.bytes().len();
        let most = match exit {
            Exit::Link { mtu, .. } => MAX_ERROR4_BYTES.min(mtu),
            Exit::Host => MAX_ERROR4_BYTES,
        };
        let room = most.saturating_sub(header_bytes + icmp::HEADER_BYTES);
        // Linux `icmp_send` too: what has no room for more than a header says nothing.
        if room <= ipv4::HEADER_BYTES {
            return;
        }
        let quoted = packet.len().min(room);
        let bytes = header_bytes + icmp::HEADER_BYTES + quoted;
        let fields = ipv4::Fields {
            traffic_class: header.traffic_class() & TOS_MASK | PRECEDENCE,
            total_bytes: u16::try_from(bytes).unwrap_or(u16::MAX),
            identification: self.next_identification(),
            flags_offset: 0,
            ttl: TTL,
            protocol: protocol::ICMP,
            source,
            destination: header.source(),
        };
        let sent = self.originate(exit, bytes, Offload::default(), tables, out, |buffer| {
            let (ip, body) = buffer.split_at_mut(header_bytes);
            if let Some(ip) = ip.first_chunk_mut() {
                fields.write(ip);
            }
            if header_bytes > ipv4::HEADER_BYTES {
                ip[0] = 0x40 | u8::try_from(header_bytes / 4).unwrap_or(15);
                ip[ipv4::HEADER_BYTES..].copy_from_slice(echoed.bytes());
                ipv4::fill_checksum(ip);
            }
            body[..4].copy_from_slice(&[kind_code[0], kind_code[1], 0, 0]);
            body[4..8].copy_from_slice(&word.to_be_bytes());
            body[8..].copy_from_slice(&packet[..quoted]);
            icmp::v4_fill(body);
        });
        self.counters.icmp_errors += u64::from(sent);
    }

    fn error6(
        &mut self,
        packet: &[u8],
        context: &Context<'_>,
        message: Message,
        detail: u32,
        out: &mut impl Originate,
    ) {
        let Some(header) = ipv6::Header::parse(packet) else { return };
        if !may_answer6(packet, &header, context, message.kind) {
            return;
        }
        let tables = context.tables;
        let Some(exit) = originate::exit(tables, IpAddr::V6(header.source()), context.ingress, Some(packet))
        else {
            return;
        };
        let Some(source) = source6(&header, exit, context) else { return };
        let interval_ns = interval6_ns(tables, exit);
        let destination = u128::from(header.source());
        if message.limited
            && !self.limits.allow(destination, interval_ns, tables.settings(), context.now.mono_ns)
        {
            self.counters.icmp_rate_limited += 1;
            return;
        }
        let room = ipv6::MIN_MTU_BYTES - ipv6::HEADER_BYTES - icmp::HEADER_BYTES;
        let quoted = packet.len().min(room);
        let payload = icmp::HEADER_BYTES + quoted;
        let fields = ipv6::Fields {
            traffic_class: 0,
            payload_bytes: u16::try_from(payload).unwrap_or(u16::MAX),
            next_header: protocol::ICMPV6,
            hop_limit: TTL,
            source,
            destination: header.source(),
        };
        let bytes = ipv6::HEADER_BYTES + payload;
        let sent = self.originate(exit, bytes, Offload::default(), tables, out, |buffer| {
            let (ip, body) = buffer.split_at_mut(ipv6::HEADER_BYTES);
            if let Some(ip) = ip.first_chunk_mut() {
                fields.write(ip);
            }
            body[..4].copy_from_slice(&[message.kind, message.code, 0, 0]);
            body[4..8].copy_from_slice(&detail.to_be_bytes());
            body[8..].copy_from_slice(&packet[..quoted]);
            icmp::v6_fill(body, fields.source, fields.destination);
        });
        self.counters.icmp_errors += u64::from(sent);
    }
}

/// RFC 1812 section 4.3.2.7: never about an ICMP error, a broadcast or multicast of either layer, a fragment that is not
/// the first, or a source that is no single host.
pub(crate) fn may_answer4(packet: &[u8], header: &ipv4::Header<'_>, context: &Context<'_>) -> bool {
    let (source, destination) = (header.source(), header.destination());
    if context.cast == Cast::Group
        || destination.is_multicast()
        || destination.is_broadcast()
        || context.tables.route4(destination).adjacency == Adjacency::Broadcast
        || header.fragment_offset_bytes() > 0
        || source.is_unspecified()
        || source.is_multicast()
        || source.is_broadcast()
        || source.is_loopback()
    {
        return false;
    }
    if header.protocol() != protocol::ICMP {
        return true;
    }
    // Truncated before its type: Linux too says nothing.
    packet.get(header.header_bytes()).is_some_and(|kind| icmp::v4::may_be_answered(*kind))
}

/// RFC 4443 section 2.4 (e): as for IPv4, but a group may hear that a packet was too big, or an option unknown.
fn may_answer6(packet: &[u8], header: &ipv6::Header<'_>, context: &Context<'_>, kind: u8) -> bool {
    let source = header.source();
    let to_group = context.cast == Cast::Group || header.destination().is_multicast();
    if to_group && kind != icmp::v6::TOO_BIG
        || source.is_unspecified()
        || source.is_multicast()
        || source.is_loopback()
    {
        return false;
    }
    let Some(upper) = ipv6::upper_layer(packet) else { return true };
    if upper.protocol != protocol::ICMPV6 || upper.fragment.is_some_and(|(offset, _)| offset > 0) {
        return true;
    }
    packet.get(upper.offset).is_some_and(|kind| *kind >= 128 && *kind != icmp::v6::REDIRECT)
}

/// Linux `icmp_route_lookup`: the address that was asked for, if it is ours; else that of the way back.
fn source4(header: &ipv4::Header<'_>, exit: Exit<'_>, tables: &Tables) -> Option<Ipv4Addr> {
    if tables.is_own4(header.destination()) {
        return Some(header.destination());
    }
    match exit {
        Exit::Host => Some(header.source()),
        Exit::Link { next_hop, .. } => source::v4_towards(tables, next_hop),
    }
}

/// Linux `icmp6_send`: the address that was asked for, if it is ours, of the link where that is link-local; else one of the link that the packet came by, which
/// its sender knows us by, whatever the way back is.
fn source6(header: &ipv6::Header<'_>, exit: Exit<'_>, context: &Context<'_>) -> Option<Ipv6Addr> {
    let (tables, asked) = (context.tables, header.destination());
    let is_of = |port: &Port| port.has6(asked) || port.has_anycast6(asked);
    let is_ours = if asked.is_unicast_link_local() {
        tables.port(context.ingress).is_some_and(is_of)
    } else {
        tables.ports().any(is_of)
    };
    if is_ours {
        return Some(asked);
    }
    match exit {
        Exit::Host => Some(header.source()),
        Exit::Link { port, .. } => source::v6(tables, context.ingress, header.source())
            .or_else(|| source::v6(tables, port.id, header.source())),
    }
}

/// Linux `icmpv6_xrlim_allow`: a wider route earns faster.
fn interval6_ns(tables: &Tables, exit: Exit<'_>) -> u64 {
    let interval_ns = u64::from(tables.settings().icmp6_interval_ms) * 1_000_000;
    match exit {
        Exit::Host => 0,
        Exit::Link { prefix_len, .. } => interval_ns >> ((128 - u32::from(prefix_len.min(128))) >> 5),
    }
}

#[cfg(test)]
#[path = "icmp_error_tests.rs"]
mod tests;
