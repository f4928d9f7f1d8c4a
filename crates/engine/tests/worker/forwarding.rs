//! Frames between the ports that the engine started with: pending, refused, cut, ordered, and a worker's end.

use nsrouter_rings::memory::{Stored, Wire};
use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};

use crate::testbed::*;

#[test]
fn frames_wait_for_their_neighbour_and_leave_in_order() {
    let (engine, [left, right]) = engine(1000);
    for sequence in 0..10 {
        left.put(packet(1, 64, sequence));
    }
    let request = poll("an ARP request", || right.take());
    assert!(is_arp_request(&request));
    assert_eq!(request.bytes[..6], [0xff; 6]);
    assert_eq!(request.bytes[38..42], [10, 0, 2, 1], "who it asks for");
    right.put(arp(1, 2));
    for sequence in 0..10u16 {
        let frame = next_frame(&right);
        assert_eq!((&frame.bytes[..6], &frame.bytes[6..12]), (&HOST[1][..], &ROUTER[1][..]));
        assert_eq!(frame.bytes[22], 63, "TTL");
        assert_eq!(frame.bytes[42..44], sequence.to_be_bytes());
    }
    let status = stop_engine(engine);
    assert_eq!((status.totals.held, status.totals.dropped), (0, 0), "{status:#?}");
    assert_eq!(status.ports[1].tx_frames, status.totals.sent);
}

#[test]
fn a_neighbour_that_does_not_answer_is_told_to_the_sender() {
    let (engine, [left, right]) = engine(1000);
    introduce(&engine, &left, 0);
    left.put(packet(77, 64, 7));
    let error = next_frame(&left);
    assert_eq!((error.bytes[23], error.bytes[34], error.bytes[35]), (1, 3, 1), "host unreachable");
    assert!(poll("ARP requests", || right.take()).bytes[41] == 77);
    let status = stop_engine(engine);
    assert_eq!(status.drops.get("neighbour_failed"), Some(&1), "{status:#?}");
    assert_eq!(status.totals.held, 0);
}

#[test]
fn what_does_not_fit_on_the_way_out_is_a_counted_drop() {
    let (engine, [left, right]) = engine(4);
    introduce(&engine, &right, 1);
    for sequence in 0..100 {
        left.put(packet(1, 64, sequence));
    }
    poll("all have come in", || (engine.status().ports[0].rx_frames == 100).then_some(()));
    let status = stop_engine(engine);
    assert_eq!(status.drops.get("tx_full"), Some(&96), "{status:#?}");
    assert_eq!(status.ports[1].tx_dropped, 96);
    assert_eq!(status.ports[1].tx_frames, 1 + 4, "the ARP reply, and what fitted");
}

/// TCP in VXLAN from the first network to the second, in segments of `gso_size`.
fn tcp_in_vxlan(bytes: usize, gso_size: u16) -> Stored {
    let mut inner = vec![8, 0, 0, 0, 0, 0, 7, 0];
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([192, 168, 77, 1], [192, 168, 77, 2], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut inner, &vec![7; bytes])
        .unwrap();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(HOST[0], ROUTER[0])
        .ipv4([10, 0, 1, 1], [10, 0, 2, 1], 64)
        .udp(5, 4789)
        .write(&mut frame, &inner)
        .unwrap();
    let start = u16::try_from(frame.len() - bytes - 20).unwrap();
    let offload = Offload {
        checksum: Some(PendingChecksum { start, offset: 16 }),
        gso: Gso::Tcp4 { ecn: false },
        gso_size,
        header_bytes: 0,
    };
    Stored { bytes: frame, offload }
}

/// A port is given what its virtio-net header can say, and the rest is done before: segments of tunnelled
/// packets, and SCTP's checksum.
#[test]
fn what_no_port_can_do_is_done_in_software() {
    let (engine, [left, right]) = engine(5000);
    introduce(&engine, &right, 1);
    // More segments than a burst has frames.
    left.put(tcp_in_vxlan(60_000, 500));
    for number in 0..120u16 {
        let segment = next_frame(&right);
        assert_eq!((segment.bytes.len(), segment.offload), (14 + 28 + 22 + 40 + 500, Offload::default()));
        assert_eq!(segment.bytes[18..20], number.to_be_bytes(), "identification");
    }
    let mut sctp = packet(1, 64, 0);
    sctp.bytes[23] = 132;
    sctp.bytes.truncate(34);
    sctp.bytes.extend([0x13, 0x88, 0x13, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4]);
    sctp.bytes[16..18].copy_from_slice(&[0, 36]);
    nsrouter_wire::ipv4::fill_checksum(&mut sctp.bytes[14..34]);
    sctp.offload.checksum = Some(PendingChecksum { start: 34, offset: 8 });
    left.put(sctp);
    let done = next_frame(&right);
    assert_eq!(done.offload, Offload::default());
    assert_ne!(done.bytes[42..46], [0; 4], "all four bytes of a CRC32c");
    // Segments of a few bytes would be tens of thousands.
    left.put(tcp_in_vxlan(60_000, 1));
    left.put(packet(1, 64, 9));
    assert_eq!(next_frame(&right).bytes[42..44], [0, 9], "what came after it is next");
    let status = stop_engine(engine);
    assert_eq!(status.drops.get("too_many_segments"), Some(&1), "{status:#?}");
    assert_eq!(status.totals.dropped, 1, "{status:#?}");
    assert_eq!((status.totals.originated, status.totals.consumed), (120, 1), "{status:#?}");
}

