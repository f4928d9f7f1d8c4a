//! Neighbour discovery, the workers' part: solicitations of the router's addresses are answered, and what
//! neighbours say is checked and reported (RFC 4861 sections 7.1, 7.2.3 and 7.2.4).

use std::net::{IpAddr, Ipv6Addr};

use nsrouter_wire::eth::{self, MacAddr};
use nsrouter_wire::icmp::{self, Icmp6};
use nsrouter_wire::ipv6;
use nsrouter_wire::nd::{self, Options};
use nsrouter_wire::offload::Offload;

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::egress::Outgoing;
use crate::events::{Event, Seen};
use crate::ip6::advertise;
use crate::own::{originate, source};
use crate::packet::Packet6;
use crate::port::Port;
use crate::verdict::{NextHop, Verdict};

/// A message that passed the checks which all kinds share.
struct Message {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    /// The station that sent the frame.
    from: MacAddr,
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    options: Options,
}

/// RFC 4861 sections 6.1 and 7.1: hop limit 255, code 0, long enough, options that fit.
fn check(packet: &Packet6<'_, '_>, offset: usize) -> Option<Message> {
    let from = eth::Header::parse(packet.frame.data())?.source();
    let message = packet.bytes().get(offset..)?;
    let kind = *message.first()?;
    let fixed = match kind {
        icmp::v6::ROUTER_SOLICITATION => 8,
        icmp::v6::ROUTER_ADVERTISEMENT => 16,
        icmp::v6::REDIRECT => 40,
        _ => nd::NEIGHBOUR_BYTES,
    };
    let options = Options::parse(message.get(fixed..)?)?;
    let has_target = !matches!(kind, icmp::v6::ROUTER_SOLICITATION | icmp::v6::ROUTER_ADVERTISEMENT);
    let target = if has_target { nd::target(message)? } else { Ipv6Addr::UNSPECIFIED };
    if packet.ip.ttl != nd::HOP_LIMIT || message[1] != 0 || target.is_multicast() {
        return None;
    }
    let (source, destination) = (packet.ip.source, packet.ip.destination);
    Some(Message { source, destination, from, kind, flags: message[4], target, options })
}

/// Handles a neighbour discovery message at `offset` of the packet, whose checksum is right.
pub(crate) fn input<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    ingress: &Port,
    offset: usize,
    context: &mut Context<'_, O>,
) -> Verdict {
    let Some(message) = check(packet, offset) else { return Verdict::Drop(DropReason::NdMalformed) };
    match message.kind {
        icmp::v6::NEIGHBOUR_SOLICITATION => solicitation(packet, ingress, &message, context),
        icmp::v6::NEIGHBOUR_ADVERTISEMENT => advertisement(ingress, &message, context.out),
        // A router is not redirected (RFC 4861 section 8.2).
        icmp::v6::REDIRECT => Verdict::Drop(DropReason::IcmpIgnored),
        _ => {
            // Section 6.1.1: nobody has no link-layer address.
            if message.source.is_unspecified() && message.options.source_mac.is_some() {
                return Verdict::Drop(DropReason::NdMalformed);
            }
            seen(ingress, &message, Seen::Solicitation, context.out);
            if message.kind == icmp::v6::ROUTER_SOLICITATION {
                advertise::answer(ingress, message.source, context);
            }
            Verdict::Consumed
        }
    }
}

fn solicitation<O: Originate>(
    packet: &mut Packet6<'_, '_>,
    ingress: &Port,
    message: &Message,
    context: &mut Context<'_, O>,
) -> Verdict {
    let is_probe = message.source.is_unspecified();
    // Section 7.1.1: a probe for a duplicate goes to the solicited-node group and names no link-layer
    // address.
    if is_probe
        && (message.destination != ipv6::solicited_node(message.target)
            || message.options.source_mac.is_some())
    {
        return Verdict::Drop(DropReason::NdMalformed);
    }
    if message.source == message.target || context.tables.is_own6(message.source) {
        return Verdict::Drop(DropReason::MartianSource);
    }
    let is_anycast = !ingress.has6(message.target);
    if is_anycast && !ingress.has_anycast6(message.target) {
        return Verdict::Drop(DropReason::NdNotOurs);
    }
    // Others may answer for an anycast address too, so nobody overrides (section 7.2.7); nor is it a source.
    let source = if is_anycast {
        source::v6(context.tables, ingress.id, message.source).unwrap_or(ingress.link_local)
    } else {
        message.target
    };
    if is_probe {
        return defend(ingress, source, message.target, context);
    }
    seen(ingress, message, Seen::Solicitation, context.out);

    // The answer, in place. Override and the option come only with the answer to a group, as in Linux
    // `ndisc_recv_ns`: a neighbour that asked the router alone knows its address and only wants to hear that
    // it is there.
    let to_group = message.destination.is_multicast();
    let overrides = if to_group && !is_anycast { nd::FLAG_OVERRIDE } else { 0 };
    let answer = Answer {
        flags: nd::FLAG_ROUTER | nd::FLAG_SOLICITED | overrides,
        target: message.target,
        mac: ingress.mac,
        has_mac: to_group,
    };
    let headers = headers(source, message.source);
    let Some(mac) = message.options.source_mac.filter(|mac| mac.is_unicast()) else {
        // Section 7.2.4: the answer goes to the neighbour that the table knows; one that is not in it is
        // asked for. Linux does that for a neighbour that knows the router; a group is not asked without the
        // option (section 4.3).
        let next_hop = NextHop { port: ingress.id, addr: IpAddr::V6(message.source) };
        if to_group && context.tables.neighbours().get(&next_hop).is_none() {
            return Verdict::Drop(DropReason::NdMalformed);
        }
        return answer.send(Outgoing::on_link(ingress, message.source), &headers, context);
    };
    packet.truncate(headers.packet_bytes(answer.bytes()));
    packet.frame.offload = Offload::default();
    eth::write(packet.frame.data_mut(), mac, ingress.mac, eth::TYPE_IPV6);
    headers.write(packet.bytes_mut(), |body| answer.write(body));
    Verdict::Reply(ingress.id)
}

