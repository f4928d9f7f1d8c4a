//! IPv4: the header as fixed offsets (RFC 791 section 3.1), checked once and then read and written.

use std::net::Ipv4Addr;

use crate::bytes::length16;
use crate::checksum;

/// Bytes of a header without options.
pub const HEADER_BYTES: usize = 20;
/// Bytes of a header with as many options as fit.
pub const MAX_HEADER_BYTES: usize = 60;
/// The largest packet.
pub const MAX_BYTES: usize = 65_535;

/// The TTL of packets that a host makes itself (Linux `ip_default_ttl`).
pub const DEFAULT_TTL: u8 = 64;

/// The don't-fragment bit of the flags-and-offset word.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// The more-fragments bit of the flags-and-offset word.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// The offset part of the flags-and-offset word, in units of 8 bytes.
pub const OFFSET_MASK: u16 = 0x1fff;

/// A view of the fixed part of a header: the length was tested once, so no accessor can fail.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; HEADER_BYTES]);

impl<'a> Header<'a> {
    /// The header at the front of `packet`, or `None` when there are fewer than 20 bytes.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        packet.first_chunk().map(Header)
    }

    #[inline]
    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// The version: 4.
    #[inline]
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Header length in bytes, options included; a wrong header may say under 20.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        usize::from(self.0[0] & 0x0f) * 4
    }

    /// The DSCP and ECN octet.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        self.0[1]
    }

    /// Length of the packet in bytes.
    #[inline]
    pub fn total_bytes(&self) -> usize {
        usize::from(self.u16(2))
    }

    /// The identification that fragments share.
    #[inline]
    pub fn identification(&self) -> u16 {
        self.u16(4)
    }

    /// Flags and fragment offset as one word.
    #[inline]
    pub fn flags_offset(&self) -> u16 {
        self.u16(6)
    }

    /// Whether routers may not fragment the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset() & DONT_FRAGMENT != 0
    }

    /// Whether more fragments follow.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_offset() & MORE_FRAGMENTS != 0
    }

    /// Where this fragment's payload belongs, in bytes.
    #[inline]
    pub fn fragment_offset_bytes(&self) -> usize {
        usize::from(self.flags_offset() & OFFSET_MASK) * 8
    }

    /// Whether this is one fragment of a larger packet.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.more_fragments() || self.fragment_offset_bytes() > 0
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.0[8]
    }

    /// What the payload is.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.0[9]
    }

    /// The header checksum as it stands.
    #[inline]
    pub fn checksum(&self) -> u16 {
        self.u16(10)
    }

    /// The sender.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[12], self.0[13], self.0[14], self.0[15])
    }

    /// The receiver.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[16], self.0[17], self.0[18], self.0[19])
    }
}

