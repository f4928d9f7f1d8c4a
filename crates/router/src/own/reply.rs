//! The way back of a packet that was rewritten into an answer: by the route to its destination, or by the
//! link that the question came from.

use std::ops::ControlFlow::Continue;

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::egress::{self, Egress, Outgoing};
use crate::link::output;
use crate::packet::{Family, Packet};
use crate::verdict::{Step, Verdict, drop};

/// Where the answer leaves.
pub(crate) fn way_back<'t, A: Family, O>(
    packet: &Packet<'_, '_, A>,
    context: &Context<'t, O>,
) -> Step<Egress<'t>> {
    let destination = packet.ip.destination.into();
    match egress::outgoing(context.tables, destination, context.ingress, Some(packet.bytes())) {
        Some(Outgoing::Link { egress, .. }) => Continue(egress),
        // The host talks to its own addresses by itself.
        Some(Outgoing::Host) => drop(DropReason::MartianSource),
        None => drop(DropReason::NoRoute),
    }
}

/// Sends the answer.
pub(crate) fn send<A: Family, O: Originate>(
    packet: &mut Packet<'_, '_, A>,
    egress: &Egress<'_>,
    context: &mut Context<'_, O>,
) -> Verdict {
    match output::send(packet, egress, context) {
        Verdict::Send(port) => Verdict::Reply(port),
        other => other,
    }
}
