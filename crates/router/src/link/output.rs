//! The last step: the Ethernet header with the neighbour's MAC address, or the packet waits until that is
//! known.

use std::net::IpAddr;

use nsrouter_wire::eth::{self, MacAddr};

use crate::context::{Context, Originate};
use crate::egress::Egress;
use crate::events::Event;
use crate::packet::{Family, Packet};
use crate::tables::Tables;
use crate::verdict::{NextHop, Verdict};

/// Addresses a packet to its next hop.
#[inline]
pub(crate) fn send<A: Family, O: Originate>(
    packet: &mut Packet<'_, '_, A>,
    egress: &Egress<'_>,
    context: &mut Context<'_, O>,
) -> Verdict {
    debug_assert!(packet.ip.is_true_of(packet.bytes()), "the record says otherwise than the packet");
    let port = egress.port;
    let next_hop = egress.next_hop(packet.ip.destination.into());
    match resolve(&next_hop, context) {
        Some(mac) => {
            eth::write(packet.frame.data_mut(), mac, port.mac, A::ETHER_TYPE);
            Verdict::Send(port.id)
        }
        None => {
            // The destination is filled in when it is known.
            eth::write(packet.frame.data_mut(), MacAddr::ZERO, port.mac, A::ETHER_TYPE);
            context.out.report(unresolved(packet.ip.source.into(), next_hop, context.tables));
            Verdict::Hold(next_hop)
        }
    }
}

/// The neighbour's MAC address, if known; the first use of a stale one is reported.
#[inline(always)]
pub(crate) fn resolve<O: Originate>(next_hop: &NextHop, context: &mut Context<'_, O>) -> Option<MacAddr> {
    let tables = context.tables;
    let Some(known) = tables.neighbours().get(next_hop) else {
        // A subnet's broadcast address stands for all stations on it; only with `directed_broadcast` is one a
        // next hop.
        return (tables.broadcast_port(next_hop.addr) == Some(next_hop.port)).then_some(MacAddr::BROADCAST);
    };
    if known.take_report() {
        context.out.report(Event::InUse(*next_hop));
    }
    Some(known.mac)
}

/// The report that a packet from `source` waits for its next hop. Linux asks in the name of the packet's
/// source where that is its own (`arp_solicit` with `arp_announce` 0; `ndisc_solicit`, where it is the
/// port's; RFC 4861 section 7.2.2).
#[cold]
pub(crate) fn unresolved(source: IpAddr, next_hop: NextHop, tables: &Tables) -> Event {
    let asks = match (source, next_hop.addr) {
        (IpAddr::V4(source), IpAddr::V4(_)) => tables.is_own4(source),
        (IpAddr::V6(source), IpAddr::V6(_)) => {
            tables.port(next_hop.port).is_some_and(|port| port.has6(source))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    };
    Event::Unresolved { next_hop, asker: asks.then_some(source) }
}
