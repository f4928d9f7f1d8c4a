use std::collections::BTreeSet;

use nsrouter_wire::frame::PortId;

use super::*;
use crate::ip6::listener::{MS, V1_NS};
use crate::testing::*;
use crate::{Config, Limits, Rib, Router, Settings, Tables};

/// The groups of port 1: those of fe80::1:2ff:fe03:401, fd00:251::2, and of every router of a subnet.
const GROUPS: [&str; 5] = ["ff02::2", "ff02::1:ff00:0", "ff02::1:ff00:2", "ff02::1:ff03:401", "ff05::2"];

fn groups() -> BTreeSet<Ipv6Addr> {
    GROUPS.map(|text| text.parse().unwrap()).into()
}

/// What a report says: its destination and its records, as (kind of record, group).
#[derive(Debug, PartialEq, Eq)]
struct Said {
    port: PortId,
    destination: String,
    kind: u8,
    records: Vec<(u8, Ipv6Addr)>,
}

/// Reads a report with an independent parser, and checks what all of them have in common.
fn read((port, frame): &(PortId, Vec<u8>)) -> Said {
    let ip = etherparse::Ipv6Slice::from_slice(&frame[14..]).unwrap();
    let (header, body) = (ip.header(), ip.payload().payload);
    let source = if *port == P1 { "fe80::1:2ff:fe03:401" } else { "fe80::1:2ff:fe03:402" };
    assert_eq!((header.source_addr().to_string().as_str(), header.hop_limit()), (source, 1));
    assert_eq!(frame[54..62], mld::HOP_BY_HOP);
    let destination = header.destination_addr();
    assert_eq!((&frame[..2], &frame[2..6]), (&[0x33, 0x33][..], &destination.octets()[12..]));
    let icmp = etherparse::Icmpv6Slice::from_slice(body).unwrap();
    assert!(icmp.is_checksum_valid(header.source(), header.destination()));
    let address = |bytes: &[u8]| Ipv6Addr::from_octets(bytes.try_into().unwrap());
    let records = if body[0] == 143 {
        assert_eq!(usize::from(u16::from_be_bytes([body[6], body[7]])), (body.len() - 8) / 20);
        body[8..].chunks(20).map(|record| (record[0], address(&record[4..]))).collect()
    } else {
        vec![(0, address(&body[8..24]))]
    };
    Said { port: *port, destination: destination.to_string(), kind: body[0], records }
}

impl Bench {
    /// Lets time pass until something is due, and gives what was said then.
    fn next_said(&mut self) -> Vec<Said> {
        self.now.mono_ns = self.router.next_deadline().unwrap().max(self.now.mono_ns);
        self.router.tick(self.now, &self.tables, &mut self.out);
        self.router.counters().check_conservation().unwrap();
        std::mem::take(&mut self.out.sent).iter().map(read).collect()
    }

    /// A lab whose router has told what it joined.
    fn settled() -> Bench {
        let mut bench = Bench::lab();
        while bench.router.next_deadline().is_some() {
            bench.next_said();
        }
        bench
    }
}

/// A query from fe80::11 at port 1, about a group or all of them, with a time for the answer in milliseconds.
fn query(group: &str, sources: Option<u16>, max_ms: u16) -> Vec<u8> {
    let mut message = vec![130, 0, 0, 0];
    message.extend(max_ms.to_be_bytes());
    message.extend([0, 0]);
    message.extend(octets6(group));
    if let Some(sources) = sources {
        message.extend([2, 125]);
        message.extend(sources.to_be_bytes());
        message.extend(vec![0x20; usize::from(sources) * 16]);
    }
    let to = if group == "::" { "ff02::1" } else { group };
    listener_message(to, &message)
}

fn listener_message(to: &str, message: &[u8]) -> Vec<u8> {
    let mut body = message.to_vec();
    icmp::v6_fill(&mut body, "fe80::11".parse().unwrap(), to.parse().unwrap());
    let to = octets6(to);
    let mut frame = vec![0x33, 0x33];
    frame.extend(&to[12..]);
    frame.extend(T1_MAC);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(u16::try_from(8 + body.len()).unwrap().to_be_bytes());
    frame.extend([0, 1]);
    frame.extend(octets6("fe80::11"));
    frame.extend(to);
    frame.extend(mld::HOP_BY_HOP);
    frame.extend(body);
    frame
}

