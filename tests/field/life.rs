//! Starting, stopping, signals, detached labs, packaging.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::common::{
    Case, Lab, SANDBOX, describe, ended, hearing_signals, is_program, nsrouter, trial, wait_for,
};

/// Cases beside the built-in lab, and such as make their own, which have a network and a /run to themselves.
pub(crate) const CASES: &[Case] = &[
    sandbox("a_signal_ends_a_lab_that_waits_for_its_topology", &["mkfifo"], signal_before_topology),
    sandbox("a_signal_ends_a_lab_that_is_being_built", &["ip"], signal_while_building),
    sandbox("sigquit_takes_a_lab_down", &["ip"], sigquit),
    sandbox("a_command_does_not_outlive_its_lab", &[], command_of_a_killed_lab),
    sandbox("a_lab_under_nohup_survives_a_hang_up", &["nohup"], under_nohup),
    sandbox("what_cannot_be_run_is_told_as_a_shell_does", &[], not_runnable),
    sandbox("a_detached_lab_stays_and_leaves_the_terminal", &["ip"], detached),
    sandbox("labs_are_listed_and_ended_from_anywhere", &["ip"], listed_and_ended),
    sandbox("a_mistyped_word_is_answered_with_what_was_meant", &[], mistyped),
    sandbox("a_detached_lab_that_fails_says_why", &[], detached_failure),
    sandbox("a_detached_lab_that_nobody_waits_for_goes", &["mkfifo", "ip"], detached_interrupted),
];

const fn sandbox(name: &'static str, programs: &'static [&'static str], body: fn(&Lab)) -> Case {
    Case { name, modes: SANDBOX, programs, body }
}

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the_package_installs_into_a_folder".to_owned(), &["dpkg-deb", "bash"], package),
        trial("every_subcommand_has_a_manual_page".to_owned(), &[], manual),
        trial("completions_are_sound_scripts".to_owned(), &["bash"], completions),
    ]
}

/// Runs a program to its end, which must be success.
fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", describe(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that an asset's pattern names, with `target/` where the package's files were made for this test.
fn files(pattern: &str, made: &Path) -> Vec<PathBuf> {
    if pattern == "target/release/nsrouter" {
        return vec![nsrouter()];
    }
    let path = match pattern.strip_prefix("target/package/") {
        Some(rest) => made.join(rest),
        None => root().join(pattern),
    };
    let Some(ending) = path.file_name().unwrap().to_str().unwrap().strip_prefix('*') else {
        return vec![path];
    };
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|entry| entry.to_str().unwrap().ends_with(ending)).collect()
}

/// Builds a package of the assets that Cargo.toml lists, unpacks it, and uses what it brought.
fn package() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    succeed(Command::new(root().join("tools/package")).arg("pages").arg(nsrouter()).arg(&made));

    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let tree = folder.path().join("tree");
    for asset in deb["assets"].as_array().unwrap() {
        let [source, target, mode] = [0, 1, 2].map(|index| asset[index].as_str().unwrap());
        let files = files(source, &made);
        assert!(!files.is_empty(), "{source} names no file");
        for file in files {
            let mut place = tree.join(target);
            if target.ends_with('/') {
                place.push(file.file_name().unwrap());
            }
            succeed(Command::new("install").args(["-D", "-m", mode]).arg(&file).arg(&place));
        }
    }
    std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: nsrouter\nVersion: {}\nArchitecture: all\nSection: {}\nMaintainer: {}\nRecommends: {}\nDescription: {}\n",
        manifest["workspace"]["package"]["version"].as_str().unwrap(),
        deb["section"].as_str().unwrap(),
        manifest["workspace"]["package"]["authors"][0].as_str().unwrap(),
        deb["recommends"].as_str().unwrap(),
        manifest["package"]["description"].as_str().unwrap(),
    );
    std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let archive = folder.path().join("nsrouter.deb");
    // Made for reading at once: there is nothing to gain by compressing it.
    succeed(
        Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&archive),
    );
    let installed = folder.path().join("installed");
    succeed(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&installed));

    let version = succeed(Command::new(installed.join("usr/bin/nsrouter")).arg("--version"));
    assert_eq!(version, succeed(Command::new(nsrouter()).arg("--version")));
    // The commit is missing only where there is no repository.
    let words: Vec<&str> =
        version.trim_end().split([' ', ',', '(', ')']).filter(|word| !word.is_empty()).collect();
    assert_eq!(words.len(), if root().join(".git").exists() { 4 } else { 3 }, "{version}");
    assert!(words.last().unwrap().contains("-linux-"), "{version}");
    for file in [
        "man/man1/nsrouter.1",
        "man/man1/nsrouter-check.1",
        "bash-completion/completions/nsrouter",
        "doc/nsrouter/README.md",
        "doc/nsrouter/LICENSE-APACHE",
    ] {
        assert!(installed.join("usr/share").join(file).is_file(), "{file}");
    }
}

