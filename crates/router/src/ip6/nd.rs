//! Neighbour discovery, the workers' part: solicitations of our addresses are answered, and what neighbours say is
//! checked and reported (RFC 4861 sections 7.1, 7.2.3 and 7.2.4).

use std::net::{IpAddr, Ipv6Addr};

use nsrouter_wire::eth;
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::Frame;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4::protocol;
use nsrouter_wire::ipv6;
use nsrouter_wire::nd::{self, Options};
use nsrouter_wire::offload::Offload;

use crate::drop::DropReason;
use crate::link::ethernet::L3;
use crate::own::originate::Exit;
use crate::own::source;
use crate::pipeline::{Context, Router};
use crate::port::{ALL_NODES, Port};
use crate::verdict::{Event, NextHop, Originate, Seen, Verdict};

/// A message that passed the checks which all kinds share.
struct Message {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    from: MacAddr,
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    options: Options,
}

/// RFC 4861 sections 6.1 and 7.1: hop limit 255, code 0, long enough, options that fit.
fn check(frame: &Frame<'_>, offset: usize, hop_limit: u8) -> Option<Message> {
    let header = ipv6::Header::parse(&frame.data()[L3..])?;
    let from = eth::Header::parse(frame.data())?.source();
    let message = frame.data().get(L3 + offset..)?;
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
    if hop_limit != nd::HOP_LIMIT || message[1] != 0 || target.is_multicast() {
        return None;
    }
    let (source, destination) = (header.source(), header.destination());
    Some(Message { source, destination, from, kind, flags: message[4], target, options })
}

impl Router {
    /// Handles a neighbour discovery message, whose checksum is right.
    pub(crate) fn nd(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        ingress: &Port,
        offset: usize,
        hop_limit: u8,
        out: &mut impl Originate,
    ) -> Verdict {
        let Some(message) = check(frame, offset, hop_limit) else {
            return Verdict::Drop(DropReason::NdMalformed);
        };
        match message.kind {
            icmp::v6::NEIGHBOUR_SOLICITATION => self.solicitation(frame, context, ingress, &message, out),
            icmp::v6::NEIGHBOUR_ADVERTISEMENT => advertisement(ingress, &message, out),
            // A router is not redirected (RFC 4861 section 8.2).
            icmp::v6::REDIRECT => Verdict::Drop(DropReason::IcmpIgnored),
            _ => {
                // Section 6.1.1: nobody has no link-layer address.
                if message.source.is_unspecified() && message.options.source_mac.is_some() {
                    return Verdict::Drop(DropReason::NdMalformed);
                }
                seen(ingress, &message, Seen::Solicitation, out);
                if message.kind == icmp::v6::ROUTER_SOLICITATION {
                    self.advertise_to(context, ingress, message.source, out);
                }
                Verdict::Consumed
            }
        }
    }

    fn solicitation(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        ingress: &Port,
        message: &Message,
        out: &mut impl Originate,
    ) -> Verdict {
        let is_probe = message.source.is_unspecified();
        // Section 7.1.1: a probe for a duplicate goes to the solicited-node group and names no link-layer address.
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
            return self.defend(context, ingress, source, message.target, out);
        }
        seen(ingress, message, Seen::Solicitation, out);

        // The answer, in place. Override and the option come only with the answer to a group, as in Linux
        // `ndisc_recv_ns`: who asked us alone knows our address and only wants to hear that we are there.
        let to_group = message.destination.is_multicast();
        let overrides = if to_group && !is_anycast { nd::FLAG_OVERRIDE } else { 0 };
        let flags = nd::FLAG_ROUTER | nd::FLAG_SOLICITED | overrides;
        let bytes = if to_group { nd::NEIGHBOUR_WITH_MAC_BYTES } else { nd::NEIGHBOUR_BYTES };
        let Some(mac) = message.options.source_mac.filter(|mac| mac.is_unicast()) else {
            // Section 7.2.4: the answer goes to whom the neighbour table knows, and who is not in it is asked for. Linux
            // does that for who knows us; a group is not asked without the option (section 4.3).
            let next_hop = NextHop { port: ingress.id, addr: IpAddr::V6(message.source) };
            if to_group && context.tables.neighbours().get(next_hop).is_none() {
                return Verdict::Drop(DropReason::NdMalformed);
            }
            let exit = Exit::Link { port: ingress, next_hop, prefix_len: 64, mtu: ingress.mtu };
            let (target, destination) = (message.target, message.source);
            let sent = self.originate(
                exit,
                ipv6::HEADER_BYTES + bytes,
                Offload::default(),
                context.tables,
                out,
                |packet| write_advertisement(packet, (source, destination), flags, target, ingress.mac),
            );
            return if sent { Verdict::Consumed } else { Verdict::Drop(DropReason::NoBuffer) };
        };
        let whole = L3 + ipv6::HEADER_BYTES + bytes;
        frame.truncate(whole);
        frame.offload = Offload::default();
        let data = frame.data_mut();
        eth::write(data, mac, ingress.mac, eth::TYPE_IPV6);
        write_advertisement(&mut data[L3..], (source, message.source), flags, message.target, ingress.mac);
        Verdict::Reply(ingress.id)
    }

    /// Somebody is about to use our address: everybody hears that it is taken (RFC 4862 section 5.4.3).
    fn defend(
        &mut self,
        context: &Context<'_>,
        ingress: &Port,
        source: Ipv6Addr,
        target: Ipv6Addr,
        out: &mut impl Originate,
    ) -> Verdict {
        let flags = nd::FLAG_ROUTER | if source == target { nd::FLAG_OVERRIDE } else { 0 };
        let next_hop = NextHop { port: ingress.id, addr: IpAddr::V6(ALL_NODES) };
        let exit = Exit::Link { port: ingress, next_hop, prefix_len: 64, mtu: ingress.mtu };
        let bytes = ipv6::HEADER_BYTES + nd::NEIGHBOUR_WITH_MAC_BYTES;
        let sent = self.originate(exit, bytes, Offload::default(), context.tables, out, |packet| {
            write_advertisement(packet, (source, ALL_NODES), flags, target, ingress.mac);
        });
        if sent { Verdict::Consumed } else { Verdict::Drop(DropReason::NoBuffer) }
    }
}

fn advertisement(ingress: &Port, message: &Message, out: &mut impl Originate) -> Verdict {
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

/// Writes a whole neighbour advertisement; as long as `packet`, which leaves out the option when short.
fn write_advertisement(
    packet: &mut [u8],
    (source, destination): (Ipv6Addr, Ipv6Addr),
    flags: u8,
    target: Ipv6Addr,
    mac: MacAddr,
) {
    let mut message = [0; nd::NEIGHBOUR_WITH_MAC_BYTES];
    nd::write_neighbour(&mut message, icmp::v6::NEIGHBOUR_ADVERTISEMENT, flags, target, nd::TARGET_MAC, mac);
    let bytes = packet.len() - ipv6::HEADER_BYTES;
    let fields = ipv6::Fields {
        traffic_class: 0,
        payload_bytes: u16::try_from(bytes).unwrap_or(u16::MAX),
        next_header: protocol::ICMPV6,
        hop_limit: nd::HOP_LIMIT,
        source,
        destination,
    };
    let (ip, body) = packet.split_at_mut(ipv6::HEADER_BYTES);
    if let Some(ip) = ip.first_chunk_mut() {
        fields.write(ip);
    }
    body.copy_from_slice(&message[..bytes]);
    icmp::v6_fill(body, source, destination);
}

#[cfg(test)]
#[path = "nd_tests.rs"]
mod tests;
