//! IPv6: the fixed header (RFC 8200 section 3) and the way past extension headers.

use std::net::Ipv6Addr;

use crate::protocol;

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 40;
/// The MTU that every link has (RFC 8200 section 5).
pub const MIN_MTU_BYTES: usize = 1280;
/// The hop limit of packets that a host makes itself (Linux `IPV6_DEFAULT_HOPLIMIT`).
pub const DEFAULT_HOP_LIMIT: u8 = 64;

/// The group of all nodes on a link (RFC 4291 section 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The group of all routers on a link (RFC 4291 section 2.7.1).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// The group of all routers in a site (RFC 4291 section 2.7.1).
pub const ALL_SITE_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2);

/// A view of the fixed header: the length was tested once, so no accessor can fail.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; HEADER_BYTES]);

impl<'a> Header<'a> {
    /// The header at the front of `packet`, or `None` when there are fewer than 40 bytes.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        packet.first_chunk().map(Header)
    }

    /// The version: 6.
    #[inline]
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        self.0[0] << 4 | self.0[1] >> 4
    }

    /// The flow label, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        u32::from_be_bytes([0, self.0[1] & 0x0f, self.0[2], self.0[3]])
    }

    /// Bytes behind the fixed header, extension headers included.
    #[inline]
    pub fn payload_bytes(&self) -> usize {
        usize::from(u16::from_be_bytes([self.0[4], self.0[5]]))
    }

    /// What follows the fixed header.
    #[inline]
    pub fn next_header(&self) -> u8 {
        self.0[6]
    }

    /// The hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    /// The sender.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.octets::<8>())
    }

    /// The receiver.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.octets::<24>())
    }

    #[inline]
    fn octets<const AT: usize>(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.0[AT..AT + 16]);
        octets
    }
}

/// What a fresh header says.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Bytes behind the header.
    pub payload_bytes: u16,
    /// What follows.
    pub next_header: u8,
    /// The hop limit.
    pub hop_limit: u8,
    /// The sender.
    pub source: Ipv6Addr,
    /// The receiver.
    pub destination: Ipv6Addr,
}

impl Fields {
    /// Writes the header, with flow label 0.
    pub fn write(&self, header: &mut [u8; HEADER_BYTES]) {
        header[0] = 0x60 | self.traffic_class >> 4;
        header[1] = self.traffic_class << 4;
        header[2..4].fill(0);
        header[4..6].copy_from_slice(&self.payload_bytes.to_be_bytes());
        header[6] = self.next_header;
        header[7] = self.hop_limit;
        header[8..24].copy_from_slice(&self.source.octets());
        header[24..40].copy_from_slice(&self.destination.octets());
    }
}

/// Bytes of a hop-by-hop header with the jumbo payload option and nothing else.
pub(crate) const JUMBO_HEADER_BYTES: usize = 8;
/// The largest payload that the fixed header's length says; a jumbogram's is beyond it, and its field zero.
const MAX_PAYLOAD_BYTES: usize = 65_535;

/// Length of a packet in bytes as it says itself: the payload length of its header, or where that is zero the
/// jumbo payload option of a hop-by-hop header (RFC 2675), in which Linux says the length of a GSO packet of
/// more than 64 KiB (`struct hop_jumbo_hdr`).
///
/// `None` when there is no header. A jumbogram is told of only when its option says more than the header
/// could.
pub fn packet_bytes(packet: &[u8]) -> Option<usize> {
    let header = Header::parse(packet)?;
    if header.payload_bytes() == 0
        && let Some(payload) = jumbo_payload_bytes(packet)
    {
        return Some(HEADER_BYTES + payload);
    }
    Some(HEADER_BYTES + header.payload_bytes())
}

/// The payload length that a jumbogram's option says; `None` when the packet is none of the form that Linux
/// makes.
pub(crate) fn jumbo_payload_bytes(packet: &[u8]) -> Option<usize> {
    const JUMBO_PAYLOAD: u8 = 194;
    let header = Header::parse(packet)?;
    if header.next_header() != protocol::HOP_BY_HOP || header.payload_bytes() != 0 {
        return None;
    }
    let [_, 0, JUMBO_PAYLOAD, 4, payload @ ..] =
        *packet.get(HEADER_BYTES..)?.first_chunk::<JUMBO_HEADER_BYTES>()?
    else {
        return None;
    };
    usize::try_from(u32::from_be_bytes(payload)).ok().filter(|payload| *payload > MAX_PAYLOAD_BYTES)
}

