//! GSO packets in tunnels, cut into segments: each segment equals the packet that is built anew for its part
//! of the payload, for every encapsulation that Linux hands over as a GSO packet.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::ipv6;
use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};
use nsrouter_wire::segment::{
    LINK_L3, SegmentError, Segments, complete_checksum, header_bytes, is_tunnelled, packet_bytes,
};
use proptest::prelude::*;

/// One header, outermost first in a packet.
#[derive(Clone, Debug)]
enum Layer {
    /// IPv4 with this identification, and these options.
    Ip4(u16, Vec<u8>),
    /// IPv6, with a destination options header or without.
    Ip6(bool),
    /// A tunnel's UDP header, with a checksum or without.
    Udp(bool),
    /// GRE with or without checksum and key, and the EtherType of what it carries.
    Gre(bool, bool, u16),
    /// A header that is the same in each segment: VXLAN, GENEVE, Ethernet.
    Fixed(Vec<u8>),
    /// The innermost header.
    Tcp,
    /// The innermost header.
    Datagram,
}

use Layer::{Datagram, Fixed, Gre, Ip4, Ip6, Tcp, Udp};

fn vxlan() -> Layer {
    // Network identifiers that look like the front of an IP header.
    Fixed(vec![8, 0, 0, 0, 0x45, 0, 0x60, 0])
}

fn geneve(options: usize) -> Layer {
    let mut header = vec![(options / 4) as u8, 0, 0x65, 0x58, 0, 0, 7, 0];
    header.extend(vec![0x45; options]);
    Fixed(header)
}

fn ethernet(kind: u16, tags: usize) -> Layer {
    let mut header = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
    (0..tags).for_each(|_| header.extend([0x81, 0, 0, 5]));
    header.extend(kind.to_be_bytes());
    Fixed(header)
}

