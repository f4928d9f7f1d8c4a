//! The router's own programs, and what it says and counts of itself.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use libtest_mimic::Trial;

use etherparse::PacketBuilder;

use nsrouter_wire::{icmp, mld};

use crate::common::{self, BACKENDS, BOTH, Case, Lab, Tap, USERSPACE, describe, wait_for};

/// Where the router has interfaces of its own, whose MTU can be set.
const INTERFACES: &[&str] = &["kernel", "userspace", "userspace:xdp"];

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "the_router_s_own_programs_hear_of_a_dead_neighbour",
        modes: BACKENDS,
        programs: &["ping"],
        body: own_unreachable,
    },
    Case {
        name: "a_server_in_the_router_finds_a_lowered_mtu",
        modes: INTERFACES,
        programs: &["ip"],
        body: own_path_mtu,
    },
    Case { name: "the_account_adds_up_and_has_words", modes: BOTH, programs: &["ip"], body: account },
    Case { name: "status_knows_links_as_they_are_now", modes: INTERFACES, programs: &["ip"], body: links },
    Case {
        name: "status_tells_of_icmp_errors_and_their_rate_limit",
        modes: BOTH,
        programs: &[],
        body: icmp_errors,
    },
    Case { name: "the_rows_of_the_ports_add_up", modes: USERSPACE, programs: &["ping"], body: rows },
    Case {
        name: "listener_queries_are_answered_for_the_groups_joined",
        modes: BACKENDS,
        programs: &[],
        body: listener_queries,
    },
    Case { name: "what_is_joined_is_told_unasked", modes: BOTH, programs: &["ip"], body: listener_changes },
    Case { name: "an_igmp_query_finds_nothing_to_report", modes: BACKENDS, programs: &[], body: igmp_query },
    Case { name: SMALL_TABLE, modes: &[], programs: &[], body: small_table },
];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    let small_table = || {
        let options = ["--set", "neighbours=4"];
        let output = common::case_output("userspace", &format!("userspace::{SMALL_TABLE}"), &options);
        assert!(output.status.success(), "{}", describe(&output));
    };
    vec![common::trial(format!("userspace::{SMALL_TABLE}"), &[], small_table)]
}

const SMALL_TABLE: &str = "a_full_neighbour_table_is_no_neighbour_that_failed";

fn own_unreachable(lab: &Lab) {
    let dead = ["10.10.251.77", "fd00:251::77"];
    // An address that does not answer is given up after three seconds: all of them are tried at once.
    std::thread::scope(|scope| {
        let pings = dead.map(|address| {
            scope.spawn(move || {
                let output = lab.exec("router", &["ping", "-n", "-c", "1", "-W", "8", address]);
                String::from_utf8_lossy(&output.stdout).into_owned()
            })
        });
        let connections = dead.map(|address| {
            let to = SocketAddr::new(address.parse().unwrap(), 5201);
            scope.spawn(move || {
                let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(8));
                lab.namespace("router").run(connect).unwrap().unwrap_err().kind()
            })
        });
        for (ping, words) in pings
            .into_iter()
            .zip(["Destination Host Unreachable", "Destination unreachable: Address unreachable"])
        {
            let said = ping.join().unwrap();
            assert!(said.contains(words), "{said}\n{}", lab.dump());
        }
        for connection in connections {
            assert_eq!(connection.join().unwrap(), ErrorKind::HostUnreachable, "{}", lab.dump());
        }
    });
}

/// Sends `bytes` over TCP from a server in the router to a client in t2.
fn serve_t2(lab: &Lab, address: IpAddr, bytes: usize) {
    let listener = lab.namespace("router").run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let to = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(5));
    let mut client = lab.namespace("t2").run(connect).unwrap().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(8))).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(move || server.write_all(&vec![7; bytes]).unwrap());
        let mut received = vec![0; bytes];
        let read = client.read_exact(&mut received);
        assert!(read.is_ok(), "{address}: {read:?}\n{}", lab.dump());
    });
}

