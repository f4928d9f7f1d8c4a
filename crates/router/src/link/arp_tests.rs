use pnet_packet::arp::ArpPacket;

use nsrouter_wire::arp::Packet;
use nsrouter_wire::eth;

use crate::testing::*;
use crate::*;

fn frame(operation: u16, sender: [u8; 4], target: [u8; 4], to: MacAddr) -> Vec<u8> {
    let mut frame = vec![0; 60];
    eth::write(&mut frame, to, MacAddr(T1_MAC), eth::TYPE_ARP);
    let packet = Packet {
        operation,
        sender_mac: MacAddr(T1_MAC),
        sender: sender.into(),
        target_mac: MacAddr::ZERO,
        target: target.into(),
    };
    packet.write(frame[14..].first_chunk_mut().unwrap());
    frame
}

fn seen(kind: Seen) -> Event {
    Event::NeighbourSeen { port: P1, addr: addr("10.10.251.1"), mac: Some(MacAddr(T1_MAC)), kind }
}

#[test]
fn a_request_for_any_address_of_ours_is_answered_and_learnt_from() {
    for target in [[10, 10, 251, 2], [10, 10, 252, 2]] {
        let mut bench = Bench::lab();
        let done = bench.push(P1, &frame(1, [10, 10, 251, 1], target, MacAddr::BROADCAST));
        assert_eq!(done.verdict, Verdict::Reply(P1));
        assert_eq!(done.bytes.len(), 42);
        assert_eq!(done.bytes[..14], [&T1_MAC[..], &R1_MAC[..], &[8, 6]].concat());
        let arp = ArpPacket::new(&done.bytes[14..]).unwrap();
        assert_eq!(arp.get_operation().0, 2);
        assert_eq!(arp.get_sender_hw_addr().octets(), R1_MAC);
        assert_eq!(arp.get_sender_proto_addr().octets(), target);
        assert_eq!(arp.get_target_hw_addr().octets(), T1_MAC);
        assert_eq!(arp.get_target_proto_addr().octets(), [10, 10, 251, 1]);
        assert_eq!(bench.out.events, [seen(Seen::ArpRequest)]);
        assert_eq!(bench.router.counters().sent, 1);
    }
}

#[test]
fn a_probe_is_answered_and_not_learnt_from() {
    let mut bench = Bench::lab();
    let done = bench.push(P1, &frame(1, [0; 4], [10, 10, 251, 2], MacAddr::BROADCAST));
    assert_eq!(done.verdict, Verdict::Reply(P1));
    assert!(bench.out.events.is_empty());
}

#[test]
fn answers_and_announcements_are_reported() {
    let mut bench = Bench::lab();
    let reply = frame(2, [10, 10, 251, 1], [10, 10, 251, 2], MacAddr(R1_MAC));
    assert_eq!(bench.push(P1, &reply).verdict, Verdict::Consumed);
    let gratuitous = frame(1, [10, 10, 251, 1], [10, 10, 251, 1], MacAddr::BROADCAST);
    assert_eq!(bench.push(P1, &gratuitous).verdict, Verdict::Consumed);
    let to_all = frame(2, [10, 10, 251, 1], [10, 10, 251, 2], MacAddr::BROADCAST);
    assert_eq!(bench.push(P1, &to_all).verdict, Verdict::Consumed);
    assert_eq!(
        bench.out.events,
        [seen(Seen::ArpReply), seen(Seen::ArpAnnouncement), seen(Seen::ArpAnnouncement)]
    );
    assert_eq!(bench.router.counters().consumed, 3);
}

#[test]
fn what_is_not_for_us_or_wrong_is_dropped() {
    let mut bench = Bench::lab();
    let other = frame(1, [10, 10, 251, 1], [10, 10, 251, 9], MacAddr::BROADCAST);
    bench.expect_drop(P1, &other, DropReason::ArpNotOurs);
    bench.expect_drop(P1, &other[..40], DropReason::ArpMalformed);
    let mut group = frame(2, [10, 10, 251, 1], [10, 10, 251, 2], MacAddr(R1_MAC));
    group[22] = 0x33;
    bench.expect_drop(P1, &group, DropReason::ArpMalformed);
    let strange = frame(9, [10, 10, 251, 1], [10, 10, 251, 2], MacAddr(R1_MAC));
    bench.expect_drop(P1, &strange, DropReason::ArpMalformed);
}

#[test]
fn somebody_with_our_address_is_a_conflict() {
    let mut bench = Bench::lab();
    let twin = frame(1, [10, 10, 251, 2], [10, 10, 251, 2], MacAddr::BROADCAST);
    bench.expect_drop(P1, &twin, DropReason::MartianSource);
    let conflict = Event::AddressConflict { port: P1, addr: addr("10.10.251.2"), mac: MacAddr(T1_MAC) };
    assert_eq!(bench.out.events, [conflict]);
}