#[test]
fn what_is_joined_is_told_twice() {
    let mut bench = Bench::lab();
    let first = bench.next_said();
    assert_eq!(first.iter().map(|said| said.port).collect::<Vec<_>>(), [P1, P2]);
    assert_eq!((first[0].destination.as_str(), first[0].kind), ("ff02::16", 143));
    let joined: BTreeSet<_> = first[0].records.iter().copied().collect();
    assert_eq!(joined, groups().into_iter().map(|group| (4, group)).collect());
    let mut again = bench.next_said();
    again.extend(if again.len() == 1 { bench.next_said() } else { Vec::new() });
    assert!(bench.now.mono_ns <= 1000 * MS + 1);
    again.sort_by_key(|said| said.port);
    assert_eq!(again, first);
    assert_eq!(bench.router.next_deadline(), None);
}

#[test]
fn only_the_first_worker_speaks_unasked_and_every_one_answers() {
    let mut bench = Bench::lab();
    bench.router = Router::new(1, Config { ports: 2, seed: 7 }, Limits::new(7));
    assert_eq!(bench.router.next_deadline(), None);
    bench.push(P1, &query("::", Some(0), 100));
    assert_eq!(bench.next_said().len(), 1);
}

#[test]
fn a_general_query_is_answered_once_with_all_groups() {
    let mut bench = Bench::settled();
    let asked = bench.now.mono_ns;
    for _ in 0..5 {
        assert_eq!(bench.push(P1, &query("::", Some(0), 100)).verdict, Verdict::Consumed);
    }
    let said = bench.next_said();
    assert!(bench.now.mono_ns - asked < 100 * MS);
    let [said] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((said.port, said.destination.as_str()), (P1, "ff02::16"));
    assert_eq!(
        said.records.iter().copied().collect::<BTreeSet<_>>(),
        groups().into_iter().map(|g| (2, g)).collect()
    );
    assert_eq!(bench.router.next_deadline(), None);
}

#[test]
fn a_query_about_a_group_is_answered_about_it() {
    for sources in [0, 2] {
        let mut bench = Bench::settled();
        bench.push(P1, &query("ff02::1:ff00:2", Some(sources), 50));
        let said = bench.next_said();
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].records, [(2, "ff02::1:ff00:2".parse().unwrap())]);
        assert_eq!(bench.router.next_deadline(), None);
    }
    // Groups that are not reported, or were not joined.
    let mut bench = Bench::settled();
    bench.push(P1, &query("ff02::1", Some(0), 50));
    bench.expect_drop(P1, &query("ff02::fb", Some(0), 50), DropReason::LinkMulticast);
    assert_eq!(bench.router.next_deadline(), None);
}

#[test]
fn a_querier_of_version_1_is_answered_in_its_version_group_by_group() {
    let mut bench = Bench::settled();
    bench.push(P1, &query("::", None, 100));
    let mut reported = BTreeSet::new();
    while reported.len() < GROUPS.len() {
        for said in bench.next_said() {
            let (_, group) = said.records[0];
            assert_eq!((said.kind, said.destination), (131, group.to_string()));
            assert!(reported.insert(group));
        }
    }
    assert_eq!((reported, bench.router.next_deadline()), (groups(), None));
    // While it counts as present, queries of version 2 are answered so too, and then no more.
    bench.push(P1, &query("ff02::2", Some(0), 100));
    assert_eq!(bench.next_said()[0].kind, 131);
    bench.now.mono_ns += V1_NS;
    bench.push(P1, &query("ff02::2", Some(0), 100));
    assert_eq!(bench.next_said()[0].kind, 143);
}

#[test]
fn another_listener_s_report_spares_ours() {
    let mut bench = Bench::settled();
    bench.push(P1, &query("ff02::2", None, 10_000));
    let mut report = vec![131, 0, 0, 0, 0, 0, 0, 0];
    report.extend(octets6("ff02::2"));
    assert_eq!(bench.push(P1, &listener_message("ff02::2", &report)).verdict, Verdict::Consumed);
    bench.router.tick(bench.now, &bench.tables, &mut bench.out);
    // What was scheduled before may still wake the router once.
    while bench.router.next_deadline().is_some() {
        assert_eq!(bench.next_said(), []);
    }
}

#[test]
fn queries_that_fail_the_checks_are_malformed() {
    let right = query("::", Some(0), 100);
    let mut hops = right.clone();
    hops[21] = 2;
    let mut alert = right.clone();
    alert[59] = 1;
    let mut no_alert = right.clone();
    no_alert[56..62].copy_from_slice(&[1, 4, 0, 0, 0, 0]);
    let mut bench = Bench::settled();
    for wrong in [hops, alert, no_alert, query("::", Some(1), 100)] {
        bench.expect_drop(P1, &wrong, DropReason::MldMalformed);
    }
    // A source beyond the link: its checksum is right.
    let mut far = right;
    far[22..38].copy_from_slice(&octets6("fd00:251::1"));
    icmp::v6_fill(&mut far[62..], "fd00:251::1".parse().unwrap(), "ff02::1".parse().unwrap());
    bench.expect_drop(P1, &far, DropReason::MldMalformed);
    assert_eq!(bench.router.next_deadline(), None);
}

