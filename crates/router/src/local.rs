//! Packets addressed to us: echo is answered here, the rest goes to the host port or is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nsrouter_wire::checksum;
use nsrouter_wire::frame::Frame;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4::{self, protocol};
use nsrouter_wire::ipv6;

use crate::drop::DropReason;
use crate::icmp_error::TTL;
use crate::ip4::options::{self, Options};
use crate::link::ethernet::{self, L3};
use crate::own::no_listener;
use crate::own::source;
use crate::pipeline::{Cast, Context, Router};
use crate::port::Port;
use crate::verdict::{Originate, Verdict};

impl Router {
    /// An IPv4 packet to one of our addresses, at any TTL.
    pub(crate) fn local4(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        destination: Ipv4Addr,
        options: Options,
        out: &mut impl Originate,
    ) -> Verdict {
        let Some(header) = ipv4::Header::parse(&frame.data()[L3..]) else {
            return Verdict::Drop(DropReason::Ip4Short);
        };
        if header.is_fragment() {
            return self.fragment_to_host(frame, context);
        }
        let (number, header_bytes, source) = (header.protocol(), header.header_bytes(), header.source());
        if number != protocol::ICMP {
            return self.deliver(frame, context, number, options, out);
        }
        if !ethernet::complete_checksum(frame, L3 + header_bytes) {
            return Verdict::Drop(DropReason::BadOffload);
        }
        let message = &mut frame.data_mut()[L3 + header_bytes..];
        if message.len() < icmp::HEADER_BYTES || !icmp::v4_is_valid(message) {
            return Verdict::Drop(DropReason::IcmpMalformed);
        }
        if message[0] != icmp::v4::ECHO {
            return self.icmp_to_host(frame, context);
        }
        message[0] = icmp::v4::ECHO_REPLY;
        let old = u16::from_be_bytes([message[2], message[3]]);
        let sum = checksum::update(old, u16::from(icmp::v4::ECHO) << 8, u16::from(icmp::v4::ECHO_REPLY) << 8);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        if header_bytes > ipv4::HEADER_BYTES && !echo_options(frame, context, options, destination) {
            return Verdict::Drop(DropReason::Ip4Options);
        }
        let identification = self.next_identification();
        let packet = &mut frame.data_mut()[L3..];
        let header_bytes = usize::from(packet[0] & 0x0f) * 4;
        let ip = &mut packet[..header_bytes];
        ip[4..6].copy_from_slice(&identification.to_be_bytes());
        // Linux sends echo replies that may be fragmented.
        ip[6..8].fill(0);
        ip[8] = TTL;
        ip[12..16].copy_from_slice(&destination.octets());
        ip[16..20].copy_from_slice(&source.octets());
        ipv4::fill_checksum(ip);
        self.reply(frame, context, IpAddr::V4(source), out)
    }

    /// An IPv4 packet to a broadcast address or a group: only UDP has listeners, who are on the host; echo to everybody
    /// is not answered (Linux `icmp_echo_ignore_broadcasts`).
    #[cold]
    pub(crate) fn local4_group(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        destination: Ipv4Addr,
    ) -> Verdict {
        if destination.is_multicast() {
            if is_igmp_query(&frame.data()[L3..]) {
                return Verdict::Consumed;
            }
            // RFC 5771 section 4: the local network control block stays on its link.
            let is_of_link = destination.octets()[..3] == [224, 0, 0];
            let reason = if is_of_link { DropReason::LinkMulticast } else { DropReason::Multicast };
            return Verdict::Drop(reason);
        }
        let number = frame.data().get(L3 + 9).copied();
        if number == Some(protocol::UDP) && context.tables.settings().host_port {
            ethernet::remove_link_header(frame);
            return Verdict::ToHost;
        }
        Verdict::Drop(DropReason::Broadcast)
    }

    /// An IPv6 packet to a group.
    pub(crate) fn local6_group(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        ingress: &Port,
        group: Ipv6Addr,
        out: &mut impl Originate,
    ) -> Verdict {
        match group.octets()[1] & 0x0f {
            // RFC 4291 section 2.7: reserved, and interface-local.
            0 | 1 => Verdict::Drop(DropReason::MartianDestination),
            _ if ingress.is_member6(group) => self.local6(frame, context, ingress, group, out),
            // Link-local scope.
            2 => Verdict::Drop(DropReason::LinkMulticast),
            _ => Verdict::Drop(DropReason::Multicast),
        }
    }