/// Another station is about to use the router's address: everybody hears that it is taken (RFC 4862 section
/// 5.4.3).
fn defend<O: Originate>(
    ingress: &Port,
    source: Ipv6Addr,
    target: Ipv6Addr,
    context: &mut Context<'_, O>,
) -> Verdict {
    let flags = nd::FLAG_ROUTER | if source == target { nd::FLAG_OVERRIDE } else { 0 };
    let answer = Answer { flags, target, mac: ingress.mac, has_mac: true };
    answer.send(Outgoing::on_link(ingress, ipv6::ALL_NODES), &headers(source, ipv6::ALL_NODES), context)
}

/// Reports what an advertisement says (RFC 4861 section 7.2.5).
fn advertisement<O: Originate>(ingress: &Port, message: &Message, out: &mut O) -> Verdict {
    let solicited = message.flags & nd::FLAG_SOLICITED != 0;
    // Section 7.1.2: an answer has one receiver.
    if solicited && message.destination.is_multicast() {
        return Verdict::Drop(DropReason::NdMalformed);
    }
    let addr = IpAddr::V6(message.target);
    if ingress.has6(message.target) {
        let mac = message.options.target_mac.unwrap_or(message.from);
        if mac != ingress.mac {
            out.report(Event::AddressConflict { port: ingress.id, addr, mac });
        }
        return Verdict::Drop(DropReason::MartianSource);
    }
    let overrides = message.flags & nd::FLAG_OVERRIDE != 0;
    let kind = Seen::Advertisement { solicited, overrides };
    let mac = message.options.target_mac;
    if mac.is_some_and(|mac| !mac.is_unicast()) {
        return Verdict::Drop(DropReason::NdMalformed);
    }
    out.report(Event::NeighbourSeen { port: ingress.id, addr, mac, kind });
    Verdict::Consumed
}

/// Reports the sender, if it named its link-layer address.
fn seen(ingress: &Port, message: &Message, kind: Seen, out: &mut impl Originate) {
    let mac = message.options.source_mac.filter(|mac| mac.is_unicast());
    if mac.is_some() && !message.source.is_unspecified() {
        out.report(Event::NeighbourSeen { port: ingress.id, addr: IpAddr::V6(message.source), mac, kind });
    }
}

fn headers(source: Ipv6Addr, destination: Ipv6Addr) -> Icmp6<'static> {
    Icmp6 { source, destination, hop_limit: nd::HOP_LIMIT, extension: &[] }
}

/// A neighbour advertisement.
struct Answer {
    flags: u8,
    target: Ipv6Addr,
    mac: MacAddr,
    /// Whether it has the option that names the MAC address.
    has_mac: bool,
}

impl Answer {
    fn bytes(&self) -> usize {
        if self.has_mac { nd::NEIGHBOUR_WITH_MAC_BYTES } else { nd::NEIGHBOUR_BYTES }
    }

    /// Writes the message into as many bytes.
    fn write(&self, body: &mut [u8]) {
        let mut message = [0; nd::NEIGHBOUR_WITH_MAC_BYTES];
        let kind = icmp::v6::NEIGHBOUR_ADVERTISEMENT;
        nd::write_neighbour(&mut message, kind, self.flags, self.target, nd::TARGET_MAC, self.mac);
        let bytes = body.len().min(message.len());
        body[..bytes].copy_from_slice(&message[..bytes]);
    }

    fn send<O: Originate>(
        &self,
        outgoing: Outgoing<'_>,
        headers: &Icmp6<'_>,
        context: &mut Context<'_, O>,
    ) -> Verdict {
        let sent = originate::icmp6(context, outgoing, headers, self.bytes(), |body| self.write(body));
        if sent { Verdict::Consumed } else { Verdict::Drop(DropReason::NoBuffer) }
    }
}

#[cfg(test)]
#[path = "nd_tests.rs"]
mod tests;