/// The subcommands that `--help` lists.
fn subcommands() -> BTreeSet<String> {
    let help = succeed(Command::new(nsrouter()).arg("--help"));
    let list = help.split("\nCommands:\n").nth(1).expect("a list of commands");
    let names = list.lines().take_while(|line| !line.is_empty());
    names
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .map(str::to_owned)
        .filter(|name| !name.is_empty() && name != "help")
        .collect()
}

fn manual() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a/new/folder");
    succeed(Command::new(nsrouter()).arg("man").arg(&dir));
    let mut expected: BTreeSet<String> =
        subcommands().iter().map(|name| format!("nsrouter-{name}.1")).collect();
    assert!(expected.len() > 8, "{expected:?}");
    expected.insert("nsrouter.1".to_owned());
    let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap());
    let pages: BTreeSet<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(pages, expected);
    let main = std::fs::read_to_string(dir.join("nsrouter.1")).unwrap();
    assert_eq!(succeed(Command::new(nsrouter()).arg("man")), main, "the main page goes to standard output");
    for part in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", ".SH EXAMPLES", ".SH \"EXIT STATUS\""] {
        assert!(main.contains(part), "{part}: {main}");
    }
    if is_program("man") {
        for page in &pages {
            let mut command = Command::new("man");
            let output = command
                .args(["--warnings", "-l"])
                .arg(dir.join(page))
                .env("MANWIDTH", "80")
                .output()
                .unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{page}: {}", describe(&output));
        }
    }
}

fn completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(Command::new(nsrouter()).args(["completions", shell]));
        for word in subcommands().iter().map(String::as_str).chain(["topology"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let file = folder.path().join(shell);
        std::fs::write(&file, script).unwrap();
        if ["bash", "zsh", "fish"].contains(&shell) && is_program(shell) {
            succeed(Command::new(shell).arg("-n").arg(&file));
        }
    }
    let script = ". \"$0\"; COMP_WORDS=(nsrouter che); COMP_CWORD=1; _nsrouter nsrouter che nsrouter; echo \"${COMPREPLY[@]}\"";
    let words = succeed(Command::new("bash").args(["-c", script]).arg(folder.path().join("bash")));
    assert_eq!(words.trim_end(), "check");
}

/// nsrouter with these arguments, to its end.
fn run(arguments: &[&str]) -> Output {
    Command::new(nsrouter()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// nsrouter with these arguments, in the background.
fn start(arguments: &[&str]) -> Child {
    let mut command = hearing_signals();
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Waits until the default lab answers.
fn await_lab() {
    wait_for("the lab answers", || run(&["status"]).status.success().then_some(()));
}

/// What a lab in a network and a /run of the test's own could leave behind.
fn assert_nothing_is_left(what: &str) {
    let names = |dir: &str| std::fs::read_dir(dir).map_or(0, |entries| entries.count());
    assert_eq!(names("/run/netns"), 0, "{what}: namespaces");
    let records =
        std::fs::read_dir("/run/nsrouter").into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let records: Vec<_> = records.filter(|name| name != ".lock").collect();
    assert!(records.is_empty(), "{what}: {records:?}");
    let links = std::fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name());
    assert!(links.into_iter().all(|name| name != "eth-t1"), "{what}: links");
}

/// A line of /proc/PID/status.
fn of_process(pid: u32, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
}

/// Whether a process runs: one that has ended and was not reaped yet does not.
fn is_alive(pid: u32) -> bool {
    of_process(pid, "State").is_some_and(|state| !state.starts_with('Z'))
}

/// Whether a process has a handler of its own for a signal.
fn catches(pid: u32, signal: Signal) -> bool {
    let mask = of_process(pid, "SigCgt").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

fn fifo() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("topology").to_str().unwrap().to_owned();
    succeed(Command::new("mkfifo").arg(&fifo));
    (folder, fifo)
}

/// The end of a process that was sent a signal, with this exit code.
fn assert_ends(child: Child, code: i32, what: &str) {
    let output = ended(child, what);
    assert_eq!(output.status.code(), Some(code), "{what}: {}", describe(&output));
}

fn signal_before_topology(_: &Lab) {
    let (_folder, fifo) = fifo();
    for (which, code) in
        [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGQUIT, 131)]
    {
        let child = start(&["--mode", "kernel", "--topology", &fifo]);
        wait_for("it listens to signals", || catches(child.id(), which).then_some(()));
        signal(&child, which);
        assert_ends(child, code, which.as_ref());
        assert_nothing_is_left(which.as_ref());
    }
}

/// A star of that many hosts around one router.
fn star(hosts: usize) -> String {
    let mut text = String::from("[[node]]\nname = \"router\"\nrole = \"router\"\n");
    for host in 0..hosts {
        let (high, low) = (host / 250, host % 250);
        write!(
            text,
            "[[node]]\nname = \"h{host}\"\nrole = \"host\"\n\
             routes = [{{ to = \"default\", via = \"10.{high}.{low}.2\" }}]\n\
             [[link]]\na = {{ node = \"h{host}\", ifname = \"eth0\", addresses = [\"10.{high}.{low}.1/24\"] }}\n\
             b = {{ node = \"router\", ifname = \"e{host}\", addresses = [\"10.{high}.{low}.2/24\"] }}\n"
        )
        .unwrap();
    }
    text
}

fn signal_while_building(_: &Lab) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("star.toml");
    std::fs::write(&file, star(300)).unwrap();
    for (mode, which, code) in [("kernel", Signal::SIGTERM, 143), ("userspace", Signal::SIGINT, 130)] {
        let child = start(&["--mode", mode, "--topology", file.to_str().unwrap()]);
        let record = Path::new("/run/nsrouter/default/state.json");
        wait_for("the building begins", || record.exists().then_some(()));
        signal(&child, which);
        let text = std::fs::read_to_string(record).unwrap_or_default();
        assert!(!text.contains("\"ready\": true"), "it was built before it could be interrupted");
        assert_ends(child, code, mode);
        assert_nothing_is_left(mode);
    }
}

