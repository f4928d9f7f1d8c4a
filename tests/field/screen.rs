//! What a person sees: output that breaks off, narrow terminals, jobs in the background, check and status.

use std::fs::File;
use std::io::{BufRead, Read};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use nix::pty::{Winsize, openpty};

use crate::common::{Case, Lab, case_output, describe, lab_name, nsrouter, promptly, trial, wait_for};

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "output_that_breaks_off_is_no_panic",
        modes: &["userspace"],
        programs: &[],
        body: output_breaks_off,
    },
    Case {
        name: "nothing_is_wider_than_the_terminal",
        modes: &["userspace"],
        programs: &["setsid"],
        body: commands_fit,
    },
    Case { name: "check_between_two_nodes", modes: &["userspace"], programs: &["ip"], body: check_between },
    Case {
        name: "status_watches_and_shows_neighbours",
        modes: &["kernel", "userspace"],
        programs: &["ping", "setsid"],
        body: status_watches,
    },
    Case { name: "foreign_names_are_harmless", modes: &["kernel"], programs: &[], body: foreign_names },
    Case {
        name: "status_shows_routes",
        modes: &["kernel", "userspace"],
        programs: &["ip"],
        body: status_routes,
    },
    // Run by a trial, in a lab of its own.
    Case { name: "all_pairs_are_checked_soon", modes: &[], programs: &[], body: all_pairs },
];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_lab_outlives_its_output".to_owned(), &["grep", "sh"], lab_without_output),
        trial("bench_without_output_ends_as_it_would".to_owned(), &[], bench_without_output),
        trial("too_few_descriptors_are_a_sentence".to_owned(), &["sh"], too_few_descriptors),
        trial("the_lab_and_bench_fit_the_terminal".to_owned(), &["unshare", "setsid"], labs_fit),
        trial("kernel::all_pairs_are_checked_soon".to_owned(), &[], || many_hosts("kernel")),
        trial("userspace::all_pairs_are_checked_soon".to_owned(), &[], || many_hosts("userspace")),
        trial("warnings_are_seen".to_owned(), &["unshare"], warnings_are_seen),
        trial(
            "a_job_in_the_background_leaves_the_terminal_alone".to_owned(),
            &["unshare", "setsid", "bash"],
            background,
        ),
    ]
}

/// A pipe without a reader.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A disk that is full.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// Runs nsrouter with this standard output, and looks that it did not panic.
fn with_output(arguments: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(nsrouter());
    let output = command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked") && output.status.code() != Some(101), "{arguments:?}: {said}");
    output
}

/// What a command says where its output cannot be written.
const SENTENCE: &str = "nsrouter: cannot write to standard output: No space left on device (os error 28)\n";

/// Commands that print are as good without a reader, and fail with a sentence on a full disk.
fn output_breaks_off(_: &Lab) {
    let commands: &[&[&str]] = &[
        &["status"],
        &["status", "--json"],
        &["check"],
        &["check", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["clean"],
        &["man"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ];
    for command in commands {
        let closed = with_output(command, closed_pipe());
        assert!(closed.status.success(), "{command:?}: {}", describe(&closed));
        assert!(closed.stderr.is_empty(), "{command:?}: {}", describe(&closed));
        let full = with_output(command, full());
        assert_eq!(full.status.code(), Some(1), "{command:?}: {}", describe(&full));
        assert_eq!(String::from_utf8_lossy(&full.stderr), SENTENCE, "{command:?}");
    }
}

/// A lab goes on without an output; its command's exit code is its own, and its command dies of a closed pipe
/// as ever.
fn lab_without_output() {
    let name = lab_name();
    let lab = |rest: &[&str], stdout: Stdio| {
        let mut arguments = vec!["--mode", "kernel", "--private", "--name", &name];
        arguments.extend(rest);
        with_output(&arguments, stdout)
    };
    for stdout in [closed_pipe, full] {
        let output = lab(&["--json", "--", "sh", "-c", "exit 7"], stdout());
        assert_eq!(output.status.code(), Some(7), "{}", describe(&output));
    }
    let closed = lab(&["--for", "300ms"], closed_pipe());
    assert!(closed.status.success() && closed.stderr.is_empty(), "{}", describe(&closed));
    let full = lab(&["--for", "300ms"], full());
    assert_eq!(full.status.code(), Some(1), "{}", describe(&full));
    assert_eq!(String::from_utf8_lossy(&full.stderr), SENTENCE);

    // SIGPIPE is the 13th signal, bit 12 of the mask of those that a process ignores.
    for inner in [&["sh", "-c"][..], &["nsrouter", "exec", "t1", "--", "sh", "-c"]] {
        let mut command = vec!["--"];
        command.extend(inner);
        command.push("grep SigIgn /proc/self/status");
        let output = lab(&command, Stdio::piped());
        let text = String::from_utf8_lossy(&output.stdout);
        let mask = text.split_whitespace().last().expect("a mask");
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & 1 << 12, 0, "{inner:?}: {text}");
    }
}

fn bench_without_output() {
    let plan = ["bench", "--scenarios", "ping", "--modes", "kernel", "--rounds", "1", "--seconds", "1"];
    let closed = with_output(&plan, closed_pipe());
    assert!(closed.status.success(), "{}", describe(&closed));
    let full = with_output(&plan, full());
    assert_eq!(full.status.code(), Some(1), "{}", describe(&full));
    assert!(String::from_utf8_lossy(&full.stderr).ends_with(SENTENCE), "{}", describe(&full));
}

/// However few descriptors there are, what is missing is said, and with no lab left.
fn too_few_descriptors() {
    for limit in (5..24).step_by(3) {
        let name = lab_name();
        let script = format!(
            "ulimit -n {limit}; exec {} --mode userspace --private --name {name} --for 1ms",
            nsrouter().display()
        );
        let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{limit}: {}", describe(&output));
        assert!(said.starts_with("nsrouter: ") && said.contains("open files"), "{limit}: {said}");
        assert!(matches!(output.status.code(), Some(1 | 3)), "{limit}: {}", describe(&output));
    }
}

/// A shell script for a network, mounts and a /run of its own.
fn sandboxed(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "bash", "-c"]);
    command.arg(format!("mount -t tmpfs none /run && ip link set lo up && {script}"));
    command.env("N", nsrouter()).stdin(Stdio::null());
    command
}

