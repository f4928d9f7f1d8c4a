//! The questions that resolution asks: ARP requests and neighbour solicitations, as complete frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nsrouter_wire::arp;
use nsrouter_wire::eth::{self, MacAddr};
use nsrouter_wire::icmp::{self, Icmp6};
use nsrouter_wire::ipv6;
use nsrouter_wire::nd;

use crate::own::source;
use crate::port::Port;
use crate::tables::Tables;
use crate::verdict::NextHop;

/// A question for the MAC address of `next_hop`: to everybody who could be it, or to `known` alone; in the
/// name of `asker`, or of the address that fits. `None` when the port is gone.
pub(super) fn frame(
    tables: &Tables,
    next_hop: NextHop,
    asker: Option<IpAddr>,
    known: Option<MacAddr>,
) -> Option<Vec<u8>> {
    let port = tables.port(next_hop.port)?;
    Some(match (next_hop.addr, asker) {
        (IpAddr::V4(target), Some(IpAddr::V4(asker))) => request(port, asker, target, known),
        (IpAddr::V4(target), _) => {
            let asker = source::v4(tables, port.id, target).unwrap_or(Ipv4Addr::UNSPECIFIED);
            request(port, asker, target, known)
        }
        (IpAddr::V6(target), Some(IpAddr::V6(asker))) => solicitation(port, asker, target, known),
        (IpAddr::V6(target), _) => solicitation(port, port.link_local, target, known),
    })
}

fn request(port: &Port, asker: Ipv4Addr, target: Ipv4Addr, known: Option<MacAddr>) -> Vec<u8> {
    let mut frame = vec![0; eth::HEADER_BYTES + arp::BYTES];
    eth::write(&mut frame, known.unwrap_or(MacAddr::BROADCAST), port.mac, eth::TYPE_ARP);
    let packet = arp::Packet {
        operation: arp::REQUEST,
        sender_mac: port.mac,
        sender: asker,
        target_mac: known.unwrap_or(MacAddr::ZERO),
        target,
    };
    if let Some(body) = frame[eth::HEADER_BYTES..].first_chunk_mut() {
        packet.write(body);
    }
    frame
}

fn solicitation(port: &Port, asker: Ipv6Addr, target: Ipv6Addr, known: Option<MacAddr>) -> Vec<u8> {
    let group = ipv6::solicited_node(target);
    let (destination, mac) = match known {
        Some(mac) => (target, mac),
        None => (group, MacAddr::for_ipv6_group(group.octets())),
    };
    let message = Icmp6 { source: asker, destination, hop_limit: nd::HOP_LIMIT, extension: &[] };
    let mut frame = vec![0; eth::HEADER_BYTES + message.packet_bytes(nd::NEIGHBOUR_WITH_MAC_BYTES)];
    eth::write(&mut frame, mac, port.mac, eth::TYPE_IPV6);
    message.write(&mut frame[eth::HEADER_BYTES..], |body| {
        if let Some(body) = body.first_chunk_mut() {
            nd::write_neighbour(body, icmp::v6::NEIGHBOUR_SOLICITATION, 0, target, nd::SOURCE_MAC, port.mac);
        }
    });
    frame
}
