//! Many ports, scans and stopped processes: nothing is starved, nothing waits for ever.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::Trial;

use crate::common::{
    Case, Lab, OTHER_BACKENDS, QUIET, Tap, case_output, describe, expanded, lab_name, nsrouter, promptly,
    trial, wait_for,
};

/// Cases beside the built-in lab, and those that trials run in labs of their own.
pub(crate) const CASES: &[Case] = &[
    Case { name: "the_last_port_is_as_good_as_the_first", modes: &[], programs: &["ping"], body: last_port },
    Case {
        name: "a_scan_of_a_64_leaves_other_neighbours_alone",
        modes: &["kernel", "userspace", OTHER_BACKENDS, "userspace:packet:2"],
        programs: &["ip", "ping", QUIET],
        body: scan,
    },
    Case {
        name: "spoofed_arp_hides_no_other_trouble",
        modes: &["userspace", "userspace:xdp"],
        programs: &["ip"],
        body: spoofed_arp,
    },
    Case {
        name: "fragments_follow_an_mtu_that_is_raised",
        modes: &["kernel", "userspace"],
        programs: &["ip", "ping"],
        body: mtu_raised,
    },
];

/// The kernel, and our own router over every backend.
const MODES: &[&str] = &["kernel", "userspace:EVERY"];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("too_few_descriptors_are_refused".to_owned(), &["sh"], too_few_descriptors),
        trial("the_control_socket_is_its_user_s_alone".to_owned(), &["sh", "stat"], private_socket),
        trial("command_s_path_gains_nsrouter_alone".to_owned(), &["sh"], path_gains_nsrouter),
    ];
    for mode in expanded(MODES) {
        // One more port than hosts is the host port. 64 is what fits into a word of bits.
        for (hosts, options) in [(64, &[] as &[&str]), (300, &["--spin", "never"])] {
            // The kernel does not sleep.
            if mode == "kernel" && !options.is_empty() {
                continue;
            }
            let mode = mode.clone();
            trials.push(trial(format!("{mode}::{hosts}_hosts"), &["ping"], move || {
                let topology = star(hosts);
                let file = topology.path().to_str().unwrap();
                let case = format!("{mode}::the_last_port_is_as_good_as_the_first");
                let output = case_output(&mode, &case, &[options, &["--topology", file]].concat());
                assert!(output.status.success(), "{}", describe(&output));
            }));
        }
        // To attach and detach an XDP program takes some 20 ms each, under a lock that all networking shares.
        if mode != "userspace:xdp" {
            let name = format!("{mode}::100_hosts_are_up_and_down_soon");
            trials.push(trial(name, &["date", QUIET], move || in_time(&mode)));
        }
    }
    trials
}

/// A lab of 100 hosts takes less than a second each way where nothing else runs; here much else may.
fn in_time(mode: &str) {
    let topology = star(100);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let up_and_down = || {
        let begin = now();
        let output = lab_command(mode, topology.path()).args(["date", "+%s%N"]).output().unwrap();
        let end = now();
        assert!(output.status.success(), "{}", describe(&output));
        let told: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let running = Duration::from_nanos(told);
        (running - begin, end - running)
    };
    promptly("100 hosts are up", Duration::from_secs(6), || up_and_down().0);
    promptly("100 hosts are down", Duration::from_secs(4), || up_and_down().1);
}

/// A private lab of this topology; what is to run in it is still to be said.
fn lab_command(mode: &str, topology: &Path) -> Command {
    let (mode, backend) = mode.split_once(':').unwrap_or((mode, "auto"));
    let mut command = Command::new(nsrouter());
    command.args(["--mode", mode, "--backend", backend, "--private", "--name", &lab_name(), "--for", "60s"]);
    command.arg("--topology").arg(topology).arg("--").stdin(Stdio::null());
    command
}

/// A private lab of the built-in topology over packet that a shell starts after `before`.
fn shell_lab(before: &str, topology: &Path, command: &str) -> Output {
    let inner = lab_command("userspace:packet", topology);
    let mut lab = Command::new("sh");
    lab.args(["-c", &format!("{before} && exec \"$@\""), "sh"]);
    lab.arg(inner.get_program()).args(inner.get_args()).args(["sh", "-c", command]);
    lab.stdin(Stdio::null()).output().unwrap()
}

