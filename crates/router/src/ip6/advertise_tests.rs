use etherparse::{Icmpv6Slice, Ipv6Slice};
use nsrouter_wire::icmp;

use crate::ip6::listener::Listener;
use crate::testing::*;
use crate::*;

fn configured() -> Settings {
    let advertise = Advertise { port: P1, interval_ms: 600_000, lifetime_s: 1800, prefix_lifetime_s: 86_400 };
    Settings { advertise: vec![advertise], ..Settings::default() }
}

/// A lab whose router does not tell of the groups that it joins.
fn without_reports(mut bench: Bench) -> Bench {
    bench.router.state.listener = Listener::new(1, 2, 7);
    bench
}

fn check(frame: &[u8], destination: &str) {
    let ip = Ipv6Slice::from_slice(&frame[14..]).unwrap();
    let header = ip.header();
    assert_eq!(header.source_addr().to_string(), "fe80::1:2ff:fe03:401");
    assert_eq!((header.hop_limit(), header.destination_addr().to_string().as_str()), (255, destination));
    let body = ip.payload().payload;
    assert!(Icmpv6Slice::from_slice(body).unwrap().is_checksum_valid(header.source(), header.destination()));
    let mut golden = vec![134, 0, body[2], body[3], 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    golden.extend([1, 1, 2, 1, 2, 3, 4, 1]);
    golden.extend([5, 1, 0, 0, 0, 0, 0x05, 0xdc]);
    golden.extend([3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 1, 0x51, 0x80, 0, 0, 0, 0]);
    golden.extend(octets6("fd00:251::"));
    assert_eq!(body, golden);
}

#[test]
fn advertisements_come_unasked_three_of_them_soon() {
    let mut bench = without_reports(Bench::new(&[], configured()));
    let mut times = Vec::new();
    for _ in 0..6 {
        bench.now.mono_ns = bench.router.next_deadline().unwrap();
        bench.router.tick(bench.now, &bench.tables, &mut bench.out);
        let (port, frame) = bench.take_one();
        assert_eq!((port, &frame[..6]), (P1, &[0x33, 0x33, 0, 0, 0, 1][..]));
        check(&frame, "ff02::1");
        times.push(bench.now.mono_ns / 1_000_000);
        bench.router.counters().check_conservation().unwrap();
    }
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[..3].iter().all(|wait| (3000..=16_000).contains(wait)), "{waits:?}");
    assert!(waits[3..].iter().all(|wait| (200_000..=600_000).contains(wait)), "{waits:?}");
    assert_eq!(bench.router.counters().originated, 6);
}

#[test]
fn a_solicitation_is_answered_to_its_sender() {
    let mut bench = Bench::new(&[], configured());
    let mut body = vec![133, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    body.extend(T1_MAC);
    icmp::v6_fill(&mut body, "fe80::11".parse().unwrap(), "ff02::2".parse().unwrap());
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(T1_MAC, [0x33, 0x33, 0, 0, 0, 2])
        .ipv6(octets6("fe80::11"), octets6("ff02::2"), 255)
        .write(&mut frame, 58.into(), &body)
        .unwrap();
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
    let (port, answer) = bench.take_one();
    assert_eq!((port, &answer[..6]), (P1, &T1_MAC[..]));
    check(&answer, "fe80::11");
    // Where nothing is configured nothing is said.
    let mut bench = without_reports(Bench::lab());
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
    assert!(bench.out.sent.is_empty());
    bench.router.tick(bench.now, &bench.tables, &mut bench.out);
    assert_eq!((bench.router.next_deadline(), bench.out.sent.len()), (None, 0));
}
