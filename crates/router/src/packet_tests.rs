use nsrouter_wire::frame::PortId;
use nsrouter_wire::offload::Offload;
use proptest::prelude::*;

use super::*;

/// A packet of random fields behind room for an Ethernet header, as etherparse builds it.
fn frame4(header: &etherparse::Ipv4Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; L3];
    header.write(&mut bytes).unwrap();
    bytes.extend(payload);
    bytes
}

proptest! {
    #[test]
    fn an_ipv4_record_is_what_etherparse_reads_and_stays_true(
        (source, destination) in any::<([u8; 4], [u8; 4])>(),
        (ttl, protocol, dscp) in (any::<u8>(), any::<u8>(), 0u8..64),
        (dont_fragment, more, offset) in (any::<bool>(), any::<bool>(), 0u16..0x2000),
        options in 0usize..=10,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        cut in 20usize..80,
    ) {
        let mut header =
            etherparse::Ipv4Header::new(payload.len() as u16, ttl, protocol.into(), source, destination).unwrap();
        header.dscp = dscp.try_into().unwrap();
        header.dont_fragment = dont_fragment;
        header.more_fragments = more;
        header.fragment_offset = offset.try_into().unwrap();
        header.options = vec![1; options * 4].as_slice().try_into().unwrap();
        header.set_payload_len(payload.len()).unwrap();
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = frame4(&header, &payload);
        let theirs = etherparse::Ipv4HeaderSlice::from_slice(&bytes[L3..]).unwrap().to_header();
        let len = bytes.len();
        let mut frame = Frame::new(&mut bytes, 0, len, PortId(0), Offload::default()).unwrap();
        let ip = IpHeaders::read(&frame.data()[L3..], LinkDestination::Router).unwrap();
        let mut packet = Packet4 { frame: &mut frame, ip };

        prop_assert_eq!(ip.source.octets(), theirs.source);
        prop_assert_eq!(ip.destination.octets(), theirs.destination);
        prop_assert_eq!((ip.ttl, ip.protocol), (theirs.time_to_live, theirs.protocol.0));
        prop_assert_eq!(ip.traffic_class >> 2, theirs.dscp.value());
        prop_assert_eq!(ip.header_bytes, theirs.header_len());
        prop_assert_eq!(ip.packet_bytes, usize::from(theirs.total_len));
        prop_assert_eq!((ip.dont_fragment(), ip.more_fragments()), (theirs.dont_fragment, theirs.more_fragments));
        prop_assert_eq!(ip.fragment_offset_bytes(), usize::from(theirs.fragment_offset.value()) * 8);
        prop_assert_eq!(ip.is_fragment(), theirs.is_fragmenting_payload());
        let upper = packet.upper().unwrap();
        prop_assert_eq!((upper.protocol, upper.offset), (theirs.protocol.0, theirs.header_len()));

        prop_assert!(packet.ip.is_true_of(packet.bytes()));
        packet.decrement_ttl();
        prop_assert_eq!(packet.ip.ttl, ttl.wrapping_sub(1));
        prop_assert!(packet.ip.is_true_of(packet.bytes()));
        packet.truncate(cut);
        prop_assert!(packet.ip.is_true_of(packet.bytes()));
        packet.bytes_mut()[9] = protocol.wrapping_add(1);
        prop_assert!(!packet.ip.is_true_of(packet.bytes()), "a rewriting that tells nobody is found");
        packet.read_again();
        prop_assert!(packet.ip.is_true_of(packet.bytes()));
    }

    #[test]
    fn an_ipv6_record_is_what_etherparse_reads_and_stays_true(
        (source, destination) in any::<([u8; 16], [u8; 16])>(),
        (hop_limit, traffic_class, label) in (any::<u8>(), any::<u8>(), 0u32..0x10_0000),
        is_extended in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let extension: &[u8] = if is_extended { &[17, 0, 1, 4, 0, 0, 0, 0] } else { &[] };
        let header = etherparse::Ipv6Header {
            traffic_class,
            flow_label: label.try_into().unwrap(),
            payload_length: (extension.len() + payload.len()) as u16,
            next_header: if is_extended { 60.into() } else { 17.into() },
            hop_limit,
            source,
            destination,
        };
        let mut bytes = vec![0; L3];
        header.write(&mut bytes).unwrap();
        bytes.extend(extension);
        bytes.extend(&payload);
        let len = bytes.len();
        let mut frame = Frame::new(&mut bytes, 0, len, PortId(0), Offload::default()).unwrap();
        let ip = IpHeaders::read(&frame.data()[L3..], LinkDestination::Group).unwrap();
        let mut packet = Packet6 { frame: &mut frame, ip };

        prop_assert_eq!((ip.source.octets(), ip.destination.octets()), (source, destination));
        prop_assert_eq!((ip.ttl, ip.traffic_class, ip.protocol), (hop_limit, traffic_class, header.next_header.0));
        prop_assert_eq!((ip.header_bytes, ip.packet_bytes), (40, 40 + usize::from(header.payload_length)));
        let upper = packet.upper().unwrap();
        prop_assert_eq!((upper.protocol, upper.offset), (17, 40 + extension.len()));

        packet.decrement_hop_limit();
        prop_assert_eq!(packet.ip.ttl, hop_limit.wrapping_sub(1));
        prop_assert!(packet.ip.is_true_of(packet.bytes()));
        packet.truncate(40 + extension.len());
        prop_assert!(packet.ip.is_true_of(packet.bytes()));
        packet.bytes_mut()[8] ^= 1;
        prop_assert!(!packet.ip.is_true_of(packet.bytes()), "a rewriting that tells nobody is found");
    }
}