fn sigquit(_: &Lab) {
    for command in [&[][..], &["--", "sleep", "60"]] {
        let mut arguments = vec!["--mode", "userspace"];
        arguments.extend(command);
        let child = start(&arguments);
        await_lab();
        signal(&child, Signal::SIGQUIT);
        assert_ends(child, 131, "SIGQUIT");
        assert_nothing_is_left("SIGQUIT");
    }
}

fn command_of_a_killed_lab(_: &Lab) {
    for options in [&["--mode", "kernel"][..], &["--mode", "kernel", "--private"]] {
        let mut arguments = options.to_vec();
        arguments.extend(["--", "sleep", "60"]);
        let mut child = start(&arguments);
        let command = wait_for("the command runs", sleeper);
        signal(&child, Signal::SIGKILL);
        child.wait().unwrap();
        wait_for("the command ends with it", || (!is_alive(command)).then_some(()));
        assert!(run(&["clean"]).status.success());
    }
}

/// The command of a lab that this process started, which sleeps for a minute.
fn sleeper() -> Option<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut pids = pids.filter(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"sleep\x0060\0")
    });
    pids.find(|pid| is_descendant(*pid))
}

/// Whether a process is one that this one started, or that one of those did.
fn is_descendant(mut pid: u32) -> bool {
    while pid > 1 {
        if pid == std::process::id() {
            return true;
        }
        pid = of_process(pid, "PPid").and_then(|parent| parent.parse().ok()).unwrap_or(0);
    }
    false
}

fn under_nohup(_: &Lab) {
    for options in [&["--mode", "userspace"][..], &["--mode", "userspace", "--private"]] {
        let mut command = Command::new("nohup");
        command.arg(nsrouter()).args(options);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        await_lab();
        signal(&child, Signal::SIGHUP);
        // A lab that takes it for its end stops to answer within milliseconds; a sound one shows it only by
        // staying.
        std::thread::sleep(Duration::from_millis(500));
        let status = run(&["status"]);
        assert!(status.status.success(), "{options:?}: {}", describe(&status));
        signal(&child, Signal::SIGTERM);
        assert_ends(child, 0, "SIGTERM");
        assert_nothing_is_left("nohup");
    }
}