fn private_socket() {
    let topology = star(2);
    for umask in ["0", "0777"] {
        let command = "stat -c %a $(find /run/nsrouter/ -name control.sock) && nsrouter status > /dev/null";
        let output = shell_lab(&format!("umask {umask}"), topology.path(), command);
        assert!(output.status.success(), "{umask}: {}", describe(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "600", "{umask}");
    }
}

/// What lies beside the binary may be anybody's.
fn path_gains_nsrouter() {
    let topology = star(2);
    let output = shell_lab("true", topology.path(), "ls ${PATH%%:*} && nsrouter status > /dev/null");
    assert!(output.status.success(), "{}", describe(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "nsrouter");
}

/// Past the hard limit of open files there is a sentence with the number; up to it the soft one is raised,
/// and the command has that again.
fn too_few_descriptors() {
    let topology = star(50);
    let run = |limits: &str, command: &str| shell_lab(limits, topology.path(), command);
    let output = run("ulimit -Sn 100", "ulimit -Sn");
    assert!(output.status.success(), "{}", describe(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "100");
    let output = run("ulimit -n 100", "true");
    assert_eq!(output.status.code(), Some(3), "{}", describe(&output));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("Too many open files") && told.contains("ulimit -n 1"), "{told}");
}

/// A topology of one router and so many hosts, `h0` first; the addresses of host N are 10.A.B.1 and
/// fd00:N::1.
fn star(hosts: usize) -> tempfile::NamedTempFile {
    let mut text = String::from("[[node]]\nname = \"router\"\nrole = \"router\"\n");
    for host in 0..hosts {
        let (v4, v6) = (network(host), format!("fd00:{host:x}::"));
        write!(
            text,
            "[[node]]\nname = \"h{host}\"\nrole = \"host\"\n\
             routes = [{{ to = \"default\", via = \"{v4}.2\" }}, {{ to = \"default\", via = \"{v6}2\" }}]\n\
             [[link]]\n\
             a = {{ node = \"h{host}\", ifname = \"eth0\", addresses = [\"{v4}.1/24\", \"{v6}1/64\"] }}\n\
             b = {{ node = \"router\", ifname = \"p{host}\", addresses = [\"{v4}.2/24\", \"{v6}2/64\"] }}\n"
        )
        .unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// The first three bytes of a host's addresses.
fn network(host: usize) -> String {
    format!("10.{}.{}", host / 200, host % 200)
}

fn last_port(lab: &Lab) {
    let last = lab.status()["engine"]["ports"].as_array().unwrap().len() - 1;
    let ping = |from: &str, to: &str| {
        lab.succeed(from, &["ping", "-q", "-c", "3", "-i", "0.2", "-W", "1", to]);
    };
    ping(&format!("h{last}"), &format!("{}.1", network(0)));
    ping("h0", &format!("fd00:{last:x}::1"));
    ping("router", &format!("{}.1", network(0)));
    ping("router", &format!("{}.1", network(last)));
}

/// The router's MAC address on eth-t1 of the built-in lab.
const ROUTER_MAC: [u8; 6] = [2, 1, 2, 3, 4, 1];

/// A UDP packet of t1 to an unused address of t2's network.
fn stray(host: [u8; 6], last: u64) -> Vec<u8> {
    let mut to = [0; 16];
    to[..6].copy_from_slice(&[0xfd, 0, 2, 0x52, 0, 0]);
    to[8..].copy_from_slice(&(last | 1 << 63).to_be_bytes());
    let mut from = [0; 16];
    from[..4].copy_from_slice(&[0xfd, 0, 2, 0x51]);
    from[15] = 1;
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ethernet2(host, ROUTER_MAC)
        .ipv6(from, to, 64)
        .udp(9, 9)
        .write(&mut bytes, &[0; 8])
        .unwrap();
    bytes
}

/// Kilobytes of memory that the lab's process has.
fn resident_kb(lab: &Lab) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", lab.status()["pid"])).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

fn answers(lab: &Lab, from: &str, to: &str, count: &str) -> bool {
    lab.exec(from, &["ping", "-q", "-n", "-c", count, "-i", "0.3", "-W", "1", to]).status.success()
}

/// Ten addresses more for a host, from `.50` and `::50` on.
fn more_addresses(lab: &Lab, node: &str, network: u8) {
    for last in 50..60 {
        let interface = format!("{node}-eth0");
        lab.succeed(node, &["ip", "addr", "add", &format!("10.10.{network}.{last}/24"), "dev", &interface]);
        let v6 = format!("fd00:{network}::{last}/64");
        lab.succeed(node, &["ip", "addr", "add", &v6, "dev", &interface, "nodad"]);
    }
}

fn scan(lab: &Lab) {
    more_addresses(lab, "t1", 251);
    more_addresses(lab, "t2", 252);
    for to in ["10.10.252.1", "fd00:252::1"] {
        lab.succeed("t1", &["ping", "-q", "-n", "-c", "2", "-i", "0.2", "-W", "1", to]);
    }
    let mut tap = lab.tap("t1", "t1-eth0");
    let host = lab.mac("t1", "t1-eth0");
    let before_kb = resident_kb(lab);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&mut tap, host, &over));
        std::thread::sleep(Duration::from_millis(500));
        let begin = Instant::now();
        let mut last = 50;
        // Of both hosts, the one that scans included, neighbours that the router has never met.
        while begin.elapsed() < Duration::from_millis(2500) && last < 60 {
            assert!(answers(lab, "t2", &format!("10.10.251.{last}"), "3"), "t1's .{last}: {}", lab.dump());
            assert!(answers(lab, "t1", &format!("10.10.252.{last}"), "3"), "t2's .{last}: {}", lab.dump());
            last += 1;
        }
        over.store(true, Ordering::Relaxed);
        let sent = flood.join().unwrap();
        assert!(sent > 10_000, "a scan of {sent} addresses is none");
    });
    if !lab.is_userspace() {
        return;
    }
    let grown_kb = resident_kb(lab).saturating_sub(before_kb);
    assert!(grown_kb < 24 << 10, "memory grew by {grown_kb} KB");
    let engine = wait_for("nothing is held", || {
        Some(lab.status()["engine"].clone()).filter(|engine| engine["totals"]["held"] == 0)
    });
    assert!(engine["drops"]["neighbour_limit"].as_u64() > Some(1000), "{engine:#}");
    // A first packet is held, not lost.
    for to in ["10.10.252.59", "fd00:252::58", "fd00:252::59"] {
        assert!(answers(lab, "t1", to, "1"), "{to}: {}", lab.dump());
    }
    let total = |name: &str| engine["totals"][name].as_u64().unwrap();
    assert_eq!(
        total("received") + total("originated"),
        total("sent") + total("to_host") + total("consumed") + total("held") + total("dropped"),
        "{engine:#}"
    );
}

