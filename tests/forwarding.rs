//! What t1 and t2 see of the router: one body, both modes, the kernel being the oracle.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::{ALL, BACKENDS, BOTH, Case, Lab, OTHER_BACKENDS, QUIET, WORKERS, describe, wait_for};
use etherparse::PacketBuilder;
use nsrouter_linux::procfs::snmp;

/// Our own router over every backend, and with fewer rights.
const OURS: &[&str] = &["userspace", OTHER_BACKENDS, "no-bpf", "rootless"];

const CASES: &[Case] = &[
    Case { name: "check_passes", modes: ALL, programs: &[], body: check_passes },
    Case { name: "ping_both_families_both_ways", modes: ALL, programs: &["ping"], body: ping },
    Case {
        name: "large_pings_are_fragments_for_the_router",
        modes: BACKENDS,
        programs: &["ping"],
        body: large_ping,
    },
    Case {
        name: "traceroute_shows_the_router",
        modes: BACKENDS,
        programs: &["traceroute"],
        body: traceroute,
    },
    Case { name: "tracepath_finds_the_mtu", modes: BOTH, programs: &["tracepath"], body: tracepath },
    Case {
        name: "unreachable_host_and_network_are_told",
        modes: BACKENDS,
        programs: &["ping"],
        body: unreachable,
    },
    Case { name: "one_reply_an_echo", modes: ALL, programs: &[], body: one_reply_an_echo },
    Case { name: "one_answer_an_arp_request", modes: ALL, programs: &[], body: one_answer_an_arp_request },
    Case { name: "one_answer_a_solicitation", modes: ALL, programs: &[], body: one_answer_a_solicitation },
    Case { name: "iperf3_tcp_both_families", modes: ALL, programs: &["iperf3"], body: iperf3_tcp },
    Case {
        name: "iperf3_udp_loses_nothing_when_slow",
        modes: BACKENDS,
        programs: &["iperf3", QUIET],
        body: iperf3_udp,
    },
    Case {
        name: "iperf3_to_the_router_itself",
        modes: BACKENDS,
        programs: &["iperf3"],
        body: iperf3_to_the_router,
    },
    Case { name: "every_frame_is_accounted_for", modes: OURS, programs: &["iperf3"], body: accounted },
    Case {
        name: "a_host_s_link_that_goes_down_and_up",
        modes: BACKENDS,
        programs: &["ip", "ping"],
        body: host_link_down_and_up,
    },
    Case { name: "a_stopped_process_stops_all_traffic", modes: OURS, programs: &["ping"], body: stopped },
    Case { name: "the_kernel_does_not_forward", modes: OURS, programs: &["ping"], body: kernel_is_silent },
    Case {
        name: "ip_route_configures_the_router",
        modes: &["kernel", "userspace", "no-bpf"],
        programs: &["ip", "ping"],
        body: ip_route,
    },
    Case { name: "check_passes_with_two_workers", modes: WORKERS, programs: &[], body: check_passes },
    Case { name: "no_flow_is_reordered", modes: WORKERS, programs: &[], body: no_flow_is_reordered },
    Case {
        name: "many_routes_are_followed",
        modes: &["kernel", "userspace", "no-bpf"],
        programs: &["ip", "ping"],
        body: many_routes,
    },
    Case { name: "a_link_that_goes_down_and_up", modes: BOTH, programs: &["ping"], body: link_down_and_up },
];

fn main() -> ExitCode {
    common::main(CASES, Vec::new())
}

fn check_passes(lab: &Lab) {
    let output = std::process::Command::new(common::nsrouter()).arg("check").output().unwrap();
    assert!(output.status.success(), "{}\n{}", describe(&output), lab.dump());
}

fn ping_once(lab: &Lab, node: &str, to: &str) {
    lab.succeed(node, &["ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", to]);
}

fn ping(lab: &Lab) {
    for (node, to) in [
        ("t1", "10.10.251.2"),
        ("t1", "10.10.252.2"),
        ("t1", "10.10.252.1"),
        ("t2", "10.10.252.2"),
        ("t2", "10.10.251.1"),
        ("router", "10.10.251.1"),
        ("router", "10.10.252.1"),
        ("t1", "fd00:251::2"),
        ("t1", "fd00:252::1"),
        ("t2", "fd00:251::1"),
        ("router", "fd00:252::1"),
        ("t1", "fe80::1:2ff:fe03:401%t1-eth0"),
    ] {
        // Programs in the router need the host port, which not every user may open.
        if node != "router" || lab.has_host_port() {
            ping_once(lab, node, to);
        }
    }
}