    /// An IPv6 packet to one of our addresses, or to a group that we are a member of.
    pub(crate) fn local6(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        ingress: &Port,
        destination: Ipv6Addr,
        out: &mut impl Originate,
    ) -> Verdict {
        let Some(upper) = ipv6::upper_layer(&frame.data()[L3..]) else {
            return Verdict::Drop(DropReason::Ip6Extension);
        };
        if upper.fragment.is_some() {
            return self.fragment_to_host(frame, context);
        }
        if upper.protocol != protocol::ICMPV6 {
            return self.deliver(frame, context, upper.protocol, Options::default(), out);
        }
        if !ethernet::complete_checksum(frame, L3 + upper.offset) {
            return Verdict::Drop(DropReason::BadOffload);
        }
        let Some(header) = ipv6::Header::parse(&frame.data()[L3..]) else {
            return Verdict::Drop(DropReason::Ip6Short);
        };
        let (source, hop_limit) = (header.source(), header.hop_limit());
        let message = &frame.data()[L3 + upper.offset..];
        if message.len() < icmp::HEADER_BYTES || !icmp::v6_is_valid(message, source, destination) {
            return Verdict::Drop(DropReason::IcmpMalformed);
        }
        match message[0] {
            // What extension headers ask of a receiver is the host's trade.
            icmp::v6::ECHO if upper.offset > ipv6::HEADER_BYTES && self.host_takes(frame, context) => {
                self.icmp_to_host(frame, context)
            }
            icmp::v6::ECHO => self.echo6(frame, context, destination, upper.offset, out),
            icmp::v6::LISTENER_QUERY | icmp::v6::LISTENER_REPORT => self.mld(frame, context, ingress, &upper),
            icmp::v6::ROUTER_SOLICITATION..=icmp::v6::REDIRECT => {
                self.nd(frame, context, ingress, upper.offset, hop_limit, out)
            }
            _ => self.icmp_to_host(frame, context),
        }
    }

    fn echo6(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        destination: Ipv6Addr,
        offset: usize,
        out: &mut impl Originate,
    ) -> Verdict {
        let Some(header) = ipv6::Header::parse(&frame.data()[L3..]) else {
            return Verdict::Drop(DropReason::Ip6Short);
        };
        let to = header.source();
        if to.is_unspecified() {
            return Verdict::Drop(DropReason::MartianSource);
        }
        // A group or an anycast address is nobody's source.
        let from = if context.tables.is_own6(destination) {
            Some(destination)
        } else {
            source::v6(context.tables, context.ingress, to)
        };
        let Some(from) = from else { return Verdict::Drop(DropReason::NoRoute) };
        // Extension headers asked something of us as the receiver, not of the sender: the answer has none.
        if offset > ipv6::HEADER_BYTES {
            let end = frame.len();
            frame.data_mut().copy_within(L3 + offset..end, L3 + ipv6::HEADER_BYTES);
            frame.truncate(end - (offset - ipv6::HEADER_BYTES));
        }
        let packet = &mut frame.data_mut()[L3..];
        let payload = packet.len() - ipv6::HEADER_BYTES;
        packet[4..6].copy_from_slice(&u16::try_from(payload).unwrap_or(u16::MAX).to_be_bytes());
        packet[6] = protocol::ICMPV6;
        packet[7] = TTL;
        packet[8..24].copy_from_slice(&from.octets());
        packet[24..40].copy_from_slice(&to.octets());
        let message = &mut packet[ipv6::HEADER_BYTES..];
        message[0] = icmp::v6::ECHO_REPLY;
        icmp::v6_fill(message, from, to);
        self.reply(frame, context, IpAddr::V6(to), out)
    }

    /// Whether the host port takes this packet: it has our addresses, but neither groups nor anycast and link-local ones,
    /// and it could not answer a link-local sender.
    fn host_takes(&self, frame: &Frame<'_>, context: &Context<'_>) -> bool {
        let Some(header) = ipv6::Header::parse(&frame.data()[L3..]).filter(|header| header.version() == 6)
        else {
            return context.tables.settings().host_port;
        };
        let destination = header.destination();
        context.tables.settings().host_port
            && !destination.is_unicast_link_local()
            && !header.source().is_unicast_link_local()
            && context.tables.is_own6(destination)
    }

