//! Tests of software segmentation: every segment is read by an independent parser.

use super::*;
use crate::frame::PortId;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

fn offload(gso: Gso, gso_size: u16) -> Offload {
    Offload { gso, gso_size, ..Offload::default() }
}

fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 7 + i / 256) as u8).collect()
}

fn frame(is_v6: bool, is_tcp: bool, bytes: usize) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let builder = if is_v6 {
        builder.ipv6([0xfd; 16], [0xfe; 16], 64)
    } else {
        builder.ipv4([10, 10, 251, 1], [10, 10, 252, 1], 64)
    };
    let mut out = Vec::new();
    if is_tcp {
        let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let builder = builder.tcp(1000, 80, 0xffff_ff00, 512).ack(7).psh().fin().cwr();
        builder.options_raw(&options).unwrap().write(&mut out, &payload(bytes)).unwrap();
    } else {
        builder.udp(1000, 53).write(&mut out, &payload(bytes)).unwrap();
    }
    out
}

/// Cuts `data` up and checks every segment with another parser; returns the segments' payloads, joined.
fn segment(data: &[u8], gso: Gso, gso_size: u16) -> Vec<u8> {
    let mut segments = Segments::new(data, LINK_L3, offload(gso, gso_size)).unwrap();
    let mut joined = Vec::new();
    let count = segments.count();
    for index in 0..count {
        let mut buffer = vec![0xaa; segments.next_len().unwrap()];
        let len = segments.write_next(&mut buffer).unwrap();
        assert_eq!(len, buffer.len());
        let parsed = SlicedPacket::from_ethernet(&buffer).unwrap();
        let last = index + 1 == count;
        let net = parsed.net.unwrap();
        if let etherparse::NetSlice::Ipv4(ip) = &net {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.identification), index);
            assert_eq!(usize::from(header.total_len), len - 14);
        }
        match parsed.transport.unwrap() {
            TransportSlice::Tcp(tcp) => {
                let expected = match &net {
                    etherparse::NetSlice::Ipv4(ip) => tcp
                        .calc_checksum_ipv4(ip.header().source_addr().octets(), ip.header().destination())
                        .unwrap(),
                    etherparse::NetSlice::Ipv6(ip) => {
                        tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap()
                    }
                    etherparse::NetSlice::Arp(_) => unreachable!(),
                };
                assert_eq!(tcp.checksum(), expected);
                assert_eq!((tcp.fin(), tcp.psh()), (last, last));
                assert_eq!(tcp.cwr(), index == 0);
                assert_eq!(tcp.sequence_number(), 0xffff_ff00u32.wrapping_add(joined.len() as u32));
                joined.extend_from_slice(tcp.payload());
            }
            TransportSlice::Udp(udp) => {
                let header = udp.to_header();
                let expected = match &net {
                    etherparse::NetSlice::Ipv4(ip) => {
                        header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap()
                    }
                    etherparse::NetSlice::Ipv6(ip) => {
                        header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap()
                    }
                    etherparse::NetSlice::Arp(_) => unreachable!(),
                };
                assert_eq!(header.checksum, expected);
                joined.extend_from_slice(udp.payload());
            }
            _ => unreachable!(),
        }
    }
    assert_eq!(segments.next_len(), None);
    joined
}

#[test]
fn segments_carry_the_whole_payload_with_right_checksums() {
    for bytes in [1, 999, 1000, 1001, 5000, 60_000] {
        for is_v6 in [false, true] {
            let tcp = if is_v6 { Gso::Tcp6 { ecn: true } } else { Gso::Tcp4 { ecn: false } };
            assert_eq!(segment(&frame(is_v6, true, bytes), tcp, 1000), payload(bytes));
            assert_eq!(segment(&frame(is_v6, false, bytes), Gso::Udp, 1000), payload(bytes));
        }
    }
}

#[test]
fn what_the_headers_do_not_bear_out_is_refused() {
    let tcp = frame(false, true, 100);
    let new = |data: &[u8], gso, mss| Segments::new(data, LINK_L3, offload(gso, mss)).map(|_| ());
    assert_eq!(new(&tcp, Gso::None, 10), Err(SegmentError::NotGso));
    assert_eq!(new(&tcp, Gso::Tcp4 { ecn: false }, 0), Err(SegmentError::NotGso));
    assert_eq!(new(&tcp, Gso::Udp, 10), Err(SegmentError::Headers));
    assert_eq!(new(&tcp, Gso::Tcp6 { ecn: false }, 10), Err(SegmentError::Headers));
    assert_eq!(new(&tcp[..50], Gso::Tcp4 { ecn: false }, 10), Err(SegmentError::Headers));
    let mut small = [0; 20];
    let mut segments = Segments::new(&tcp, LINK_L3, offload(Gso::Tcp4 { ecn: false }, 10)).unwrap();
    assert_eq!(segments.write_next(&mut small), None);
}

#[test]
fn mtu_is_compared_with_a_segment() {
    let tcp = frame(false, true, 60_000);
    let bytes = |data: &[u8], gso| packet_bytes(data, LINK_L3, &offload(gso, 1448));
    assert_eq!(bytes(&tcp, Gso::Tcp4 { ecn: false }), Some(20 + 32 + 1448));
    assert_eq!(bytes(&tcp, Gso::Tcp6 { ecn: false }), None, "nobody can cut it, so it is not too big");
    assert_eq!(packet_bytes(&tcp, LINK_L3, &Offload::default()), Some(20 + 32 + 60_000));
    let short = frame(true, false, 10);
    assert_eq!(bytes(&short, Gso::Udp), Some(40 + 8 + 10));
}

#[test]
fn pending_checksum_is_completed() {
    for is_v6 in [false, true] {
        let complete = frame(is_v6, true, 333);
        let mut pending = complete.clone();
        let l4: u16 = if is_v6 { 54 } else { 34 };
        let message = complete.len() - usize::from(l4);
        let pseudo = if is_v6 {
            Sum::new().pseudo_ipv6([0xfd; 16], [0xfe; 16], 6, message as u32)
        } else {
            Sum::new().pseudo_ipv4([10, 10, 251, 1], [10, 10, 252, 1], 6, message as u16)
        };
        let at = usize::from(l4) + 16;
        pending[at..at + 2].copy_from_slice(&pseudo.fold().to_be_bytes());
        let len = pending.len();
        let offload =
            Offload { checksum: Some(PendingChecksum { start: l4, offset: 16 }), ..Offload::default() };
        let mut held = Frame::new(&mut pending, 0, len, PortId(0), offload).unwrap();
        assert!(complete_checksum(&mut held, LINK_L3));
        assert_eq!(held.data(), complete);
        assert_eq!(held.offload, Offload::default());
        held.offload.checksum = Some(PendingChecksum { start: 60_000, offset: 16 });
        assert!(!complete_checksum(&mut held, LINK_L3));
    }
}