/// What cannot be read is told of, as much as RUST_LOG wants, and without a word where it wants nothing.
fn warnings_are_seen() {
    let said = |level: Option<&str>| {
        let script = "mkdir -p /run/nsrouter/bad && echo x >/run/nsrouter/bad/state.json && $N status";
        let mut command = sandboxed(script);
        command.env_remove("RUST_LOG");
        level.inspect(|level| {
            command.env("RUST_LOG", level);
        });
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", describe(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    for level in [None, Some("warn"), Some("nsrouter_lab=debug")] {
        let said = said(level);
        assert!(said.contains(" WARN ") && said.contains("/run/nsrouter/bad"), "{level:?}: {said}");
        assert!(!said.contains('\x1b'), "{said:?}");
    }
    assert!(!said(Some("error")).contains("WARN"));
    assert!(said(Some("nonsense=loud")).contains("RUST_LOG is not understood"));
}

/// What a command writes to a terminal of so many columns, which is its own.
fn on_terminal(columns: u16, mut command: Command) -> String {
    let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let mut wrapper = Command::new("setsid");
    wrapper.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
    wrapper.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapper.env_remove("COLUMNS").env_remove("NO_COLOR");
    let end = || pty.slave.try_clone().unwrap();
    let mut child = wrapper.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    // Both keep ends of the terminal open, which would have no end then.
    drop((wrapper, pty.slave));
    command.stdin(Stdio::null());
    let mut master = File::from(pty.master);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    // EIO: the terminal is open nowhere any more.
    while let Ok(len @ 1..) = master.read(&mut buffer) {
        text.extend_from_slice(&buffer[..len]);
    }
    child.wait().unwrap();
    String::from_utf8(text).unwrap()
}

/// The line of rates is for a lab in the foreground: private or not, and `--quiet` never has it.
fn background() {
    let runs = [
        ("--private", "set -m; CMD & wait", false),
        ("", "set -m; CMD & wait", false),
        ("--private", "CMD", true),
        ("", "CMD", true),
        ("--private --quiet", "CMD", false),
    ];
    thread::scope(|scope| {
        for (options, script, is_drawn) in runs {
            scope.spawn(move || {
                let name = lab_name();
                let lab = format!("$N --mode kernel --name {name} --for 2500ms {options}");
                let text = on_terminal(80, sandboxed(&script.replace("CMD", &lab)));
                assert_eq!(text.contains("packets/s"), is_drawn, "{options:?} {script}: {text}");
                assert_eq!(text.contains("Ctrl-C"), !options.contains("quiet"), "{text}");
                for line in text.split(['\r', '\n']).filter(|line| line.contains("packets/s")) {
                    assert!(line.trim_start_matches("\x1b[K").len() < 80, "{line:?}");
                }
            });
        }
    });
}

