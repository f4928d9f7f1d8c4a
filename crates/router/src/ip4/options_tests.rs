use nsrouter_wire::ipv4;

use crate::ip4::option_list::check;
use crate::testing::*;
use crate::*;

const T1: [u8; 4] = [10, 10, 251, 1];
const T2: [u8; 4] = [10, 10, 252, 1];

/// A datagram from t1 with these options, padded to whole words.
fn with_options(destination: [u8; 4], options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    let mut frame = udp4_to(T1, destination, 64, b"payload");
    frame.splice(34..34, options.iter().copied());
    let words = 5 + options.len() / 4;
    frame[14] = 0x40 | words as u8;
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    fix4(&mut frame);
    frame
}

fn ping_with_options(destination: [u8; 4], options: &[u8]) -> Vec<u8> {
    let mut frame = with_options(destination, options);
    frame[23] = 1;
    let at = usize::from(frame[14] & 0xf) * 4 + 14;
    frame[at..at + 8].copy_from_slice(&[8, 0, 0, 0, 0, 7, 0, 1]);
    nsrouter_wire::icmp::v4_fill(&mut frame[at..]);
    fix4(&mut frame);
    frame
}

fn is_sound(frame: &[u8]) -> bool {
    let bytes = usize::from(frame[14] & 0xf) * 4;
    nsrouter_wire::checksum::checksum(&frame[14..14 + bytes]) == 0
        && usize::from(u16::from_be_bytes([frame[16], frame[17]])) == frame.len() - 14
}