fn sum(pseudo: &[u8], bytes: &[u8]) -> u16 {
    let mut all = pseudo.to_vec();
    all.extend(bytes);
    all.resize(all.len().next_multiple_of(2), 0);
    let mut sum: u64 = all.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Which part of the payload a packet carries.
#[derive(Clone, Copy)]
struct Part {
    number: u16,
    offset: u32,
    is_last: bool,
}

const WHOLE: Part = Part { number: 0, offset: 0, is_last: true };

fn protocol(layer: Option<&Layer>) -> u8 {
    match layer.unwrap() {
        Ip4(..) => 4,
        Ip6(_) => 41,
        Udp(_) | Datagram => 17,
        Gre(..) => 47,
        Tcp => 6,
        Fixed(_) => unreachable!("not behind IP"),
    }
}

/// Fills in the checksum of the L4 header at the front of `message`.
fn fill(layer: &Layer, pseudo: &[u8], message: &mut [u8]) {
    let at = match layer {
        Tcp => 16,
        Udp(true) | Datagram => 6,
        _ => return,
    };
    let sum = match sum(pseudo, message) {
        0 if at == 6 => 0xffff,
        sum => sum,
    };
    message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn build(layers: &[Layer], payload: &[u8], part: Part) -> Vec<u8> {
    let Some((layer, inner)) = layers.split_first() else { return payload.to_vec() };
    let mut body = build(inner, payload, part);
    let length = |bytes: usize| (bytes as u16).to_be_bytes();
    let mut header = match layer {
        Ip4(id, options) => {
            let bytes = 20 + options.len();
            let mut header = vec![0x40 | (bytes / 4) as u8, 0x2e];
            header.extend(length(bytes + body.len()));
            header.extend(id.wrapping_add(part.number).to_be_bytes());
            header.extend([0x40, 0, 63, protocol(inner.first()), 0, 0, 10, 10, 251, 1, 10, 10, 252, 1]);
            header.extend(options);
            let checksum = sum(&[], &header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            let mut pseudo = header[12..20].to_vec();
            pseudo.extend([0, protocol(inner.first())]);
            pseudo.extend(length(body.len()));
            fill(&inner[0], &pseudo, &mut body);
            header
        }
        Ip6(is_extended) => {
            let mut header = vec![0x62, 0xe1, 0x23, 0x45];
            let number = protocol(inner.first());
            let options = if *is_extended { vec![number, 0, 4, 1, 4, 1, 1, 0] } else { vec![] };
            header.extend(length(options.len() + body.len()));
            header.extend([if *is_extended { 60 } else { number }, 63]);
            header.extend([[0xfd; 16], [0xfe; 16]].concat());
            let mut pseudo = header[8..40].to_vec();
            pseudo.extend([0, number]);
            pseudo.extend(length(body.len()));
            fill(&inner[0], &pseudo, &mut body);
            header.extend(options);
            header
        }
        Udp(_) => {
            let mut header = vec![0xc0, 0x01, 0x12, 0xb5];
            header.extend(length(8 + body.len()));
            header.extend([0, 0]);
            header
        }
        Datagram => {
            let mut header = vec![0, 5, 0, 6];
            header.extend(length(8 + body.len()));
            header.extend([0, 0]);
            header
        }
        Gre(checksum, key, kind) => {
            let mut header = vec![u8::from(*checksum) << 7 | u8::from(*key) << 5, 0];
            header.extend(kind.to_be_bytes());
            header.extend(if *checksum { vec![0; 4] } else { vec![] });
            header.extend(if *key { vec![0x45, 0, 0, 9] } else { vec![] });
            if *checksum {
                let checksum = sum(&[], &[header.clone(), body.clone()].concat());
                header[4..6].copy_from_slice(&checksum.to_be_bytes());
            }
            header
        }
        Fixed(header) => header.clone(),
        Tcp => {
            let mut header = vec![0, 5, 0, 6];
            header.extend(0xffff_f000_u32.wrapping_add(part.offset).to_be_bytes());
            // ACK, and PSH and FIN on the last segment.
            header.extend([0, 0, 0, 9, 0x80, if part.is_last { 0x19 } else { 0x10 }, 1, 0, 0, 0, 0, 0]);
            header.extend([1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7]);
            header
        }
    };
    header.extend(body);
    header
}

/// Every encapsulation: its name, and what is outside of the innermost IP header.
fn encapsulations() -> Vec<(&'static str, Vec<Layer>)> {
    let outer4 = || Ip4(0xfffe, vec![]);
    let mut all = Vec::new();
    for (outer, checksum) in [(outer4(), false), (outer4(), true), (Ip6(false), false), (Ip6(false), true)] {
        let udp = |inner: Vec<Layer>| [vec![outer.clone(), Udp(checksum)], inner].concat();
        all.push(("VXLAN", udp(vec![vxlan(), ethernet(0x0800, 0)])));
        all.push(("VXLAN, VLAN tags inside", udp(vec![vxlan(), ethernet(0x0800, 2)])));
        all.push(("VXLAN-GPE of IP", udp(vec![vxlan()])));
        all.push(("GENEVE", udp(vec![geneve(0), ethernet(0x0800, 0)])));
        all.push(("GENEVE with options", udp(vec![geneve(252), ethernet(0x0800, 1)])));
        all.push(("GTP-U", udp(vec![Fixed(vec![0x30, 0xff, 0, 0, 0, 0, 0, 9])])));
        all.push(("FOU", udp(vec![])));
    }
    for outer in [outer4(), Ip6(false)] {
        for (checksum, key) in [(false, false), (true, false), (false, true), (true, true)] {
            all.push(("GRE", vec![outer.clone(), Gre(checksum, key, 0x0800)]));
            all.push(("GRETAP", vec![outer.clone(), Gre(checksum, key, 0x6558), ethernet(0x0800, 0)]));
        }
        all.push(("IP in IP", vec![outer.clone()]));
        all.push(("FOU of GRE", vec![outer.clone(), Udp(true), Gre(true, false, 0x0800)]));
    }
    all.push(("IP in IPv6 with an encapsulation limit", vec![Ip6(true)]));
    all.push(("IPv4 options outside", vec![Ip4(7, vec![148, 4, 0, 0])]));
    all.push(("VXLAN in VXLAN", {
        let tunnel = |outer| vec![outer, Udp(true), vxlan(), ethernet(0x0800, 0)];
        [tunnel(outer4()), tunnel(Ip6(false))].concat()
    }));
    all.push(("IP in IP in GRE", vec![outer4(), Gre(true, false, 0x86dd), Ip6(false), Ip4(1, vec![])]));
    all
}

/// A GSO packet as the kernel hands it over, its inner checksum pending.
fn super_packet(layers: &[Layer], payload: &[u8], gso_size: u16) -> (Vec<u8>, Offload) {
    let frame = [vec![0; LINK_L3], build(layers, payload, WHOLE)].concat();
    let is_tcp = matches!(layers.last(), Some(Tcp));
    let is_v6 = matches!(layers[layers.len() - 2], Ip6(_));
    let l4 = frame.len() - payload.len() - if is_tcp { 32 } else { 8 };
    let gso = match (is_tcp, is_v6) {
        (true, false) => Gso::Tcp4 { ecn: false },
        (true, true) => Gso::Tcp6 { ecn: false },
        (false, _) => Gso::Udp,
    };
    let checksum = PendingChecksum { start: l4 as u16, offset: if is_tcp { 16 } else { 6 } };
    (frame, Offload { checksum: Some(checksum), gso, gso_size, header_bytes: 0 })
}

fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 7 + i / 256) as u8).collect()
}

