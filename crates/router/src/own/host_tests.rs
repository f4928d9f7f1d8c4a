use nsrouter_wire::offload::{Offload, PendingChecksum};

use crate::testing::*;
use crate::*;

use nsrouter_wire::frame::PortId;

fn bench() -> Bench {
    Bench::new(&[], Settings { host_port: true, ..Settings::default() })
}

/// A datagram of the host's own: without an Ethernet header.
fn own4(destination: [u8; 4], ttl: u8) -> Vec<u8> {
    udp4_to([10, 10, 251, 2], destination, ttl, b"data").split_off(14)
}

#[test]
fn a_packet_of_the_host_goes_out_with_all_its_hops() {
    let mut bench = bench();
    let packet = own4([10, 10, 251, 1], 1);
    let pending = Offload { checksum: Some(PendingChecksum { start: 20, offset: 6 }), ..Offload::default() };
    let done = bench.push_offloaded(PortId::HOST, &packet, pending);
    assert_eq!(done.verdict, Verdict::Send(P1));
    assert_eq!(done.bytes[..14], [&T1_MAC[..], &R1_MAC[..], &[8, 0]].concat());
    assert_eq!(done.bytes[14..], packet);
    assert_eq!(done.offload.checksum, Some(PendingChecksum { start: 34, offset: 6 }));
    let counters = bench.router.counters();
    assert_eq!((counters.host.rx_frames, counters.host.rx_bytes), (1, packet.len() as u64));
    assert_eq!((counters.sent, counters.port(P1).tx_bytes), (1, packet.len() as u64 + 14));

    let packet = udp6("fd00:251::2", "fd00:252::1", 1, b"data").split_off(14);
    let done = bench.push(PortId::HOST, &packet);
    assert_eq!((done.verdict, &done.bytes[12..14]), (Verdict::Send(P2), &[0x86, 0xdd][..]));
}

#[test]
fn errors_about_packets_of_the_host_go_to_the_host() {
    let mut bench = bench();
    bench.expect_drop(PortId::HOST, &own4([192, 0, 2, 1], 64), DropReason::NoRoute);
    let (port, error) = bench.take_one();
    assert_eq!(port, PortId::HOST);
    assert_eq!(error[0], 0x45, "begins at its IP header");
    assert_eq!(error[20..22], [3, 0]);
    assert_eq!(error[16..20], [10, 10, 251, 2]);
    assert_eq!(bench.router.counters().to_host, 1);
    let packet = udp6("fd00:251::2", "2001:db8::1", 64, b"data").split_off(14);
    bench.expect_drop(PortId::HOST, &packet, DropReason::NoRoute);
    assert_eq!(bench.take_one().1[40..42], [1, 0]);
}

#[test]
fn an_unresolved_next_hop_holds_a_packet_of_the_host_too() {
    let mut bench = bench();
    let next_hop = NextHop { port: P1, addr: addr("10.10.251.9") };
    let done = bench.push(PortId::HOST, &own4([10, 10, 251, 9], 64));
    assert_eq!(done.verdict, Verdict::Hold(next_hop));
    assert_eq!(bench.out.events, [Event::Unresolved { next_hop, asker: Some(addr("10.10.251.2")) }]);
}

#[test]
fn what_does_not_leave_the_host() {
    let mut bench = bench();
    bench.expect_drop(PortId::HOST, &own4([224, 0, 0, 22], 1), DropReason::HostMulticast);
    bench.expect_drop(PortId::HOST, &own4([255, 255, 255, 255], 1), DropReason::Broadcast);
    bench.expect_drop(PortId::HOST, &own4([10, 10, 252, 2], 1), DropReason::MartianDestination);
    bench.expect_drop(PortId::HOST, &own4([127, 0, 0, 1], 1), DropReason::MartianDestination);
    let v6 = |destination| udp6("fd00:251::2", destination, 1, b"").split_off(14);
    bench.expect_drop(PortId::HOST, &v6("ff02::16"), DropReason::HostMulticast);
    bench.expect_drop(PortId::HOST, &v6("fe80::1"), DropReason::LinkLocalDestination);
    bench.expect_drop(PortId::HOST, &[], DropReason::Ip4Short);
    bench.expect_drop(PortId::HOST, &[0x75; 40], DropReason::Ip4Version);
    assert!(bench.out.sent.is_empty());
}