/// Says the length of the packet in its header; one that is too long for that says zero, as a jumbogram does.
pub(crate) fn write_length(packet: &mut [u8]) {
    let bytes = u16::try_from(packet.len() - HEADER_BYTES).unwrap_or(0);
    packet[4..6].copy_from_slice(&bytes.to_be_bytes());
}

/// The upper layer of a packet, behind its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The protocol; for a fragment that is not the first, what the first one carries.
    pub protocol: u8,
    /// Where its header begins, in bytes from the front of the packet.
    pub offset: usize,
    /// Offset of this fragment in bytes and whether more follow, if there is a fragment header.
    pub fragment: Option<(usize, bool)>,
    /// Where the octet is that names the protocol, from the front of the packet: the pointer of a Parameter
    /// Problem.
    pub next_header_offset: usize,
    /// The value of the router alert option (RFC 2711), if a hop-by-hop header with one comes first.
    pub router_alert: Option<u16>,
}

/// A chain of extension headers longer than any sane packet has ends the walk: no input makes it long.
const MAX_EXTENSION_HEADERS: usize = 16;

/// Walks over the extension headers (hop-by-hop, routing, destination options, authentication, fragment).
///
/// `None` when the chain does not fit into the packet. It stops at the first header that is none of these,
/// and behind the fragment header of a fragment that is not the first.
pub fn upper_layer(packet: &[u8]) -> Option<Upper> {
    let header = Header::parse(packet)?;
    let mut upper = Upper {
        protocol: header.next_header(),
        offset: HEADER_BYTES,
        fragment: None,
        next_header_offset: 6,
        router_alert: None,
    };
    for _ in 0..MAX_EXTENSION_HEADERS {
        let bytes = match upper.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                let bytes = (usize::from(*packet.get(upper.offset + 1)?) + 1) * 8;
                if upper.protocol == protocol::HOP_BY_HOP {
                    let options = packet.get(upper.offset + 2..upper.offset + bytes)?;
                    upper.router_alert = router_alert(options);
                }
                bytes
            }
            protocol::AUTHENTICATION => (usize::from(*packet.get(upper.offset + 1)?) + 2) * 4,
            protocol::FRAGMENT => {
                let word = packet.get(upper.offset + 2..upper.offset + 4)?;
                let word = u16::from_be_bytes([word[0], word[1]]);
                upper.fragment = Some((usize::from(word & 0xfff8), word & 1 != 0));
                8
            }
            _ => return Some(upper),
        };
        if upper.offset + bytes > packet.len() {
            return None;
        }
        upper.next_header_offset = upper.offset;
        upper.protocol = *packet.get(upper.offset)?;
        upper.offset += bytes;
        if upper.fragment.is_some_and(|(offset, _)| offset > 0) {
            return Some(upper);
        }
    }
    None
}

fn router_alert(mut options: &[u8]) -> Option<u16> {
    while let [kind, rest @ ..] = options {
        if *kind == 0 {
            options = rest;
            continue;
        }
        let [len, value @ ..] = rest else { return None };
        if *kind == 5 {
            return (*len == 2).then(|| value.first_chunk().copied().map(u16::from_be_bytes)).flatten();
        }
        options = value.get(usize::from(*len)..).unwrap_or_default();
    }
    None
}