fn large_ping(lab: &Lab) {
    for (node, to) in [
        ("t1", "10.10.252.1"),
        ("t1", "10.10.251.2"),
        ("router", "10.10.252.1"),
        ("t1", "fd00:252::1"),
        ("t1", "fd00:251::2"),
    ] {
        lab.succeed(node, &["ping", "-n", "-c", "2", "-i", "0.05", "-W", "2", "-s", "4000", to]);
    }
}

fn traceroute(lab: &Lab) {
    for (family, to, first, last) in [
        ("-4", "10.10.252.1", "10.10.251.2", "10.10.252.1"),
        ("-6", "fd00:252::1", "fd00:251::2", "fd00:252::1"),
    ] {
        let hops = lab.succeed("t1", &["traceroute", family, "-n", "-q", "1", "-w", "2", to]);
        let lines: Vec<&str> = hops.lines().skip(1).collect();
        assert_eq!(lines.len(), 2, "two hops: {hops}");
        assert!(lines[0].contains(first) && lines[1].contains(last), "{hops}");
    }
}

fn tracepath(lab: &Lab) {
    // Both ends of the second link: the router's port is what tells, the host's is what it protects.
    lab.succeed("router", &["ip", "link", "set", "eth-t2", "mtu", "1400"]);
    lab.succeed("t2", &["ip", "link", "set", "t2-eth0", "mtu", "1400"]);
    if lab.is_userspace() {
        wait_for("the engine sees the new MTU", || {
            (lab.status()["engine"]["ports"][1]["mtu"] == 1400).then_some(())
        });
    }
    for (family, to) in [("-4", "10.10.252.1"), ("-6", "fd00:252::1")] {
        let path = lab.succeed("t1", &["tracepath", family, "-n", to]);
        assert!(path.contains("pmtu 1400"), "{path}");
        assert!(path.contains("reached"), "{path}");
    }
}

fn unreachable(lab: &Lab) {
    for (to, words) in [
        ("10.99.0.1", "Net Unreachable"),
        ("10.10.252.77", "Host Unreachable"),
        ("fd00:99::1", "No route"),
        ("fd00:252::77", "Address unreachable"),
    ] {
        let output = lab.exec("t1", &["ping", "-n", "-c", "1", "-W", "8", to]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(words), "{to}: {text}\n{}", lab.dump());
        let router = if to.contains(':') { "fd00:251::2" } else { "10.10.251.2" };
        assert!(text.to_lowercase().contains(&format!("from {router}")), "{to}: {text}");
    }
}

const ROUTER_MAC: [u8; 6] = [2, 1, 2, 3, 4, 1];

fn one_reply_an_echo(lab: &Lab) {
    let mac = lab.mac("t1", "t1-eth0");
    let mut tap = lab.tap("t1", "t1-eth0");
    for sequence in 0..5u16 {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(mac, ROUTER_MAC)
            .ipv4([10, 10, 251, 1], [10, 10, 251, 2], 64)
            .icmpv4_echo_request(0x7e57, sequence)
            .write(&mut frame, b"only once")
            .unwrap();
        tap.send(&frame);
    }
    // Long enough for a second answerer to show itself.
    let replies = tap.collect(5, Duration::from_millis(500), |frame| {
        frame.len() > 42 && frame[12..14] == [8, 0] && frame[23] == 1 && frame[38..40] == [0x7e, 0x57]
    });
    let sequences: Vec<u8> = replies.iter().map(|frame| frame[41]).collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4], "{}", lab.dump());
    assert!(replies.iter().all(|frame| frame[6..12] == ROUTER_MAC && frame[34] == 0));
}

fn one_answer_an_arp_request(lab: &Lab) {
    let mac = lab.mac("t1", "t1-eth0");
    let mut tap = lab.tap("t1", "t1-eth0");
    let request = |target: [u8; 4]| {
        let mut frame = Vec::from([0xff; 6]);
        frame.extend(mac);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(mac);
        frame.extend([10, 10, 251, 1]);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    };
    tap.send(&request([10, 10, 251, 2]));
    let is_reply = |frame: &[u8]| frame.len() >= 42 && frame[12..14] == [8, 6] && frame[21] == 2;
    let replies = tap.collect(1, Duration::from_millis(300), is_reply);
    assert_eq!(replies.len(), 1, "one answer: {replies:02x?}");
    assert_eq!((&replies[0][22..28], &replies[0][28..32]), (&ROUTER_MAC[..], &[10, 10, 251, 2][..]));
    // An address of another station on the same link is that station's to answer for.
    tap.send(&request([10, 10, 251, 77]));
    assert_eq!(tap.collect(0, Duration::from_millis(300), is_reply), Vec::<Vec<u8>>::new());
}