/// The lines on a terminal, without what colours them, none wider than the terminal; of plain ASCII in a
/// locale that wants it.
fn fitting_lines(columns: u16, command: Command) -> Vec<String> {
    let words = format!("{command:?}");
    let ascii =
        command.get_envs().any(|(name, value)| name == "LC_ALL" && value.is_some_and(|value| value == "C"));
    let text = on_terminal(columns, command);
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let end = after.find(|character: char| character.is_ascii_alphabetic()).unwrap();
        rest = &after[end + 1..];
    }
    plain.push_str(rest);
    assert!(!ascii || plain.is_ascii(), "{words}: {plain}");
    let lines: Vec<String> = plain.split(['\r', '\n']).map(str::to_owned).collect();
    let widest = lines.iter().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= usize::from(columns), "{words}: {widest}\n{plain}");
    lines
}

fn in_locale(locale: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(nsrouter());
    command.args(arguments).env("LC_ALL", locale).env("TERM", "xterm");
    command
}

fn commands_fit(_: &Lab) {
    for (columns, locale) in [(60, "C"), (80, "C.UTF-8")] {
        for arguments in [&["status"][..], &["check"], &["doctor"], &["ls"], &["--help"], &["exec", "--help"]]
        {
            let lines = fitting_lines(columns, in_locale(locale, arguments));
            assert!(lines.len() > 2, "{arguments:?}: {lines:?}");
        }
    }
    // Without a terminal nothing is broken, whatever COLUMNS says.
    let status = |columns: &str| {
        let mut command = in_locale("C.UTF-8", &["status"]);
        String::from_utf8(command.env("COLUMNS", columns).output().unwrap().stdout).unwrap()
    };
    assert!(status("40").contains("tx dropped") && !status("40").contains('\x1b'));
}

/// A lab's picture, what to try with it, and its last words; the comparison of two modes and its notes.
fn labs_fit() {
    thread::scope(|scope| {
        for (columns, locale) in [(60, "C"), (80, "C.UTF-8")] {
            scope.spawn(move || {
                let name = lab_name();
                let lab = format!("LC_ALL={locale} $N --mode kernel --name {name} --for 1500ms --topology");
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/chain.toml");
                let mut command = sandboxed(&format!("{lab} {file}"));
                command.env("LC_ALL", locale);
                let lines = fitting_lines(columns, command);
                let tries: Vec<&String> = lines.iter().filter(|line| line.contains(" exec ")).collect();
                assert!(tries[0].contains(" a -- ping 10.2.0.1"), "{lines:?}");
            });
        }
    });
    for (columns, locale) in [(60, "C"), (80, "C.UTF-8")] {
        let modes = "kernel,userspace:packet,userspace:tap";
        let plan = [
            "bench",
            "--modes",
            modes,
            "--scenarios",
            "ping",
            "--rounds",
            "1",
            "--seconds",
            "1",
            "--warm-up",
            "0",
        ];
        let lines = fitting_lines(columns, in_locale(locale, &plan));
        assert!(
            lines.iter().any(|line| line.contains("round trip") || line.contains("latency")),
            "{lines:?}"
        );
    }
}

/// Rows come as they are done, and only those that were asked for.
fn check_between(lab: &Lab) {
    let check =
        |between: &str| Command::new(nsrouter()).args(["check", "--between", between]).output().unwrap();
    let output = check("t2,router");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("ping t2 to router"), "{}", describe(&output));
    assert!(!text.contains("t1"), "{text}");
    for (wrong, code) in [("t1", 2), ("t1,t1", 2), ("t1,nobody", 2)] {
        assert_eq!(check(wrong).status.code(), Some(code), "{wrong}");
    }

    // A port that is down costs no minute, and what fails is told while the rest is still being tried.
    lab.succeed("router", &["ip", "link", "set", "eth-t1", "down"]);
    promptly("a check across a port that is down", Duration::from_secs(30), || {
        let begun = Instant::now();
        let output = check("t1,t2");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{}", describe(&output));
        assert!(text.contains("FAIL  IPv4  ping t1 to t2"), "{text}");
        begun.elapsed()
    });
}

fn foreign_names(_: &Lab) {
    let name = "\x1b[31mX\u{202e}";
    for arguments in [["exec", name, "--", "true"], ["check", "--between", name, "--json"]] {
        let output = Command::new(nsrouter()).args(arguments).output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(['\x1b', '\u{202e}']), "{said:?}");
    }
}

/// Hosts of a large lab.
const HOSTS: usize = 20;

