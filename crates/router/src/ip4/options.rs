//! IPv4 options: checked as Linux `ip_options_compile` does, filled in on arrival, on departure and in answers (RFC 791
//! section 3.1).

use std::net::{IpAddr, Ipv4Addr};

use nsrouter_wire::frame::Frame;
use nsrouter_wire::ipv4;

use crate::link::ethernet::L3;
use crate::nexthop::Adjacency;
use crate::own::originate::{self, Exit};
use crate::own::source;
use crate::pipeline::Context;
use crate::tables::Tables;
use crate::verdict::NextHop;

const END: u8 = 0;
const NOP: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// Timestamp flags: only times, times with addresses, times of the addresses that the sender listed.
const ONLY_TIMES: u8 = 0;
const WITH_ADDRESSES: u8 = 1;
const LISTED: u8 = 3;

/// The options of a packet that concern a router; positions are from the front of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Options {
    record_route: Option<u8>,
    timestamp: Option<u8>,
    /// Where the list ends before the header does.
    end: Option<u8>,
    /// The address of arrival was recorded, which that of departure replaces.
    recorded: bool,
    /// The sender wants to choose the way.
    pub(crate) source_route: bool,
    /// RFC 2113: routers on the way shall look at the packet.
    pub(crate) router_alert: bool,
}

/// Options that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Where the first such octet is, from the front of the header: the pointer of a Parameter Problem.
    pub(crate) pointer: u8,
    /// What was right before it.
    pub(crate) before: Options,
}

/// Finds the options of a packet whose header fits.
pub(crate) fn check(packet: &[u8]) -> Result<Options, Malformed> {
    let mut options = Options::default();
    match walk(packet, &mut options) {
        Ok(()) => Ok(options),
        Err(pointer) => Err(Malformed { pointer, before: options }),
    }
}

/// The options of a frame that was checked once before, if it is an IPv4 packet that has any.
pub(crate) fn check_afresh(frame: &Frame<'_>) -> Option<Result<Options, Malformed>> {
    let packet = frame.data().get(L3..)?;
    let header = ipv4::Header::parse(packet)?;
    (header.version() == 4 && header.header_bytes() > ipv4::HEADER_BYTES).then(|| check(packet))
}

fn walk(packet: &[u8], options: &mut Options) -> Result<(), u8> {
    let end = packet.first().map_or(0, |octet| usize::from(octet & 0x0f) * 4).min(packet.len());
    let mut at = ipv4::HEADER_BYTES;
    let pointer = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
    while at < end {
        let kind = packet[at];
        if kind == END {
            options.end = Some(pointer(at));
            break;
        }
        if kind == NOP {
            at += 1;
            continue;
        }
        let left = end - at;
        if left < 2 || usize::from(packet[at + 1]) < 2 || usize::from(packet[at + 1]) > left {
            return Err(pointer(at));
        }
        let option = &packet[at..at + usize::from(packet[at + 1])];
        match kind {
            STRICT_ROUTE | LOOSE_ROUTE => {
                check_addresses(option, 3, 4, options.source_route).map_err(|within| pointer(at + within))?;
                options.source_route = true;
            }
            RECORD_ROUTE => {
                let is_second = options.record_route.is_some();
                check_addresses(option, 3, 4, is_second).map_err(|within| pointer(at + within))?;
                check_room(option, 4).map_err(|within| pointer(at + within))?;
                options.record_route = Some(pointer(at));
            }
            TIMESTAMP => {
                let is_second = options.timestamp.is_some();
                check_addresses(option, 4, 5, is_second).map_err(|within| pointer(at + within))?;
                check_timestamp(option).map_err(|within| pointer(at + within))?;
                options.timestamp = Some(pointer(at));
            }
            ROUTER_ALERT => {
                if option.len() < 4 {
                    return Err(pointer(at + 1));
                }
                options.router_alert |= option[2..4] == [0, 0];
            }
            _ => {}
        }
        at += option.len();
    }
    Ok(())
}

/// An option with a pointer: only one of its kind, room for its fixed part, and the pointer behind that.
fn check_addresses(option: &[u8], fixed: usize, first: u8, is_second: bool) -> Result<(), usize> {
    if is_second {
        Err(0)
    } else if option.len() < fixed {
        Err(1)
    } else if option[2] < first {
        Err(2)
    } else {
        Ok(())
    }
}

/// Whether the option is full, or has whole room for an entry of `bytes`.
fn check_room(option: &[u8], bytes: usize) -> Result<(), usize> {
    let next = usize::from(option[2]);
    if next <= option.len() && next + bytes - 1 > option.len() { Err(2) } else { Ok(()) }
}

