//! ICMP redirects: a packet that leaves by the port that it came in by could have gone straight to its next
//! hop (RFC 1812 section 5.2.7.2). The packet is forwarded all the same.

use std::net::IpAddr;
use std::ops::ControlFlow::Continue;

use nsrouter_wire::icmp;

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::egress::Egress;
use crate::ip4::icmp_error;
use crate::nexthop::Adjacency;
use crate::packet::Packet4;
use crate::verdict::{Step, drop};

/// The code of a redirect for the host alone, not for its network (RFC 1812 section 5.2.7.2).
const FOR_HOST: u8 = 1;

/// A packet that leaves by its ingress port, and is to be redirected, comes from a host (Linux
/// `fib_validate_source`).
#[inline(always)]
pub(crate) fn check_source<O>(
    packet: &Packet4<'_, '_>,
    egress: &Egress<'_>,
    context: &Context<'_, O>,
) -> Step {
    let tables = context.tables;
    if egress.port.id == context.ingress
        && tables.settings().redirects
        && tables.route4(packet.ip.source).adjacency == Adjacency::Broadcast
    {
        return drop(DropReason::MartianSource);
    }
    Continue(())
}

/// Tells the sender of a packet that leaves by its ingress port.
#[inline(always)]
pub(crate) fn tell<O: Originate>(
    packet: &Packet4<'_, '_>,
    egress: &Egress<'_>,
    context: &mut Context<'_, O>,
) {
    if egress.port.id == context.ingress {
        redirect(packet, egress, context);
    }
}

/// Tells a sender on the link of the better first hop, at growing intervals (Linux `ip_rt_send_redirect`).
#[cold]
fn redirect<O: Originate>(packet: &Packet4<'_, '_>, egress: &Egress<'_>, context: &mut Context<'_, O>) {
    let next_hop = egress.next_hop(packet.ip.destination.into());
    let IpAddr::V4(gateway) = next_hop.addr else { return };
    let (tables, sender) = (context.tables, packet.ip.source);
    let is_neighbour =
        matches!(tables.route4(sender).adjacency, Adjacency::OnLink(port) if port == context.ingress);
    if !tables.settings().redirects
        || !is_neighbour
        || !icmp_error::may_answer(packet, tables)
        || !context.state.limits.allow_redirect4(u128::from(sender.to_ipv6_mapped()), context.now.mono_ns)
    {
        return;
    }
    icmp_error::send(packet, [icmp::v4::REDIRECT, FOR_HOST], u32::from(gateway), context);
}
