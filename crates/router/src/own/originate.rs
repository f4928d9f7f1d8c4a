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
use crate::port::Port;
use crate::verdict::NextHop;

/// The link-layer group address of a multicast or broadcast destination.
fn group_mac(address: IpAddr) -> Option<MacAddr> {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(MacAddr::BROADCAST),
        IpAddr::V4(group) if group.is_multicast() => Some(MacAddr::for_ipv4_group(group.octets())),
        IpAddr::V6(group) if group.is_multicast() => Some(MacAddr::for_ipv6_group(group.octets())),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Originates an IP packet of `bytes` from `source`, which `write` fills in. False when there is no buffer for
/// it. Counts either.
pub(crate) fn packet<O: Originate>(
    context: &mut Context<'_, O>,
    outgoing: Outgoing<'_>,
    source: IpAddr,
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
    let mac = group_mac(next_hop.addr).or_else(|| output::resolve(&next_hop, context));
    // Of the packet, and not of the next hop, which may be of the other family (RFC 8950).
    let ether_type = if source.is_ipv6() { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 };
    let link = Link { port: egress.port, next_hop, mac, ether_type };
    let is_made = frame(context, &link, bytes, write);
    if is_made && mac.is_none() {
        context.out.report(output::unresolved(source, next_hop, context.tables));
    }
    is_made
}

/// The Ethernet header of a packet that the router makes itself, and where it goes.
pub(crate) struct Link<'t> {
    pub(crate) port: &'t Port,
    pub(crate) next_hop: NextHop,
    /// The next hop's MAC address; `None` when it is not known yet, so that the packet waits.
    pub(crate) mac: Option<MacAddr>,
    pub(crate) ether_type: u16,
}

/// Originates a frame with an IP packet of `bytes`, which `write` fills in. False when there is no buffer for
/// it. Counts either, and reports nothing.
pub(crate) fn frame<O: Originate>(
    context: &mut Context<'_, O>,
    link: &Link<'_>,
    bytes: usize,
    write: impl FnOnce(&mut [u8]),
) -> bool {
    let Some(buffer) = context.out.buffer(L3 + bytes) else { return no_buffer(context) };
    eth::write(buffer, link.mac.unwrap_or(MacAddr::ZERO), link.port.mac, link.ether_type);
    write(&mut buffer[L3..]);
    context.state.counters.originated += 1;
    if link.mac.is_some() {
        context.out.send(link.port.id, Offload::default());
        context.state.counters.count_tx(link.port.id, L3 + bytes);
    } else {
        context.out.hold(link.next_hop);
        context.state.counters.held += 1;
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
    let source = message.source.into();
    packet(context, outgoing, source, message.packet_bytes(bytes), |packet| message.write(packet, write))
}

fn no_buffer<O>(context: &mut Context<'_, O>) -> bool {
    context.state.counters.originate_no_buffer += 1;
    false
}