fn own_path_mtu(lab: &Lab) {
    lab.succeed("router", &["ip", "link", "set", "eth-t2", "mtu", "1300"]);
    wait_for("the engine sees the new MTU", || {
        (lab.status()["engine"]["ports"][1]["mtu"] == 1300).then_some(())
    });
    for address in ["10.10.252.2", "fd00:252::2"] {
        serve_t2(lab, address.parse().unwrap(), 1 << 20);
    }
}

/// A UDP packet from t1 to the router, which is to take it on.
fn udp(lab: &Lab, destination: [u8; 4], ttl: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(lab.mac("t1", "t1-eth0"), [2, 1, 2, 3, 4, 1])
        .ipv4([10, 10, 251, 1], destination, ttl)
        .udp(4000, 9)
        .write(&mut frame, b"where to?")
        .unwrap();
    frame
}

/// The engine's status once it stands still: two looks in a row with the same totals.
fn settled(lab: &Lab) -> serde_json::Value {
    let mut last = lab.status()["engine"].clone();
    wait_for("the counters stand still", || {
        std::thread::sleep(Duration::from_millis(30));
        let now = lab.status()["engine"].clone();
        let same = now["totals"] == last["totals"];
        last = now;
        same.then(|| last.clone())
    })
}

/// Looks until the engine's status satisfies.
fn wait_status(lab: &Lab, what: &str, holds: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    wait_for(what, || Some(lab.status()["engine"].clone()).filter(&holds))
}

/// Both sides of the account.
fn sides(engine: &serde_json::Value) -> (u64, u64) {
    let total = |name: &str| engine["totals"][name].as_u64().unwrap();
    let outward = ["sent", "to_host", "consumed", "held", "dropped"].map(total).iter().sum();
    (total("received") + total("originated"), outward)
}

fn account(lab: &Lab) {
    const COUNT: u64 = 5;
    let mut wrong = udp(lab, [10, 10, 252, 1], 64);
    wrong[25] ^= 1;
    let mut frames = Vec::new();
    for frame in
        [udp(lab, [10, 99, 0, 1], 64), udp(lab, [10, 10, 252, 1], 1), wrong, udp(lab, [10, 98, 0, 1], 64)]
    {
        frames.extend(std::iter::repeat_n(frame, usize::try_from(COUNT).unwrap()));
    }
    let before = lab.status()["engine"]["routes"].as_u64();
    lab.succeed("router", &["ip", "route", "add", "blackhole", "10.98.0.0/16"]);
    if lab.is_userspace() {
        wait_for("the engine sees the route", || {
            (lab.status()["engine"]["routes"].as_u64() > before).then_some(())
        });
    }
    lab.tap("t1", "t1-eth0").send_all(&frames);
    let ours: &[&str] = &["no_route", "ttl_exceeded", "ip4_checksum", "blackhole"];
    let kernel: &[&str] = &["no_route", "header_errors", "ip4_checksum", "unaccounted"];
    let names = if lab.is_userspace() { ours } else { kernel };
    let engine = wait_status(lab, "every drop is told", |engine| {
        names.iter().all(|name| engine["drops"][name].as_u64() >= Some(COUNT))
    });
    // The kernel counts hosts' multicasts among them.
    if lab.is_userspace() {
        assert!(names.iter().all(|name| engine["drops"][name] == COUNT), "{engine:#}");
    }
    let engine = settled(lab);
    assert_eq!(sides(&engine).0, sides(&engine).1, "{engine:#}");
    let dropped: u64 = engine["drops"].as_object().unwrap().values().filter_map(|count| count.as_u64()).sum();
    assert_eq!(engine["totals"]["dropped"], dropped, "{engine:#}");
    let text = lab.dump();
    for name in engine["drops"].as_object().unwrap().keys() {
        let line = text.lines().find(|line| line.trim_start().starts_with(name.as_str())).unwrap();
        assert!(line.ends_with('.'), "a sentence for {name}: {line}");
    }
    // An unused address: resolution takes three seconds to fail.
    lab.tap("t1", "t1-eth0").send(&udp(lab, [10, 10, 252, 77], 64));
    let errors = engine["events"]["icmp_errors"].as_u64().unwrap();
    let engine = wait_status(lab, "the sender is told", |engine| {
        engine["events"]["icmp_errors"].as_u64() > Some(errors) && engine["totals"]["held"] == 0
    });
    if lab.is_userspace() {
        assert_eq!(engine["drops"]["neighbour_failed"], 1, "{engine:#}");
    }
    let engine = settled(lab);
    assert_eq!(sides(&engine).0, sides(&engine).1, "{engine:#}");
}

