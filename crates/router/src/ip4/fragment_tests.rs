use nsrouter_wire::ipv4::Header;
use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};
use proptest::prelude::*;

use crate::testing::*;
use crate::*;

fn bench(mtu: u32) -> Bench {
    let mut ports = lab_ports();
    ports[1].mtu = mtu;
    ports[1].addresses.remove(1);
    Bench::with_ports(&ports, &[], Settings::default())
}

/// Puts fragments together again, as a receiver would; every hole or overlap is a failure.
fn reassemble(fragments: &[(nsrouter_wire::frame::PortId, Vec<u8>)], mtu: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    for (index, (port, frame)) in fragments.iter().enumerate() {
        assert_eq!(*port, P2);
        assert_eq!(frame[..12], [T2_MAC, R2_MAC].concat());
        let header = Header::parse(&frame[14..]).unwrap();
        assert!(header.total_bytes() <= mtu && header.total_bytes() == frame.len() - 14);
        let bytes = header.header_bytes();
        assert_eq!(nsrouter_wire::checksum::checksum(&frame[14..14 + bytes]), 0);
        assert_eq!(header.fragment_offset_bytes(), payload.len());
        assert_eq!(header.more_fragments(), index + 1 < fragments.len());
        assert_eq!(header.ttl(), 63);
        payload.extend_from_slice(&frame[14 + bytes..]);
    }
    payload
}

proptest! {
    #[test]
    fn fragments_make_up_the_original(
        payload in proptest::collection::vec(any::<u8>(), 2000..6000),
        mtu in 68u32..1500,
        options in 0usize..=10,
    ) {
        let mut bench = bench(mtu);
        let mut frame = udp4(64, &payload);
        frame.splice(34..34, std::iter::repeat_n(1, options * 4));
        frame[14] = 0x45 + options as u8;
        let total = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[18..20].copy_from_slice(&[0x12, 0x34]);
        frame[20] = 0;
        fix4(&mut frame);
        let done = bench.push(P1, &frame);
        prop_assert_eq!(done.verdict, Verdict::Consumed);
        let sent = std::mem::take(&mut bench.out.sent);
        prop_assert!(sent.iter().all(|(_, frame)| frame[18..20] == [0x12, 0x34]));
        prop_assert_eq!(&reassemble(&sent, mtu as usize)[..], &frame[34 + options * 4..]);
        let counters = bench.router.counters();
        prop_assert_eq!(counters.consumed, 1);
        prop_assert_eq!(counters.originated, sent.len() as u64);
        prop_assert_eq!(counters.port(P2).tx_frames, sent.len() as u64);
    }
}

fn unfragmentable(frame: &mut [u8], df: bool) {
    frame[20] = if df { 0x40 } else { 0 };
    fix4(frame);
}

#[test]
fn fragments_of_fragments_keep_offset_and_more() {
    let mut bench = bench(500);
    let mut frame = udp4(64, &[7; 1200]);
    frame[20..22].copy_from_slice(&(0x2000u16 | 100).to_be_bytes());
    fix4(&mut frame);
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
    let offsets: Vec<_> = bench
        .out
        .sent
        .iter()
        .map(|(_, frame)| {
            let header = Header::parse(&frame[14..]).unwrap();
            (header.fragment_offset_bytes(), header.more_fragments())
        })
        .collect();
    assert_eq!(offsets, [(800, true), (1280, true), (1760, true)]);
}

#[test]
fn options_are_copied_as_their_flag_says() {
    let mut bench = bench(500);
    let mut frame = udp4(64, &[7; 1000]);
    // Record route is for the first fragment alone, router alert for all.
    frame.splice(34..34, [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0]);
    frame[14] = 0x48;
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    unfragmentable(&mut frame, false);
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
    let sent = std::mem::take(&mut bench.out.sent);
    assert_eq!(sent[0].1[34..46], [7, 7, 8, 10, 10, 252, 2, 148, 4, 0, 0, 0]);
    for (_, later) in &sent[1..] {
        assert_eq!(later[34..46], [1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 0]);
    }
    reassemble(&sent, 500);
}

