//! Labs that start, stop, clash, die and are cleaned up after. Every case has a network and a /run of its
//! own, so that labs with the plain names t1 and t2 can be made and lost without anybody else noticing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Case, Lab, SANDBOX, describe, ended, hearing_signals, nsrouter, promptly, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const fn case(name: &'static str, programs: &'static [&'static str], body: fn(&Lab)) -> Case {
    Case { name, modes: SANDBOX, programs, body }
}

const CASES: &[Case] = &[
    case("fifty_starts_and_stops_leave_nothing", &["unshare", "ip", "iperf3"], fifty_starts),
    case("a_signal_takes_the_lab_down_at_once", &["unshare", "ip"], signals),
    case("a_command_gives_its_exit_code", &["unshare", "sh"], exit_codes),
    case("a_foreign_namespace_is_left_alone", &["unshare", "ip"], foreign_namespace),
    case("a_foreign_link_is_left_alone", &["unshare", "ip"], foreign_link),
    case("two_labs_need_two_names", &["unshare", "ip"], two_labs),
    case("a_dead_lab_is_replaced", &["unshare", "ip"], dead_lab_is_replaced),
    case("a_router_in_the_host_puts_everything_back", &["unshare", "ip", "ping"], host_router),
    case("clean_puts_back_what_a_killed_host_router_changed", &["unshare", "ip"], killed_host_router),
    case("another_terminal_finds_a_private_lab", &["unshare", "ip", "ping"], private_from_outside),
    case("a_killed_private_lab_is_gone", &["unshare", "ip", "iperf3"], killed_private_lab),
    case("settings_reach_the_router", &["unshare", "ip", "sysctl"], settings),
    case("routers_in_a_chain_from_a_file", &["unshare", "ip", "traceroute"], chain),
    case("wrong_usage_is_one_clear_sentence", &["unshare"], wrong_usage),
];

