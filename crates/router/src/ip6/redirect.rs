//! ICMPv6 redirects: a packet that leaves by the port that it came in by could have gone straight to its next
//! hop (RFC 4861 section 8). The packet is forwarded all the same.

use std::net::{IpAddr, Ipv6Addr};

use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::icmp::{self, Icmp6};
use nsrouter_wire::ipv6;
use nsrouter_wire::nd;

use crate::context::{Context, Originate};
use crate::egress::{Egress, Outgoing};
use crate::nexthop::Adjacency;
use crate::own::originate;
use crate::packet::Packet6;
use crate::verdict::NextHop;

/// Bytes of a redirect message before its options (RFC 4861 section 4.5).
const REDIRECT_BYTES: usize = 40;
/// The option that quotes the packet (RFC 4861 section 4.6.3).
const REDIRECTED_HEADER: u8 = 4;
/// Time to earn one ICMPv6 redirect (Linux `ip6_forward`).
const INTERVAL_NS: u64 = 1_000_000_000;

/// Tells the sender of a packet that leaves by its ingress port.
#[inline(always)]
pub(crate) fn tell<O: Originate>(
    packet: &Packet6<'_, '_>,
    egress: &Egress<'_>,
    context: &mut Context<'_, O>,
) {
    if egress.port.id == context.ingress {
        redirect(packet, &egress.next_hop(packet.ip.destination.into()), context);
    }
}

/// Tells a sender on the link of the better first hop, limited by destination and by sender (Linux
/// `ndisc_send_redirect`).
#[cold]
fn redirect<O: Originate>(packet: &Packet6<'_, '_>, next_hop: &NextHop, context: &mut Context<'_, O>) {
    let IpAddr::V6(target) = next_hop.addr else { return };
    let (tables, settings) = (context.tables, context.tables.settings());
    let (sender, destination) = (packet.ip.source, packet.ip.destination);
    let is_neighbour = sender.is_unicast_link_local()
        || matches!(tables.route6(sender).adjacency, Adjacency::OnLink(port) if port == context.ingress);
    // RFC 4861 section 8.2: a gateway is named by its link-local address.
    let is_named = target == destination || target.is_unicast_link_local();
    let Some(port) = tables.port(context.ingress) else { return };
    if !settings.redirects || !is_neighbour || !is_named {
        return;
    }
    let (limits, now_ns) = (&context.state.limits, context.now.mono_ns);
    if !limits.allow_redirect(u128::from(destination), INTERVAL_NS, settings, now_ns)
        || !limits.allow_redirect(u128::from(sender), INTERVAL_NS, settings, now_ns)
    {
        return;
    }
    let mac = tables.neighbours().get(next_hop).map(|known| known.mac);
    let mac_bytes = if mac.is_some() { 8 } else { 0 };
    let room = ipv6::MIN_MTU_BYTES - ipv6::HEADER_BYTES - REDIRECT_BYTES - mac_bytes;
    // The quoting option is a multiple of eight bytes, its own eight included.
    let quoted = packet.bytes();
    let option_bytes = (quoted.len() + 8).min(room) & !7;
    let quoted = &quoted[..option_bytes - 8];
    let message =
        Icmp6 { source: port.link_local, destination: sender, hop_limit: nd::HOP_LIMIT, extension: &[] };
    let bytes = REDIRECT_BYTES + mac_bytes + option_bytes;
    let sent = originate::icmp6(context, Outgoing::on_link(port, sender), &message, bytes, |body| {
        write_message(body, (target, destination), mac, quoted);
    });
    context.state.counters.icmp_errors += u64::from(sent);
}

fn write_message(
    body: &mut [u8],
    (target, destination): (Ipv6Addr, Ipv6Addr),
    mac: Option<MacAddr>,
    quoted: &[u8],
) {
    body[..8].copy_from_slice(&[icmp::v6::REDIRECT, 0, 0, 0, 0, 0, 0, 0]);
    body[8..24].copy_from_slice(&target.octets());
    body[24..40].copy_from_slice(&destination.octets());
    let mut at = REDIRECT_BYTES;
    if let Some(mac) = mac {
        body[at..at + 2].copy_from_slice(&[nd::TARGET_MAC, 1]);
        body[at + 2..at + 8].copy_from_slice(&mac.0);
        at += 8;
    }
    let units = u8::try_from((quoted.len() + 8) / 8).unwrap_or(u8::MAX);
    body[at..at + 8].copy_from_slice(&[REDIRECTED_HEADER, units, 0, 0, 0, 0, 0, 0]);
    body[at + 8..].copy_from_slice(quoted);
}
