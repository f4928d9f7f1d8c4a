//! The list of IPv4 options in a header (RFC 791 section 3.1), found and checked as Linux
//! `ip_options_compile` does.

use nsrouter_wire::ipv4;

/// The end of the list.
pub(crate) const END: u8 = 0;
/// No operation: padding.
pub(crate) const NOP: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// Timestamp flag: only times.
pub(crate) const ONLY_TIMES: u8 = 0;
/// Timestamp flag: times with addresses.
pub(crate) const WITH_ADDRESSES: u8 = 1;
/// Timestamp flag: times of the addresses that the sender listed.
pub(crate) const LISTED: u8 = 3;

/// The options of a packet that concern a router; positions are from the front of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Ipv4Options {
    /// Where the record route option begins.
    pub(crate) record_route: Option<u8>,
    /// Where the timestamp option begins.
    pub(crate) timestamp: Option<u8>,
    /// Where the list ends before the header does.
    pub(crate) end: Option<u8>,
    /// The options were filled in on arrival.
    pub(crate) arrived: bool,
    /// The address of arrival was recorded, which that of departure replaces.
    pub(crate) recorded: bool,
    /// The sender wants to choose the route.
    pub(crate) source_route: bool,
    /// RFC 2113: routers on the path examine the packet.
    pub(crate) router_alert: bool,
}

/// A list with an option that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Where the first such octet is, from the front of the header: the pointer of a Parameter Problem.
    pub(crate) pointer: u8,
    /// What was right before it.
    pub(crate) before: Ipv4Options,
}

/// Finds the options of a packet whose header fits.
pub(crate) fn check(packet: &[u8]) -> Result<Ipv4Options, Malformed> {
    let mut options = Ipv4Options::default();
    match walk(packet, &mut options) {
        Ok(()) => Ok(options),
        Err(pointer) => Err(Malformed { pointer, before: options }),
    }
}

fn walk(packet: &[u8], options: &mut Ipv4Options) -> Result<(), u8> {
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