/// Cuts the packet up, and compares each segment with one that is built anew.
fn check(name: &str, layers: &[Layer], payload: &[u8], gso_size: u16) {
    let (frame, offload) = super_packet(layers, payload, gso_size);
    let what = format!("{name}: {layers:?}, {} bytes by {gso_size}", payload.len());
    let size = usize::from(gso_size);
    let mut segments =
        Segments::new(&frame, LINK_L3, offload).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let parts: Vec<&[u8]> = payload.chunks(size).collect();
    assert_eq!(segments.count(), parts.len(), "{what}");
    let largest = frame.len() - LINK_L3 - payload.len() + size.min(payload.len());
    assert_eq!(packet_bytes(&frame, LINK_L3, &offload), Some(largest), "{what}");
    assert_eq!(header_bytes(&frame, LINK_L3, &offload), Some(frame.len() - payload.len()), "{what}");
    assert_eq!(is_tunnelled(&frame, LINK_L3, &offload), layers.len() > 2, "{what}");
    for (number, bytes) in parts.iter().enumerate() {
        let is_last = number + 1 == parts.len();
        let part = Part { number: number as u16, offset: (number * size) as u32, is_last };
        let expected = build(layers, bytes, part);
        let mut segment = vec![0xaa; segments.next_len().unwrap()];
        assert_eq!(segments.write_next(&mut segment), Some(segment.len()));
        assert_eq!(&segment[LINK_L3..], expected, "segment {number} of {what}");
    }
    assert_eq!(segments.next_len(), None, "{what}");
}

fn inner() -> Vec<Vec<Layer>> {
    let ip = || [Ip4(0xffff, vec![]), Ip4(3, vec![148, 4, 0, 0]), Ip6(false), Ip6(true)];
    ip().into_iter().flat_map(|ip| [vec![ip.clone(), Tcp], vec![ip, Datagram]]).collect()
}

#[test]
fn segments_of_every_encapsulation_equal_packets_built_anew() {
    for (name, outer) in encapsulations() {
        for inner in inner() {
            let layers = [outer.clone(), inner].concat();
            for (bytes, gso_size) in [(1, 1400), (1400, 1400), (2801, 1400), (5000, 999), (60_000, 1398)] {
                check(name, &layers, &payload(bytes), gso_size);
            }
        }
    }
}

/// The segments of VXLAN over IPv4 as a parser sees them that is not of this project.
#[test]
fn another_parser_sees_whole_packets_inside_and_outside() {
    let layers = [Ip4(9, vec![]), Udp(true), vxlan(), ethernet(0x86dd, 0), Ip6(false), Tcp];
    let (mut frame, offload) = super_packet(&layers, &payload(4000), 1300);
    frame[12..14].copy_from_slice(&[8, 0]);
    let mut segments = Segments::new(&frame, LINK_L3, offload).unwrap();
    let mut joined = Vec::new();
    while let Some(len) = segments.next_len() {
        let mut segment = vec![0; len];
        segments.write_next(&mut segment).unwrap();
        let outer = SlicedPacket::from_ethernet(&segment).unwrap();
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (outer.net, outer.transport) else {
            panic!("no IPv4 and UDP outside");
        };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap(), udp.checksum());
        let inside = SlicedPacket::from_ethernet(&udp.payload()[8..]).unwrap();
        let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Tcp(tcp))) = (inside.net, inside.transport)
        else {
            panic!("no IPv6 and TCP inside");
        };
        let sum = tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap();
        assert_eq!(tcp.checksum(), sum);
        joined.extend_from_slice(tcp.payload());
    }
    assert_eq!(joined, payload(4000));
}

