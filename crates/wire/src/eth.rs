//! Ethernet II: addresses, types and the fixed 14-byte header (IEEE 802.3 section 3).

use std::fmt;
use std::str::FromStr;

/// Bytes of an Ethernet II header without a VLAN tag.
pub const HEADER_BYTES: usize = 14;

/// The `EtherType` of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// The `EtherType` of ARP (RFC 826).
pub const TYPE_ARP: u16 = 0x0806;
/// The `EtherType` of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// The `EtherType` of an IEEE 802.1Q customer tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// The `EtherType` of an IEEE 802.1ad service tag.
pub const TYPE_QINQ: u16 = 0x88a8;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff, everybody on the link.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// 00:00:00:00:00:00, nobody: the placeholder of a frame whose next hop is not resolved yet.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// Whether the group bit is set: a multicast or the broadcast address.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this is the broadcast address.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether one station could own this address (Linux `is_valid_ether_addr`).
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }

    /// The group address that carries an IPv4 multicast group (RFC 1112 section 6.4).
    pub const fn for_ipv4_group(group: [u8; 4]) -> MacAddr {
        MacAddr([0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3]])
    }

    /// The group address that carries an IPv6 multicast group (RFC 2464 section 7).
    pub const fn for_ipv6_group(group: [u8; 16]) -> MacAddr {
        MacAddr([0x33, 0x33, group[12], group[13], group[14], group[15]])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not six hexadecimal octets with colons between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an Ethernet address; write six hexadecimal octets, like 02:01:02:03:04:01")
    }
}

impl std::error::Error for ParseMacError {}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or(ParseMacError)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() { Err(ParseMacError) } else { Ok(MacAddr(octets)) }
    }
}

/// A checked view of an Ethernet header: the length was tested once, so no accessor can fail.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(&'a [u8; HEADER_BYTES]);

impl<'a> Header<'a> {
    /// The header at the front of `frame`, or `None` when the frame is shorter than one.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        frame.first_chunk().map(Header)
    }

    /// The station that the frame is for.
    #[inline]
    pub fn destination(&self) -> MacAddr {
        let h = self.0;
        MacAddr([h[0], h[1], h[2], h[3], h[4], h[5]])
    }

    /// The station that sent the frame.
    #[inline]
    pub fn source(&self) -> MacAddr {
        let h = self.0;
        MacAddr([h[6], h[7], h[8], h[9], h[10], h[11]])
    }

    /// What the payload is; below 0x0600 an IEEE 802.3 length instead.
    #[inline]
    pub fn ether_type(&self) -> u16 {
        u16::from_be_bytes([self.0[12], self.0[13]])
    }
}

/// Writes an Ethernet header; a `frame` shorter than one is left alone.
#[inline]
pub fn write(frame: &mut [u8], destination: MacAddr, source: MacAddr, ether_type: u16) {
    if let Some(h) = frame.first_chunk_mut::<HEADER_BYTES>() {
        h[..6].copy_from_slice(&destination.0);
        h[6..12].copy_from_slice(&source.0);
        h[12..].copy_from_slice(&ether_type.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_golden_bytes_both_ways() {
        let golden = [0x02, 1, 2, 3, 4, 1, 0x02, 1, 2, 3, 4, 0x11, 0x86, 0xdd];
        let header = Header::parse(&golden).unwrap();
        assert_eq!(header.destination(), "02:01:02:03:04:01".parse().unwrap());
        assert_eq!(header.source(), MacAddr([2, 1, 2, 3, 4, 0x11]));
        assert_eq!(header.ether_type(), TYPE_IPV6);
        let mut written = [0; 14];
        write(&mut written, header.destination(), header.source(), TYPE_IPV6);
        assert_eq!(written, golden);
        assert!(Header::parse(&golden[..13]).is_none());
    }

    #[test]
    fn group_addresses() {
        assert_eq!(MacAddr::for_ipv4_group([239, 255, 1, 2]).to_string(), "01:00:5e:7f:01:02");
        let mut group = [0; 16];
        group[0] = 0xff;
        group[12..].copy_from_slice(&[0xff, 1, 2, 3]);
        assert_eq!(MacAddr::for_ipv6_group(group).to_string(), "33:33:ff:01:02:03");
        assert!(MacAddr::BROADCAST.is_multicast() && !MacAddr::ZERO.is_unicast());
    }

    #[test]
    fn bad_text_is_refused() {
        for text in ["", "02:01:02:03:04", "02:01:02:03:04:05:06", "02:01:02:03:04:+1", "002:1:1:1:1:1"] {
            assert_eq!(text.parse::<MacAddr>(), Err(ParseMacError), "{text}");
        }
    }
}