#[test]
fn a_pending_checksum_is_completed_before_the_packet_is_cut() {
    let mut bench = bench(600);
    let mut frame = udp4(64, &[7; 1000]);
    unfragmentable(&mut frame, false);
    let complete = frame.clone();
    let pseudo =
        nsrouter_wire::checksum::Sum::new().pseudo_ipv4([10, 10, 251, 1], [10, 10, 252, 1], 17, 1008).fold();
    frame[40..42].copy_from_slice(&pseudo.to_be_bytes());
    let pending = Offload { checksum: Some(PendingChecksum { start: 34, offset: 6 }), ..Offload::default() };
    assert_eq!(bench.push_offloaded(P1, &frame, pending).verdict, Verdict::Consumed);
    let sent = std::mem::take(&mut bench.out.sent);
    assert_eq!(reassemble(&sent, 600), complete[34..]);
}

#[test]
fn a_gso_packet_is_segmented_and_its_segments_cut() {
    let mut bench = bench(600);
    let mut frame = udp4(64, &[7; 3000]);
    unfragmentable(&mut frame, false);
    let offload = Offload {
        checksum: Some(PendingChecksum { start: 34, offset: 6 }),
        gso: Gso::Udp,
        gso_size: 1000,
        header_bytes: 42,
    };
    assert_eq!(bench.push_offloaded(P1, &frame, offload).verdict, Verdict::Consumed);
    let sent = std::mem::take(&mut bench.out.sent);
    assert_eq!(sent.len(), 6);
    for (index, pair) in sent.chunks(2).enumerate() {
        let datagram = reassemble(pair, 600);
        assert_eq!(datagram.len(), 1008);
        let identification = Header::parse(&pair[0].1[14..]).unwrap().identification();
        assert_eq!(usize::from(identification), index);
        let sum = nsrouter_wire::checksum::Sum::new()
            .pseudo_ipv4([10, 10, 251, 1], [10, 10, 252, 1], 17, 1008)
            .bytes(&datagram)
            .finish();
        assert_eq!(sum, 0);
    }
}

#[test]
fn fragments_wait_for_a_neighbour_and_run_out_of_buffers_honestly() {
    let mut bench = bench(600);
    let mut frame = udp4_to([10, 10, 251, 1], [10, 10, 252, 77], 64, &[7; 1000]);
    unfragmentable(&mut frame, false);
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Consumed);
    assert_eq!((bench.out.held.len(), bench.router.counters().held), (2, 2));
    assert_eq!(bench.out.events.len(), 1);
    bench.out.room = Some(3);
    assert_eq!(bench.push(P1, &frame).verdict, Verdict::Drop(DropReason::NoBuffer));
    let counters = bench.router.counters();
    assert_eq!((counters.originated, counters.held, counters.originate_no_buffer), (3, 3, 1));
}

#[test]
fn packets_of_the_host_are_cut_too() {
    let mut ports = lab_ports();
    ports[1].mtu = 600;
    ports[1].addresses.remove(1);
    let settings = Settings { host_port: true, ..Settings::default() };
    let mut bench = Bench::with_ports(&ports, &[], settings);
    let mut frame = udp4_to([10, 10, 252, 2], [10, 10, 252, 1], 64, &[7; 1000]);
    unfragmentable(&mut frame, false);
    let done = bench.push(nsrouter_wire::frame::PortId::HOST, &frame[14..]);
    assert_eq!((done.verdict, bench.out.sent.len()), (Verdict::Consumed, 2));
    bench.out.sent.clear();
    unfragmentable(&mut frame, true);
    bench.expect_drop(nsrouter_wire::frame::PortId::HOST, &frame[14..], DropReason::TooBig);
    let (port, error) = bench.take_one();
    assert_eq!((port, &error[20..22]), (nsrouter_wire::frame::PortId::HOST, &[3, 4][..]));
}