#[test]
fn what_cannot_be_told_apart_or_repeated_is_refused() {
    let refused = |frame: &[u8], offload| {
        assert_eq!(packet_bytes(frame, LINK_L3, &offload), None, "and is not too big");
        assert!(is_tunnelled(frame, LINK_L3, &offload), "no port is given it");
        matches!(Segments::new(frame, LINK_L3, offload), Err(SegmentError::Headers))
    };
    let layers = |outer: &[Layer]| [outer, &[Ip4(1, vec![]), Tcp]].concat();
    // A GRE sequence number belongs to one packet.
    let (mut frame, offload) =
        super_packet(&layers(&[Ip4(1, vec![]), Gre(false, true, 0x0800)]), &[1; 3000], 1000);
    assert!(Segments::new(&frame, LINK_L3, offload).is_ok());
    frame[LINK_L3 + 20] |= 0x10;
    assert!(refused(&frame, offload));
    // ESP hides what is inside.
    let (mut frame, offload) = super_packet(&layers(&[Ip4(1, vec![])]), &[1; 3000], 1000);
    frame[LINK_L3 + 9] = 50;
    let sum =
        sum(&[], &[&frame[LINK_L3..LINK_L3 + 10], &[0, 0], &frame[LINK_L3 + 12..LINK_L3 + 20]].concat());
    frame[LINK_L3 + 10..LINK_L3 + 12].copy_from_slice(&sum.to_be_bytes());
    assert!(refused(&frame, offload));
    // The inner header's length does not reach to the end.
    let tunnel = layers(&[Ip4(1, vec![]), Udp(false), vxlan(), ethernet(0x0800, 0)]);
    let (mut frame, offload) = super_packet(&tunnel, &[1; 3000], 1000);
    frame[LINK_L3 + 20 + 8 + 8 + 14 + 3] ^= 1;
    assert!(refused(&frame, offload));
    // The checksum begins somewhere else.
    let (frame, mut offload) = super_packet(&tunnel, &[1; 3000], 1000);
    offload.checksum = Some(PendingChecksum { start: 80, offset: 16 });
    assert!(refused(&frame, offload));
}

/// An IPv6 GSO packet of more than 64 KiB says its length in a jumbo payload option (Linux `struct
/// hop_jumbo_hdr`), which its segments do without; an IPv4 one says zero.
#[test]
fn segments_of_a_big_tcp_packet_are_ordinary_ones() {
    let payload = payload(150_000);
    for layers in [[Ip6(false), Tcp], [Ip4(0xfffe, vec![]), Tcp]] {
        let is_v6 = matches!(layers[0], Ip6(_));
        let (mut frame, mut offload) = super_packet(&layers, &payload, 1428);
        let largest = frame.len() - LINK_L3 - payload.len() + 1428;
        if is_v6 {
            let bytes = u32::try_from(frame.len() - LINK_L3 - 40 + 8).unwrap();
            let jumbo = [[6, 0, 194, 4], bytes.to_be_bytes()].concat();
            frame[LINK_L3 + 4..LINK_L3 + 7].fill(0);
            let at = LINK_L3 + 40;
            frame.splice(at..at, jumbo);
            offload.checksum = Some(PendingChecksum { start: 62, offset: 16 });
            assert_eq!(ipv6::packet_bytes(&frame[LINK_L3..]), Some(frame.len() - LINK_L3));
            assert_eq!(
                ipv6::packet_bytes(&frame[LINK_L3..LINK_L3 + 40]),
                Some(40),
                "the option is not there"
            );
        } else {
            frame[LINK_L3 + 2..LINK_L3 + 4].fill(0);
        }
        assert!(!is_tunnelled(&frame, LINK_L3, &offload));
        assert_eq!(packet_bytes(&frame, LINK_L3, &offload), Some(largest));
        let mut segments = Segments::new(&frame, LINK_L3, offload).unwrap();
        assert_eq!(segments.count(), 106);
        for (number, bytes) in payload.chunks(1428).enumerate() {
            let offset = u32::try_from(number * 1428).unwrap();
            let part = Part { number: number as u16, offset, is_last: number == 105 };
            let mut segment = vec![0xaa; segments.next_len().unwrap()];
            segments.write_next(&mut segment).unwrap();
            assert_eq!(&segment[LINK_L3..], build(&layers, bytes, part), "segment {number}");
        }
        assert_eq!(segments.next_len(), None);
        cut_into_gso_packets(&frame, offload, &layers, &payload);
    }
}