fn one_answer_a_solicitation(lab: &Lab) {
    let mac = lab.mac("t1", "t1-eth0");
    let mut tap = lab.tap("t1", "t1-eth0");
    let target: std::net::Ipv6Addr = "fd00:251::2".parse().unwrap();
    let source: std::net::Ipv6Addr = "fd00:251::1".parse().unwrap();
    let group: std::net::Ipv6Addr = "ff02::1:ff00:2".parse().unwrap();
    // Type 135, reserved, target, source link-layer address option (RFC 4861 section 4.3).
    let mut rest = target.octets().to_vec();
    rest.extend([1, 1]);
    rest.extend(mac);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac, [0x33, 0x33, 0xff, 0, 0, 2])
        .ipv6(source.octets(), group.octets(), 255)
        .icmpv6_raw(135, 0, [0; 4])
        .write(&mut frame, &rest)
        .unwrap();
    tap.send(&frame);
    let replies = tap.collect(1, Duration::from_millis(300), |frame| {
        frame.len() >= 78 && frame[12..14] == [0x86, 0xdd] && frame[54] == 136
    });
    assert_eq!(replies.len(), 1, "one answer: {replies:02x?}");
    let reply = &replies[0];
    assert_eq!(&reply[62..78], target.octets());
    assert_eq!(reply[21], 255, "hop limit");
    assert_eq!(reply[58] & 0xe0, 0xe0, "router, solicited, override");
    assert_eq!(&reply[80..86], ROUTER_MAC);
}

/// A UDP packet of a flow from one host to the other, with its number in it.
fn numbered(from: usize, flow: u16, number: u16) -> Vec<u8> {
    let host = |node: usize| [10, 10, 251 + u8::try_from(node).unwrap(), 1];
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], [2, 1, 2, 3, 4, u8::try_from(from).unwrap() + 1])
        .ipv4(host(from), host(1 - from), 64)
        .udp([20_000 + flow, 9][from], [9, 20_000 + flow][from])
        .write(&mut frame, &number.to_be_bytes())
        .unwrap();
    frame
}

/// Whether a frame is one of [`numbered`], forwarded.
fn is_numbered(frame: &[u8]) -> bool {
    frame.len() >= 44 && frame[12..14] == [8, 0] && frame[22] == 63 && frame[23] == 17
}

fn no_flow_is_reordered(lab: &Lab) {
    // An odd number, so that dealing frames out in turn does not keep a flow together.
    const FLOWS: u16 = 31;
    const ROUNDS: u16 = 20;
    const RUN: u16 = 8;
    ping_once(lab, "t1", "10.10.252.1");
    let mut taps = [lab.tap("t1", "t1-eth0"), lab.tap("t2", "t2-eth0")];
    for round in 0..ROUNDS {
        // Both directions at once, so that what the answers do to the spreading of the flows is seen too.
        for number in round * RUN..(round + 1) * RUN {
            for from in [0, 1] {
                let frames: Vec<Vec<u8>> = (0..FLOWS).map(|flow| numbered(from, flow, number)).collect();
                taps[from].send_all(&frames);
            }
        }
        for to in [0, 1] {
            let mut arrived: Vec<Vec<u8>> = Vec::new();
            wait_for("the frames come out", || {
                let frames = taps[to].take().into_iter().map(|(frame, _)| frame);
                arrived.extend(frames.filter(|frame| is_numbered(frame)));
                (arrived.len() >= usize::from(FLOWS * RUN)).then_some(())
            });
            let mut next = vec![round * RUN; usize::from(FLOWS)];
            for frame in arrived {
                let number = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
                let flow = number(34).max(number(36)) - 20_000;
                let next = &mut next[usize::from(flow)];
                assert_eq!(number(42), *next, "flow {flow} to host {to} in round {round}\n{}", lab.dump());
                *next += 1;
            }
        }
    }
    let engine = settled(lab);
    let workers = engine["workers"].as_array().unwrap();
    let received: Vec<u64> = workers.iter().map(|worker| worker["received"].as_u64().unwrap()).collect();
    assert!(received.len() == 2 && received.iter().all(|frames| *frames > 500), "both work: {received:?}");
}

