//! Router advertisements, where they are configured, so that hosts set themselves up (RFC 4861 section 6.2).

use std::net::Ipv6Addr;

use nsrouter_wire::icmp::{self, Icmp6};
use nsrouter_wire::ipv6;
use nsrouter_wire::nd;

use crate::config::Advertise;
use crate::context::{Context, Originate};
use crate::egress::Outgoing;
use crate::own::originate;
use crate::port::Port;

const FIXED_BYTES: usize = 16;
const SOURCE_MAC_BYTES: usize = 8;
const MTU_BYTES: usize = 8;
const PREFIX_BYTES: usize = 32;
/// More prefixes than this on a port are not advertised: the message stays within the minimum MTU.
const MAX_PREFIXES: usize = 32;

/// Sends the advertisements that are due.
pub(crate) fn send_due<O: Originate>(context: &mut Context<'_, O>) {
    let (tables, now_ns) = (context.tables, context.now.mono_ns);
    let configured = &tables.settings().advertise;
    context.state.schedule.start(configured, now_ns);
    for index in 0..context.state.schedule.len() {
        let Some(port) = context.state.schedule.take_due(index, configured, now_ns) else { continue };
        if let Some(port) = tables.port(port).filter(|port| port.up && port.has_ipv6) {
            send(port, ipv6::ALL_NODES, context);
        }
    }
}

/// Answers a router solicitation: its sender alone, or everybody when it has no address yet.
pub(crate) fn answer<O: Originate>(port: &Port, sender: Ipv6Addr, context: &mut Context<'_, O>) {
    send(port, if sender.is_unspecified() { ipv6::ALL_NODES } else { sender }, context);
}

fn send<O: Originate>(port: &Port, destination: Ipv6Addr, context: &mut Context<'_, O>) {
    let configured = &context.tables.settings().advertise;
    let Some(advertise) = configured.iter().find(|advertise| advertise.port == port.id) else { return };
    if destination == ipv6::ALL_NODES && !context.state.schedule.may_tell_all(port.id, context.now.mono_ns) {
        return;
    }
    let prefixes = port.v6.len().min(MAX_PREFIXES);
    let bytes = FIXED_BYTES + SOURCE_MAC_BYTES + MTU_BYTES + prefixes * PREFIX_BYTES;
    let message = Icmp6 { source: port.link_local, destination, hop_limit: nd::HOP_LIMIT, extension: &[] };
    originate::icmp6(context, Outgoing::on_link(port, destination), &message, bytes, |body| {
        write_message(body, port, advertise);
    });
}

/// RFC 4861 section 4.2, with the sender's MAC address, the link's MTU and its prefixes.
fn write_message(body: &mut [u8], port: &Port, advertise: &Advertise) {
    const ON_LINK: u8 = 0x80;
    const AUTONOMOUS: u8 = 0x40;
    const MTU: u8 = 5;
    const PREFIX: u8 = 3;
    body.fill(0);
    body[0] = icmp::v6::ROUTER_ADVERTISEMENT;
    body[4] = ipv6::DEFAULT_HOP_LIMIT;
    body[6..8].copy_from_slice(&advertise.lifetime_s.to_be_bytes());
    let mut options = body[FIXED_BYTES..].chunks_exact_mut(8);
    if let Some(option) = options.next() {
        option[..2].copy_from_slice(&[nd::SOURCE_MAC, 1]);
        option[2..].copy_from_slice(&port.mac.0);
    }
    if let Some(option) = options.next() {
        option[..2].copy_from_slice(&[MTU, 1]);
        option[4..].copy_from_slice(&u32::try_from(port.mtu).unwrap_or(0).to_be_bytes());
    }
    let lifetime = advertise.prefix_lifetime_s.to_be_bytes();
    let prefixes = body[FIXED_BYTES + SOURCE_MAC_BYTES + MTU_BYTES..].chunks_exact_mut(PREFIX_BYTES);
    for (option, net) in prefixes.zip(&port.v6) {
        // Only with 64 bits can a host make an address of its own (RFC 4862 section 5.5.3, RFC 2464).
        let flags = if net.prefix_len() == 64 { ON_LINK | AUTONOMOUS } else { ON_LINK };
        option[..4].copy_from_slice(&[PREFIX, 4, net.prefix_len(), flags]);
        option[4..8].copy_from_slice(&lifetime);
        option[8..12].copy_from_slice(&lifetime);
        option[16..].copy_from_slice(&net.network().octets());
    }
}

#[cfg(test)]
#[path = "advertise_tests.rs"]
mod tests;
