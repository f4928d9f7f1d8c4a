//! Delivery of packets addressed to the router, of both IP versions: to the host port, or refused as a host
//! without listeners does (RFC 1122 sections 3.2.2 and 3.3.6).

use std::net::IpAddr;

use nsrouter_wire::ipv6::Upper;
use nsrouter_wire::protocol;

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::own::no_listener;
use crate::packet::{Family, LinkDestination, Packet};
use crate::verdict::{Step, Verdict, drop, end, refuse, refuse_with};

/// Whether the host port takes this packet: it has the router's addresses, but neither groups nor anycast and
/// link-local ones, and it could not answer a link-local sender.
pub(crate) fn host_takes<A: Family, O>(packet: &Packet<'_, '_, A>, context: &Context<'_, O>) -> bool {
    let host_port = context.tables.settings().host_port;
    match (packet.ip.source.into(), packet.ip.destination.into()) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            host_port
                && !destination.is_unicast_link_local()
                && !source.is_unicast_link_local()
                && context.tables.is_own6(destination)
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => host_port,
    }
}

/// Whether a unicast packet came in a frame to a group: RFC 1122 section 3.3.6 has it discarded in silence.
/// The host sees no frames, and would answer it with an error.
fn is_misaddressed<A: Family>(packet: &Packet<'_, '_, A>) -> bool {
    let destination: IpAddr = packet.ip.destination.into();
    packet.ip.link_destination == LinkDestination::Group && !destination.is_multicast()
}

/// Hands the packet to the host, or refuses it as a host without listeners would. It goes on only as a TCP
/// reset, to be sent to its destination.
pub(crate) fn transport<A: Family, O: Originate>(
    packet: &mut Packet<'_, '_, A>,
    upper: &Upper,
    context: &Context<'_, O>,
) -> Step {
    if is_misaddressed(packet) {
        return drop(DropReason::L2Broadcast);
    }
    if host_takes(packet, context) {
        return end(packet.hand_to_host());
    }
    match upper.protocol {
        protocol::TCP => no_listener::reset(packet, upper, context),
        // A broken datagram was for no port.
        protocol::UDP if !no_listener::udp_is_sound(packet, upper) => drop(DropReason::PortUnreachable),
        protocol::UDP => refuse(DropReason::PortUnreachable),
        protocol::NONE => drop(DropReason::IcmpIgnored),
        _ => {
            // ICMPv6 points at the octet that names the protocol (RFC 4443 section 3.4).
            let pointer = u32::try_from(upper.next_header_offset).unwrap_or(0);
            refuse_with(DropReason::ProtocolUnreachable, pointer)
        }
    }
}

/// An ICMP message that the router does not answer itself.
pub(crate) fn icmp<A: Family, O>(packet: &mut Packet<'_, '_, A>, context: &Context<'_, O>) -> Verdict {
    if host_takes(packet, context) && packet.ip.link_destination == LinkDestination::Router {
        return packet.hand_to_host();
    }
    Verdict::Drop(DropReason::IcmpIgnored)
}

/// A fragment. The host reassembles: a router that does not need to would only offer its memory to be filled.
pub(crate) fn fragment<A: Family, O>(packet: &mut Packet<'_, '_, A>, context: &Context<'_, O>) -> Verdict {
    if is_misaddressed(packet) {
        return Verdict::Drop(DropReason::L2Broadcast);
    }
    if host_takes(packet, context) {
        return packet.hand_to_host();
    }
    Verdict::Drop(DropReason::LocalFragment)
}
