//! IPv4 options that routers fill in, record route and timestamp: on arrival, on departure and in answers
//! (RFC 791 section 3.1, RFC 1812 section 5.2.2.6).

use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow::Continue;

use nsrouter_wire::frame::PortId;
use nsrouter_wire::ipv4;

use crate::config::Settings;
use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::egress::{self, Egress, Outgoing};
use crate::ip4::option_list::{self, END, Ipv4Options, LISTED, Malformed, NOP, ONLY_TIMES, WITH_ADDRESSES};
use crate::nexthop::Adjacency;

use crate::own::source;
use crate::packet::{IpHeaders, Packet4};
use crate::tables::Tables;
use crate::verdict::{Step, drop, end, refuse_with};

/// Records an address and a time in options.
struct Recorder<'a> {
    tables: &'a Tables,
    address: Ipv4Addr,
    utc_ms: u32,
}

impl Recorder<'_> {
    /// Fills in the next entry of each option that is not full; `None` when one has only half an entry left.
    fn record(&self, header: &mut [u8], options: &mut Ipv4Options) -> Option<()> {
        if let Some(at) = options.record_route {
            let option = option_at(header, at);
            if !is_full(option) {
                next_entry(option, 4)?.copy_from_slice(&self.address.octets());
                option[2] += 4;
                options.recorded = true;
            }
        }
        match options.timestamp {
            Some(at) => self.stamp(option_at(header, at)),
            None => Some(()),
        }
    }

    fn stamp(&self, option: &mut [u8]) -> Option<()> {
        if is_full(option) {
            return Some(());
        }
        let time = self.utc_ms.to_be_bytes();
        match option[3] & 0x0f {
            ONLY_TIMES => {
                next_entry(option, 4)?.copy_from_slice(&time);
                option[2] += 4;
            }
            WITH_ADDRESSES => {
                let entry = next_entry(option, 8)?;
                entry[..4].copy_from_slice(&self.address.octets());
                entry[4..].copy_from_slice(&time);
                // At most 36 + 8.
                option[2] += 8;
            }
            LISTED => {
                next_entry(option, 4)?;
                if let Some(entry) = next_entry(option, 8)
                    && self.is_no_other_host([entry[0], entry[1], entry[2], entry[3]].into())
                {
                    entry[4..].copy_from_slice(&time);
                    option[2] += 8;
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Whether a listed address is the router's, or no host's at all (Linux `inet_addr_type` other than
    /// `RTN_UNICAST`).
    fn is_no_other_host(&self, listed: Ipv4Addr) -> bool {
        listed.octets()[0] == 0
            || listed.is_broadcast()
            || listed.is_multicast()
            || listed.is_loopback()
            || matches!(self.tables.route4(listed).adjacency, Adjacency::Local | Adjacency::Broadcast)
    }
}

fn option_at(header: &mut [u8], at: u8) -> &mut [u8] {
    let at = usize::from(at);
    let bytes = usize::from(header[at + 1]);
    &mut header[at..at + bytes]
}

fn is_full(option: &[u8]) -> bool {
    usize::from(option[2]) > option.len()
}

fn next_entry(option: &mut [u8], bytes: usize) -> Option<&mut [u8]> {
    let first = usize::from(option[2]) - 1;
    option.get_mut(first..first + bytes)
}

/// The address by which the sender of a packet knows the router (Linux `fib_compute_spec_dst`).
fn address_of_arrival(ip: &IpHeaders<Ipv4Addr>, tables: &Tables, ingress: PortId) -> Option<Ipv4Addr> {
    if tables.is_own4(ip.destination) {
        return Some(ip.destination);
    }
    let back = match egress::outgoing(tables, IpAddr::V4(ip.source), ingress, None) {
        Some(Outgoing::Link { next_hop, .. }) => source::v4_towards(tables, next_hop),
        Some(Outgoing::Host) | None => None,
    };
    back.or_else(|| source::v4(tables, ingress, ip.source))
}

/// Malformed options are refused, and source routes not followed (RFC 1812 sections 5.2.2.6 and 4.2.2.1).
#[inline(always)]
pub(crate) fn check(packet: &mut Packet4<'_, '_>) -> Step {
    if !packet.ip.has_options() {
        return Continue(());
    }
    match option_list::check(packet.bytes()) {
        Ok(options) if options.source_route => drop(DropReason::Ip4SourceRoute),
        Ok(options) => {
            packet.ip.options = options;
            Continue(())
        }
        Err(malformed) => {
            packet.ip.options = malformed.before;
            refuse_with(DropReason::Ip4Options, u32::from(malformed.pointer))
        }
    }
}

/// The same for a packet that was let through before, whatever its options ask for.
pub(crate) fn check_afresh(packet: &mut Packet4<'_, '_>) -> Result<(), Malformed> {
    if packet.ip.has_options() {
        packet.ip.options = option_list::check(packet.bytes())?;
    }
    Ok(())
}

/// RFC 2113: a packet with a router alert goes to the host, if a listener is configured there.
#[inline(always)]
pub(crate) fn router_alert(packet: &mut Packet4<'_, '_>, settings: &Settings) -> Step {
    if packet.ip.options.router_alert && settings.router_alert && settings.host_port {
        return end(packet.hand_to_host());
    }
    Continue(())
}

/// Fills in what the options of a packet ask for on arrival, and blanks what is behind the end of their list,
/// as Linux `ip_options_compile` does. Errors about the packet quote it so and echo its options; the header
/// checksum is renewed only when the packet goes on ([`depart`]), there as here.
#[inline(always)]
pub(crate) fn arrive<O: Originate>(packet: &mut Packet4<'_, '_>, context: &Context<'_, O>) {
    if packet.ip.options != Ipv4Options::default() && !packet.ip.options.arrived {
        fill_in(packet, context);
    }
}

#[cold]
fn fill_in<O: Originate>(packet: &mut Packet4<'_, '_>, context: &Context<'_, O>) {
    let mut options = Ipv4Options { arrived: true, ..packet.ip.options };
    let bytes = packet.ip.header_bytes;
    let address = address_of_arrival(&packet.ip, context.tables, context.ingress);
    let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let Some(header) = packet.bytes_mut().get_mut(..bytes) else { return };
    if let Some(at) = options.timestamp {
        let option = option_at(header, at);
        if is_full(option) && option[3] & 0x0f != LISTED {
            option[3] = option[3].saturating_add(0x10);
        }
    }
    let recorder = Recorder { tables: context.tables, address, utc_ms: context.now.utc_ms };
    // Half an entry would not have passed the check.
    let _ = recorder.record(header, &mut options);
    if let Some(end) = options.end {
        header[usize::from(end)..].fill(END);
    }
    packet.ip.options = options;
}

/// A packet whose options were filled in on arrival goes on: the address that it records is that by which it
/// leaves, while a timestamp keeps the address that its sender sees (Linux `ip_forward_options`).
#[inline(always)]
pub(crate) fn depart(packet: &mut Packet4<'_, '_>, egress: &Egress<'_>, tables: &Tables) {
    if packet.ip.has_options() {
        record_departure(packet, egress, tables);
    }
}

#[cold]
fn record_departure(packet: &mut Packet4<'_, '_>, egress: &Egress<'_>, tables: &Tables) {
    let next_hop = egress.next_hop(packet.ip.destination.into());
    let (options, bytes) = (packet.ip.options, packet.ip.header_bytes);
    let header = &mut packet.bytes_mut()[..bytes];
    if let Some(at) = options.record_route.filter(|_| options.recorded) {
        let option = option_at(header, at);
        let address = source::v4_towards(tables, next_hop).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let behind = usize::from(option[2]) - 1;
        option[behind - 4..behind].copy_from_slice(&address.octets());
    }
    ipv4::fill_checksum(header);
}

/// The options of an answer.
pub(crate) struct Echoed {
    bytes: [u8; ipv4::MAX_HEADER_BYTES - ipv4::HEADER_BYTES],
    len: usize,
}

impl Echoed {
    /// Whole words of options.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The options of an answer from `own` to a packet that arrived: record route and timestamp are kept and
/// recorded in once more, now as sender (Linux `__ip_options_echo`, `ip_options_build`); other options go.
/// `None` when half an entry is left, for which Linux sends no answer either.
pub(crate) fn echo<O: Originate>(
    packet: &Packet4<'_, '_>,
    context: &Context<'_, O>,
    own: Ipv4Addr,
) -> Option<Echoed> {
    let (bytes, options) = (packet.bytes(), &packet.ip.options);
    let mut echoed = Echoed { bytes: [END; ipv4::MAX_HEADER_BYTES - ipv4::HEADER_BYTES], len: 0 };
    let mut moved = Ipv4Options::default();
    let kept = [(options.record_route, &mut moved.record_route), (options.timestamp, &mut moved.timestamp)];
    for (from, to) in kept {
        let Some(at) = from.map(usize::from) else { continue };
        let option = bytes.get(at..at + usize::from(*bytes.get(at + 1)?))?;
        echoed.bytes.get_mut(echoed.len..echoed.len + option.len())?.copy_from_slice(option);
        *to = Some(u8::try_from(echoed.len).ok()?);
        echoed.len += option.len();
    }
    let recorder = Recorder { tables: context.tables, address: own, utc_ms: context.now.utc_ms };
    recorder.record(&mut echoed.bytes, &mut moved)?;
    echoed.len = echoed.len.next_multiple_of(4);
    Some(echoed)
}

/// Turns the options that only the first fragment carries into no-operations (RFC 791 section 3.1, the copied
/// flag; Linux `ip_options_fragment` keeps the header's length too).
pub(crate) fn blank_uncopied(header: &mut [u8]) {
    const COPIED: u8 = 0x80;
    let mut at = ipv4::HEADER_BYTES;
    while at < header.len() && header[at] != END {
        if header[at] == NOP {
            at += 1;
            continue;
        }
        let Some(bytes) = header.get(at + 1).map(|bytes| usize::from(*bytes)) else { return };
        if bytes < 2 || at + bytes > header.len() {
            return;
        }
        if header[at] & COPIED == 0 {
            header[at..at + bytes].fill(NOP);
        }
        at += bytes;
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