#[test]
fn record_route_gets_the_address_by_which_the_packet_leaves() {
    let mut bench = Bench::lab();
    let done = bench.push(P1, &with_options(T2, &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(done.verdict, Verdict::Send(P2));
    assert_eq!(done.bytes[34..45], [7, 11, 8, 10, 10, 252, 2, 0, 0, 0, 0]);
    assert!(is_sound(&done.bytes));
    assert_eq!(done.bytes[22], 63);
    // A full one stays as it is.
    let done = bench.push(P1, &with_options(T2, &[7, 7, 8, 1, 2, 3, 4]));
    assert_eq!(done.bytes[34..41], [7, 7, 8, 1, 2, 3, 4]);
}

#[test]
fn what_follows_the_end_of_the_list_is_blanked() {
    let mut bench = Bench::lab();
    let done = bench.push(P1, &with_options(T2, &[1, 0, 9, 9, 7, 7, 7, 7]));
    assert_eq!((done.verdict, &done.bytes[34..42]), (Verdict::Send(P2), &[1, 0, 0, 0, 0, 0, 0, 0][..]));
    assert!(is_sound(&done.bytes));
}

#[test]
fn timestamps_are_filled_in_with_the_address_that_the_sender_sees() {
    let mut bench = Bench::lab();
    bench.now.utc_ms = 0x0102_0304;
    let mut push = |options: &[u8]| {
        let done = bench.push(P1, &with_options(T2, options));
        assert_eq!(done.verdict, Verdict::Send(P2));
        assert!(is_sound(&done.bytes));
        done.bytes[34..34 + options.len()].to_vec()
    };
    assert_eq!(push(&[68, 8, 5, 0, 0, 0, 0, 0]), [68, 8, 9, 0, 1, 2, 3, 4]);
    let got = push(&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(got, [68, 12, 13, 1, 10, 10, 251, 2, 1, 2, 3, 4]);
    // Listed: only at our own address.
    let got = push(&[68, 12, 5, 3, 10, 10, 252, 2, 0, 0, 0, 0]);
    assert_eq!(got, [68, 12, 13, 3, 10, 10, 252, 2, 1, 2, 3, 4]);
    let got = push(&[68, 12, 5, 3, 10, 10, 252, 9, 0, 0, 0, 0]);
    assert_eq!(got, [68, 12, 5, 3, 10, 10, 252, 9, 0, 0, 0, 0]);
    // Full: the missed ones are counted.
    assert_eq!(push(&[68, 8, 9, 0x20, 9, 9, 9, 9]), [68, 8, 9, 0x30, 9, 9, 9, 9]);
}

#[test]
fn source_routes_are_dropped_in_silence_and_router_alert_goes_on() {
    let mut bench = Bench::lab();
    for kind in [131, 137] {
        let frame = with_options(T2, &[kind, 7, 4, 10, 10, 252, 9]);
        bench.expect_drop(P1, &frame, DropReason::Ip4SourceRoute);
    }
    assert!(bench.out.sent.is_empty());
    let alert = with_options(T2, &[148, 4, 0, 0]);
    assert_eq!(bench.push(P1, &alert).verdict, Verdict::Send(P2));
    let listener = Settings { host_port: true, router_alert: true, ..Settings::default() };
    let mut bench = Bench::new(&[], listener);
    assert_eq!(bench.push(P1, &alert).verdict, Verdict::ToHost);
}

#[test]
fn malformed_options_are_answered_with_a_pointer_to_the_octet() {
    let cases: [(&[u8], u8); 11] = [
        (&[7], 20),
        (&[1, 7, 1, 0], 21),
        (&[7, 12, 4, 0, 0, 0, 0, 0], 20),
        (&[7, 2, 0, 0], 21),
        (&[7, 7, 3, 0, 0, 0, 0], 22),
        (&[7, 6, 4, 0, 0, 0], 22),
        (&[68, 3, 5], 21),
        (&[68, 8, 4, 0, 0, 0, 0, 0], 22),
        (&[68, 8, 5, 1, 0, 0, 0, 0], 22),
        (&[68, 8, 9, 0xf0, 0, 0, 0, 0], 23),
        (&[7, 7, 4, 0, 0, 0, 0, 7, 7, 4, 0, 0, 0, 0], 27),
    ];
    for (options, pointer) in cases {
        let mut bench = Bench::lab();
        // No padding: END would hide a short option.
        let mut padded = options.to_vec();
        padded.resize(options.len().next_multiple_of(4), 1);
        if options.len() == 1 {
            padded = vec![1, 1, 1, 7];
        }
        let pointer = if options.len() == 1 { 23 } else { pointer };
        bench.expect_drop(P1, &with_options(T2, &padded), DropReason::Ip4Options);
        let (port, error) = bench.take_one();
        assert!(is_sound(&error));
        // What was right before it is echoed.
        let at = 14 + usize::from(error[14] & 0xf) * 4;
        assert_eq!((port, &error[at..at + 2], error[at + 4]), (P1, &[12, 0][..], pointer), "{options:?}");
    }
}

#[test]
fn errors_quote_options_as_they_were_filled_in_and_record_once_more() {
    let mut bench = Bench::new(&[], Settings { icmp_interval_ms: 0, ..Settings::default() });
    bench.now.utc_ms = 0x0102_0304;
    let mut refused = |destination, options: &[u8], ttl| {
        let mut frame = with_options(destination, options);
        frame[22] = ttl;
        fix4(&mut frame);
        let (own, sent) = (bench.push(P1, &frame), std::mem::take(&mut bench.out.sent));
        assert!(matches!(own.verdict, Verdict::Drop(_)), "{:?}", own.verdict);
        sent.into_iter().next().map(|(_, error)| {
            assert!(is_sound(&error));
            let at = 14 + usize::from(error[14] & 0xf) * 4;
            assert!(nsrouter_wire::icmp::v4_is_valid(&error[at..]));
            (error[34..at].to_vec(), error[at + 28..at + 28 + options.len()].to_vec())
        })
    };
    let route = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    let once = vec![7, 11, 8, 10, 10, 251, 2, 0, 0, 0, 0];
    let twice = vec![7, 11, 12, 10, 10, 251, 2, 10, 10, 251, 2, 0];
    assert_eq!(refused(T2, &route, 1), Some((twice.clone(), once.clone())));
    assert_eq!(refused([10, 99, 0, 1], &route, 64), Some((twice, once)));
    // To us at our far address: that is what is recorded, and the error's source.
    let far = vec![7, 11, 12, 10, 10, 252, 2, 10, 10, 252, 2, 0];
    assert_eq!(refused([10, 10, 252, 2], &route, 64).map(|(echoed, _)| echoed), Some(far));
    let times = [68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (echoed, quoted) = refused(T2, &times, 1).unwrap();
    assert_eq!(echoed, [68, 12, 13, 0, 1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(quoted, [68, 12, 9, 0, 1, 2, 3, 4, 0, 0, 0, 0]);
    // Full by now, and no room for half an entry.
    assert_eq!(refused(T2, &[7, 7, 4, 0, 0, 0, 0], 1).unwrap().0, [7, 7, 8, 10, 10, 251, 2, 0]);
    assert_eq!(refused(T2, &[7, 9, 4, 0, 0, 0, 0, 0, 0], 1), None);
    // What is neither is not sent back.
    assert_eq!(refused(T2, &[148, 4, 0, 0], 1), Some((vec![], vec![148, 4, 0, 0])));
}

#[test]
fn an_echo_with_record_route_is_recorded_in_twice_as_linux_does() {
    let mut bench = Bench::lab();
    let done =
        bench.push(P1, &ping_with_options([10, 10, 251, 2], &[7, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(done.verdict, Verdict::Reply(P1));
    assert!(is_sound(&done.bytes));
    assert_eq!(done.bytes[34..49], [7, 15, 12, 10, 10, 251, 2, 10, 10, 251, 2, 0, 0, 0, 0]);
    assert!(nsrouter_wire::icmp::v4_is_valid(&done.bytes[50..]));
}

#[test]
fn other_options_of_an_echo_are_not_sent_back() {
    let mut bench = Bench::lab();
    let done = bench.push(P1, &ping_with_options([10, 10, 251, 2], &[148, 4, 0, 0]));
    assert_eq!(done.verdict, Verdict::Reply(P1));
    assert!(is_sound(&done.bytes));
    assert_eq!(done.bytes[14], 0x45);
    assert_eq!(done.bytes[..12], [T1_MAC, R1_MAC].concat());
    assert_eq!(done.bytes[34..36], [0, 0]);
    assert!(nsrouter_wire::icmp::v4_is_valid(&done.bytes[34..]));
}

proptest::proptest! {
    #[test]
    fn no_options_make_it_panic_and_checksums_stay_right(
        options in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        destination in proptest::prop_oneof![proptest::prelude::Just(T2), proptest::prelude::Just([10, 10, 251, 2])],
    ) {
        let mut bench = Bench::lab();
        let frame = ping_with_options(destination, &options);
        let parsed = check(&frame[14..]);
        let done = bench.push(P1, &frame);
        match done.verdict {
            Verdict::Send(_) | Verdict::Reply(_) => {
                proptest::prop_assert!(parsed.is_ok());
                proptest::prop_assert!(is_sound(&done.bytes));
                proptest::prop_assert!(ipv4::Header::parse(&done.bytes[14..]).is_some());
            }
            Verdict::Drop(DropReason::Ip4Options | DropReason::Ip4SourceRoute) => {}
            other => proptest::prop_assert!(false, "{:?}", other),
        }
    }
}