#[test]
fn a_burst_for_both_ports_keeps_each_port_s_order() {
    let (engine, [left, right]) = engine(1000);
    introduce(&engine, &right, 1);
    introduce(&engine, &left, 0);
    // Every second frame is a question to the router itself, answered by the port that it came by.
    for sequence in 0..32 {
        left.put(packet(1, 64, sequence));
        left.put(arp(0, 1));
    }
    for sequence in 0..32u16 {
        assert_eq!(next_frame(&right).bytes[42..44], sequence.to_be_bytes());
        assert_eq!(next_frame(&left).bytes[21], 2);
    }
    let status = stop_engine(engine);
    assert_eq!(status.totals.dropped, 0, "{status:#?}");
}

#[test]
fn frames_that_are_held_when_the_engine_stops_are_drops() {
    let (engine, [left, _right]) = engine(1000);
    (0..5).for_each(|sequence| left.put(packet(9, 64, sequence)));
    poll("they are held", || (engine.status().totals.held == 5).then_some(()));
    let status = stop_engine(engine);
    assert_eq!((status.totals.held, status.drops.get("worker_stopped")), (0, Some(&5)), "{status:#?}");
}

#[test]
fn a_worker_that_panics_takes_no_other_with_it() {
    // In the order of their making: both workers' first port, then both workers' second.
    let (engine, wires) = engine_of(2, 1000);
    let [left, fatal, right, _] = &wires[..] else { panic!("four wires") };
    introduce(&engine, right, 1);
    // The second worker holds a frame when it ends.
    fatal.put(packet(9, 64, 0));
    poll("it is held", || (engine.status().totals.held == 1).then_some(()));
    fatal.put(Stored { bytes: vec![FATAL; 60], offload: Offload::default() });
    poll("the worker's end", || engine.status().workers[1].ended.then_some(()));
    assert!(!engine.has_ended(), "the other one goes on");
    left.put(packet(1, 64, 5));
    assert_eq!(next_frame(right).bytes[42..44], [0, 5]);
    // Probes, which the first worker sends, and the failure, which the dead one is not waited for.
    introduce(&engine, left, 0);
    let before = engine.status();
    assert!(before.warnings.iter().any(|warning| warning.contains("worker 1 panicked")), "{before:#?}");
    assert!(!before.workers[0].ended);
    let status = stop_engine(engine);
    assert_eq!((status.totals.held, status.drops.get("worker_stopped")), (0, Some(&1)), "{status:#?}");
}

#[test]
fn a_sleeping_worker_hears_every_one_of_300_ports() {
    let (engine, wires) = engine_with(300, 1, 1000);
    for (wire, port) in wires.iter().zip(1u16..) {
        let [high, low] = port.to_be_bytes();
        let mut payload = vec![0, 1, 8, 0, 6, 4, 0, 1];
        payload.extend(HOST[0]);
        payload.extend([10, high, low, 1]);
        payload.extend([0; 6]);
        payload.extend([10, high, low, 254]);
        wire.put(ethernet([0xff; 6], HOST[0], 0x0806, &payload));
        let reply = poll("an answer", || wire.take());
        assert_eq!((reply.bytes[21], &reply.bytes[28..32]), (2, &[10, high, low, 254][..]), "port {port}");
    }
    // And a command wakes it as well: what is asked of the last port's network goes out there.
    wires[0].put(packet(2, 64, 1));
    let request = poll("an ARP request", || wires[1].take());
    assert!(is_arp_request(&request));
    stop_engine(engine);
}

#[test]
fn without_its_last_worker_the_engine_has_ended() {
    let (engine, [left, _right]) = engine(1000);
    left.put(Stored { bytes: vec![FATAL; 60], offload: Offload::default() });
    poll("the end", || engine.has_ended().then_some(()));
    stop_engine(engine);
}

/// A UDP packet of `payload` bytes `id` from the first network to the second, which may be fragmented.
fn fragmentable(id: u8, payload: usize) -> Stored {
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ethernet2(HOST[0], ROUTER[0])
        .ipv4([10, 0, 1, 1], [10, 0, 2, 1], 64)
        .udp(1000, 2000)
        .write(&mut bytes, &vec![id; payload])
        .unwrap();
    // Don't Fragment off, and a checksum that fits.
    let mut header = etherparse::Ipv4Header::from_slice(&bytes[14..]).unwrap().0;
    header.dont_fragment = false;
    header.header_checksum = header.calc_header_checksum();
    bytes[14..34].copy_from_slice(&header.to_bytes());
    Stored { bytes, offload: Offload::default() }
}

/// The next frames out of the wire are these packets of [`fragmentable`], each second one in two fragments.
fn expect_fragments(wire: &Wire, rounds: u8) {
    for round in 0..rounds {
        for is_fragment in [false, true, true] {
            let frame = next_frame(wire);
            let flags = u16::from_be_bytes([frame.bytes[20], frame.bytes[21]]);
            assert_eq!((flags & 0x3fff != 0, frame.bytes.last()), (is_fragment, Some(&round)));
        }
    }
}

#[test]
fn fragments_keep_their_place_in_the_flow() {
    let (engine, [left, right]) = engine(1000);
    introduce(&engine, &right, 1);
    // Small and large: the large one exceeds the MTU.
    for round in 0..20 {
        left.put(fragmentable(round, 100));
        left.put(fragmentable(round, 2000));
    }
    expect_fragments(&right, 20);
    stop_engine(engine);
}

#[test]
fn fragments_keep_their_place_among_frames_that_wait_for_a_neighbour() {
    let (engine, [left, right]) = engine(1000);
    for round in 0..20 {
        left.put(fragmentable(round, 100));
        left.put(fragmentable(round, 2000));
    }
    poll("they are held", || (engine.status().totals.held == 60).then_some(()));
    right.put(arp(1, 2));
    expect_fragments(&right, 20);
    stop_engine(engine);
}
