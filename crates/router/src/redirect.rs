//! Redirects: a packet that leaves by the port that it came in on could have gone straight to its next hop (RFC 1812
//! section 5.2.7.2, RFC 4861 section 8). The packet is forwarded all the same.

use std::net::{IpAddr, Ipv6Addr};

use nsrouter_wire::frame::Frame;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4::{self, protocol};
use nsrouter_wire::ipv6;
use nsrouter_wire::nd;
use nsrouter_wire::offload::Offload;

use crate::icmp_error;
use crate::link::ethernet::L3;
use crate::nexthop::Adjacency;
use crate::own::originate::Exit;
use crate::pipeline::{Context, Router};
use crate::verdict::{NextHop, Originate};

/// For this host, not for its network (RFC 1812 section 5.2.7.2).
const FOR_HOST: u8 = 1;
/// Bytes of a redirect message before its options (RFC 4861 section 4.5).
const REDIRECT6_BYTES: usize = 40;
/// The option that quotes the packet (RFC 4861 section 4.6.3).
const REDIRECTED_HEADER: u8 = 4;
/// Time to earn one `ICMPv6` redirect (Linux `ip6_forward`).
const INTERVAL6_NS: u64 = 1_000_000_000;

impl Router {
    /// Tells a sender on our own link of the better first hop, at growing intervals (Linux `ip_rt_send_redirect`).
    #[cold]
    pub(crate) fn redirect4(
        &mut self,
        frame: &Frame<'_>,
        context: &Context<'_>,
        next_hop: NextHop,
        out: &mut impl Originate,
    ) {
        let packet = &frame.data()[L3..];
        let (Some(header), IpAddr::V4(gateway)) = (ipv4::Header::parse(packet), next_hop.addr) else {
            return;
        };
        let tables = context.tables;
        let is_neighbour = matches!(tables.route4(header.source()).adjacency, Adjacency::OnLink(port) if port == context.ingress);
        if !tables.settings().redirects
            || !is_neighbour
            || !icmp_error::may_answer4(packet, &header, context)
            || !self.limits.allow_redirect4(u128::from(header.source().to_ipv6_mapped()), context.now.mono_ns)
        {
            return;
        }
        self.send_error4(packet, context, [icmp::v4::REDIRECT, FOR_HOST], u32::from(gateway), out);
    }

    /// The same for IPv6 (Linux `ndisc_send_redirect`): limited by destination and by sender.
    #[cold]
    pub(crate) fn redirect6(
        &mut self,
        frame: &Frame<'_>,
        context: &Context<'_>,
        next_hop: NextHop,
        out: &mut impl Originate,
    ) {
        let packet = &frame.data()[L3..];
        let (Some(header), IpAddr::V6(target)) = (ipv6::Header::parse(packet), next_hop.addr) else { return };
        let (tables, settings) = (context.tables, context.tables.settings());
        let (sender, destination) = (header.source(), header.destination());
        let is_neighbour = sender.is_unicast_link_local()
            || matches!(tables.route6(sender).adjacency, Adjacency::OnLink(port) if port == context.ingress);
        // RFC 4861 section 8.2: a gateway is named by its link-local address.
        let is_named = target == destination || target.is_unicast_link_local();
        let Some(port) = tables.port(context.ingress) else { return };
        if !settings.redirects || !is_neighbour || !is_named {
            return;
        }
        let now_ns = context.now.mono_ns;
        if !self.limits.allow_redirect(u128::from(destination), INTERVAL6_NS, settings, now_ns)
            || !self.limits.allow_redirect(u128::from(sender), INTERVAL6_NS, settings, now_ns)
        {
            return;
        }
        let mac = tables.neighbours().get(next_hop).map(|known| known.mac);
        let mac_bytes = if mac.is_some() { 8 } else { 0 };
        let room = ipv6::MIN_MTU_BYTES - ipv6::HEADER_BYTES - REDIRECT6_BYTES - mac_bytes;
        // The quoting option is a multiple of eight bytes, its own eight included.
        let quoting = (packet.len() + 8).min(room) & !7;
        let payload = REDIRECT6_BYTES + mac_bytes + quoting;
        let fields = ipv6::Fields {
            traffic_class: 0,
            payload_bytes: u16::try_from(payload).unwrap_or(u16::MAX),
            next_header: protocol::ICMPV6,
            hop_limit: nd::HOP_LIMIT,
            source: port.link_local,
            destination: sender,
        };
        let back = NextHop { port: port.id, addr: IpAddr::V6(sender) };
        let exit = Exit::Link { port, next_hop: back, prefix_len: 64, mtu: port.mtu };
        let sent =
            self.originate(exit, ipv6::HEADER_BYTES + payload, Offload::default(), tables, out, |buffer| {
                let (ip, body) = buffer.split_at_mut(ipv6::HEADER_BYTES);
                if let Some(ip) = ip.first_chunk_mut() {
                    fields.write(ip);
                }
                write_message(body, target, destination, mac.map(|mac| mac.0), &packet[..quoting - 8]);
                icmp::v6_fill(body, fields.source, sender);
            });
        self.counters.icmp_errors += u64::from(sent);
    }
}

fn write_message(
    body: &mut [u8],
    target: Ipv6Addr,
    destination: Ipv6Addr,
    mac: Option<[u8; 6]>,
    quoted: &[u8],
) {
    body[..8].copy_from_slice(&[icmp::v6::REDIRECT, 0, 0, 0, 0, 0, 0, 0]);
    body[8..24].copy_from_slice(&target.octets());
    body[24..40].copy_from_slice(&destination.octets());
    let mut at = REDIRECT6_BYTES;
    if let Some(mac) = mac {
        body[at..at + 2].copy_from_slice(&[nd::TARGET_MAC, 1]);
        body[at + 2..at + 8].copy_from_slice(&mac);
        at += 8;
    }
    let units = u8::try_from((quoted.len() + 8) / 8).unwrap_or(u8::MAX);
    body[at..at + 8].copy_from_slice(&[REDIRECTED_HEADER, units, 0, 0, 0, 0, 0, 0]);
    body[at + 8..].copy_from_slice(quoted);
}

#[cfg(test)]
#[path = "redirect_tests.rs"]
mod tests;
