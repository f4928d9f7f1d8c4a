//! Hands over the packets that the router makes itself: to a neighbour, a group or the host.

use std::net::{IpAddr, Ipv4Addr};

use nsrouter_wire::eth::{self, MacAddr};
use nsrouter_wire::frame::PortId;
use nsrouter_wire::icmp::Icmp6;
use nsrouter_wire::offload::Offload;

use crate::context::{Context, Originate};
use crate::egress::Outgoing;
use crate::link::output;
use crate::packet::L3;

/// The `EtherType` of an IP packet: its next hop may be of the other family (RFC 8950).
fn ether_type(packet: &[u8]) -> u16 {
    match packet.first() {
        Some(octet) if octet >> 4 == 6 => eth::TYPE_IPV6,
        Some(_) | None => eth::TYPE_IPV4,
    }
}

/// The link-layer group address of a multicast or broadcast destination.
fn group_mac(address: IpAddr) -> Option<MacAddr> {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(MacAddr::BROADCAST),
        IpAddr::V4(group) if group.is_multicast() => Some(MacAddr::for_ipv4_group(group.octets())),
        IpAddr::V6(group) if group.is_multicast() => Some(MacAddr::for_ipv6_group(group.octets())),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Originates an IP packet of `bytes`, which `write` fills in. False when there is no buffer for it. Counts
/// either.
pub(crate) fn packet<O: Originate>(
    context: &mut Context<'_, O>,
    outgoing: Outgoing<'_>,
    bytes: usize,
    write: impl FnOnce(&mut [u8]),
) -> bool {
    let Outgoing::Link { egress, next_hop, .. } = outgoing else {
        let Some(buffer) = context.out.buffer(bytes) else { return no_buffer(context) };
        write(buffer);
        context.out.send(PortId::HOST, Offload::default());
        context.state.counters.originated += 1;
        context.state.counters.count_tx(PortId::HOST, bytes);
        return true;
    };
    let (port, tables) = (egress.port, context.tables);
    let mac = group_mac(next_hop.addr).or_else(|| output::resolve(&next_hop, context));
    let Some(buffer) = context.out.buffer(L3 + bytes) else { return no_buffer(context) };
    write(&mut buffer[L3..]);
    let ether_type = ether_type(&buffer[L3..]);
    eth::write(buffer, mac.unwrap_or(MacAddr::ZERO), port.mac, ether_type);
    let question = mac.is_none().then(|| output::unresolved_packet(&buffer[L3..], next_hop, tables));
    context.state.counters.originated += 1;
    if let Some(question) = question {
        context.out.hold(next_hop);
        context.out.report(question);
        context.state.counters.held += 1;
    } else {
        context.out.send(port.id, Offload::default());
        context.state.counters.count_tx(port.id, L3 + bytes);
    }
    true
}

/// Originates an ICMPv6 message of `bytes`, which `write` fills in but for its checksum. False when there is
/// no buffer.
pub(crate) fn icmp6<O: Originate>(
    context: &mut Context<'_, O>,
    outgoing: Outgoing<'_>,
    message: &Icmp6<'_>,
    bytes: usize,
    write: impl FnOnce(&mut [u8]),
) -> bool {
    packet(context, outgoing, message.packet_bytes(bytes), |packet| message.write(packet, write))
}

fn no_buffer<O>(context: &mut Context<'_, O>) -> bool {
    context.state.counters.originate_no_buffer += 1;
    false
}