fn not_runnable(_: &Lab) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "no program").unwrap();
    for (program, code, words) in [
        ("no-such-program", 127, "there is no program called `no-such-program`"),
        ("/no/such/program", 127, "there is no program called `/no/such/program`"),
        (file.to_str().unwrap(), 126, "Permission denied"),
        (folder.path().to_str().unwrap(), 126, "Permission denied"),
    ] {
        let beside = ["--mode", "kernel", "--", program];
        let within = ["--mode", "kernel", "--private", "--", "nsrouter", "exec", "t1", "--", program];
        for arguments in [&beside[..], &within] {
            let output = run(arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", describe(&output));
            assert!(said.contains(words) && !said.contains("run it as root"), "{arguments:?}: {said}");
        }
    }
    let shell =
        run(&["--mode", "kernel", "--private", "--", "env", "SHELL=/no/shell", "nsrouter", "shell", "t1"]);
    assert_eq!(shell.status.code(), Some(127), "{}", describe(&shell));
    assert_nothing_is_left("what cannot be run");
}

fn detached(_: &Lab) {
    for (mode, options) in [
        ("userspace", &["up", "--detach"][..]),
        ("kernel", &["--mode", "kernel", "-d"]),
        ("userspace", &["--mode", "userspace", "--private", "-d"]),
    ] {
        // Its output is read to the end, which comes only when no process of the lab holds it.
        let mut arguments = options.to_vec();
        arguments.push("--json");
        let output = run(&arguments);
        assert!(output.status.success(), "{options:?}: {}", describe(&output));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let pid = u32::try_from(said["pid"].as_u64().unwrap()).unwrap();
        // It is ready at once.
        let status = run(&["status", "--json"]);
        assert!(status.status.success(), "{options:?}: {}", describe(&status));
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status["engine"]["mode"], mode, "{status}");
        let checked = run(&["exec", "t1", "--", "true"]);
        assert!(checked.status.success(), "{options:?}: {}", describe(&checked));
        let session = getsid(Some(Pid::from_raw(i32::try_from(pid).unwrap()))).unwrap();
        assert_ne!(session, getsid(None).unwrap(), "{options:?}: a session of its own");
        assert!(Path::new(said["log"].as_str().unwrap()).is_file(), "{said}");
        let down = run(&["down"]);
        assert!(down.status.success(), "{options:?}: {}", describe(&down));
        assert!(!is_alive(pid), "{options:?}: it is gone when `down` returns");
        assert!(!Path::new(said["log"].as_str().unwrap()).exists(), "{said}");
        assert_nothing_is_left(&format!("{options:?}"));
    }
}

fn detached_failure(_: &Lab) {
    for options in [&["up", "-d"][..], &["up", "-d", "--private"]] {
        let mut arguments = options.to_vec();
        arguments.extend(["--topology", "/no/such/file"]);
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
        assert!(said.contains("cannot read the topology /no/such/file"), "{said}");
        assert!(output.stdout.is_empty(), "{}", describe(&output));
        let logs = std::fs::read_dir("/run/nsrouter-private").unwrap().count();
        assert_eq!(logs, 0, "no log of a lab that never was");
    }
    let output = run(&["up", "-d", "--", "true"]);
    assert_eq!(output.status.code(), Some(2), "a command wants to be waited for: {}", describe(&output));
    assert_nothing_is_left("a lab that fails");
}

fn detached_interrupted(_: &Lab) {
    let (_folder, fifo) = fifo();
    for options in [&["up", "-d"][..], &["up", "-d", "--private"]] {
        let mut arguments = options.to_vec();
        arguments.extend(["--topology", &fifo]);
        // Ctrl-C, while the lab waits for its topology.
        let child = start(&arguments);
        let copy = wait_for("the copy is there", || copy_of(child.id()));
        signal(&child, Signal::SIGINT);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{options:?}: {}", describe(&output));
        wait_for("the copy ends", || (!is_alive(copy)).then_some(()));
        // The waiting process is killed: the copy finds out when it is ready.
        let mut child = start(&arguments);
        let copy = wait_for("the copy is there", || copy_of(child.id()));
        signal(&child, Signal::SIGKILL);
        child.wait().unwrap();
        std::fs::write(&fifo, star(2)).unwrap();
        wait_for("the copy ends", || (!is_alive(copy)).then_some(()));
        assert_nothing_is_left(&format!("{options:?}"));
    }
}

/// The copy of a process that keeps a lab, once the process waits for it.
fn copy_of(pid: u32) -> Option<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let copy = list.split_whitespace().next()?.parse().unwrap();
    let blocked = of_process(pid, "SigBlk").and_then(|mask| u64::from_str_radix(&mask, 16).ok())?;
    let blocks = |signal: Signal| blocked >> (signal as i32 - 1) & 1 == 1;
    // While it starts the copy, the C library blocks all of them, and then there is a moment in which none
    // is.
    let waits = blocks(Signal::SIGINT) && !blocks(Signal::SIGALRM);
    // It was started as /proc/self/exe.
    (waits && of_process(copy, "Name").as_deref() == Some("exe")).then_some(copy)
}