    /// Whether a unicast packet came in a frame to a group: RFC 1122 section 3.3.6 has it discarded in silence. The host
    /// sees no frames, and would answer it with an error.
    fn is_misaddressed(&self, frame: &Frame<'_>, context: &Context<'_>) -> bool {
        let is_to_group = || {
            let header = ipv6::Header::parse(&frame.data()[L3..]);
            header.is_some_and(|header| header.version() == 6 && header.destination().is_multicast())
        };
        context.cast == Cast::Group && !is_to_group()
    }

    /// Hands the packet to the host, or refuses it as a host without listeners would.
    fn deliver(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        number: u8,
        options: Options,
        out: &mut impl Originate,
    ) -> Verdict {
        if self.is_misaddressed(frame, context) {
            return Verdict::Drop(DropReason::L2Broadcast);
        }
        if self.host_takes(frame, context) {
            ethernet::remove_link_header(frame);
            return Verdict::ToHost;
        }
        let context = &options::arrive(frame, context, options);
        match number {
            protocol::TCP => self.reset(frame, context, out),
            // What is broken was for nobody.
            protocol::UDP if !no_listener::udp_is_sound(frame) => Verdict::Drop(DropReason::PortUnreachable),
            protocol::UDP => self.refuse(frame, context, DropReason::PortUnreachable, 0, out),
            protocol::NONE => Verdict::Drop(DropReason::IcmpIgnored),
            _ => {
                // ICMPv6 points at the octet that names the protocol (RFC 4443 section 3.4).
                let named_at = ipv6::upper_layer(&frame.data()[L3..]).map_or(0, |upper| upper.named_at);
                let pointer = u32::try_from(named_at).unwrap_or(0);
                self.refuse(frame, context, DropReason::ProtocolUnreachable, pointer, out)
            }
        }
    }

    fn icmp_to_host(&mut self, frame: &mut Frame<'_>, context: &Context<'_>) -> Verdict {
        if self.host_takes(frame, context) && context.cast == Cast::Ours {
            ethernet::remove_link_header(frame);
            return Verdict::ToHost;
        }
        Verdict::Drop(DropReason::IcmpIgnored)
    }

    /// The host reassembles: a router that does not need to would only offer its memory to be filled.
    fn fragment_to_host(&mut self, frame: &mut Frame<'_>, context: &Context<'_>) -> Verdict {
        if self.is_misaddressed(frame, context) {
            return Verdict::Drop(DropReason::L2Broadcast);
        }
        if self.host_takes(frame, context) {
            ethernet::remove_link_header(frame);
            return Verdict::ToHost;
        }
        Verdict::Drop(DropReason::LocalFragment)
    }
}

/// Whether this is a sound IGMP query to all systems (RFC 3376 section 4.1). The router has joined no other IPv4 group, and
/// that one is never reported (section 5), so there is nothing to say to it.
fn is_igmp_query(packet: &[u8]) -> bool {
    const QUERY: u8 = 0x11;
    let Some(header) = ipv4::Header::parse(packet) else { return false };
    let message = packet.get(header.header_bytes()..).unwrap_or_default();
    header.protocol() == protocol::IGMP
        && header.destination() == Ipv4Addr::new(224, 0, 0, 1)
        && message.len() >= icmp::HEADER_BYTES
        && message[0] == QUERY
        && icmp::v4_is_valid(message)
}

/// Makes the header of an echo request with options that of its reply, without its checksum; false when there is to be no
/// reply.
#[cold]
fn echo_options(frame: &mut Frame<'_>, context: &Context<'_>, options: Options, own: Ipv4Addr) -> bool {
    let context = options::arrive(frame, context, options);
    let packet = &mut frame.data_mut()[L3..];
    let Some(echoed) = options::echo(packet, &context, own) else { return false };
    let old_bytes = usize::from(packet[0] & 0x0f) * 4;
    let bytes = ipv4::HEADER_BYTES + echoed.bytes().len();
    // The reply's header is not longer, so it moves towards its payload.
    let surplus = old_bytes - bytes;
    packet.copy_within(..ipv4::HEADER_BYTES, surplus);
    frame.pull_front(surplus);
    let packet = &mut frame.data_mut()[L3..];
    packet[ipv4::HEADER_BYTES..bytes].copy_from_slice(echoed.bytes());
    // At most 15 words, and a packet of at most 65,535 bytes that did not grow.
    packet[0] = 0x40 | u8::try_from(bytes / 4).unwrap_or(15);
    let total = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    true
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
