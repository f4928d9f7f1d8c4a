//! Who is where: the addresses of the router and of the stations on its two links.

use crate::packet::{A4, A6, Mac};

/// One of the two links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    T1,
    T2,
}

use Where::{T1, T2};

impl Where {
    fn subnet(self) -> u8 {
        match self {
            T1 => 251,
            T2 => 252,
        }
    }

    pub fn index(self) -> usize {
        match self {
            T1 => 0,
            T2 => 1,
        }
    }
}

/// The router's MAC address on a link.
pub fn router_mac(at: Where) -> Mac {
    [2, 1, 2, 3, 4, if at == T1 { 1 } else { 2 }]
}

/// The router's IPv4 address on a link.
pub fn router4(at: Where) -> A4 {
    station4(at, 2)
}

/// The router's IPv6 addresses on a link: global, then link-local (RFC 4291 appendix A).
pub fn router6(at: Where) -> [A6; 2] {
    let mut near = near6(0);
    near[8..].copy_from_slice(&[0, 1, 2, 0xff, 0xfe, 3, 4, router_mac(at)[5]]);
    [station6(at, 2), near]
}

/// Whether the router has that address; those of `tests/data/oracle/routes.toml` included.
pub fn is_own4(address: A4) -> bool {
    let more = [[10, 10, 251, 3], [10, 20, 0, 2], [10, 30, 0, 0], [10, 40, 0, 1]];
    [router4(T1), router4(T2), station4(T1, ADDED)].contains(&address) || more.contains(&address)
}

/// The same, IPv6.
pub fn is_own6(address: A6) -> bool {
    let mut second_subnet = [0; 16];
    second_subnet[..4].copy_from_slice(&[0xfd, 0, 0, 0x20]);
    second_subnet[15] = 2;
    // The last is the subnet-router anycast address.
    let more = [station6(T1, 3), station6(T1, ADDED), second_subnet, station6(T1, 0)];
    router6(T1).contains(&address) || router6(T2).contains(&address) || more.contains(&address)
}

/// The MAC address of a station.
pub fn station_mac(at: Where, n: u8) -> Mac {
    [2, if at == T1 { 0x51 } else { 0x52 }, 0, 0, 0, n]
}

/// The IPv4 address of a station.
pub fn station4(at: Where, n: u8) -> A4 {
    [10, 10, at.subnet(), n]
}

/// The IPv6 address of a station.
pub fn station6(at: Where, n: u8) -> A6 {
    [0xfd, 0, 2, if at == T1 { 0x51 } else { 0x52 }, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
}

/// The link-local address of a station.
pub fn near6(n: u8) -> A6 {
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
}

/// Stations from here on never answer.
pub const SILENT: u8 = 250;
/// The first station that a scene may own; those below are shared.
pub const FIRST: u8 = 20;
/// The station whose address on the first link the router has for a time in some scenes.
pub const ADDED: u8 = 17;