/// Runs an iperf3 client against a server and returns its report.
fn iperf3(lab: &Lab, client: &str, server: &str, arguments: &[&str]) -> serde_json::Value {
    let _server = lab.iperf3_server(server);
    let mut command = vec!["iperf3", "-J"];
    command.extend(arguments);
    let report: serde_json::Value = serde_json::from_str(&lab.succeed(client, &command)).unwrap();
    assert!(report["error"].is_null(), "{}", report["error"]);
    report
}

fn iperf3_tcp(lab: &Lab) {
    for to in ["10.10.252.1", "fd00:252::1"] {
        // iperf3 ends its count when the client says so, with as much on its way as fits into the sockets'
        // buffers.
        let report = iperf3(lab, "t1", "t2", &["-c", to, "-n", "64M", "-w", "1M"]);
        let bytes = report["end"]["sum_received"]["bytes"].as_u64().unwrap();
        assert!(bytes >= 50_000_000, "{bytes}\n{}", lab.dump());
        let report = iperf3(lab, "t1", "t2", &["-c", to, "-n", "64M", "-w", "1M", "-R"]);
        assert!(report["end"]["sum_received"]["bytes"].as_u64().unwrap() >= 50_000_000);
    }
}

fn iperf3_udp(lab: &Lab) {
    let report = iperf3(lab, "t1", "t2", &["-c", "10.10.252.1", "-u", "-l", "18", "-b", "2M", "-t", "1"]);
    // What the server reads too late is not the router's loss.
    let unread = snmp::counters(&lab.succeed("t2", &["cat", "/proc/net/snmp"]))["Udp.RcvbufErrors"];
    assert_eq!(report["end"]["sum"]["lost_packets"], unread, "{}", lab.dump());
    assert!(report["end"]["sum"]["packets"].as_u64().unwrap() > 5_000);
}

fn iperf3_to_the_router(lab: &Lab) {
    // GSO packets for the router's own programs have to be cut, and their checksums completed.
    // What the sender's socket still holds at the end, some megabytes, iperf3 does not count.
    for to in ["10.10.251.2", "fd00:251::2"] {
        let report = iperf3(lab, "t1", "router", &["-c", to, "-n", "64M", "-w", "1M"]);
        assert!(report["end"]["sum_received"]["bytes"].as_u64().unwrap() >= 50_000_000);
        let report = iperf3(lab, "t1", "router", &["-c", to, "-n", "64M", "-w", "1M", "-R"]);
        assert!(report["end"]["sum_received"]["bytes"].as_u64().unwrap() >= 50_000_000);
    }
}

/// The engine's totals, once two looks in a row agree.
fn settled(lab: &Lab) -> serde_json::Value {
    let mut last = serde_json::Value::Null;
    wait_for("the counters come to rest", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = lab.status()["engine"].clone();
        let same = now["totals"] == last["totals"] && now["ports"] == last["ports"];
        last = now.clone();
        same.then_some(now)
    })
}

/// Frames in and out of the router's two ports, as the kernel counts them. A TAP's router end is no
/// interface: there it is what the hosts' ends count, the frames that found no room included.
fn interface_counters(lab: &Lab) -> [[u64; 2]; 2] {
    if lab.mode == "userspace:tap" {
        return [("t1", "t1-eth0"), ("t2", "t2-eth0")].map(|(node, port)| {
            let count = |name| lab.interface_counter(node, port, name);
            [count("tx_packets") + count("tx_dropped"), count("rx_packets")]
        });
    }
    ["eth-t1", "eth-t2"]
        .map(|port| ["rx_packets", "tx_packets"].map(|name| lab.interface_counter("router", port, name)))
}

/// What the engine and the interfaces count at a moment at which no host has just said something of its own
/// accord, as each does several times in its first second.
fn at_rest(lab: &Lab) -> (serde_json::Value, [[u64; 2]; 2]) {
    wait_for("the hosts are silent", || {
        let interfaces = interface_counters(lab);
        let engine = settled(lab);
        (interfaces == interface_counters(lab)).then_some((engine, interfaces))
    })
}