/// Sends to one address after the other until it is over; says to how many.
fn flood(tap: &mut Tap, host: [u8; 6], over: &AtomicBool) -> u64 {
    let mut next = 0;
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let frames: Vec<Vec<u8>> =
            (next..next + 64).map(|last: u64| stray(host, last << 20 | last)).collect();
        sent += tap.send_some(&frames);
        next += 64;
    }
    sent
}

fn spoofed_arp(lab: &Lab) {
    let mut tap = lab.tap("t1", "t1-eth0");
    for number in 0..2000u16 {
        let [high, low] = number.to_be_bytes();
        let station = [2, 9, 9, 9, high, low];
        let mut frame = [&[0xff; 6][..], &station, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &station].concat();
        frame.extend([10, 10, 251, 2, 0, 0, 0, 0, 0, 0, 10, 10, 251, 2]);
        frame.resize(60, 0);
        tap.send_some(&[frame]);
    }
    let troubles = || {
        let status = lab.status();
        let troubles = status["engine"]["troubles"].as_array().unwrap().iter();
        troubles.map(|trouble| trouble.as_str().unwrap().to_owned()).collect::<Vec<String>>()
    };
    let told = wait_for("the conflicts are told", || {
        Some(troubles()).filter(|troubles| troubles.iter().any(|trouble| trouble.contains("times)")))
    });
    let conflicts = told.iter().filter(|trouble| trouble.contains("uses our address 10.10.251.2"));
    assert_eq!(conflicts.count(), 1, "{told:?}");
    lab.succeed("router", &["ip", "link", "set", "eth-t2", "down"]);
    wait_for("the link that went down is told", || {
        troubles().iter().any(|trouble| trouble.contains("eth-t2 went down")).then_some(())
    });
}

fn mtu_raised(lab: &Lab) {
    for (host, mtu) in [("t1", 9000), ("t2", 4000)] {
        for (node, interface) in [(host, format!("{host}-eth0")), ("router", format!("eth-{host}"))] {
            lab.succeed(node, &["ip", "link", "set", &interface, "mtu", &mtu.to_string()]);
        }
    }
    if lab.is_userspace() {
        wait_for("the router knows", || {
            let status = lab.status();
            let ports = status["engine"]["ports"].as_array().unwrap();
            (ports[0]["mtu"] == 9000 && ports[1]["mtu"] == 4000).then_some(())
        });
    }
    // Larger than both, so that what comes back is cut by the host and what goes there by the router.
    let ping = ["ping", "-q", "-M", "dont", "-c", "3", "-i", "0.2", "-W", "1", "-s", "8000", "10.10.252.1"];
    let told = lab.succeed("t1", &ping);
    assert!(told.contains(" 3 received"), "{told}\n{}", lab.dump());
}