/// Lowers the TTL by one and updates the checksum (RFC 1624).
#[inline]
pub fn decrement_ttl(header: &mut [u8; HEADER_BYTES]) {
    let old = u16::from_be_bytes([header[8], header[9]]);
    header[8] = header[8].wrapping_sub(1);
    let new = u16::from_be_bytes([header[8], header[9]]);
    let sum = checksum::update(u16::from_be_bytes([header[10], header[11]]), old, new);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Computes the header checksum anew over all `header` bytes, options included.
pub fn fill_checksum(header: &mut [u8]) {
    if header.len() >= HEADER_BYTES {
        header[10..12].fill(0);
        let sum = checksum::checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes the header of `header_bytes` at the front of `packet` that of segment `number` of a GSO packet:
/// total length, an identification of its own, checksum (Linux `inet_gso_segment`).
pub(crate) fn write_segment(packet: &mut [u8], header_bytes: usize, number: u16) {
    let bytes = length16(packet.len());
    packet[2..4].copy_from_slice(&bytes.to_be_bytes());
    let identification = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(number);
    packet[4..6].copy_from_slice(&identification.to_be_bytes());
    fill_checksum(&mut packet[..header_bytes]);
}

/// What a fresh header of 20 bytes says.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Length of the packet in bytes.
    pub total_bytes: u16,
    /// Identification.
    pub identification: u16,
    /// Flags and fragment offset.
    pub flags_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: u8,
    /// The sender.
    pub source: Ipv4Addr,
    /// The receiver.
    pub destination: Ipv4Addr,
}

impl Fields {
    /// Writes the header with its checksum.
    pub fn write(&self, header: &mut [u8; HEADER_BYTES]) {
        header[0] = 0x45;
        header[1] = self.traffic_class;
        header[2..4].copy_from_slice(&self.total_bytes.to_be_bytes());
        header[4..6].copy_from_slice(&self.identification.to_be_bytes());
        header[6..8].copy_from_slice(&self.flags_offset.to_be_bytes());
        header[8] = self.ttl;
        header[9] = self.protocol;
        header[12..16].copy_from_slice(&self.source.octets());
        header[16..20].copy_from_slice(&self.destination.octets());
        fill_checksum(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol;
    use proptest::prelude::*;

    /// An echo request from 10.10.251.1 to 10.10.252.1 as Linux sends it.
    const GOLDEN: [u8; 20] =
        [0x45, 0, 0, 84, 0x1c, 0x46, 0x40, 0, 0x40, 1, 0x13, 0x4c, 10, 10, 251, 1, 10, 10, 252, 1];

    #[test]
    fn golden_bytes_both_ways() {
        let header = Header::parse(&GOLDEN).unwrap();
        assert_eq!((header.version(), header.header_bytes(), header.total_bytes()), (4, 20, 84));
        assert!(header.dont_fragment() && !header.is_fragment());
        let fields = Fields {
            traffic_class: header.traffic_class(),
            total_bytes: 84,
            identification: header.identification(),
            flags_offset: DONT_FRAGMENT,
            ttl: 64,
            protocol: protocol::ICMP,
            source: Ipv4Addr::new(10, 10, 251, 1),
            destination: Ipv4Addr::new(10, 10, 252, 1),
        };
        let mut written = [0; 20];
        fields.write(&mut written);
        assert_eq!(written, GOLDEN);
        assert_eq!(checksum::checksum(&GOLDEN), 0);
    }

    proptest! {
        #[test]
        fn decrement_equals_recomputation(mut header in any::<[u8; 20]>()) {
            header[0] = 0x45;
            header[8] |= 1;
            fill_checksum(&mut header);
            let mut expected = header;
            expected[8] -= 1;
            fill_checksum(&mut expected);
            decrement_ttl(&mut header);
            prop_assert_eq!(header, expected);
        }

        #[test]
        fn view_agrees_with_pnet_whatever_the_bytes(bytes in any::<[u8; 20]>()) {
            let ours = Header::parse(&bytes).unwrap();
            let theirs = pnet_packet::ipv4::Ipv4Packet::new(&bytes).unwrap();
            prop_assert_eq!(ours.version(), theirs.get_version());
            prop_assert_eq!(ours.header_bytes(), usize::from(theirs.get_header_length()) * 4);
            prop_assert_eq!(ours.traffic_class(), theirs.get_dscp() << 2 | theirs.get_ecn());
            prop_assert_eq!(ours.total_bytes(), usize::from(theirs.get_total_length()));
            prop_assert_eq!(ours.identification(), theirs.get_identification());
            prop_assert_eq!(ours.flags_offset() >> 13, u16::from(theirs.get_flags()));
            prop_assert_eq!(ours.fragment_offset_bytes(), usize::from(theirs.get_fragment_offset()) * 8);
            prop_assert_eq!(ours.ttl(), theirs.get_ttl());
            prop_assert_eq!(ours.protocol(), theirs.get_next_level_protocol().0);
            prop_assert_eq!(ours.checksum(), theirs.get_checksum());
            prop_assert_eq!(ours.source(), theirs.get_source());
            prop_assert_eq!(ours.destination(), theirs.get_destination());
        }
    }
}