fn accounted(lab: &Lab) {
    // Frames that passed before the rings were open are counted nowhere.
    let (before, kernel_before) = at_rest(lab);
    iperf3(lab, "t1", "t2", &["-c", "10.10.252.1", "-t", "1"]);
    iperf3(lab, "t1", "t2", &["-c", "10.10.252.1", "-u", "-l", "18", "-b", "0", "-t", "1"]);
    let (engine, kernel_after) = at_rest(lab);
    let total = |name: &str| engine["totals"][name].as_u64().unwrap();
    assert_eq!(
        total("received") + total("originated"),
        total("sent") + total("to_host") + total("consumed") + total("held") + total("dropped"),
        "the packet accounting: {engine:#}"
    );
    for (port, interface) in ["eth-t1", "eth-t2"].into_iter().enumerate() {
        let count = |engine: &serde_json::Value, name: &str| engine["ports"][port][name].as_u64().unwrap();
        let ours = |name: &str| count(&engine, name) - count(&before, name);
        let [received, sent] = [0, 1].map(|way| kernel_after[port][way] - kernel_before[port][way]);
        assert_eq!(ours("rx_frames") + ours("rx_lost"), received, "{interface} in: {engine:#}");
        assert_eq!(ours("tx_frames"), sent, "{interface} out: {engine:#}");
    }
    assert!(total("received") > 10_000, "{engine:#}");
}

fn stopped(lab: &Lab) {
    ping_once(lab, "t1", "10.10.252.1");
    let pid = lab.status()["pid"].as_i64().unwrap();
    let process = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let results: Vec<bool> = [
        ("t1", "10.10.252.1"),
        ("t1", "10.10.251.2"),
        ("t2", "10.10.252.2"),
        ("t1", "fd00:252::1"),
        ("t1", "fd00:251::2"),
    ]
    .map(|(node, to)| {
        lab.exec(node, &["ping", "-n", "-c", "2", "-i", "0.1", "-W", "0.3", to]).status.success()
    })
    .to_vec();
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGCONT).unwrap();
    assert_eq!(results, [false; 5], "nothing crosses a router that is stopped");
    ping_once(lab, "t1", "10.10.252.1");
}

fn kernel_is_silent(lab: &Lab) {
    let guard = match lab.mode.as_str() {
        "userspace" => "tcx",
        "userspace:tap" | "userspace:xdp" => "not needed",
        _ => "sysctl",
    };
    assert!(lab.guard().starts_with(guard), "{}", lab.guard());
    let read = |key: &str| lab.succeed("router", &["cat", &format!("/proc/sys/net/{key}")]).trim().to_owned();
    let silent = || {
        assert_eq!(read("ipv4/ip_forward"), "0");
        assert_eq!(read("ipv6/conf/all/forwarding"), "0");
    };
    silent();
    ping_once(lab, "t1", "10.10.252.1");
    ping_once(lab, "t1", "fd00:252::1");
    silent();
    // The kernel has learned no neighbour on a port of the router.
    let neighbours = lab.succeed("router", &["ip", "neigh", "show"]);
    assert!(!neighbours.contains("eth-t"), "{neighbours}");
    // And it has received none of it as its own: everything there is dropped before it is delivered.
    let addresses = lab.succeed("router", &["ip", "-br", "addr", "show"]);
    let addresses: String = addresses.lines().filter(|line| line.starts_with("eth-")).collect();
    assert!(!addresses.contains("10.10"), "{addresses}");
}