/// The solicited-node multicast group of an address (RFC 4291 section 2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let a = address.octets();
    Ipv6Addr::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a[13], a[14], a[15]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes_both_ways() {
        let mut golden = [0u8; 40];
        golden[..8].copy_from_slice(&[0x6b, 0x80, 0, 0, 0, 64, 58, 64]);
        golden[8..24].copy_from_slice(&"fd00:251::1".parse::<Ipv6Addr>().unwrap().octets());
        golden[24..].copy_from_slice(&"fd00:252::1".parse::<Ipv6Addr>().unwrap().octets());
        let header = Header::parse(&golden).unwrap();
        assert_eq!((header.version(), header.traffic_class(), header.payload_bytes()), (6, 0xb8, 64));
        let fields = Fields {
            traffic_class: 0xb8,
            payload_bytes: 64,
            next_header: header.next_header(),
            hop_limit: header.hop_limit(),
            source: header.source(),
            destination: header.destination(),
        };
        let mut written = [0xff; 40];
        fields.write(&mut written);
        assert_eq!(written, golden);
    }

    #[test]
    fn extension_headers_are_walked() {
        let mut packet = vec![0u8; 40];
        packet[0] = 0x60;
        packet[6] = 0; // hop-by-hop with router alert and two bytes of padding
        packet.extend([44, 0, 5, 2, 0, 0, 1, 0]);
        packet.extend([58, 0, 0, 1, 0, 0, 0, 9]); // first fragment, more follow
        packet.extend([128, 0, 0, 0]);
        let upper = upper_layer(&packet).unwrap();
        assert_eq!((upper.protocol, upper.offset, upper.next_header_offset), (58, 56, 48));
        assert_eq!(upper.fragment, Some((0, true)));
        assert_eq!(upper.router_alert, Some(0));
        assert_eq!(upper_layer(&packet[..50]), None);
        packet[51] = 8; // a later fragment: what follows is not a header
        assert_eq!(upper_layer(&packet).unwrap().fragment, Some((8, false)));
    }

    #[test]
    fn solicited_node_group() {
        let group = solicited_node("fd00:251::ab:cdef".parse().unwrap());
        assert_eq!(group.to_string(), "ff02::1:ffab:cdef");
    }

    proptest! {
        #[test]
        fn view_agrees_with_etherparse(mut bytes in any::<[u8; 40]>()) {
            bytes[0] = bytes[0] & 0x0f | 0x60;
            let ours = Header::parse(&bytes).unwrap();
            let theirs = etherparse::Ipv6HeaderSlice::from_slice(&bytes).unwrap();
            prop_assert_eq!(ours.traffic_class(), theirs.traffic_class());
            prop_assert_eq!(ours.flow_label(), theirs.flow_label().value());
            prop_assert_eq!(ours.payload_bytes(), usize::from(theirs.payload_length()));
            prop_assert_eq!(ours.next_header(), theirs.next_header().0);
            prop_assert_eq!(ours.hop_limit(), theirs.hop_limit());
            prop_assert_eq!(ours.source(), theirs.source_addr());
            prop_assert_eq!(ours.destination(), theirs.destination_addr());
        }

        #[test]
        fn view_agrees_with_pnet_whatever_the_bytes(bytes in any::<[u8; 40]>()) {
            let ours = Header::parse(&bytes).unwrap();
            let theirs = pnet_packet::ipv6::Ipv6Packet::new(&bytes).unwrap();
            prop_assert_eq!(ours.version(), theirs.get_version());
            prop_assert_eq!(ours.traffic_class(), theirs.get_traffic_class());
            prop_assert_eq!(ours.flow_label(), theirs.get_flow_label());
            prop_assert_eq!(ours.payload_bytes(), usize::from(theirs.get_payload_length()));
            prop_assert_eq!(ours.next_header(), theirs.get_next_header().0);
            prop_assert_eq!(ours.hop_limit(), theirs.get_hop_limit());
            prop_assert_eq!(ours.source(), theirs.get_source());
            prop_assert_eq!(ours.destination(), theirs.get_destination());
        }

        #[test]
        fn walk_agrees_with_etherparse(
            kinds in proptest::collection::vec(prop_oneof![Just(43u8), Just(60), Just(51)], 0..4),
            first in proptest::option::of(Just(0u8)),
            last in prop_oneof![Just(6u8), Just(17), Just(58), Just(99)],
            mut filling in proptest::collection::vec(any::<u8>(), 64),
            cut in 0usize..8,
        ) {
            let chain: Vec<u8> = first.into_iter().chain(kinds).collect();
            let mut packet = vec![0u8; 40];
            packet[0] = 0x60;
            packet[6] = *chain.first().unwrap_or(&last);
            for (index, kind) in chain.iter().enumerate() {
                let next = *chain.get(index + 1).unwrap_or(&last);
                // 16 bytes each; an authentication header counts words of four less two.
                packet.extend([next, if *kind == 51 { 2 } else { 1 }]);
                packet.extend(filling.drain(..14));
            }
            packet.extend(&filling[..8]);
            packet.truncate(packet.len() - cut);
            let payload = (packet.len() - 40) as u16;
            packet[4..6].copy_from_slice(&payload.to_be_bytes());
            // It takes each kind of header once, in any sensible order; what it refuses says nothing about
            // us.
            if let Ok(theirs) = etherparse::Ipv6Slice::from_slice(&packet) {
                let theirs = theirs.payload();
                let ours = upper_layer(&packet).unwrap();
                if !matches!(theirs.ip_number.0, 0 | 43 | 51 | 60) {
                    prop_assert_eq!(ours.protocol, theirs.ip_number.0);
                    prop_assert_eq!(&packet[ours.offset..], theirs.payload);
                }
            }
        }

        #[test]
        fn walk_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(upper) = upper_layer(&bytes) {
                prop_assert!(upper.offset <= bytes.len());
            }
        }
    }
}
