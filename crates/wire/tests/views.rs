//! Our header views beside two independent parsers, etherparse and pnet_packet, on random and on mutated
//! frames: what all three read is the same, and what they refuse we refuse.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use etherparse::{
    ArpPacketSlice, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6ExtensionsSlice,
    Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, PacketBuilder, TcpHeaderSlice,
};
use nsrouter_wire::offload::{Gso, Offload};
use nsrouter_wire::{arp, checksum, eth, icmp, ipv4, ipv6, segment};
use pnet_packet::arp::ArpPacket;
use pnet_packet::ethernet::EthernetPacket;
use pnet_packet::icmp::IcmpPacket;
use pnet_packet::icmpv6::Icmpv6Packet;
use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::{ExtensionPacket, FragmentPacket, Ipv6Packet};
use pnet_packet::tcp::TcpPacket;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseResult;

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

fn ethernet(frame: &[u8]) -> TestCaseResult {
    let ours = eth::Header::parse(frame);
    let theirs = Ethernet2HeaderSlice::from_slice(frame).ok();
    let others = EthernetPacket::new(frame);
    prop_assert_eq!(ours.is_some(), theirs.is_some());
    prop_assert_eq!(ours.is_some(), others.is_some());
    let (Some(ours), Some(theirs), Some(others)) = (ours, theirs, others) else { return Ok(()) };
    prop_assert_eq!(ours.destination().0, theirs.destination());
    prop_assert_eq!(ours.source().0, theirs.source());
    prop_assert_eq!(ours.ether_type(), theirs.ether_type().0);
    prop_assert_eq!(ours.destination().0, others.get_destination().octets());
    prop_assert_eq!(ours.source().0, others.get_source().octets());
    prop_assert_eq!(ours.ether_type(), others.get_ethertype().0);
    match ours.ether_type() {
        0x0800 => internet4(&frame[14..]),
        0x86dd => internet6(&frame[14..]),
        0x0806 => address_resolution(&frame[14..]),
        _ => Ok(()),
    }
}

fn address_resolution(packet: &[u8]) -> TestCaseResult {
    let ours = arp::Packet::parse(packet);
    let is_ethernet = |hardware: u16, protocol: u16, sizes: (u8, u8)| {
        // Ethernet or IEEE 802, IPv4.
        matches!(hardware, 1 | 6) && protocol == 0x0800 && sizes == (6, 4)
    };
    if let Ok(theirs) = ArpPacketSlice::from_slice(packet) {
        let sizes = (theirs.hw_addr_size(), theirs.proto_addr_size());
        prop_assert_eq!(
            ours.is_some(),
            is_ethernet(theirs.hw_addr_type().0, theirs.proto_addr_type().0, sizes)
        );
        if let Some(ours) = ours {
            prop_assert_eq!(ours.operation, theirs.operation().0);
            prop_assert_eq!(&ours.sender_mac.0[..], theirs.sender_hw_addr());
            prop_assert_eq!(&ours.sender.octets()[..], theirs.sender_protocol_addr());
            prop_assert_eq!(&ours.target_mac.0[..], theirs.target_hw_addr());
            prop_assert_eq!(&ours.target.octets()[..], theirs.target_protocol_addr());
        }
    } else {
        prop_assert_eq!(ours, None);
    }
    match ArpPacket::new(packet) {
        Some(others) => {
            let sizes = (others.get_hw_addr_len(), others.get_proto_addr_len());
            let hardware = others.get_hardware_type().0;
            prop_assert_eq!(ours.is_some(), is_ethernet(hardware, others.get_protocol_type().0, sizes));
            if let Some(ours) = ours {
                prop_assert_eq!(ours.operation, others.get_operation().0);
                prop_assert_eq!(ours.sender_mac.0, others.get_sender_hw_addr().octets());
                prop_assert_eq!(ours.sender, others.get_sender_proto_addr());
                prop_assert_eq!(ours.target_mac.0, others.get_target_hw_addr().octets());
                prop_assert_eq!(ours.target, others.get_target_proto_addr());
            }
        }
        None => prop_assert_eq!(ours, None),
    }
    Ok(())
}

