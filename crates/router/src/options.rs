//! IPv4 options: checked as Linux `ip_options_compile` does, and filled in on the way (RFC 791 section 3.1).

use std::net::{IpAddr, Ipv4Addr};

use nsrouter_wire::frame::Frame;
use nsrouter_wire::ipv4;

use crate::output::{self, Exit};
use crate::pipeline::Context;
use crate::rewrite::L3;
use crate::source;
use crate::tables::Tables;
use crate::types::NextHop;

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
    record_route: Option<usize>,
    timestamp: Option<usize>,
    /// Where the list ends before the header does.
    end: Option<usize>,
    /// The sender wants to choose the way.
    pub(crate) source_route: bool,
    /// RFC 2113: routers on the way shall look at the packet.
    pub(crate) router_alert: bool,
}

/// Finds the options of a packet whose header fits. The error is where the first octet is that makes no sense, from the
/// front of the header: the pointer of a Parameter Problem.
pub(crate) fn check(packet: &[u8]) -> Result<Options, u8> {
    let mut options = Options::default();
    let end = packet.first().map_or(0, |octet| usize::from(octet & 0x0f) * 4).min(packet.len());
    let mut at = ipv4::HEADER_BYTES;
    let pointer = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
    while at < end {
        let kind = packet[at];
        if kind == END {
            options.end = Some(at);
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
                options.record_route = Some(at);
            }
            TIMESTAMP => {
                let is_second = options.timestamp.is_some();
                check_addresses(option, 4, 5, is_second).map_err(|within| pointer(at + within))?;
                check_timestamp(option).map_err(|within| pointer(at + within))?;
                options.timestamp = Some(at);
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
    Ok(options)
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

/// Whose address an option records.
struct Recorder<'a> {
    tables: &'a Tables,
    /// What a record route gets.
    route: Ipv4Addr,
    /// What a timestamp gets.
    stamp: Ipv4Addr,
    utc_ms: u32,
}

impl Recorder<'_> {
    /// Fills in the next entry of each option; full ones stay, and timestamps count what they missed.
    fn record(&self, header: &mut [u8], options: Options, counts_overflow: bool) {
        if let Some(at) = options.record_route {
            let option = option_at(header, at);
            if let Some(entry) = next_entry(option, 4) {
                entry.copy_from_slice(&self.route.octets());
                option[2] += 4;
            }
        }
        if let Some(at) = options.timestamp {
            self.stamp(option_at(header, at), counts_overflow);
        }
    }

    fn stamp(&self, option: &mut [u8], counts_overflow: bool) {
        let flag = option[3] & 0x0f;
        if usize::from(option[2]) > option.len() {
            if counts_overflow && flag != LISTED {
                option[3] = option[3].saturating_add(0x10);
            }
            return;
        }
        let bytes = if flag == ONLY_TIMES { 4 } else { 8 };
        let time = self.utc_ms.to_be_bytes();
        let Some(entry) = next_entry(option, bytes) else { return };
        match flag {
            ONLY_TIMES => entry.copy_from_slice(&time),
            WITH_ADDRESSES => {
                entry[..4].copy_from_slice(&self.stamp.octets());
                entry[4..].copy_from_slice(&time);
            }
            LISTED => {
                let listed = Ipv4Addr::new(entry[0], entry[1], entry[2], entry[3]);
                if !self.tables.is_own4(listed) {
                    return;
                }
                entry[4..].copy_from_slice(&time);
            }
            _ => return,
        }
        // At most 36 + 8.
        option[2] += if flag == ONLY_TIMES { 4 } else { 8 };
    }
}

fn option_at(header: &mut [u8], at: usize) -> &mut [u8] {
    let bytes = usize::from(header[at + 1]);
    &mut header[at..at + bytes]
}

fn next_entry(option: &mut [u8], bytes: usize) -> Option<&mut [u8]> {
    let first = usize::from(option[2]) - 1;
    option.get_mut(first..first + bytes)
}

/// Fills in what a packet on its way through asks for. Record route gets the address by which it leaves, a timestamp the
/// one that its sender sees: so does Linux.
pub(crate) fn record_transit(
    frame: &mut Frame<'_>,
    context: &Context<'_>,
    options: Options,
    sender: Ipv4Addr,
    next_hop: NextHop,
) {
    let tables = context.tables;
    let own_towards = |next_hop: NextHop| match next_hop.addr {
        IpAddr::V4(addr) => source::v4(tables, next_hop.port, addr),
        IpAddr::V6(_) => None,
    };
    let back = match output::exit(tables, IpAddr::V4(sender), context.ingress) {
        Some(Exit::Link { next_hop, .. }) => own_towards(next_hop),
        Some(Exit::Host) | None => None,
    };
    let route = own_towards(next_hop).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let stamp = back.unwrap_or(route);
    let recorder = Recorder { tables, route, stamp, utc_ms: context.now.utc_ms };
    let packet = &mut frame.data_mut()[L3..];
    let header_bytes = usize::from(packet[0] & 0x0f) * 4;
    let header = &mut packet[..header_bytes];
    recorder.record(header, options, true);
    // Whatever was behind the end of the list does not go on, as in Linux.
    if let Some(end) = options.end {
        header[end..].fill(END);
    }
    ipv4::fill_checksum(header);
}

/// Makes the header of an echo request that of its reply: record route and timestamp are kept, and recorded in twice,
/// as receiver and as sender (Linux `__ip_options_echo`); other options go. Returns the new header length, or `None`
/// when half an entry is left, for which Linux sends no reply either.
pub(crate) fn echo(
    frame: &mut Frame<'_>,
    context: &Context<'_>,
    options: Options,
    own: Ipv4Addr,
) -> Option<usize> {
    let packet = &mut frame.data_mut()[L3..];
    let old_bytes = usize::from(packet.first()? & 0x0f) * 4;
    if old_bytes == ipv4::HEADER_BYTES {
        return Some(old_bytes);
    }
    let recorder = Recorder { tables: context.tables, route: own, stamp: own, utc_ms: context.now.utc_ms };
    let mut kept = [END; ipv4::MAX_HEADER_BYTES];
    kept[..ipv4::HEADER_BYTES].copy_from_slice(packet.get(..ipv4::HEADER_BYTES)?);
    let mut bytes = ipv4::HEADER_BYTES;
    let mut moved = Options::default();
    for (from, to) in
        [(options.record_route, &mut moved.record_route), (options.timestamp, &mut moved.timestamp)]
    {
        let Some(at) = from else { continue };
        let option = packet.get(at..at + usize::from(*packet.get(at + 1)?))?;
        kept.get_mut(bytes..bytes + option.len())?.copy_from_slice(option);
        *to = Some(bytes);
        bytes += option.len();
    }
    recorder.record(&mut kept, moved, true);
    recorder.record(&mut kept, moved, false);
    let bytes = bytes.next_multiple_of(4);
    kept[0] = 0x40 | u8::try_from(bytes / 4).ok()?;
    // The reply's header is not longer, so it moves towards its payload.
    let surplus = old_bytes - bytes;
    frame.pull_front(surplus);
    let packet = &mut frame.data_mut()[L3..];
    packet[..bytes].copy_from_slice(&kept[..bytes]);
    let total = u16::try_from(packet.len()).ok()?;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    Some(bytes)
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
mod tests;