#[test]
fn a_flood_of_queries_is_answered_a_hundred_times_a_second_at_most() {
    let mut bench = Bench::settled();
    let began = bench.now.mono_ns;
    let mut answers = 0;
    for step in 0..10_000 {
        bench.now.mono_ns = began + step * 100_000;
        bench.push(P1, &query("::", Some(0), 0));
        bench.push(P1, &query("ff02::2", Some(0), 0));
        if bench.router.next_deadline().is_some_and(|due_ns| due_ns <= bench.now.mono_ns) {
            answers += bench.next_said().len();
        }
    }
    assert!((50..=101).contains(&answers), "{answers}");
}

#[test]
fn addresses_and_links_that_change_are_told() {
    let mut bench = Bench::settled();
    let mut ports = lab_ports();
    ports[0].addresses = vec!["10.10.251.2/24".parse().unwrap(), "fd00:251::7:7/64".parse().unwrap()];
    bench.tables = Tables::new(&ports, &[], Settings::default()).unwrap();
    bench.router.ports_changed();
    let said = bench.next_said();
    let group = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    assert_eq!(said[0].records, [(4, group("ff02::1:ff07:7")), (3, group("ff02::1:ff00:2"))]);
    assert_eq!((said.len(), bench.next_said().len(), bench.router.next_deadline()), (1, 1, None));
    // Down: nothing is said. Up: everything, as at the start.
    ports[0].up = false;
    bench.tables = Tables::new(&ports, &[], Settings::default()).unwrap();
    bench.router.ports_changed();
    assert_eq!(bench.next_said(), []);
    bench.push(P2, &query("::", None, 10));
    ports[0].up = true;
    bench.tables = Tables::new(&ports, &[], Settings::default()).unwrap();
    bench.router.ports_changed();
    let said = bench.next_said();
    assert_eq!((said[0].port, said[0].records.len()), (P1, 5));
}

#[test]
fn nothing_is_said_where_that_is_set() {
    let mut bench = Bench::new(&[], Settings { mld_reports: false, ..Settings::default() });
    assert_eq!(bench.next_said(), []);
    assert_eq!(bench.push(P1, &query("::", Some(0), 10)).verdict, Verdict::Consumed);
    assert_eq!(bench.router.next_deadline(), None);
}

#[test]
fn more_groups_than_a_packet_holds_go_in_several() {
    let mut ports = lab_ports();
    ports[0].addresses = (1..=150).map(|n| format!("fd00:251::{n:x}/64").parse().unwrap()).collect();
    let mut bench = Bench::with_ports(&ports, &[], Settings::default());
    let said = bench.next_said();
    let counts: Vec<usize> =
        said.iter().filter(|said| said.port == P1).map(|said| said.records.len()).collect();
    assert_eq!(counts, [RECORDS, RECORDS, 154 - 2 * RECORDS]);
    // A querier of version 1 asks about more than are kept one by one: all are reported.
    bench.push(P1, &query("::", None, 10));
    let mut reported = BTreeSet::new();
    while bench.router.next_deadline().is_some() {
        let said = bench.next_said();
        reported.extend(said.iter().filter(|said| said.kind == 131).map(|said| said.records[0].1));
    }
    assert_eq!(reported.len(), 154);
}

#[test]
fn the_next_port_of_a_slot_joins_its_own_groups_and_leaves_none() {
    let mut bench = Bench::settled();
    let group = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    let mut table = Rib::new(&lab_ports(), Settings::default()).unwrap();
    // One of the first, and one beyond the slots that the router began with.
    for (slot, mac) in [(P1, R1_MAC), (PortId(5), R2_MAC)] {
        table.remove_port(slot).unwrap();
        bench.router.remove_port(slot);
        table.add_port(slot, &port("eth-x", mac, &["fd09::7:7/64"])).unwrap();
        bench.router.add_port(slot);
        bench.tables = table.tables();
        bench.router.ports_changed();
        let said = bench.next_said();
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!((said[0].port, said[0].records.len()), (slot, 5));
        assert!(said[0].records.contains(&(4, group("ff02::1:ff07:7"))));
        assert!(said[0].records.iter().all(|(kind, _)| *kind == 4), "{said:?}");
        bench.next_said();
    }
}