fn internet4(packet: &[u8]) -> TestCaseResult {
    let ours = ipv4::Header::parse(packet);
    let others = Ipv4Packet::new(packet);
    prop_assert_eq!(ours.is_some(), others.is_some());
    let (Some(ours), Some(others)) = (ours, others) else { return Ok(()) };
    prop_assert_eq!(ours.version(), others.get_version());
    prop_assert_eq!(ours.header_bytes(), usize::from(others.get_header_length()) * 4);
    prop_assert_eq!(ours.traffic_class(), others.get_dscp() << 2 | others.get_ecn());
    prop_assert_eq!(ours.total_bytes(), usize::from(others.get_total_length()));
    prop_assert_eq!(ours.identification(), others.get_identification());
    prop_assert_eq!(ours.flags_offset(), u16::from(others.get_flags()) << 13 | others.get_fragment_offset());
    prop_assert_eq!(ours.ttl(), others.get_ttl());
    prop_assert_eq!(ours.protocol(), others.get_next_level_protocol().0);
    prop_assert_eq!(ours.checksum(), others.get_checksum());
    prop_assert_eq!(ours.source(), others.get_source());
    prop_assert_eq!(ours.destination(), others.get_destination());
    // Etherparse refuses by the checks that the router makes one by one.
    let is_whole = ours.version() == 4
        && ours.header_bytes() >= ipv4::HEADER_BYTES
        && ours.header_bytes() <= packet.len();
    let theirs = Ipv4HeaderSlice::from_slice(packet).ok();
    prop_assert_eq!(theirs.is_some(), is_whole);
    let Some(theirs) = theirs else { return Ok(()) };
    prop_assert_eq!(ours.header_bytes(), theirs.slice().len());
    prop_assert_eq!(ours.traffic_class(), theirs.dcp().value() << 2 | theirs.ecn().value());
    prop_assert_eq!(ours.total_bytes(), usize::from(theirs.total_len()));
    prop_assert_eq!(ours.identification(), theirs.identification());
    prop_assert_eq!(ours.dont_fragment(), theirs.dont_fragment());
    prop_assert_eq!(ours.more_fragments(), theirs.more_fragments());
    prop_assert_eq!(ours.fragment_offset_bytes(), usize::from(theirs.fragments_offset().byte_offset()));
    prop_assert_eq!(ours.is_fragment(), theirs.is_fragmenting_payload());
    prop_assert_eq!(ours.ttl(), theirs.ttl());
    prop_assert_eq!(ours.protocol(), theirs.protocol().0);
    prop_assert_eq!(ours.source(), theirs.source_addr());
    prop_assert_eq!(ours.destination(), theirs.destination_addr());
    // To a receiver both zeros of ones' complement are right; a writer has one of them.
    if ours.checksum() != 0xffff {
        let is_right = checksum::checksum(theirs.slice()) == 0;
        // Etherparse forgets the reserved flag, which the checksum covers.
        if ours.flags_offset() & 0x8000 == 0 {
            prop_assert_eq!(is_right, theirs.to_header().calc_header_checksum() == ours.checksum());
        }
        prop_assert_eq!(is_right, pnet_packet::ipv4::checksum(&others) == ours.checksum());
    }
    let message = &packet[ours.header_bytes()..];
    match ours.protocol() {
        1 if !ours.is_fragment() => icmp4(message),
        6 if !ours.is_fragment() => tcp(packet, message, Gso::Tcp4 { ecn: false }),
        _ => Ok(()),
    }
}

fn icmp4(message: &[u8]) -> TestCaseResult {
    if let Some(others) = IcmpPacket::new(message)
        && others.get_checksum() != 0xffff
    {
        let is_right = pnet_packet::icmp::checksum(&others) == others.get_checksum();
        prop_assert_eq!(icmp::v4_is_valid(message), is_right);
    }
    Ok(())
}

/// The length of all headers, which segmentation cuts behind.
fn tcp(packet: &[u8], message: &[u8], gso: Gso) -> TestCaseResult {
    let ours = segment::header_bytes(packet, 0, &Offload { gso, ..Offload::default() });
    let theirs = TcpHeaderSlice::from_slice(message).ok();
    let l4 = packet.len() - message.len();
    prop_assert_eq!(ours, theirs.map(|header| l4 + header.slice().len()));
    if let (Some(ours), Some(others)) = (ours, TcpPacket::new(message)) {
        prop_assert_eq!(ours - l4, usize::from(others.get_data_offset()) * 4);
    }
    Ok(())
}