fn main() -> ExitCode {
    let rootless = ["kernel", "userspace"].map(|mode| {
        common::trial(format!("{mode}::an_ordinary_user_needs_no_root"), &["setpriv"], move || rootless(mode))
    });
    common::main(CASES, Vec::from(rootless))
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", describe(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(nsrouter()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn error_of(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", describe(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts a lab and waits until it answers.
fn start(arguments: &[&str]) -> Child {
    let child = hearing_signals()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let name: Vec<&str> =
        arguments.windows(2).find(|pair| pair[0] == "--name").map(Vec::from).unwrap_or_default();
    wait_for(&format!("a lab by {arguments:?}"), || {
        let mut status = vec!["status"];
        status.extend(&name);
        run(&status).status.success().then_some(())
    });
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Everything that a lab could leave behind.
fn traces() -> String {
    sh(
        "ip netns; ip -o link | sed 's/^[0-9]*: //'; ls /run/nsrouter 2>/dev/null; ip rule; ip route show table all; \
        grep -r . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding \
        /proc/sys/net/ipv6/conf/*/forwarding /proc/sys/net/ipv4/conf/*/rp_filter",
    )
}

fn processes_named(name: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        // What has ended and was not reaped by the machine's init does not run any more.
        .filter(|stat| stat.contains(&format!("({name})")) && !stat.contains(") Z "))
        .count()
}

fn fifty_starts(_: &Lab) {
    let before = traces();
    let servers = processes_named("iperf3");
    for round in 0..50 {
        let mode = ["kernel", "userspace"][round % 2];
        let mut child = start(&["--mode", mode]);
        if round % 5 == 4 {
            let server = run(&["exec", "t2", "--", "iperf3", "-s", "-D"]);
            assert!(server.status.success(), "{}", describe(&server));
            signal(&child, Signal::SIGKILL);
            child.wait().unwrap();
            let cleaned = run(&["clean"]);
            assert!(cleaned.status.success(), "{}", describe(&cleaned));
            let said = String::from_utf8_lossy(&cleaned.stdout).into_owned();
            assert!(said.contains("t1") && said.contains("iperf3"), "clean says what it removed: {said}");
        } else {
            signal(&child, Signal::SIGINT);
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", describe(&output));
        }
    }
    assert_eq!(traces(), before);
    assert_eq!(processes_named("iperf3"), servers);
}

fn signals(_: &Lab) {
    let before = traces();
    for (mode, which) in
        [("kernel", Signal::SIGINT), ("userspace", Signal::SIGTERM), ("userspace", Signal::SIGHUP)]
    {
        // The bound is part of what is promised, and ten times what it takes.
        promptly(&format!("{which} ends the lab"), Duration::from_secs(1), || {
            let child = start(&["--mode", mode]);
            let asked = Instant::now();
            signal(&child, which);
            let output = ended(child, which.as_ref());
            let took = asked.elapsed();
            assert_eq!(output.status.code(), Some(0), "{}", describe(&output));
            assert_eq!(traces(), before, "{which}");
            took
        });
    }
    // A signal while the lab is being built.
    for delay_ms in [1, 5, 20, 40, 80, 120] {
        let mut child =
            Command::new(nsrouter()).args(["--mode", "userspace"]).stdout(Stdio::null()).spawn().unwrap();
        // The moment is the subject: there is nothing to poll for.
        std::thread::sleep(Duration::from_millis(delay_ms));
        signal(&child, Signal::SIGTERM);
        child.wait().unwrap();
        assert_eq!(traces(), before, "after {delay_ms} ms");
    }
}

fn exit_codes(_: &Lab) {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let output = run(&["--mode", "kernel", "--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}: {}", describe(&output));
    }
    let output = run(&["--mode", "kernel", "--", "nsrouter", "exec", "t1", "--", "sh", "-c", "exit 5"]);
    assert_eq!(output.status.code(), Some(5), "{}", describe(&output));
    let said = error_of(&["--mode", "kernel", "--", "no-such-program"], 127);
    assert!(said.contains("no-such-program"), "{said}");
    let said = error_of(&["--mode", "kernel", "--", "nsrouter", "exec", "t9", "--", "true"], 2);
    assert!(said.contains("t9") && said.contains("t1, t2, router"), "{said}");
    // A time limit takes the command along, and the exit code is that of timeout(1).
    let output = run(&["--mode", "kernel", "--for", "300ms", "--", "sh", "-c", "echo $$; exec sleep 60"]);
    assert_eq!(output.status.code(), Some(124), "{}", describe(&output));
    let pid = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(!std::path::Path::new("/proc").join(&pid).exists(), "the command {pid} has ended");
    // Nothing was cut short.
    let output = run(&["--mode", "kernel", "--for", "300ms"]);
    assert_eq!(output.status.code(), Some(0), "{}", describe(&output));
}

fn foreign_namespace(_: &Lab) {
    sh("ip netns add t2 && ip -n t2 link add keep type veth peer name keeper");
    let before = traces();
    let said = error_of(&["--mode", "kernel"], 1);
    assert!(said.contains("`t2`") && said.contains("--replace"), "{said}");
    assert_eq!(traces(), before);
    assert!(sh("ip -n t2 link").contains("keeper"));
    let cleaned = run(&["clean"]);
    assert!(cleaned.status.success() && sh("ip netns").contains("t2"), "clean leaves it alone too");
    let output = run(&["--mode", "userspace", "--replace", "--", "nsrouter", "check"]);
    assert!(output.status.success(), "{}", describe(&output));
    assert!(!sh("ip netns").contains("t2"));
}

fn foreign_link(_: &Lab) {
    sh("ip link add eth-t2 type veth peer name other");
    let before = traces();
    let said = error_of(&["--mode", "kernel", "--router-ns", "host"], 1);
    assert!(said.contains("`eth-t2`") && said.contains("--replace"), "{said}");
    assert_eq!(traces(), before, "what was built before the clash is gone, and the link is still there");
}

fn two_labs(_: &Lab) {
    let before = traces();
    let first = start(&["--mode", "kernel"]);
    let said = error_of(&["--mode", "userspace"], 1);
    assert!(said.contains("already running") && said.contains("--name"), "{said}");
    let second = start(&["--mode", "userspace", "--name", "blue"]);
    let names = sh("ip netns");
    assert!(names.contains("t1") && names.contains("blue-t1"), "{names}");
    for name in ["default", "blue"] {
        let output = run(&["check", "--name", name]);
        assert!(output.status.success(), "{name}: {}", describe(&output));
    }
    for child in [first, second] {
        signal(&child, Signal::SIGTERM);
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(traces(), before);
}

fn dead_lab_is_replaced(_: &Lab) {
    let before = traces();
    let mut child = start(&["--mode", "userspace"]);
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    assert!(sh("ip netns").contains("t1"));
    let output = run(&["--mode", "kernel", "--", "nsrouter", "check"]);
    assert!(output.status.success(), "{}", describe(&output));
    assert_eq!(traces(), before);
}

/// A second network on the machine, with settings of its own and a default route that a router advertised.
const HOST_SETTINGS: &str = "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up; \
     sysctl -qw net.ipv4.conf.up0.forwarding=1 net.ipv6.conf.up1.accept_ra=2; \
     ip -6 route add default via fe80::1 dev up0 proto ra metric 1024; sysctl -qw net.ipv4.conf.up1.rp_filter=2";

fn host_router(_: &Lab) {
    sh(HOST_SETTINGS);
    // Link-local addresses come up by themselves a moment later.
    wait_for("the links settle", || (!sh("ip -6 addr").contains("tentative")).then_some(()));
    let before = traces();
    for mode in ["kernel", "userspace"] {
        let child = start(&["--mode", mode, "--router-ns", "host"]);
        sh("ping -n -c 1 -W 2 10.10.251.1");
        let output = run(&["check"]);
        assert!(output.status.success(), "{mode}: {}", describe(&output));
        signal(&child, Signal::SIGTERM);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", describe(&output));
        assert_eq!(traces(), before, "{mode}");
    }
}

fn killed_host_router(_: &Lab) {
    sh(HOST_SETTINGS);
    wait_for("the links settle", || (!sh("ip -6 addr").contains("tentative")).then_some(()));
    let before = traces();
    for mode in ["kernel", "userspace"] {
        let mut child = start(&["--mode", mode, "--router-ns", "host"]);
        signal(&child, Signal::SIGKILL);
        child.wait().unwrap();
        let cleaned = run(&["clean"]);
        assert!(cleaned.status.success(), "{}", describe(&cleaned));
        assert_eq!(traces(), before, "{mode}: {}", describe(&cleaned));
    }
}

fn private_from_outside(_: &Lab) {
    let before = traces();
    let child = start(&["--mode", "userspace", "--private"]);
    assert!(!sh("ip netns").contains("t1"), "its names are its own");
    let output = run(&["exec", "t1", "--", "ping", "-n", "-c", "1", "-W", "2", "10.10.252.1"]);
    assert!(output.status.success(), "{}", describe(&output));
    let output = run(&["check"]);
    assert!(output.status.success(), "{}", describe(&output));
    signal(&child, Signal::SIGINT);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(traces(), before);
}

fn killed_private_lab(_: &Lab) {
    let before = traces();
    let servers = processes_named("iperf3");
    let mut child = start(&["--mode", "userspace", "--private"]);
    let server = run(&["exec", "t2", "--", "iperf3", "-s", "-D"]);
    assert!(server.status.success(), "{}", describe(&server));
    assert_eq!(processes_named("iperf3"), servers + 1);
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    wait_for("everything in it goes with it", || (processes_named("iperf3") == servers).then_some(()));
    let said = error_of(&["exec", "t1", "--", "true"], 1);
    assert!(said.contains("no lab"), "{said}");
    assert!(run(&["clean"]).status.success());
    assert_eq!(traces(), before);
}

fn settings(_: &Lab) {
    let child = start(&["--mode", "userspace", "--set", "advertise=on", "--set", "redirects=off"]);
    // A host that listens to router advertisements, and asks for one when its link comes up (RFC 4861 section
    // 6.3.7).
    sh("ip netns exec t1 sysctl -qw net.ipv6.conf.t1-eth0.accept_ra=2 net.ipv6.conf.t1-eth0.autoconf=1; \
        ip -n t1 link set t1-eth0 down; ip -n t1 addr flush dev t1-eth0; ip -n t1 link set t1-eth0 up");
    wait_for("a default route and an address by router advertisement", || {
        let learned = sh("ip -n t1 -6 route show default; ip -n t1 -6 addr show dev t1-eth0");
        (learned.contains("proto ra") && learned.contains("fd00:251:")).then_some(())
    });
    signal(&child, Signal::SIGINT);
    assert!(child.wait_with_output().unwrap().status.success());
    let said = error_of(&["--mode", "userspace", "--set", "colour=red"], 2);
    assert!(said.contains("colour"), "{said}");
    let said = error_of(&["--mode", "kernel", "--set", "redirects=off"], 2);
    assert!(said.contains("sysctl"), "{said}");
}

fn chain(_: &Lab) {
    let before = traces();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/chain.toml");
    for mode in ["kernel", "userspace"] {
        let script = "set -e; nsrouter check; \
             nsrouter exec a -- traceroute -n -q 1 -w 2 10.2.0.1; nsrouter exec a -- traceroute -n -q 1 -w 2 fd03::1; \
             nsrouter exec a -- ping -n -c 1 -W 2 10.3.0.1; nsrouter status";
        let output = run(&["--mode", mode, "--topology", file, "--", "sh", "-c", script]);
        assert!(output.status.success(), "{mode}: {}", describe(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for hop in
            ["1  10.1.0.254", "2  192.168.9.1", "3  10.2.0.1", "1  fd01::ffff", "2  fd09::1", "3  fd03::1"]
        {
            assert!(said.contains(hop), "{mode}: {hop}: {said}");
        }
        if mode == "userspace" {
            assert!(said.contains("r1/to-a") && said.contains("r2/to-b"), "{said}");
        }
    }
    let said = error_of(&["--mode", "kernel", "--topology", "/no/such/file"], 2);
    assert!(said.contains("/no/such/file"), "{said}");
    assert_eq!(traces(), before);
}

fn wrong_usage(_: &Lab) {
    let before = traces();
    for (arguments, code, words) in [
        (&["--mode", "magic"][..], 2, "magic"),
        (&["--mode", "kernel", "--for", "soon"], 2, "soon"),
        (&["--mode", "kernel", "--name", "a/b"], 2, "a/b"),
        (&["--private"], 2, "--mode"),
        (&["--mode", "userspace", "--spin", "abc"], 2, "never, always, adaptive"),
        (&["--mode", "userspace", "--backend", "magic"], 2, "auto, packet, tap, xdp"),
        (&["--mode", "userspace", "--workers", "0"], 2, "1..=64"),
        (&["--mode", "userspace", "--cpus", "4095"], 2, "it may use"),
        (&["--mode", "userspace", "--nice", "99"], 2, "-20..=19"),
        (&["--mode", "userspace", "--set", "magic=1"], 2, "no setting `magic`"),
        (&["--mode", "userspace", "--topology", "Cargo.toml"], 2, "unknown field"),
        (&["--mode", "userspace", "--", "no-such-program"], 127, "no program called `no-such-program`"),
        (&["--mode", "kernel", "--spin", "5us"], 2, "userspace"),
        (&["--mode", "kernel", "--nice", "1"], 2, "userspace"),
        (&["--mode", "kernel", "--backend", "tap"], 2, "--mode userspace"),
        (&["--mode", "kernel", "--set", "redirects=off"], 2, "sysctl"),
        (&["status"], 1, "no lab is running"),
        (&["exec", "t1", "--", "true"], 1, "no lab is running"),
        (&["status", "--name", "nobody"], 1, "nobody"),
    ] {
        let said = error_of(arguments, code);
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("Os {"), "{arguments:?}: {said}");
        // A reason is said once; an option may be named in the usage too.
        assert!(said.matches(words).count() == 1 || !words.contains(' '), "{arguments:?}: {said}");
    }
    assert_eq!(traces(), before);
}

/// As `nobody`, with the binary where everybody may read it. Without root nsrouter makes itself a private
/// lab.
fn rootless(mode: &str) {
    let output = common::Shared::new()
        .as_nobody()
        .args(["--mode", mode, "--name", &common::lab_name(), "--for", "60s", "--", "nsrouter", "check"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", describe(&output));
}
