//! The xdp backend beside the others: memory, tags, limits of the MTU and of descriptors.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use std::time::Duration;

use etherparse::PacketBuilder;
use libtest_mimic::Trial;

use crate::common::{self, BACKENDS, Case, Lab, Tap, describe, nsrouter, wait_for};

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "priority_tags_are_forwarded_and_other_frames_counted",
        modes: BACKENDS,
        programs: &["ping"],
        body: tags,
    },
    Case {
        name: "a_raised_mtu_is_used",
        modes: &["kernel", "userspace", "userspace:xdp"],
        programs: &["ip", "ping"],
        body: raised_mtu,
    },
    Case {
        name: "a_port_s_mtu_is_no_more_than_it_can_send",
        modes: &["userspace:xdp", "userspace:xdp:2"],
        programs: &["ip", "ping"],
        body: too_far_raised_mtu,
    },
    Case {
        name: "hosts_put_their_tags_into_the_frames",
        modes: &["userspace:xdp"],
        programs: &["ethtool"],
        body: tags_within,
    },
];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        common::trial("xdp_memory_grows_with_the_ports".to_owned(), &["ping", "awk"], memory),
        common::trial("xdp_memory_that_is_not_there_is_not_asked_for".to_owned(), &[], no_memory),
    ]
}

/// A file with a topology of one router and `hosts` hosts, `h0` being 10.0.0.1 and `hN` 10.0.N.1.
fn star(hosts: usize, mtu: u32) -> (tempfile::TempDir, PathBuf) {
    let mut text = "[[node]]\nname = \"router\"\nrole = \"router\"\n".to_owned();
    for n in 0..hosts {
        write!(
            text,
            "[[node]]\nname = \"h{n}\"\nrole = \"host\"\nroutes = [{{ to = \"default\", via = \"10.0.{n}.2\" }}]\n\
             [[link]]\nmtu = {mtu}\na = {{ node = \"h{n}\", ifname = \"eth0\", addresses = [\"10.0.{n}.1/24\"] }}\n\
             b = {{ node = \"router\", ifname = \"p{n}\", addresses = [\"10.0.{n}.2/24\"] }}\n"
        )
        .unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("star.toml");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

/// Runs a script beside a private lab of `hosts` hosts, with so many KiB of address space for all.
fn limited(hosts: usize, kibibytes: u32, script: &str) -> Output {
    let (_folder, file) = star(hosts, 1500);
    let command = "ulimit -v $0; exec \"$@\"";
    Command::new("sh")
        .args(["-c", command, &kibibytes.to_string()])
        .arg(nsrouter())
        .args(["--mode", "userspace", "--backend", "xdp", "--private", "--name", &common::lab_name()])
        .args(["--for", "60s", "--topology"])
        .arg(file)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn memory() {
    const SCRIPT: &str = "awk '/VmRSS/ { print $2 }' /proc/$PPID/status \
        && nsrouter exec h0 -- ping -n -q -c 2 -i 0.2 -W 2 10.0.1.1 >&2";
    for ports in [2, 10, 20, 100] {
        let output = limited(ports, 2_000_000, SCRIPT);
        assert!(output.status.success(), "{ports} ports: {}", describe(&output));
        let kibibytes: usize = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        // The program itself, and 16 MiB a port until they share half a GiB.
        let most = 32 + (16 * ports).min(512);
        assert!(kibibytes >> 10 <= most, "{ports} ports: {kibibytes} KiB, and {most} MiB are allowed");
    }
}

fn no_memory() {
    let output = limited(20, 250_000, "echo built");
    let said = describe(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for words in ["20 ports over xdp with 1 worker take ", "left by `ulimit -v`", "--backend packet"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("built"), "{said}");
}

/// The router's MAC address towards t1 in the built-in lab.
const ROUTER_MAC: [u8; 6] = [2, 1, 2, 3, 4, 1];

/// An echo request from t1 to t2, with these bytes between the addresses and the EtherType.
fn tagged_echo(tags: &[u8], sequence: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], ROUTER_MAC)
        .ipv4([10, 10, 251, 1], [10, 10, 252, 1], 64)
        .icmpv4_echo_request(0x7a67, sequence)
        .write(&mut frame, &[7; 300])
        .unwrap();
    frame.splice(12..12, tags.iter().copied());
    frame
}

/// The sequence numbers of so many echo replies, and of those that follow within `moment`.
fn answered(tap: &mut Tap, count: usize, moment: Duration) -> Vec<u8> {
    let replies = tap.collect(count, moment, |frame| {
        frame.len() > 42
            && frame[12..14] == [8, 0]
            && (frame[23], frame[34]) == (1, 0)
            && frame[38..40] == [0x7a, 0x67]
    });
    replies.iter().map(|frame| frame[41]).collect()
}

fn drops(lab: &Lab, reason: &str) -> u64 {
    lab.status()["engine"]["drops"][reason].as_u64().unwrap_or(0)
}

fn tags(lab: &Lab) {
    // Neighbours are known from here on.
    lab.succeed("t1", &["ping", "-n", "-q", "-c", "1", "-W", "2", "10.10.252.1"]);
    let mut tap = lab.tap("t1", "t1-eth0");
    let none: &[u8] = &[];
    for (tags, sequence) in [
        (none, 0),
        (&[0x81, 0, 0xa0, 0], 1),
        (&[0x88, 0xa8, 0, 0, 0x81, 0, 0, 0], 2),
        (&[0x81, 0, 0, 5], 3),
        (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5], 4),
    ] {
        tap.send(&tagged_echo(tags, sequence));
    }
    // For local experiments (IEEE 802), and the length of an 802.2 frame.
    for ether_type in [[0x88, 0xb5], [0, 0x40]] {
        let mut frame = tagged_echo(&[], 9);
        frame[12..14].copy_from_slice(&ether_type);
        tap.send(&frame);
    }
    assert_eq!(answered(&mut tap, 3, Duration::from_millis(400)), [0, 1, 2], "{}", lab.dump());
    if lab.is_userspace() {
        wait_for("the counters", || ((drops(lab, "vlan"), drops(lab, "eth_type")) == (2, 2)).then_some(()));
    }
}

fn set_mtu(lab: &Lab, mtu: u32, ends: &[(&str, &str)]) {
    for (node, interface) in ends {
        lab.succeed(node, &["ip", "link", "set", interface, "mtu", &mtu.to_string()]);
    }
}

const ENDS: [(&str, &str); 4] =
    [("t1", "t1-eth0"), ("router", "eth-t1"), ("router", "eth-t2"), ("t2", "t2-eth0")];

/// The MTU that the router says its port towards t1 has.
fn mtu(lab: &Lab) -> u64 {
    lab.status()["engine"]["ports"][0]["mtu"].as_u64().unwrap()
}

fn raised_mtu(lab: &Lab) {
    set_mtu(lab, 1700, &ENDS);
    let ping = ["ping", "-n", "-q", "-c", "1", "-W", "1", "-M", "do", "-s", "1600"];
    for (node, address) in [("t1", "10.10.252.1"), ("t2", "fd00:251::1")] {
        let command = [&ping[..], &[address]].concat();
        wait_for("large packets cross", || lab.exec(node, &command).status.success().then_some(()));
    }
}

/// A chunk of 2 KiB, less 256 bytes in front, holds an Ethernet frame of 1774 bytes and a VLAN tag.
fn too_far_raised_mtu(lab: &Lab) {
    set_mtu(lab, 3000, &ENDS);
    wait_for("the router takes the MTU over", || (mtu(lab) == 1774).then_some(()));
    assert!(lab.dump().contains("MTU of 3000, and 1774 is the most"), "{}", lab.dump());
    lab.succeed("t1", &["ping", "-n", "-q", "-c", "1", "-W", "2", "-M", "do", "-s", "1746", "10.10.252.1"]);
    let lost =
        lab.exec("t1", &["ping", "-n", "-q", "-c", "1", "-W", "1", "-M", "do", "-s", "1900", "10.10.252.1"]);
    assert!(!lost.status.success(), "{}", describe(&lost));
    wait_for("what no chunk holds is counted", || {
        (lab.status()["engine"]["ports"][0]["rx_lost"].as_u64().unwrap_or(0) > 0).then_some(())
    });
    set_mtu(lab, 1500, &ENDS);
    wait_for("the router takes the MTU over", || (mtu(lab) == 1500).then_some(()));
}

/// XDP sees no tag that an offload carries beside the frame: one of a VLAN would be taken for none.
fn tags_within(lab: &Lab) {
    let features = lab.succeed("t1", &["ethtool", "--show-features", "t1-eth0"]);
    for feature in ["tx-vlan-offload: off", "tx-vlan-stag-hw-insert: off"] {
        assert!(features.contains(feature), "{features}");
    }
}