fn internet6(packet: &[u8]) -> TestCaseResult {
    let ours = ipv6::Header::parse(packet);
    let others = Ipv6Packet::new(packet);
    prop_assert_eq!(ours.is_some(), others.is_some());
    let (Some(ours), Some(others)) = (ours, others) else { return Ok(()) };
    prop_assert_eq!(ours.version(), others.get_version());
    prop_assert_eq!(ours.traffic_class(), others.get_traffic_class());
    prop_assert_eq!(ours.flow_label(), others.get_flow_label());
    prop_assert_eq!(ours.payload_bytes(), usize::from(others.get_payload_length()));
    prop_assert_eq!(ours.next_header(), others.get_next_header().0);
    prop_assert_eq!(ours.hop_limit(), others.get_hop_limit());
    prop_assert_eq!(ours.source(), others.get_source());
    prop_assert_eq!(ours.destination(), others.get_destination());
    let theirs = Ipv6HeaderSlice::from_slice(packet).ok();
    prop_assert_eq!(theirs.is_some(), ours.version() == 6);
    let Some(theirs) = theirs else { return Ok(()) };
    prop_assert_eq!(ours.traffic_class(), theirs.traffic_class());
    prop_assert_eq!(ours.flow_label(), theirs.flow_label().value());
    prop_assert_eq!(ours.payload_bytes(), usize::from(theirs.payload_length()));
    prop_assert_eq!(ours.next_header(), theirs.next_header().0);
    prop_assert_eq!(ours.hop_limit(), theirs.hop_limit());
    prop_assert_eq!(ours.source(), theirs.source_addr());
    prop_assert_eq!(ours.destination(), theirs.destination_addr());

    let ours = ipv6::upper_layer(packet);
    prop_assert_eq!(ours.map(|upper| (upper.protocol, upper.offset, upper.fragment)), walk_by_pnet(packet));
    let is_later = ours.and_then(|upper| upper.fragment).is_some_and(|(offset, _)| offset > 0);
    // It reads on in a fragment that is not the first, and takes no hop-by-hop header after others.
    if !is_later
        && let Ok((_, protocol, rest)) = Ipv6ExtensionsSlice::from_slice(IpNumber(packet[6]), &packet[40..])
    {
        let ours = ours.map(|upper| (upper.protocol, upper.offset));
        prop_assert_eq!(ours, Some((protocol.0, packet.len() - rest.len())));
    }
    let Some(upper) = ours else { return Ok(()) };
    if let Some(fragment) = upper.fragment
        && packet[6] == 44
    {
        let theirs = Ipv6FragmentHeaderSlice::from_slice(&packet[40..]).unwrap();
        let theirs = (usize::from(theirs.fragment_offset().byte_offset()), theirs.more_fragments());
        prop_assert_eq!(fragment, theirs);
    }
    let message = &packet[upper.offset..];
    match upper.protocol {
        58 if upper.fragment.is_none() => icmp6(packet, message),
        6 if upper.fragment.is_none() => tcp(packet, message, Gso::Tcp6 { ecn: false }),
        _ => Ok(()),
    }
}

fn icmp6(packet: &[u8], message: &[u8]) -> TestCaseResult {
    let header = ipv6::Header::parse(packet).unwrap();
    let (source, destination) = (header.source(), header.destination());
    if let Some(others) = Icmpv6Packet::new(message)
        && others.get_checksum() != 0xffff
    {
        let is_right = pnet_packet::icmpv6::checksum(&others, &source, &destination) == others.get_checksum();
        prop_assert_eq!(icmp::v6_is_valid(message, source, destination), is_right);
    }
    Ok(())
}

/// Protocol and offset of what follows the extension headers, and of a fragment its offset and whether more
/// follow.
type Walked = (u8, usize, Option<(usize, bool)>);

/// The walk over extension headers by pnet's views of each.
fn walk_by_pnet(packet: &[u8]) -> Option<Walked> {
    let mut protocol = Ipv6Packet::new(packet)?.get_next_header();
    let (mut offset, mut fragment) = (40, None);
    // The longest chain that we read.
    for _ in 0..16 {
        let rest = packet.get(offset..)?;
        let (next, bytes) = match protocol {
            IpNextHeaderProtocol(0 | 43 | 60) => {
                let header = ExtensionPacket::new(rest)?;
                (header.get_next_header(), (usize::from(header.get_hdr_ext_len()) + 1) * 8)
            }
            // RFC 4302 section 2.2: 32-bit words less two. Its first two fields are those of any extension
            // header.
            IpNextHeaderProtocol(51) => {
                let header = ExtensionPacket::new(rest)?;
                (header.get_next_header(), (usize::from(header.get_hdr_ext_len()) + 2) * 4)
            }
            IpNextHeaderProtocol(44) => {
                let header = FragmentPacket::new(rest)?;
                // Its own reading of the offset takes in one of the two reserved bits.
                let word = header.get_fragment_offset_with_flags();
                fragment = Some((usize::from(word & 0xfff8), !header.is_last_fragment()));
                (header.get_next_header(), 8)
            }
            _ => return Some((protocol.0, offset, fragment)),
        };
        if offset + bytes > packet.len() {
            return None;
        }
        (protocol, offset) = (next, offset + bytes);
        if fragment.is_some_and(|(offset, _)| offset > 0) {
            return Some((protocol.0, offset, fragment));
        }
    }
    None
}