/// Every pair of many hosts is tested in a time that one waits for.
fn many_hosts(mode: &str) {
    let mut topology = "[[node]]\nname = \"router\"\nrole = \"router\"\n".to_owned();
    for n in 1..=HOSTS {
        topology.push_str(&format!(
            "[[node]]\nname = \"h{n}\"\nrole = \"host\"\nroutes = [{{ to = \"default\", via = \"10.20.{n}.254\" }}]\n\
             [[link]]\na = {{ node = \"h{n}\", ifname = \"eth0\", addresses = [\"10.20.{n}.1/24\"] }}\n\
             b = {{ node = \"router\", ifname = \"to-h{n}\", addresses = [\"10.20.{n}.254/24\"] }}\n"
        ));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), topology).unwrap();
    let options = ["--topology", file.path().to_str().unwrap()];
    let output = case_output(mode, &format!("{mode}::all_pairs_are_checked_soon"), &options);
    assert!(output.status.success(), "{}", describe(&output));
}

fn all_pairs(_: &Lab) {
    promptly("a check of 20 hosts", Duration::from_secs(40), || {
        let begun = Instant::now();
        check_all_pairs();
        begun.elapsed()
    });
}

fn check_all_pairs() {
    let output = Command::new(nsrouter()).args(["check", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let failed: Vec<&serde_json::Value> = rows.iter().filter(|row| row["outcome"] != "pass").collect();
    assert!(failed.is_empty() && output.status.success(), "{failed:?}");
    for from in 1..=HOSTS {
        for to in (1..=HOSTS).filter(|to| *to != from) {
            let test = format!("ping h{from} to h{to}");
            assert!(rows.iter().any(|row| row["test"] == test), "{test}");
        }
    }
}

fn status_watches(lab: &Lab) {
    lab.succeed("t1", &["ping", "-c", "1", "10.10.252.1"]);
    let neighbours = |options: &[&str]| {
        Command::new(nsrouter()).args(["status", "--neighbours"]).args(options).output().unwrap()
    };
    let output = neighbours(&[]);
    if lab.is_userspace() {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("10.10.251.1"), "{}", describe(&output));
        assert!(!text.contains("namespace"), "{text}");
        let list: serde_json::Value = serde_json::from_slice(&neighbours(&["--json"]).stdout).unwrap();
        assert!(list.as_array().unwrap().iter().any(|entry| entry["address"] == "10.10.252.1"), "{list}");
    } else {
        assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("nsrouter exec router -- ip neigh"));
    }

    // It goes on until its reader leaves.
    let mut watch =
        Command::new(nsrouter()).args(["status", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(watch.stdout.take().unwrap()).lines();
    let titles = lines.by_ref().map(Result::unwrap).filter(|line| line.starts_with("lab `"));
    assert_eq!(titles.take(2).count(), 2);
    drop(lines);
    assert!(watch.wait().unwrap().success());
}

/// What the router forwards by: its own subnets, and what ip(8) adds while it runs.
fn status_routes(lab: &Lab) {
    let status = |options: &[&str]| {
        Command::new(nsrouter()).args(["status", "--routes"]).args(options).output().unwrap()
    };
    if !lab.is_userspace() {
        let output = status(&[]);
        assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("nsrouter exec router -- ip route"));
        return;
    }
    let text = || {
        let output = status(&[]);
        assert!(output.status.success(), "{}", describe(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    for line in
        ["10.10.251.0/24 dev eth-t1 metric 0 connected", "fd00:252::/64 dev eth-t2 metric 0 connected"]
    {
        assert!(text().lines().any(|found| found == line), "{line}: {}", text());
    }
    let routes = [
        (
            &["10.99.0.0/16", "via", "10.10.252.1", "dev", "eth-t2", "onlink", "metric", "7", "mtu", "1400"]
                [..],
            "10.99.0.0/16 via 10.10.252.1 dev eth-t2 metric 7 mtu 1400 learned",
        ),
        (&["blackhole", "10.98.0.0/16"], "blackhole 10.98.0.0/16 metric 0 learned"),
    ];
    for (words, line) in routes {
        lab.succeed("router", &[&["ip", "route", "add"], words].concat());
        wait_for(line, || text().lines().any(|found| found == line).then_some(()));
    }
    let output = status(&["--json"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = list["routes"].as_array().unwrap();
    assert_eq!(list["total"], all.len());
    assert!(
        all.iter().any(|route| route["prefix"] == "10.99.0.0/16" && route["hops"][0]["port"] == "eth-t2")
    );
}