fn ip_route(lab: &Lab) {
    // Linux charges such an error twice, so a sender that asks too often is never answered again (ip_error
    // and icmpv4_xrlim_allow share one bucket): every look has a source of its own.
    let source = std::cell::Cell::new(10);
    let says = |to: &str, words: &str| {
        wait_for(&format!("{to}: {words}"), || {
            source.set(source.get() + 1);
            let (from, length) = match to.contains(':') {
                true => (format!("fd00:251::{}", source.get()), 64),
                false => (format!("10.10.251.{}", source.get()), 24),
            };
            let address = format!("{from}/{length}");
            let mut command = vec!["ip", "addr", "add", &address, "dev", "t1-eth0"];
            command.extend(to.contains(':').then_some("nodad"));
            lab.succeed("t1", &command);
            let output = lab.exec("t1", &["ping", "-n", "-I", &from, "-c", "1", "-W", "0.3", to]);
            String::from_utf8_lossy(&output.stdout).contains(words).then_some(())
        });
    };
    lab.succeed("t2", &["ip", "addr", "add", "10.77.0.1/32", "dev", "lo"]);
    lab.succeed("t2", &["ip", "addr", "add", "fd77::1/128", "dev", "lo", "nodad"]);
    says("10.77.0.1", "Net Unreachable");
    says("fd77::1", "No route");
    for route in [
        "10.77.0.0/16 via 10.10.252.1",
        "blackhole 10.77.1.0/24",
        "unreachable 10.77.2.0/24",
        "prohibit 10.77.3.0/24",
    ] {
        let mut command = vec!["ip", "route", "add"];
        command.extend(route.split(' '));
        lab.succeed("router", &command);
    }
    for route in ["fd77::/64 via fd00:252::1", "unreachable fd77:0:0:2::/64", "prohibit fd77:0:0:3::/64"] {
        let mut command = vec!["ip", "-6", "route", "add"];
        command.extend(route.split(' '));
        lab.succeed("router", &command);
    }
    says("10.77.0.1", "1 received");
    says("10.77.2.1", "Host Unreachable");
    says("10.77.3.1", "Packet filtered");
    says("fd77::1", "1 received");
    says("fd77:0:0:2::1", "No route");
    says("fd77:0:0:3::1", "Administratively prohibited");
    let output = lab.exec("t1", &["ping", "-n", "-c", "1", "-W", "0.3", "10.77.1.1"]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("From"), "a blackhole is silent");
    lab.succeed("router", &["ip", "route", "del", "10.77.0.0/16", "via", "10.10.252.1"]);
    says("10.77.0.1", "Net Unreachable");
}

/// 50,000 routes by `ip -batch`, some of which the kernel will not have told of singly where its buffer is
/// small.
fn many_routes(lab: &Lab) {
    let known = || lab.status()["engine"]["routes"].as_u64();
    let before = known();
    let all_are = |count: u64| {
        if let Some(before) = before {
            wait_for(&format!("{count} routes more"), || (known()? == before + count).then_some(()));
        }
    };
    let nets = || (0..50_000u32).map(|n| format!("20.{}.{}.0/24", n >> 8, n & 255));
    let directory = tempfile::tempdir().unwrap();
    let batch = |verb: &str| {
        let path = directory.path().join(verb);
        let lines: String = nets().map(|net| format!("route {verb} {net} via 10.10.252.1\n")).collect();
        std::fs::write(&path, lines).unwrap();
        lab.succeed("router", &["ip", "-batch", path.to_str().unwrap()]);
    };
    lab.succeed("t2", &["ip", "addr", "add", "20.100.7.1/32", "dev", "lo"]);
    lab.succeed("router", &["ip", "route", "add", "blackhole", "20.0.0.0/8"]);
    batch("add");
    all_are(50_001);
    ping_once(lab, "t1", "20.100.7.1");
    batch("del");
    all_are(1);
    let output = lab.exec("t1", &["ping", "-n", "-c", "1", "-W", "0.3", "20.100.7.1"]);
    assert!(!output.status.success(), "the blackhole has it back: {}", describe(&output));
}

fn link_down_and_up(lab: &Lab) {
    ping_once(lab, "t1", "10.10.252.1");
    lab.succeed("router", &["ip", "link", "set", "eth-t2", "down"]);
    wait_for("the router says that the network is unreachable", || {
        let output = lab.exec("t1", &["ping", "-n", "-c", "1", "-W", "1", "10.10.252.1"]);
        String::from_utf8_lossy(&output.stdout).contains("Net Unreachable").then_some(())
    });
    lab.succeed("router", &["ip", "link", "set", "eth-t2", "up"]);
    wait_for("the way is open again", || {
        lab.exec("t1", &["ping", "-n", "-c", "1", "-W", "1", "10.10.252.1"]).status.success().then_some(())
    });
}

fn host_link_down_and_up(lab: &Lab) {
    ping_once(lab, "t1", "10.10.252.1");
    lab.succeed("t2", &["ip", "link", "set", "t2-eth0", "down"]);
    let output = lab.exec("t1", &["ping", "-n", "-c", "3", "-i", "0.1", "-W", "1", "10.10.252.1"]);
    assert!(!output.status.success(), "nothing answers: {}", describe(&output));
    lab.succeed("t2", &["ip", "link", "set", "t2-eth0", "up"]);
    // The host's route went with its link.
    lab.succeed("t2", &["ip", "route", "add", "default", "via", "10.10.252.2"]);
    wait_for("the way is open again", || {
        lab.exec("t1", &["ping", "-n", "-c", "1", "-W", "1", "10.10.252.1"]).status.success().then_some(())
    });
}
