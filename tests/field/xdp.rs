//! The xdp backend beside the others: memory, tags, limits of the MTU and of descriptors.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use libtest_mimic::Trial;

use crate::common::{self, Case, describe, nsrouter};

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[];

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