fn links(lab: &Lab) {
    let port =
        |engine: &serde_json::Value| (engine["ports"][1]["up"].clone(), engine["ports"][1]["mtu"].clone());
    let become_ = |up: bool, mtu: u64| {
        wait_status(lab, "the link's new state", |engine| port(engine) == (up.into(), mtu.into()));
    };
    become_(true, 1500);
    lab.succeed("router", &["ip", "link", "set", "eth-t2", "mtu", "1400"]);
    become_(true, 1400);
    // Down itself, and without a carrier because the other end is.
    for (node, interface) in [("router", "eth-t2"), ("t2", "t2-eth0")] {
        lab.succeed(node, &["ip", "link", "set", interface, "down"]);
        become_(false, 1400);
        lab.succeed(node, &["ip", "link", "set", interface, "up"]);
        become_(true, 1400);
    }
}

fn icmp_errors(lab: &Lab) {
    let frames = vec![udp(lab, [10, 10, 252, 1], 1); 60];
    lab.tap("t1", "t1-eth0").send_all(&frames);
    let engine = wait_status(lab, "some are told, and some not", |engine| {
        let count = |name: &str| engine["events"][name].as_u64().unwrap();
        count("icmp_errors") > 0 && count("icmp_errors") + count("icmp_rate_limited") >= 60
    });
    let text = lab.dump();
    let count = |name: &str| engine["events"][name].as_u64().unwrap();
    let line = format!(
        "ICMP errors sent {}, suppressed by rate limit {}",
        count("icmp_errors"),
        count("icmp_rate_limited")
    );
    assert!(text.contains(&line), "{line}: {text}");
    assert!(lab.is_userspace() == (count("lookups") > 0), "{engine:#}");
}