/// The same packet as GSO packets that say their length, and those in their turn as the segments that the
/// whole becomes.
fn cut_into_gso_packets(frame: &[u8], offload: Offload, layers: &[Layer], payload: &[u8]) {
    let mut packets = Segments::new(frame, LINK_L3, offload).unwrap().into_gso_packets().unwrap();
    let (mut number, mut lengths) = (0, Vec::new());
    while let Some(len) = packets.next_len() {
        let left = packets.next_offload(offload);
        let mut packet = vec![0xaa; len];
        packets.write_next(&mut packet).unwrap();
        lengths.push(len);
        let mut segments = Segments::new(&packet, LINK_L3, left).unwrap();
        while let Some(len) = segments.next_len() {
            let mut segment = vec![0xaa; len];
            segments.write_next(&mut segment).unwrap();
            let bytes = payload.chunks(1428).nth(number).unwrap();
            let offset = u32::try_from(number * 1428).unwrap();
            let part = Part { number: number as u16, offset, is_last: number == 105 };
            assert_eq!(&segment[LINK_L3..], build(layers, bytes, part), "segment {number}");
            number += 1;
        }
    }
    assert_eq!((number, lengths.len()), (106, 3));
    assert!(lengths.iter().all(|len| len - LINK_L3 <= 65_535), "{lengths:?}");
}

/// SCTP's checksum is a CRC32c, wherever it is; the golden value is that of RFC 9260's algorithm as Linux has
/// it.
#[test]
fn a_pending_checksum_of_sctp_is_a_crc32c() {
    for outer in [vec![], vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]] {
        let sctp = [0x13, 0x88, 0x13, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4];
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 132, 0, 0, 10, 10, 251, 1, 10, 10, 252, 1];
        packet.extend(sctp);
        let mut packet = [outer, packet].concat();
        let end = packet.len();
        for at in (0..end - 16).step_by(20) {
            packet[at + 2..at + 4].copy_from_slice(&((end - at) as u16).to_be_bytes());
            let checksum = sum(&[], &packet[at..at + 20]);
            packet[at + 10..at + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        let mut frame = [vec![0; LINK_L3], packet].concat();
        let len = frame.len();
        let start = (len - 16) as u16;
        let offload = Offload { checksum: Some(PendingChecksum { start, offset: 8 }), ..Offload::default() };
        let mut held = Frame::new(&mut frame, 0, len, PortId(0), offload).unwrap();
        assert!(complete_checksum(&mut held, LINK_L3));
        assert_eq!(held.offload, Offload::default());
        assert_eq!(frame[len - 8..len - 4], SCTP_CRC);
    }
}

/// CRC32c of the message above, lowest byte first.
const SCTP_CRC: [u8; 4] = [0x82, 0x57, 0x07, 0x40];

proptest! {
    #[test]
    fn any_size_in_any_tunnel_gives_the_payload_back(
        tunnel in any::<proptest::sample::Index>(),
        inside in any::<proptest::sample::Index>(),
        bytes in 1usize..20_000,
        gso_size in 36u16..9000,
    ) {
        let all = encapsulations();
        let (name, outer) = &all[tunnel.index(all.len())];
        let inner = inner();
        let layers = [outer.clone(), inner[inside.index(inner.len())].clone()].concat();
        check(name, &layers, &payload(bytes), gso_size);
    }
}
