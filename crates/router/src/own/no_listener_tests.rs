use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::testing::*;
use crate::*;

/// A segment from t1 to our far address.
fn segment4(flags: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let step = from_t1().ipv4([10, 10, 251, 1], [10, 10, 252, 2], 1).tcp(4321, 80, 0xffff_fff0, 1000);
    let step = if flags & super::SYN != 0 { step.syn() } else { step };
    let step = if flags & super::FIN != 0 { step.fin() } else { step };
    let step = if flags & super::RST != 0 { step.rst() } else { step };
    let step = if flags & super::ACK != 0 { step.ack(0x0102_0304) } else { step };
    step.write(&mut frame, data).unwrap();
    frame
}

/// Sequence and acknowledgement numbers of the reset, and whether it acknowledges.
fn parse(frame: &[u8]) -> (u32, u32, bool) {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{frame:?}") };
    let header = tcp.to_header();
    let sum = match sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
            assert!((ip.dont_fragment, ip.identification, ip.time_to_live) == (true, 0, 64));
            header.calc_checksum_ipv4(&ip, &[]).unwrap()
        }
        Some(NetSlice::Ipv6(ip)) => header.calc_checksum_ipv6(&ip.header().to_header(), &[]).unwrap(),
        _ => panic!("{frame:?}"),
    };
    assert_eq!((sum, header.rst, header.data_offset()), (header.checksum, true, 5));
    assert_eq!((header.source_port, header.destination_port), (80, 4321));
    assert!(!header.syn && !header.fin && tcp.payload().is_empty());
    (header.sequence_number, header.acknowledgment_number, header.ack)
}

#[test]
fn what_nobody_waits_for_is_reset() {
    let mut bench = Bench::lab();
    let mut reset = |flags, data: &[u8]| {
        let done = bench.push(P1, &segment4(flags, data));
        assert_eq!(done.verdict, Verdict::Reply(P1));
        assert_eq!(done.bytes[..12], [T1_MAC, R1_MAC].concat());
        assert_eq!(done.bytes[26..34], [10, 10, 252, 2, 10, 10, 251, 1]);
        parse(&done.bytes)
    };
    // RFC 9293 section 3.10.7.1; sequence numbers wrap.
    assert_eq!(reset(super::SYN, b""), (0, 0xffff_fff1, true));
    assert_eq!(reset(super::FIN, &[7; 100]), (0, 0x55, true));
    assert_eq!(reset(super::ACK, &[7; 100]), (0x0102_0304, 0, false));
    assert_eq!(reset(super::SYN | super::ACK, b""), (0x0102_0304, 0, false));
}

#[test]
fn link_local_addresses_reset_beside_a_host_port() {
    let mut bench = Bench::new(&[], Settings { host_port: true, ..Settings::default() });
    let mut frame = Vec::new();
    from_t1()
        .ipv6(octets6("fe80::11"), octets6("fe80::1:2ff:fe03:401"), 1)
        .tcp(4321, 80, 5, 1000)
        .syn()
        .write(&mut frame, b"")
        .unwrap();
    let done = bench.push(P1, &frame);
    assert_eq!((done.verdict, parse(&done.bytes)), (Verdict::Reply(P1), (0, 6, true)));
    assert_eq!(done.bytes[22..38], octets6("fe80::1:2ff:fe03:401"));
    assert_eq!(bench.push(P1, &segment4(super::SYN, b"")).verdict, Verdict::ToHost);
}

#[test]
fn resets_groups_and_what_is_broken_are_not_answered() {
    let mut bench = Bench::lab();
    let reason = DropReason::PortUnreachable;
    bench.expect_drop(P1, &segment4(super::RST, b""), reason);
    let mut wrong = segment4(super::SYN, b"");
    wrong[40] ^= 1;
    bench.expect_drop(P1, &wrong, reason);
    let mut short = segment4(super::SYN, b"");
    short[46] = 0xf0;
    bench.expect_drop(P1, &short, reason);
    let mut group = Vec::new();
    from_t1()
        .ipv6(octets6("fd00:251::1"), octets6("ff02::1"), 64)
        .tcp(4321, 80, 5, 1000)
        .syn()
        .write(&mut group, b"")
        .unwrap();
    bench.expect_drop(P1, &group, reason);
    assert!(bench.out.sent.is_empty() && bench.out.held.is_empty());
}

#[test]
fn only_whole_datagrams_are_refused() {
    let refused = |bench: &mut Bench, frame: &[u8]| {
        bench.expect_drop(P1, frame, DropReason::PortUnreachable);
        std::mem::take(&mut bench.out.sent).len()
    };
    let mut bench = Bench::lab();
    let mut frame = udp4_to([10, 10, 251, 1], [10, 10, 251, 2], 64, b"odd");
    assert_eq!(refused(&mut bench, &frame), 1);
    frame[41] ^= 1;
    assert_eq!(refused(&mut bench, &frame), 0, "wrong checksum");
    frame[40..42].fill(0);
    assert_eq!(refused(&mut bench, &frame), 1, "no checksum");
    frame[39] += 1;
    assert_eq!(refused(&mut bench, &frame), 0, "longer than the packet");
    frame[39] = 7;
    assert_eq!(refused(&mut bench, &frame), 0, "shorter than its header");
    let mut frame = udp6("fd00:251::1", "fd00:251::2", 64, b"odd");
    assert_eq!(refused(&mut bench, &frame), 1);
    frame[60..62].fill(0);
    assert_eq!(refused(&mut bench, &frame), 0, "IPv6 has no datagrams without a checksum");
    // A checksum that an offload left to do is done first.
    let mut frame = udp4_to([10, 10, 251, 1], [10, 10, 251, 2], 64, b"odd");
    let sum =
        nsrouter_wire::checksum::Sum::new().pseudo_ipv4([10, 10, 251, 1], [10, 10, 251, 2], 17, 11).fold();
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
    let checksum = Some(nsrouter_wire::offload::PendingChecksum { start: 34, offset: 6 });
    let pending = nsrouter_wire::offload::Offload { checksum, ..Default::default() };
    assert_eq!(bench.push_offloaded(P1, &frame, pending).verdict, Verdict::Drop(DropReason::PortUnreachable));
    assert_eq!(bench.out.sent.len(), 1);
}

#[test]
fn what_the_host_could_not_answer_is_refused_here() {
    let mut bench = Bench::new(&[], Settings { host_port: true, ..Settings::default() });
    for (source, destination) in
        [("fe80::11", "fd00:251::2"), ("fd00:251::1", "fd00:251::"), ("fd00:251::1", "fe80::1:2ff:fe03:401")]
    {
        let frame = udp6(source, destination, 64, b"");
        bench.expect_drop(P1, &frame, DropReason::PortUnreachable);
        let error = bench.take_one().1;
        assert_eq!(error[22..38], octets6(destination), "from the address that was asked");
    }
    // The other port's link-local address is not the one that was asked.
    bench.expect_drop(P1, &udp6("fd00:251::1", "fe80::1:2ff:fe03:402", 1, b""), DropReason::TtlExceeded);
    assert_eq!(bench.take_one().1[22..38], octets6("fd00:251::2"));
}