fn rows(lab: &Lab) {
    for to in ["10.10.251.1", "fd00:252::1"] {
        lab.succeed("router", &["ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", to]);
    }
    lab.succeed("t1", &["ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "10.10.252.1"]);
    let engine = settled(lab);
    let rows = |of: &str, counter: &str| -> u64 {
        engine[of].as_array().unwrap().iter().map(|port| port[counter].as_u64().unwrap()).sum()
    };
    let totals = &engine["totals"];
    assert_eq!(
        totals["received"],
        rows("ports", "rx_frames") + rows("host_ports", "rx_frames"),
        "{engine:#}"
    );
    assert_eq!(totals["sent"], rows("ports", "tx_frames"), "{engine:#}");
    assert_eq!(totals["to_host"], rows("host_ports", "tx_frames"), "{engine:#}");
    assert!(rows("host_ports", "rx_frames") >= 6 && rows("host_ports", "tx_frames") >= 6, "{engine:#}");
    assert_eq!(engine["host_ports"][0]["name"], "nsr-host");
    assert!(
        lab.dump().lines().any(|line| line.contains("nsr-host") && line.contains("up")),
        "{}",
        lab.dump()
    );
}

/// Beside a lab whose neighbour table has room for four.
fn small_table(lab: &Lab) {
    let frames: Vec<Vec<u8>> = (100..140).map(|last| udp(lab, [10, 10, 252, last], 64)).collect();
    lab.tap("t1", "t1-eth0").send_all(&frames);
    let engine = wait_status(lab, "most find no room", |engine| {
        engine["drops"]["neighbour_table_full"] == 36 && engine["events"]["neighbours_evicted"] == 36
    });
    assert_eq!(engine["drops"].get("neighbour_failed"), None, "{engine:#}");
    assert!(lab.dump().contains("neighbours evicted from a full table: 36"), "{}", lab.dump());
}

const ROUTER_MAC: [u8; 6] = [2, 1, 2, 3, 4, 1];

/// The groups that a router joins on t1's link: all routers, and the solicited-node groups of
/// fe80::1:2ff:fe03:401, fd00:251::2 and every router of a subnet.
const GROUPS: [&str; 5] = ["ff02::2", "ff02::1:ff00:0", "ff02::1:ff00:2", "ff02::1:ff03:401", "ff05::2"];

fn groups() -> BTreeSet<Ipv6Addr> {
    GROUPS.map(|text| text.parse().unwrap()).into()
}

/// A multicast listener query of a station at t1 (RFC 3810 section 5.1; without `sources` RFC 2710's), to be
/// answered within `max_ms`.
fn query(group: Ipv6Addr, sources: Option<u8>, max_ms: u16) -> Vec<u8> {
    let source: Ipv6Addr = "fe80::77".parse().unwrap();
    let to = if group.is_unspecified() { "ff02::1".parse().unwrap() } else { group };
    let mut body = vec![icmp::v6::LISTENER_QUERY, 0, 0, 0];
    body.extend(max_ms.to_be_bytes());
    body.extend([0, 0]);
    body.extend(group.octets());
    if let Some(sources) = sources {
        body.extend([2, 125, 0, sources]);
        body.extend((0..sources).flat_map(|n| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]));
    }
    icmp::v6_fill(&mut body, source, to);
    let payload = [&mld::HOP_BY_HOP[..], &body].concat();
    let octets = to.octets();
    let mut frame = vec![0x33, 0x33, octets[12], octets[13], octets[14], octets[15], 2, 0, 0, 0, 0, 0x77];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, u8::try_from(payload.len()).unwrap(), 0, 1]);
    frame.extend(source.octets());
    frame.extend(octets);
    frame.extend(payload);
    frame
}

/// What the router's reports say that are there now, as (type of message, type of record, group).
fn reports(tap: &mut Tap) -> Vec<(u8, u8, Ipv6Addr)> {
    let address = |bytes: &[u8]| Ipv6Addr::from_octets(bytes.try_into().unwrap());
    let mut said = Vec::new();
    for (frame, _) in tap.take() {
        let is_ours = frame.len() >= 86 && frame[6..12] == ROUTER_MAC && frame[12..14] == [0x86, 0xdd];
        if !is_ours || frame[20] != 0 || ![131, 143].contains(&frame[62]) {
            continue;
        }
        let (source, destination) = (address(&frame[22..38]), address(&frame[38..54]));
        assert_eq!((frame[21], source.to_string().as_str()), (1, "fe80::1:2ff:fe03:401"), "{frame:02x?}");
        assert_eq!(frame[54..62], mld::HOP_BY_HOP, "{frame:02x?}");
        assert!(icmp::v6_is_valid(&frame[62..], source, destination), "{frame:02x?}");
        if frame[62] == 131 {
            let group = address(&frame[70..86]);
            assert_eq!(destination, group);
            said.push((131, 0, group));
        } else {
            assert_eq!(destination.to_string(), "ff02::16");
            said.extend(frame[70..].chunks(20).map(|record| (143, record[0], address(&record[4..20]))));
        }
    }
    said
}

/// What is said within a moment in answer to a query.
fn answer(tap: &mut Tap, query: &[u8], count: usize) -> Vec<(u8, u8, Ipv6Addr)> {
    tap.send(query);
    let mut said = Vec::new();
    wait_for("the router reports", || {
        // What is joined is told at its own time.
        said.extend(reports(tap).into_iter().filter(|(_, record, _)| *record != 4));
        (said.len() >= count).then_some(())
    });
    std::thread::sleep(Duration::from_millis(150));
    said.extend(reports(tap).into_iter().filter(|(_, record, _)| *record != 4));
    said
}