fn check_timestamp(option: &[u8]) -> Result<(), usize> {
    if usize::from(option[2]) > option.len() {
        let is_overflowing = option[3] >> 4 == 15 && option[3] & 0x0f != LISTED;
        return if is_overflowing { Err(3) } else { Ok(()) };
    }
    check_room(option, 4)?;
    match option[3] & 0x0f {
        WITH_ADDRESSES | LISTED => check_room(option, 8),
        _ => Ok(()),
    }
}

/// What options record.
struct Recorder<'a> {
    tables: &'a Tables,
    address: Ipv4Addr,
    utc_ms: u32,
}

impl Recorder<'_> {
    /// Fills in the next entry of each option that is not full; `None` when one has only half an entry left.
    fn record(&self, header: &mut [u8], options: &mut Options) -> Option<()> {
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

    /// Whether a listed address is ours, or no host's at all (Linux `inet_addr_type` other than `RTN_UNICAST`).
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

/// The address of ours that the sender of a packet knows us by (Linux `fib_compute_spec_dst`).
fn address_of_arrival(context: &Context<'_>, sender: Ipv4Addr, destination: Ipv4Addr) -> Option<Ipv4Addr> {
    let tables = context.tables;
    if tables.is_own4(destination) {
        return Some(destination);
    }
    let back = match originate::exit(tables, IpAddr::V4(sender), context.ingress, None) {
        Some(Exit::Link { next_hop, .. }) => source::v4_towards(tables, next_hop),
        Some(Exit::Host) | None => None,
    };
    back.or_else(|| source::v4(tables, context.ingress, sender))
}

/// Fills in what the options of a packet ask for on arrival, and blanks what is behind the end of their list, as Linux
/// `ip_options_compile` does. Gives the context in which errors about the packet quote it so and echo them; the header
/// checksum is renewed only when the packet goes on ([`depart`]), there as here.
#[cold]
pub(crate) fn arrive<'a>(frame: &mut Frame<'_>, context: &Context<'a>, options: Options) -> Context<'a> {
    if options == Options::default() {
        return *context;
    }
    let mut options = options;
    let packet = &mut frame.data_mut()[L3..];
    let Some(header) = ipv4::Header::parse(packet) else { return *context };
    let (sender, destination, bytes) = (header.source(), header.destination(), header.header_bytes());
    let address = address_of_arrival(context, sender, destination).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let Some(header) = packet.get_mut(..bytes) else { return *context };
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
    Context { options, ..*context }
}

/// A packet whose options were filled in on arrival goes on: the route that it records is that by which it leaves, while a
/// timestamp keeps the address that its sender sees (Linux `ip_forward_options`).
#[cold]
pub(crate) fn depart(frame: &mut Frame<'_>, context: &Context<'_>, next_hop: NextHop) {
    let packet = &mut frame.data_mut()[L3..];
    let header_bytes = usize::from(packet[0] & 0x0f) * 4;
    let header = &mut packet[..header_bytes];
    if let Some(at) = context.options.record_route.filter(|_| context.options.recorded) {
        let option = option_at(header, at);
        let address = source::v4_towards(context.tables, next_hop).unwrap_or(Ipv4Addr::UNSPECIFIED);
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

/// The options of an answer from `own` to a packet that arrived: record route and timestamp are kept and recorded in once
/// more, now as sender (Linux `__ip_options_echo`, `ip_options_build`); other options go. `None` when half an entry is
/// left, for which Linux sends no answer either.
pub(crate) fn echo(packet: &[u8], context: &Context<'_>, own: Ipv4Addr) -> Option<Echoed> {
    let mut echoed = Echoed { bytes: [END; ipv4::MAX_HEADER_BYTES - ipv4::HEADER_BYTES], len: 0 };
    let mut moved = Options::default();
    let kept = [
        (context.options.record_route, &mut moved.record_route),
        (context.options.timestamp, &mut moved.timestamp),
    ];
    for (from, to) in kept {
        let Some(at) = from.map(usize::from) else { continue };
        let option = packet.get(at..at + usize::from(*packet.get(at + 1)?))?;
        echoed.bytes.get_mut(echoed.len..echoed.len + option.len())?.copy_from_slice(option);
        *to = Some(u8::try_from(echoed.len).ok()?);
        echoed.len += option.len();
    }
    let recorder = Recorder { tables: context.tables, address: own, utc_ms: context.now.utc_ms };
    recorder.record(&mut echoed.bytes, &mut moved)?;
    echoed.len = echoed.len.next_multiple_of(4);
    Some(echoed)
}

/// Turns the options that only the first fragment carries into no-operations (RFC 791 section 3.1, the copied flag;
/// Linux `ip_options_fragment` keeps the header's length too).
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
