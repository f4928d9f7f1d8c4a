//! `bench` must measure, stop when told, and say what is wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nsrouter_linux::procfs::fields;
use serde_json::Value;

use crate::common::{self, Lab, describe, nsrouter, wait_for};
use crate::runs::{against_the_schema, measured, median, row_of, run};

/// The ping program measures; of five round trips there are no percentiles.
pub(crate) fn pings() {
    let modes = "kernel,userspace:packet";
    let (output, report) = measured(&["--scenarios", "ping,ping-v6", "--modes", modes]);
    assert!(output.status.success(), "{}", describe(&output));
    for scenario in ["ping", "ping-v6"] {
        for mode in modes.split(',') {
            let of = |metric| median(&report, scenario, metric, mode);
            assert!(0.0 < of("latency_p50") && of("latency_p50") <= of("latency_max"), "{scenario} {mode}");
            assert_eq!((of("round_trips"), of("loss")), (5.0, 0.0), "{scenario} {mode}");
        }
    }
    let results = report["results"].as_array().unwrap();
    assert!(!results.iter().any(|row| row["metric"] == "latency_p99"), "{results:?}");
}

pub(crate) fn measures(traffic: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    let scenarios = "tcp-1,udp-64,latency-idle,tcp-1-v6";
    let output = run(&[
        "bench",
        "--scenarios",
        scenarios,
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--warm-up",
        "0",
        "--seed",
        "7",
        "--traffic",
        traffic,
        "--out",
        folder.path().to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", describe(&output));
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(against_the_schema(&report), [""; 0]);
    // A check that passes everything would show nothing.
    let mut wrong = report.clone();
    wrong["results"][0]["ci95"] = serde_json::json!([1, 2, "3"]);
    wrong["surplus"] = Value::Null;
    wrong.as_object_mut().unwrap().remove("complete");
    assert_eq!(against_the_schema(&wrong).len(), 4, "{:?}", against_the_schema(&wrong));
    assert_eq!((&report["schema"], &report["environment"]["seed"]), (&Value::from(1), &Value::from(7)));
    let version = Command::new(nsrouter()).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    for part in ["nsrouter", "commit", "target"] {
        // A build outside a repository knows no commit.
        let part = report["environment"][part].as_str().unwrap_or_default();
        assert!(version.contains(part), "{part}: {version}");
    }
    assert!(report["environment"]["target"].is_string(), "{version}");
    assert_eq!(report["failures"], serde_json::json!([]), "{}", describe(&output));
    let results = report["results"].as_array().unwrap();
    let said = report["environment"]["traffic"].as_str().unwrap();
    assert!(traffic != "iperf" || said.contains("iperf 2"), "{said}");
    for scenario in scenarios.split(',') {
        let metrics: &[&str] = match scenario {
            "udp-64" => &["forwarded", "delivered", "offered", "loss", "router_loss", "cpu_per_mpkt"],
            "latency-idle" => &["latency_p50", "latency_p99"],
            // iperf 2 does not tell in its CSV.
            _ if traffic == "iperf" => &["throughput", "cpu_per_gb"],
            _ => &["throughput", "retransmits", "cpu_per_gb"],
        };
        for mode in ["kernel", "userspace:packet"] {
            for metric in metrics {
                let row = results.iter().find(|row| {
                    row["scenario"] == scenario && row["mode"] == mode && row["metric"] == *metric
                });
                let row = row.unwrap_or_else(|| panic!("no {metric} of {scenario} in {mode}: {report:#}"));
                let value = row["median"].as_f64().unwrap();
                assert!(value > 0.0 || matches!(*metric, "retransmits" | "loss" | "router_loss"), "{row:#}");
                assert_eq!(row["samples"].as_array().unwrap().len(), 1);
            }
        }
    }
    let own = |mode: &str| row_of(&report, "tcp-1", "router_cpu_per_gb", mode).is_some();
    assert!(own("userspace:packet") && !own("kernel"), "the kernel's forwarding has no threads of its own");
    let lab = &report["environment"]["labs"]["kernel"];
    let offloads = lab["offloads"]["t1 t1-eth0"].as_array().unwrap();
    assert!(offloads.contains(&Value::from("tx-tcp-segmentation")), "{lab:#}");
    assert_eq!(lab["sysctls"]["router"]["net.ipv4.ip_forward"], "1");
    assert_eq!(report["distributions"].as_array().unwrap().len(), 2, "latency-idle in two modes");
    let ratios = report["ratios"].as_array().unwrap();
    let ratio =
        ratios.iter().find(|row| row["scenario"] == "tcp-1" && row["metric"] == "throughput").unwrap();
    assert!(ratio["median"].as_f64().unwrap() > 0.0 && ratio["differs"] == false, "one round is no proof");
    let mut files: Vec<_> = folder.path().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(
        files,
        ["report.html", "results.csv", "results.json", "results.md"],
        "these, and nothing half written"
    );
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.ends_with("</html>\n") && page.contains("Round trip, latency-idle"), "{page}");
}

/// A program with that text, and the mode that runs it.
fn script(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("cmd:{}", path.display())
}

pub(crate) fn any_forwarder() {
    let folder = tempfile::tempdir().unwrap();
    // Whatever it does not find as promised it says, and nothing is forwarded.
    let promised = "\
        test \"$(cat /proc/sys/net/ipv4/ip_forward)\" = 0 || { echo the kernel forwards >&2; exit 1; }\n\
        test \"$(cat /sys/class/net/$NSROUTER_PORT_1/address)\" = $NSROUTER_PORT_MAC_1 || { echo wrong MAC >&2; exit 1; }\n\
        test $NSROUTER_PEER_IP4_2 = 10.10.252.1 && test $NSROUTER_HOST_OFFLOADS = off || { echo $NSROUTER_PEER_IP4_2 >&2; exit 1; }\n\
        echo 1 > /proc/sys/net/ipv4/ip_forward; while :; do :; done";
    let good = script(folder.path(), "good.sh", promised) + ":no-offload";
    let skipped = script(folder.path(), "skipped.sh", "echo it is not installed >&2; exit 3");
    let modes = format!("kernel:no-offload,{good},{skipped}");
    let (output, report) = measured(&["--scenarios", "udp-64-at-20000", "--modes", &modes]);
    assert!(output.status.success(), "{}", describe(&output));
    assert!(median(&report, "udp-64-at-20000", "forwarded", &good) > 10_000.0);
    assert!(median(&report, "udp-64-at-20000", "router_cpu_per_mpkt", &good) > 0.0, "it is busy");
    assert_eq!(report["skipped"][0]["mode"], skipped);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("was left out: it is not installed"), "{said}");

    let dies = script(folder.path(), "dies.sh", "echo no such driver >&2; exit 7");
    let (output, report) = measured(&["--scenarios", "tcp-1", "--modes", &dies]);
    assert_eq!(output.status.code(), Some(1), "{}", describe(&output));
    let message = report["failures"][0]["message"].as_str().unwrap();
    for part in ["dies.sh ended by itself", "exit status: 7", "no such driver"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

pub(crate) fn routes() {
    let (output, report) =
        measured(&["--scenarios", "udp-64-at-20000-1k,tcp-1-v6-1k", "--modes", "kernel,userspace:packet"]);
    assert!(output.status.success(), "{}", describe(&output));
    for mode in ["kernel", "userspace:packet"] {
        let (sent, received) = (
            median(&report, "udp-64-at-20000-1k", "sent", mode),
            median(&report, "udp-64-at-20000-1k", "received", mode),
        );
        assert!(sent > 10_000.0 && received > sent * 0.99, "{mode}: {received} of {sent}");
        assert!(median(&report, "tcp-1-v6-1k", "throughput", mode) > 1e6);
    }
}

pub(crate) fn no_loss() {
    let (output, report) =
        measured(&["--scenarios", "ndr-64,udp-64-at-own10,udp-imix", "--modes", "userspace:packet"]);
    assert!(output.status.success(), "{}", describe(&output));
    let value = |scenario: &str, metric: &str| median(&report, scenario, metric, "userspace:packet");
    let found = value("ndr-64", "no_loss_rate");
    assert!(found > 1_000.0 && found <= value("ndr-64", "offered"), "{found}");
    assert!(value("ndr-64", "resolution") > 0.0 && value("ndr-64", "trials") >= 1.0);
    let tenth = value("udp-64-at-own10", "offered");
    assert!((0.05..0.12).contains(&(tenth / found)), "{tenth} is a tenth of {found}");
    assert!(value("udp-imix", "delivered") > 1_000.0);
}

/// The built-in generator's TCP is within 15% of iperf3's: a ratio of medians of rounds that take turns, and
/// more rounds where the first ones do not show it.
pub(crate) fn builtin_tcp() {
    let throughput = |traffic: &str| {
        let (output, report) = measured(&["--scenarios", "tcp-1", "--modes", "kernel", "--traffic", traffic]);
        assert!(output.status.success(), "{}", describe(&output));
        median(&report, "tcp-1", "throughput", "kernel")
    };
    let middle = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (mut ours, mut theirs, mut ratio) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..3 {
        for _ in 0..5 {
            ours.push(throughput("builtin"));
            theirs.push(throughput("iperf3"));
        }
        ratio = middle(&mut ours) / middle(&mut theirs);
        if (0.85..=1.15).contains(&ratio) {
            return;
        }
    }
    panic!("{ratio} times iperf3's: {ours:?} against {theirs:?}");
}

/// What the raw generator says that it sent and received is what the kernel's counters say.
pub(crate) fn generator_counts(lab: &Lab) {
    let counters = || {
        let sent = ["tx_packets", "tx_dropped"].map(|name| lab.interface_counter("t1", "t1-eth0", name));
        let table = lab.succeed("t2", &["cat", "/proc/net/snmp"]);
        let values: Vec<&str> = table.lines().filter(|line| line.starts_with("Udp:")).collect();
        let at = values[0].split(' ').position(|name| name == "InDatagrams").unwrap();
        (sent.iter().sum::<u64>(), values[1].split(' ').nth(at).unwrap().parse::<u64>().unwrap())
    };
    let (sent_before, read_before) = counters();
    let mut arguments = vec!["bench-agent", "--scenario", "udp-64", "--traffic", "builtin", "--seconds", "1"];
    arguments.extend(["--warm-up", "0", "--placement", "scheduler", "--forwarder"]);
    arguments.push(if lab.is_userspace() { "userspace" } else { "kernel" });
    let output = run(&arguments);
    assert!(output.status.success(), "{}", describe(&output));
    let (sent, read) = counters();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let value = |metric: &str| {
        let mut samples = report["samples"].as_array().unwrap().iter();
        samples.find(|sample| sample["metric"] == metric).unwrap()["value"].as_f64().unwrap()
    };
    assert_eq!(value("received"), (read - read_before) as f64);
    // An echo, the neighbours' questions and the hosts' own chatter left the interface too.
    let others = (sent - sent_before) as f64 - value("sent");
    assert!((0.0..=50.0).contains(&others), "{others} frames more than the {} sent", value("sent"));
    assert!(value("sent") > 10_000.0);
}

/// The processes of the lab that a benchmark of that process id starts.
fn processes_of(bench: u32) -> usize {
    let name = format!("bench-{bench}");
    let is_its = |entry: &std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|word| word == name.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(is_its).count()
}

/// A benchmark of one long sample, once its first lab is there.
fn begun(mut command: Command) -> Child {
    command
        .args(["bench", "--scenarios", "tcp-1", "--seconds", "300", "--traffic", "builtin"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for("the first lab", || (processes_of(child.id()) > 2).then_some(()));
    child
}

/// Interrupts a benchmark, which ends long before its sample is complete.
fn interrupt(child: Child) {
    let pid = child.id();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGINT).unwrap();
    let output = common::ended(child, "bench");
    assert_eq!(output.status.code(), Some(1), "{}", describe(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("stopped early"), "{}", describe(&output));
    assert_eq!(processes_of(pid), 0);
}

pub(crate) fn interrupted() {
    interrupt(begun(Command::new(nsrouter())));
}

pub(crate) fn under_nohup() {
    let mut command = Command::new("env");
    command.arg("--ignore-signal=HUP").arg(nsrouter());
    let child = begun(command);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    // SIGHUP is the first bit.
    let ignored = fields::value(&status, "SigIgn").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    assert_eq!(ignored.map(|mask| mask & 1), Some(1), "{status}");
    interrupt(child);
}

pub(crate) fn regression() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    // A machine that answered in a nanosecond.
    let rounds = serde_json::json!([1e-9, 1e-9, 1e-9, 1e-9, 1e-9]);
    let row = serde_json::json!(
        { "scenario": "latency-idle", "mode": "kernel", "metric": "latency_p50", "samples": rounds }
    );
    let machine = serde_json::json!({ "kernel": "", "cpu": "", "cpus": 1, "traffic": "" });
    let baseline = serde_json::json!({ "schema": 1, "environment": machine, "results": [row] });
    std::fs::write(&file, baseline.to_string()).unwrap();
    let mut arguments = vec!["bench", "--modes", "kernel", "--scenarios", "latency-idle", "--seconds", "1"];
    arguments.extend(["--warm-up", "0", "--baseline", file.to_str().unwrap()]);
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", describe(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    for part in ["worse: latency-idle in kernel, latency p50", "the kernel is not the baseline's"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

pub(crate) fn wrong_bench() {
    let said = |arguments: &[&str], code: i32| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", describe(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(said(&["bench", "--scenarios", "tcp-1,nonsense"], 2).contains("there is no scenario `nonsense`"));
    assert!(said(&["bench", "--modes", "kernel,kernel"], 2).contains("given twice"));
    let nowhere = said(&["bench", "--json", "/nonexistent/results.json"], 1);
    assert!(nowhere.contains("cannot write /nonexistent/results.json"), "{nowhere}");
    let nowhere = said(&["bench", "--out", "/proc/nonexistent"], 1);
    assert!(nowhere.contains("cannot make the folder /proc/nonexistent"), "{nowhere}");
    let nothing = said(&["bench", "--baseline", "/nonexistent/results.json"], 1);
    assert!(nothing.contains("cannot read the baseline /nonexistent/results.json"), "{nothing}");
    let no_script = said(&["bench", "--modes", "cmd:/nonexistent/peer.sh"], 1);
    assert!(no_script.contains("/nonexistent/peer.sh is not an executable file"), "{no_script}");
    let alone = said(&["bench", "--scenarios", "udp-64-at-kernel70"], 2);
    assert!(alone.contains("is a share of what `ndr-64` gives"), "{alone}");
    assert!(said(&["bench", "--cpus", "0-x"], 2).contains("`x` is not a CPU number"));
    assert!(said(&["bench", "--placement", "0,x"], 2).contains("`0,x` is no placement"));
    let unknown = ["bench", "--modes", "userspace:nosuch", "--scenarios", "latency-idle", "--rounds", "1"];
    assert!(said(&unknown, 2).contains("the mode userspace:nosuch cannot be measured here"));
    let output =
        Command::new(nsrouter()).args(["bench", "--traffic", "iperf3"]).env("PATH", "/nonexistent").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", describe(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("apt-get install iperf3"));
}