fn listener_queries(lab: &Lab) {
    let all = Ipv6Addr::UNSPECIFIED;
    let mut tap = lab.tap("t1", "t1-eth0");
    let said = answer(&mut tap, &query(all, Some(0), 100), 5);
    assert_eq!(said.len(), 5, "{said:?}");
    assert_eq!(
        said.into_iter().collect::<BTreeSet<_>>(),
        groups().into_iter().map(|g| (143, 2, g)).collect()
    );
    let one: Ipv6Addr = "ff02::1:ff00:2".parse().unwrap();
    for sources in [0, 2] {
        assert_eq!(answer(&mut tap, &query(one, Some(sources), 100), 1), [(143, 2, one)]);
    }
    // Groups that were not joined, and addresses that are no groups.
    for frame in [query("ff02::1:ff12:3456".parse().unwrap(), Some(0), 10), query(all, Some(1), 10)] {
        assert_eq!(answer(&mut tap, &frame, 0), []);
    }
    let mut no_alert = query(all, Some(0), 10);
    no_alert[56..62].copy_from_slice(&[1, 4, 0, 0, 0, 0]);
    assert_eq!(answer(&mut tap, &no_alert, 0), []);
    // A querier of version 1 is answered in its version.
    let said = answer(&mut tap, &query(all, None, 100), 5);
    assert_eq!(
        said.into_iter().collect::<BTreeSet<_>>(),
        groups().into_iter().map(|g| (131, 0, g)).collect()
    );
    assert_eq!(answer(&mut tap, &query(one, Some(0), 100), 1), [(131, 0, one)]);
    if lab.is_userspace() {
        assert_eq!(lab.status()["engine"]["drops"]["mld_malformed"], 2, "{}", lab.dump());
    }
}

fn listener_changes(lab: &Lab) {
    let mut tap = lab.tap("t1", "t1-eth0");
    let interface = if lab.is_userspace() { "nsr-host" } else { "eth-t1" };
    let group: Ipv6Addr = "ff02::1:ff00:77".parse().unwrap();
    for (word, record) in [("add", 4), ("del", 3)] {
        lab.succeed("router", &["ip", "addr", word, "fd00:251::77/64", "dev", interface, "nodad"]);
        wait_for("the change is told", || reports(&mut tap).contains(&(143, record, group)).then_some(()));
    }
}

fn igmp_query(lab: &Lab) {
    let mut tap = lab.tap("t1", "t1-eth0");
    // Of version 2 and of version 3, to be answered within a tenth of a second.
    for rest in [&[][..], &[2, 125, 0, 0]] {
        let mut message = vec![0x11, 1, 0, 0, 0, 0, 0, 0];
        message.extend(rest);
        icmp::v4_fill(&mut message);
        let mut frame = Vec::new();
        // Behind the router alert option (RFC 3376 section 4).
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0x77], [1, 0, 0x5e, 0, 0, 1])
            .ip(etherparse::IpHeaders::Ipv4(
                etherparse::Ipv4Header {
                    options: [0x94, 4, 0, 0].into(),
                    ..etherparse::Ipv4Header::new(0, 1, 2.into(), [10, 10, 251, 77], [224, 0, 0, 1]).unwrap()
                },
                etherparse::Ipv4Extensions::default(),
            ))
            .write(&mut frame, 2.into(), &message)
            .unwrap();
        tap.send(&frame);
    }
    let is_igmp = |frame: &[u8]| frame[6..12] == ROUTER_MAC && frame[12..14] == [8, 0] && frame[23] == 2;
    assert_eq!(tap.collect(0, Duration::from_millis(300), is_igmp), Vec::<Vec<u8>>::new());
    if lab.is_userspace() {
        wait_status(lab, "both are heard", |engine| engine["totals"]["consumed"].as_u64() >= Some(2));
    }
}
