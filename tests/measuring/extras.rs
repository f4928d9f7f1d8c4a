//! What `bench` does with programs that continuous integration does not install: a browser, other forwarders.
//! Where they are missing these tests are ignored, even where nothing else may be.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::common::{self, describe, nsrouter, trial};
use crate::runs::{measured, median};

const BROWSER: &str = "chromium";

pub(crate) fn trials() -> Vec<Trial> {
    let peer = |script: &'static str, mode: &'static str| move || peer_forwards(script, mode);
    vec![
        extra("bench_report_is_shown_by_a_browser", BROWSER, browser),
        extra("peer_testpmd_af_packet", "dpdk-testpmd", peer("testpmd-af_packet", ":no-offload")),
        extra("peer_testpmd_af_xdp", "dpdk-testpmd", peer("testpmd-af_xdp", ":no-offload")),
        extra("peer_openvswitch", "ovs-vswitchd", peer("openvswitch", "")),
        trial("peers_that_are_not_installed_are_left_out".into(), &[], left_out),
    ]
}

fn extra(name: &str, program: &str, body: impl FnOnce() + Send + 'static) -> Trial {
    if common::is_program(program) {
        return trial(name.into(), &[], body);
    }
    Trial::test(name, || Ok(())).with_kind(format!("needs {program}")).with_ignored_flag(true)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/peers").join(name)
}

fn peer_forwards(name: &str, options: &str) {
    let mode = format!("cmd:{}{options}", script(name).display());
    let (output, report) =
        measured(&["--scenarios", "udp-64-at-5000,latency-idle-v6,tcp-1", "--modes", &mode]);
    assert!(output.status.success(), "{}", describe(&output));
    assert!(median(&report, "udp-64-at-5000", "forwarded", &mode) > 2_000.0);
    assert!(median(&report, "latency-idle-v6", "latency_p50", &mode) > 0.0);
    assert!(median(&report, "tcp-1", "throughput", &mode) > 1e6);
}

fn left_out() {
    let modes: Vec<String> = ["testpmd-af_xdp", "openvswitch"]
        .iter()
        .map(|name| format!("cmd:{}:no-offload", script(name).display()))
        .collect();
    let modes = format!("kernel,{}", modes.join(","));
    let output = Command::new(nsrouter())
        .args(["bench", "--rounds", "1", "--seconds", "1", "--warm-up", "0", "--traffic", "builtin"])
        .args(["--scenarios", "latency-idle", "--modes", &modes])
        .env("PATH", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", describe(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    for part in [
        "testpmd-af_xdp:no-offload was left out: dpdk-testpmd is not installed (apt-get install dpdk)",
        "openvswitch:no-offload was left out: ovs-vswitchd is not installed",
        "latency p50",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

/// Opens the page, light and dark: every plot is there, nothing is complained about, and the two differ. The
/// pictures stay in the target folder's tmp, to be looked at.
fn browser() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let scenarios = "tcp-1,udp-64,udp-1518,latency-idle";
    let (output, _) = measured(&["--scenarios", scenarios, "--out", out.to_str().unwrap()]);
    assert!(output.status.success(), "{}", describe(&output));
    let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
    let page = format!("file://{}/report.html", out.display());
    let open = |options: &[&str]| {
        let fixed =
            ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"];
        let output = Command::new("timeout")
            .args(["60", BROWSER])
            .args(fixed)
            .args([&profile, "--window-size=1000,3600"])
            .args(options)
            .arg(&page)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", describe(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("CONSOLE"), "the page is complained about: {said}");
        output
    };
    let dom = String::from_utf8(open(&["--dump-dom"]).stdout).unwrap();
    // Throughput, forwarded, delivered, two of round trips, two of CPU time, two against size, one
    // distribution.
    assert_eq!(dom.matches("<svg").count(), 10, "{dom}");
    let pictures = [("light", "1"), ("dark", "0")].map(|(name, scheme)| {
        let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.png"));
        let screenshot = format!("--screenshot={}", picture.display());
        let dark = if name == "dark" { "--force-dark-mode" } else { "--disable-sync" };
        open(&[dark, &format!("--blink-settings=preferredColorScheme={scheme}"), &screenshot]);
        std::fs::read(picture).unwrap()
    });
    for picture in &pictures {
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 50_000, "{} bytes", picture.len());
    }
    assert_ne!(pictures[0], pictures[1]);
}
