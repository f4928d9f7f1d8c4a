//! The questions that resolution asks: ARP requests and neighbour solicitations, as complete frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nsrouter_wire::arp;
use nsrouter_wire::eth::{self, MacAddr};
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4::protocol;
use nsrouter_wire::ipv6;
use nsrouter_wire::nd;

use crate::source;
use crate::tables::{Port, Tables};
use crate::types::NextHop;

/// A question for the MAC address of `next_hop`: to everybody who could be it, or to `known` alone. `None` when the port
/// is gone.
pub(super) fn frame(tables: &Tables, next_hop: NextHop, known: Option<MacAddr>) -> Option<Vec<u8>> {
    let port = tables.port(next_hop.port)?;
    Some(match next_hop.addr {
        IpAddr::V4(target) => request(tables, port, target, known),
        IpAddr::V6(target) => solicitation(port, target, known),
    })
}

fn request(tables: &Tables, port: &Port, target: Ipv4Addr, known: Option<MacAddr>) -> Vec<u8> {
    let mut frame = vec![0; eth::HEADER_BYTES + arp::BYTES];
    eth::write(&mut frame, known.unwrap_or(MacAddr::BROADCAST), port.mac, eth::TYPE_ARP);
    let packet = arp::Packet {
        operation: arp::REQUEST,
        sender_mac: port.mac,
        sender: source::v4(tables, port.id, target).unwrap_or(Ipv4Addr::UNSPECIFIED),
        target_mac: known.unwrap_or(MacAddr::ZERO),
        target,
    };
    if let Some(body) = frame[eth::HEADER_BYTES..].first_chunk_mut() {
        packet.write(body);
    }
    frame
}

fn solicitation(port: &Port, target: Ipv6Addr, known: Option<MacAddr>) -> Vec<u8> {
    let group = ipv6::solicited_node(target);
    let (destination, mac) = match known {
        Some(mac) => (target, mac),
        None => (group, MacAddr::for_ipv6_group(group.octets())),
    };
    let mut frame = vec![0; eth::HEADER_BYTES + ipv6::HEADER_BYTES + nd::NEIGHBOUR_WITH_MAC_BYTES];
    eth::write(&mut frame, mac, port.mac, eth::TYPE_IPV6);
    let (ip, body) = frame[eth::HEADER_BYTES..].split_at_mut(ipv6::HEADER_BYTES);
    let fields = ipv6::Fields {
        traffic_class: 0,
        payload_bytes: 32,
        next_header: protocol::ICMPV6,
        hop_limit: nd::HOP_LIMIT,
        source: port.link_local,
        destination,
    };
    if let Some(ip) = ip.first_chunk_mut() {
        fields.write(ip);
    }
    if let Some(body) = body.first_chunk_mut() {
        nd::write_neighbour(body, icmp::v6::NEIGHBOUR_SOLICITATION, 0, target, nd::SOURCE_MAC, port.mac);
    }
    icmp::v6_fill(body, port.link_local, destination);
    frame
}