/// What `nsrouter ls --json` shows.
fn list() -> Vec<serde_json::Value> {
    let output = run(&["ls", "--json"]);
    assert!(output.status.success(), "{}", describe(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn listed_and_ended(_: &Lab) {
    let said = |output: &Output| {
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
    };
    assert_eq!(said(&run(&["ls"])), "no labs\n");
    assert_eq!(run(&["down"]).status.code(), Some(1), "there is none to end");
    let mut terminal = start(&["--mode", "userspace"]);
    await_lab();
    for options in [&["-m", "kernel", "-p", "-d", "-n", "mine"][..], &["up", "-d", "-n", "blue"]] {
        let output = run(options);
        assert!(output.status.success(), "{options:?}: {}", describe(&output));
    }
    let mut dead = start(&["--mode", "kernel", "--name", "dead"]);
    wait_for("the lab answers", || run(&["status", "--name", "dead"]).status.success().then_some(()));
    signal(&dead, Signal::SIGKILL);
    dead.wait().unwrap();

    let labs = list();
    let of = |name: &str| labs.iter().find(|lab| lab["name"] == name).unwrap();
    for (name, mode, backend, private, state) in [
        ("default", "userspace", Some("packet"), false, "running"),
        ("mine", "kernel", None, true, "running"),
        ("blue", "userspace", Some("packet"), false, "running"),
        ("dead", "kernel", None, false, "dead"),
    ] {
        let lab = of(name);
        assert_eq!((lab["mode"].as_str(), lab["backend"].as_str()), (Some(mode), backend), "{lab}");
        assert_eq!((lab["private"].as_bool(), lab["state"].as_str()), (Some(private), Some(state)), "{lab}");
        assert_eq!(lab["age_seconds"].is_u64(), state == "running", "{lab}");
        assert_eq!(lab["owner"], "root", "{lab}");
    }
    assert_eq!(of("default")["pid"], terminal.id());
    assert_eq!(labs.len(), 4, "{labs:?}");
    let table = said(&run(&["ls"]));
    assert!(table.lines().count() == 5 && table.lines().all(|line| line.chars().count() <= 80), "{table}");

    // One whose process is known, one of another terminal, a dead one, and the rest.
    let blue = of("blue")["pid"].to_string();
    let down = run(&["down", "--pid", &blue]);
    assert!(down.status.success() && said(&down).contains("blue-t1"), "{}", describe(&down));
    let down = run(&["down"]);
    assert!(down.status.success() && said(&down).contains("lab default: ended"), "{}", describe(&down));
    assert!(terminal.try_wait().unwrap().is_some_and(|status| status.success()), "it ended as by Ctrl-C");
    let down = run(&["down", "dead"]);
    assert!(down.status.success() && said(&down).contains("dead-t1"), "{}", describe(&down));
    let down = run(&["down", "nobody"]);
    assert!(down.status.code() == Some(1) && said(&down).contains("`nobody`"), "{}", describe(&down));
    let cleaned = run(&["clean", "--name", "nobody"]);
    assert!(
        cleaned.status.code() == Some(1) && said(&cleaned).contains("`nobody`"),
        "{}",
        describe(&cleaned)
    );
    let cleaned = run(&["clean", "--name", "mine"]);
    assert!(
        cleaned.status.success() && said(&cleaned).contains("nsrouter down mine"),
        "{}",
        describe(&cleaned)
    );
    assert_eq!(run(&["down", "--all"]).status.code(), Some(0));
    assert!(list().is_empty());
    assert_nothing_is_left("down");
}

fn mistyped(_: &Lab) {
    let error_of = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", describe(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (arguments, words) in [
        (&["chekc"][..], "did you mean `nsrouter check`?"),
        (&["kernel"], "`nsrouter --mode kernel`"),
        (&["userspace", "--private"], "`nsrouter --mode userspace`"),
        (&["--prviate", "--mode", "kernel"], "--private"),
        (&["--private"], "--mode kernel or --mode userspace, or `nsrouter up`"),
    ] {
        let said = error_of(arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert!(!error_of(&["-x"]).contains("-- -x"), "an option of nsrouter's was meant");
    let usage = error_of(&[]);
    assert!(usage.lines().count() < 24 && usage.lines().all(|line| line.chars().count() <= 80), "{usage}");
    assert!(subcommands().iter().all(|name| usage.contains(&format!("\n  {name} "))), "{usage}");
}
