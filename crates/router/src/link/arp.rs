//! ARP, both ways: requests for the router's addresses are answered, and what neighbours say is reported (RFC
//! 826, RFC 5227).

use std::net::IpAddr;

use nsrouter_wire::arp::{self, Packet};
use nsrouter_wire::eth;
use nsrouter_wire::frame::Frame;
use nsrouter_wire::offload::Offload;

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::events::{Event, Seen};
use crate::link::ethernet::Arrival;
use crate::packet::{L3, LinkDestination};
use crate::verdict::Verdict;

/// Handles an ARP packet. Like Linux (`arp_ignore` 0) it answers on any port for any address of the router.
pub(crate) fn input<O: Originate>(
    frame: &mut Frame<'_>,
    arrival: &Arrival<'_>,
    context: &mut Context<'_, O>,
) -> Verdict {
    let port = arrival.port;
    let Some(packet) = Packet::parse(&frame.data()[L3..]) else {
        return Verdict::Drop(DropReason::ArpMalformed);
    };
    // RFC 1812 section 3.3.2: no group may be taken for a neighbour's address. Nor do groups ask.
    if !packet.sender_mac.is_unicast()
        || packet.sender.is_multicast()
        || packet.sender.is_broadcast()
        || packet.sender.is_loopback()
    {
        return Verdict::Drop(DropReason::ArpMalformed);
    }
    let tables = context.tables;
    let addr = IpAddr::V4(packet.sender);
    if tables.is_own4(packet.sender) {
        if packet.sender_mac != port.mac {
            context.out.report(Event::AddressConflict { port: port.id, addr, mac: packet.sender_mac });
        }
        return Verdict::Drop(DropReason::MartianSource);
    }
    let asks_us = packet.operation == arp::REQUEST && tables.is_own4(packet.target);
    // A probe (RFC 5227 section 1.1) comes from nobody yet.
    if !packet.sender.is_unspecified() {
        let kind = match packet.operation {
            arp::REPLY if arrival.destination == LinkDestination::Router => Seen::ArpReply,
            _ if asks_us => Seen::ArpRequest,
            _ => Seen::ArpAnnouncement,
        };
        context.out.report(Event::NeighbourSeen { port: port.id, addr, mac: Some(packet.sender_mac), kind });
    }
    match packet.operation {
        arp::REQUEST if asks_us => {}
        arp::REQUEST if packet.sender != packet.target => return Verdict::Drop(DropReason::ArpNotOurs),
        arp::REQUEST | arp::REPLY => return Verdict::Consumed,
        _ => return Verdict::Drop(DropReason::ArpMalformed),
    }
    let answer = Packet {
        operation: arp::REPLY,
        sender_mac: port.mac,
        sender: packet.target,
        target_mac: packet.sender_mac,
        target: packet.sender,
    };
    frame.truncate(L3 + arp::BYTES);
    frame.offload = Offload::default();
    let data = frame.data_mut();
    eth::write(data, packet.sender_mac, port.mac, eth::TYPE_ARP);
    if let Some(body) = data[L3..].first_chunk_mut() {
        answer.write(body);
    }
    Verdict::Reply(port.id)
}

#[cfg(test)]
#[path = "arp_tests.rs"]
mod tests;