/// Frames as hosts send them.
fn sound_frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = || proptest::collection::vec(any::<u8>(), 0..80);
    let options = || proptest::sample::select(vec![0usize, 4, 12, 40]);
    let version4 = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u8>(), options(), 0u8..4, payload()).prop_map(
        |(source, destination, ttl, options, upper, payload)| {
            let header = etherparse::Ipv4Header {
                time_to_live: ttl,
                source,
                destination,
                options: vec![1; options].as_slice().try_into().unwrap(),
                ..Default::default()
            };
            let builder = PacketBuilder::ethernet2(MACS.0, MACS.1);
            finish(builder.ip(etherparse::IpHeaders::Ipv4(header, Default::default())), upper, true, &payload)
        },
    );
    let kinds = proptest::collection::vec(proptest::sample::select(vec![0u8, 43, 44, 51, 60]), 0..5);
    let version6 =
        (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u8>(), kinds, 0u8..4, payload(), any::<u16>()).prop_map(
            |(source, destination, hops, kinds, upper, payload, word)| {
                let builder = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv6(source, destination, hops);
                extended(finish(builder, upper, false, &payload), &kinds, word)
            },
        );
    let question = any::<[u8; 20]>().prop_map(|addresses| {
        [&[0xff; 6][..], &MACS.1, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &addresses].concat()
    });
    prop_oneof![3 => version4, 4 => version6, 1 => question]
}

fn finish(
    builder: etherparse::PacketBuilderStep<etherparse::IpHeaders>,
    upper: u8,
    is_v4: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    match (upper, is_v4) {
        (0, _) => builder.udp(5, 6).write(&mut frame, payload).unwrap(),
        (1, _) => {
            let tcp = builder.tcp(5, 6, 7, 8).options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
            tcp.write(&mut frame, payload).unwrap();
        }
        (2, true) => builder.icmpv4_echo_request(1, 2).write(&mut frame, payload).unwrap(),
        (2, false) => builder.icmpv6_echo_request(1, 2).write(&mut frame, payload).unwrap(),
        _ => builder.write(&mut frame, IpNumber(253), payload).unwrap(),
    }
    frame
}

/// Puts extension headers of 16 bytes (a fragment header has 8) between the IPv6 header and what follows.
fn extended(mut frame: Vec<u8>, kinds: &[u8], word: u16) -> Vec<u8> {
    let last = frame[20];
    let mut chain = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or(last);
        match kind {
            44 => {
                chain.extend([next, 0]);
                chain.extend(word.to_be_bytes());
                chain.extend([0, 0, 0, 9]);
            }
            _ => {
                chain.extend([next, if *kind == 51 { 2 } else { 1 }]);
                chain.extend([1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            }
        }
    }
    if let Some(first) = kinds.first() {
        frame[20] = *first;
    }
    frame.splice(54..54, chain);
    let payload_bytes = (frame.len() - 54) as u16;
    frame[18..20].copy_from_slice(&payload_bytes.to_be_bytes());
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn sound_frames_read_alike(frame in sound_frames()) {
        ethernet(&frame)?;
    }

    #[test]
    fn mutated_frames_read_alike(
        mut frame in sound_frames(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<Index>()),
    ) {
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len() + 1));
        }
        ethernet(&frame)?;
    }

    #[test]
    fn random_bytes_read_alike(
        ether_type in proptest::sample::select(vec![0x0800u16, 0x86dd, 0x0806]),
        mut frame in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        if let Some(kind) = frame.get_mut(12..14) {
            kind.copy_from_slice(&ether_type.to_be_bytes());
        }
        ethernet(&frame)?;
    }
}

/// RFC 1624 section 3: every checksum that a header can have, the corner from 0x0000 to 0xffff among them, is
/// what full recomputation gives when the TTL has changed; the other field that is changed so, an echo's
/// type, is in the router's own tests.
#[test]
fn ttl_update_equals_recomputation_for_every_checksum() {
    let mut header = [0x45, 0, 0, 84, 0, 0, 0x40, 0, 0, 1, 0, 0, 10, 10, 251, 1, 10, 10, 252, 1];
    let mut before = vec![false; 0x1_0000];
    let mut after = vec![false; 0x1_0000];
    for ttl in [1, 2, 64, 128, 255] {
        for identification in 0..=u16::MAX {
            header[4..6].copy_from_slice(&identification.to_be_bytes());
            header[8] = ttl;
            ipv4::fill_checksum(&mut header);
            before[usize::from(u16::from_be_bytes([header[10], header[11]]))] = true;
            ipv4::decrement_ttl(&mut header);
            let theirs = Ipv4HeaderSlice::from_slice(&header).unwrap().to_header().calc_header_checksum();
            let ours = u16::from_be_bytes([header[10], header[11]]);
            assert_eq!(ours, theirs, "TTL {ttl}, identification {identification:#x}");
            assert_eq!(ours, pnet_packet::ipv4::checksum(&Ipv4Packet::new(&header).unwrap()));
            after[usize::from(ours)] = true;
        }
    }
    // A header that is not all zeros never has the checksum 0xffff.
    assert!(before[..0xffff].iter().chain(&after[..0xffff]).all(|is_met| *is_met), "every value is met");
    assert!(!before[0xffff] && !after[0xffff]);
}
