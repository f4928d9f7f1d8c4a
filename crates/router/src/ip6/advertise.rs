//! Router advertisements, where they are configured, so that hosts set themselves up (RFC 4861 section 6.2).

use std::net::{IpAddr, Ipv6Addr};

use nsrouter_wire::frame::PortId;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4::protocol;
use nsrouter_wire::ipv6;
use nsrouter_wire::nd;
use nsrouter_wire::offload::Offload;

use crate::config::Advertise;
use crate::icmp_error::TTL;
use crate::own::originate::Exit;
use crate::pipeline::{Context, Router};
use crate::port::{ALL_NODES, Port};
use crate::random::Random;
use crate::tables::Tables;
use crate::verdict::{NextHop, Originate, Time};

const MS: u64 = 1_000_000;
/// The first advertisements come at least this often (`MAX_INITIAL_RTR_ADVERT_INTERVAL`), and this many of them.
const INITIAL_MS: u64 = 16_000;
const INITIALS: u8 = 3;
/// Advertisements to everybody are this far apart (`MIN_DELAY_BETWEEN_RAS`).
const MIN_DELAY_NS: u64 = 3_000 * MS;

const FIXED_BYTES: usize = 16;
const SOURCE_MAC_BYTES: usize = 8;
const MTU_BYTES: usize = 8;
const PREFIX_BYTES: usize = 32;
/// More prefixes than this on a port are not advertised: the message stays within the minimum MTU.
const MAX_PREFIXES: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Next {
    port: PortId,
    due_ns: u64,
    /// When everybody was told last.
    told_ns: Option<u64>,
    initials: u8,
}

/// When each port's next advertisement is due.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Only one worker speaks unasked.
    speaks: bool,
    /// Whether the configuration was looked at: the first tick is due at once.
    known: bool,
    next: Vec<Next>,
    random: Random,
}

impl Schedule {
    pub(crate) fn new(worker: u16, seed: u64) -> Schedule {
        Schedule { speaks: worker == 0, known: worker != 0, next: Vec::new(), random: Random::new(seed) }
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if !self.known {
            return Some(0);
        }
        self.next.iter().map(|next| next.due_ns).min()
    }

    /// RFC 4861 section 6.2.4: uniformly between a third and the whole of the interval.
    fn wait_ns(&mut self, interval_ms: u64) -> u64 {
        let interval_ns = interval_ms.max(1) * MS;
        interval_ns / 3 + self.random.below(interval_ns - interval_ns / 3)
    }

    fn told(&mut self, port: PortId, now_ns: u64) {
        if let Some(next) = self.next.iter_mut().find(|next| next.port == port) {
            next.told_ns = Some(now_ns);
        }
    }
}

impl Router {
    /// Sends the advertisements that are due.
    pub(crate) fn advertise_due(&mut self, now: Time, tables: &Tables, out: &mut impl Originate) {
        let configured = &tables.settings().advertise;
        if !self.schedule.known {
            self.schedule.known = true;
            // Once, at the start: the only allocation that a tick makes.
            let first = |advertise: &Advertise| Next {
                port: advertise.port,
                due_ns: now.mono_ns,
                told_ns: None,
                initials: 0,
            };
            self.schedule.next = configured.iter().map(first).collect();
        }
        for index in 0..self.schedule.next.len() {
            let Next { port, due_ns, initials, .. } = self.schedule.next[index];
            if due_ns > now.mono_ns {
                continue;
            }
            let Some(advertise) = configured.iter().find(|advertise| advertise.port == port) else {
                self.schedule.next[index].due_ns = u64::MAX;
                continue;
            };
            if tables.port(port).is_some_and(|port| port.up && port.has_ipv6) {
                self.advertise(now, tables, advertise, ALL_NODES, out);
            }
            let interval_ms = u64::from(advertise.interval_ms);
            let interval_ms = if initials < INITIALS { interval_ms.min(INITIAL_MS) } else { interval_ms };
            let wait_ns = self.schedule.wait_ns(interval_ms).max(MIN_DELAY_NS);
            let next = &mut self.schedule.next[index];
            next.due_ns = now.mono_ns + wait_ns;
            next.initials = initials.saturating_add(1);
        }
    }

    /// Answers a router solicitation: its sender alone, or everybody when it has no address yet.
    pub(crate) fn advertise_to(
        &mut self,
        context: &Context<'_>,
        port: &Port,
        sender: Ipv6Addr,
        out: &mut impl Originate,
    ) {
        let Some(advertise) = context.tables.settings().advertise.iter().find(|a| a.port == port.id) else {
            return;
        };
        let destination = if sender.is_unspecified() { ALL_NODES } else { sender };
        self.advertise(context.now, context.tables, advertise, destination, out);
    }

    fn advertise(
        &mut self,
        now: Time,
        tables: &Tables,
        advertise: &Advertise,
        destination: Ipv6Addr,
        out: &mut impl Originate,
    ) {
        let Some(port) = tables.port(advertise.port) else { return };
        if destination == ALL_NODES && self.schedule.speaks {
            let told_ns = self.schedule.next.iter().find(|next| next.port == port.id).and_then(|n| n.told_ns);
            if told_ns.is_some_and(|told_ns| now.mono_ns.saturating_sub(told_ns) < MIN_DELAY_NS) {
                return;
            }
            self.schedule.told(port.id, now.mono_ns);
        }
        let prefixes = port.v6.len().min(MAX_PREFIXES);
        let payload = FIXED_BYTES + SOURCE_MAC_BYTES + MTU_BYTES + prefixes * PREFIX_BYTES;
        let fields = ipv6::Fields {
            traffic_class: 0,
            payload_bytes: u16::try_from(payload).unwrap_or(u16::MAX),
            next_header: protocol::ICMPV6,
            hop_limit: nd::HOP_LIMIT,
            source: port.link_local,
            destination,
        };
        let next_hop = NextHop { port: port.id, addr: IpAddr::V6(destination) };
        let exit = Exit::Link { port, next_hop, prefix_len: 64, mtu: port.mtu };
        self.originate(exit, ipv6::HEADER_BYTES + payload, Offload::default(), tables, out, |buffer| {
            let (ip, body) = buffer.split_at_mut(ipv6::HEADER_BYTES);
            if let Some(ip) = ip.first_chunk_mut() {
                fields.write(ip);
            }
            write_message(body, port, advertise);
            icmp::v6_fill(body, fields.source, destination);
        });
    }
}

/// RFC 4861 section 4.2, with the sender's MAC address, the link's MTU and its prefixes.
fn write_message(body: &mut [u8], port: &Port, advertise: &Advertise) {
    const ON_LINK: u8 = 0x80;
    const AUTONOMOUS: u8 = 0x40;
    const MTU: u8 = 5;
    const PREFIX: u8 = 3;
    body.fill(0);
    body[0] = icmp::v6::ROUTER_ADVERTISEMENT;
    body[4] = TTL;
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
