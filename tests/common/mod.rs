//! The frame of the black-box tests: a lab of its own for every case, real programs in it, and `ignored` with
//! a reason where a privilege or a program is missing.
//!
//! A case is a plain function. The harness starts the real binary with `--private`, which starts this test
//! program again beside the lab, which runs the function. So a case sees the lab as a user's script does,
//! and nothing of it can touch the machine's own network.
#![allow(dead_code, unreachable_pub, reason = "every test program uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nsrouter_linux::netns::Netns;
use nsrouter_rings::packet::{self, PacketRx, PacketTx};
use nsrouter_rings::port::{Burst, Receive, Transmit};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

/// The environment variable that tells this program to run one case and nothing else.
const CASE_VARIABLE: &str = "NSROUTER_TEST_CASE";
/// The environment variable under which a missing requirement is a failure.
const REQUIRE_VARIABLE: &str = "NSROUTER_REQUIRE_ALL";
/// The environment variable under which each case runs in one mode.
const SAMPLE_VARIABLE: &str = "NSROUTER_SAMPLE";

/// Modes that a case can be run in.
pub const BOTH: &[&str] = &["kernel", "userspace"];
/// Both, our own router over every backend, and twice more: in a user namespace of root's, where the host
/// port can be had but no BPF, so that nothing but sysctls keeps the kernel silent on the router's ports; and
/// as an ordinary user.
pub const ALL: &[&str] = &["kernel", "userspace", OTHER_BACKENDS, "no-bpf", "rootless"];
/// Both, and our own router over every backend.
pub const BACKENDS: &[&str] = &["kernel", "userspace", OTHER_BACKENDS];
/// Our own router alone, over every backend.
pub const USERSPACE: &[&str] = &["userspace", OTHER_BACKENDS];
/// Our own router with two workers.
pub const WORKERS: &[&str] = &["userspace:EVERY:2"];
/// Our own router over each backend but the one that it takes by itself.
pub const OTHER_BACKENDS: &str = "userspace:OTHER";

/// The modes that a list stands for: `OTHER` and `EVERY` are replaced by the names of backends, from the one
/// list of them.
pub fn expanded(modes: &[&str]) -> Vec<String> {
    let names = || nsrouter_rings::BACKENDS.iter().map(|backend| backend.name);
    let expand = |mode: &&str| match (mode.contains("OTHER"), mode.contains("EVERY")) {
        (true, _) => names().skip(1).map(|name| mode.replace("OTHER", name)).collect(),
        (_, true) => names().map(|name| mode.replace("EVERY", name)).collect(),
        (false, false) => vec![(*mode).to_owned()],
    };
    modes.iter().flat_map(expand).collect()
}

/// Cases without a lab: a network, a mount namespace and a /run of their own.
pub const SANDBOX: &[&str] = &["sandbox"];

/// In a case's list of programs: it needs a quiet machine, for it measures time, so no other case runs beside
/// it.
pub const QUIET: &str = "a quiet machine";

/// One test case.
pub struct Case {
    /// Its name; the mode is put in front.
    pub name: &'static str,
    /// The modes that it is run in, as [`expanded`].
    pub modes: &'static [&'static str],
    /// Programs that it needs, and [`QUIET`].
    pub programs: &'static [&'static str],
    /// What it does inside a lab.
    pub body: fn(&Lab),
}

/// Where the binary under test lies, when not where Cargo put it.
const BINARY_VARIABLE: &str = "NSROUTER_TEST_BINARY";

/// The binary under test.
pub fn nsrouter() -> PathBuf {
    std::env::var_os(BINARY_VARIABLE).unwrap_or_else(|| env!("CARGO_BIN_EXE_nsrouter").into()).into()
}

/// The binary under test, without arguments. It gets its signals also where these tests were started by
/// nohup(1), or in the background by a shell without job control.
pub fn hearing_signals() -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,QUIT").arg(nsrouter());
    command
}

/// This test program and the binary under test, copied to where every user may run them.
pub struct Shared {
    folder: tempfile::TempDir,
}

impl Shared {
    /// Copies them.
    pub fn new() -> Shared {
        let folder = tempfile::Builder::new().prefix("nsrouter-").tempdir().unwrap();
        let everybody = || std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), everybody()).unwrap();
        for (from, to) in [(nsrouter(), "nsrouter"), (std::env::current_exe().unwrap(), "case")] {
            std::fs::copy(from, folder.path().join(to)).unwrap();
            std::fs::set_permissions(folder.path().join(to), everybody()).unwrap();
        }
        Shared { folder }
    }

    /// The binary under test.
    pub fn nsrouter(&self) -> PathBuf {
        self.folder.path().join("nsrouter")
    }

    /// The test program.
    pub fn case(&self) -> PathBuf {
        self.folder.path().join("case")
    }

    /// A command of the user `nobody` that is to be completed.
    pub fn as_nobody(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(self.nsrouter());
        command.env(BINARY_VARIABLE, self.nsrouter()).env_remove("XDG_RUNTIME_DIR");
        command
    }
}

/// Whether there is such a program.
pub fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).any(|folder| folder.join(name).is_file())
}

/// Whether this process may make namespaces on its own account.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What is missing for a case that needs these programs.
fn missing(programs: &[&str]) -> Option<String> {
    let absent: Vec<&str> =
        programs.iter().copied().filter(|name| *name != QUIET && !is_program(name)).collect();
    if !absent.is_empty() {
        return Some(format!("needs {}", absent.join(", ")));
    }
    (!is_root()).then(|| "needs root".to_owned())
}

/// Held by every trial that runs: together with others, or alone by one that needs a quiet machine.
static MACHINE: RwLock<()> = RwLock::new(());

/// A trial that is ignored, or fails, where something is missing.
pub fn trial(name: String, programs: &[&str], body: impl FnOnce() + Send + 'static) -> Trial {
    let required = std::env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1");
    let is_alone = programs.contains(&QUIET);
    match missing(programs) {
        Some(reason) if required => Trial::test(name, move || Err(Failed::from(reason))),
        Some(reason) => Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(true),
        None if is_alone && is_sample() => {
            Trial::test(name, || Ok(())).with_kind("needs a quiet machine").with_ignored_flag(true)
        }
        None => Trial::test(name, move || {
            // A trial that failed leaves the lock poisoned, and nothing else.
            let (_shared, _alone);
            if is_alone {
                _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
            } else {
                _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
            }
            body();
            Ok(())
        }),
    }
}

/// Whether a sample of the trials is enough.
fn is_sample() -> bool {
    std::env::var_os(SAMPLE_VARIABLE).is_some_and(|value| value == "1")
}

/// One trial of each case. The modes take turns, and with them the backends: the first case runs in the first
/// of its modes, the second in the second. Names are `MODE::CASE`, and with `MODE::SUBJECT::SCENE` all scenes
/// of a subject share a mode.
fn sample(trials: Vec<Trial>) -> Vec<Trial> {
    let mut modes: Vec<(String, Vec<String>)> = Vec::new();
    let split = |trial: &Trial| {
        let (mode, rest) = trial.name().split_once("::").unwrap_or(("", trial.name()));
        let case = rest.split("::").next().unwrap_or_default();
        (mode.to_owned(), case.to_owned())
    };
    for (mode, case) in trials.iter().map(split) {
        let at = modes.iter().position(|(known, _)| *known == case).unwrap_or(modes.len());
        if at == modes.len() {
            modes.push((case, Vec::new()));
        }
        if !modes[at].1.contains(&mode) {
            modes[at].1.push(mode);
        }
    }
    let is_chosen = |trial: &Trial| {
        let (mode, case) = split(trial);
        let turn = modes.iter().position(|(known, _)| *known == case).unwrap_or_default();
        let among = &modes[turn].1;
        among[turn % among.len()] == mode
    };
    trials.into_iter().filter(is_chosen).collect()
}

/// Runs the cases, and trials beside them; the `main` of a black-box test program with one list of cases.
pub fn main(cases: &'static [Case], others: Vec<Trial>) -> ExitCode {
    main_of(&[cases], others)
}

/// As [`main`], with nothing running beside a trial: all of them measure.
pub fn main_one_by_one(cases: &'static [Case], others: Vec<Trial>) -> ExitCode {
    run_all(&[cases], others, Some(1))
}

/// Runs the cases of several lists, and trials beside them. A case without modes is for trials that run it
/// themselves ([`case_output`]), in a lab with options of their own.
pub fn main_of(lists: &[&'static [Case]], others: Vec<Trial>) -> ExitCode {
    run_all(lists, others, None)
}

/// Runs them, as many at once as there are CPUs, or `threads`, unless `--test-threads` says otherwise.
fn run_all(lists: &[&'static [Case]], others: Vec<Trial>, threads: Option<usize>) -> ExitCode {
    let cases = || lists.iter().flat_map(|cases| cases.iter());
    if let Ok(wanted) = std::env::var(CASE_VARIABLE) {
        let (mode, name) = wanted.split_once("::").expect("MODE::NAME");
        let case = cases().find(|case| case.name == name).expect("a case of this program");
        (case.body)(&Lab::here(mode));
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(threads);
    let mut trials = others;
    for case in cases() {
        for mode in expanded(case.modes) {
            let name = format!("{mode}::{}", case.name);
            trials.push(trial(name.clone(), case.programs, move || run_case(&mode, &name)));
        }
    }
    if is_sample() {
        trials = sample(trials);
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A name for a lab that no other test uses.
pub fn lab_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs one case beside a lab of its own, or in an empty network.
fn run_case(mode: &str, case: &str) {
    let output = case_output(mode, case, &[]);
    assert!(output.status.success(), "{}", describe(&output));
}

/// Runs the case `MODE::NAME` of this program as [`run_case`] does, in a lab with these options, and says
/// what came of it.
pub fn case_output(mode: &str, case: &str, options: &[&str]) -> Output {
    let shared = (mode == "rootless").then(Shared::new);
    let program = shared.as_ref().map_or_else(|| std::env::current_exe().unwrap(), Shared::case);
    let arguments = |mode: &str| {
        let mut words = mode.split(':');
        let (mode, backend) = (words.next().unwrap(), words.next().unwrap_or("auto"));
        let name = lab_name();
        let fixed = ["--mode", mode, "--backend", backend, "--private", "--name", &name, "--for", "120s"];
        let workers = words.next().map(|workers| ["--workers", workers]);
        fixed
            .iter()
            .chain(workers.iter().flatten())
            .chain(options)
            .chain(&["--"])
            .map(|word| (*word).to_owned())
            .collect::<Vec<String>>()
    };
    let mut command = if let Some(shared) = &shared {
        let mut command = shared.as_nobody();
        command.args(arguments("userspace"));
        command
    } else if mode == "no-bpf" {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).arg(nsrouter()).args(arguments("userspace"));
        command
    } else if SANDBOX.contains(&mode) {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "sh", "-c"]);
        command.args(["mount -t tmpfs none /run && ip link set lo up && exec \"$0\""]);
        command
    } else {
        let mut command = Command::new(nsrouter());
        command.args(arguments(mode));
        command
    };
    command.arg(program).env(CASE_VARIABLE, case).stdin(Stdio::null()).output().expect("the binary starts")
}

/// A process's outcome, for a failure's message.
pub fn describe(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// How long a test waits for something that takes a moment, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until `look` gives something. It gives up only when a busy machine cannot be the reason.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A promise of time. One attempt of five has to keep it: a busy machine makes some late, a fault makes all
/// late.
pub fn promptly(what: &str, bound: Duration, mut attempt: impl FnMut() -> Duration) {
    let mut late = Vec::new();
    while late.len() < 5 {
        let took = attempt();
        if took < bound {
            return;
        }
        late.push(took);
    }
    panic!("{what}: {late:?}, never within {bound:?}");
}

/// The end of a process, and what it said.
pub fn ended(mut child: Child, what: &str) -> Output {
    wait_for(&format!("{what}: the process ends"), || child.try_wait().unwrap());
    child.wait_with_output().unwrap()
}

/// The lab that a case runs beside.
pub struct Lab {
    /// `kernel`, `userspace`, `userspace:BACKEND`, `userspace:BACKEND:WORKERS`, ...
    pub mode: String,
}

impl Lab {
    fn here(mode: &str) -> Lab {
        Lab { mode: mode.to_owned() }
    }

    /// Whether our own router forwards.
    pub fn is_userspace(&self) -> bool {
        self.mode != "kernel"
    }

    /// What carries our own router's frames, as the mode says; `auto` where it does not.
    pub fn backend(&self) -> &str {
        self.mode.split(':').nth(1).unwrap_or("auto")
    }

    /// Runs a program in a node.
    pub fn exec(&self, node: &str, command: &[&str]) -> Output {
        Command::new(nsrouter()).args(["exec", node, "--"]).args(command).output().expect("exec starts")
    }

    /// Runs a program in a node, which must succeed, and returns its standard output.
    pub fn succeed(&self, node: &str, command: &[&str]) -> String {
        let output = self.exec(node, command);
        assert!(
            output.status.success(),
            "{node}: {}: {}\n{}",
            command.join(" "),
            describe(&output),
            self.dump()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a program in a node; it is killed when the handle goes.
    pub fn spawn(&self, node: &str, command: &[&str]) -> Running {
        let child = Command::new(nsrouter())
            .args(["exec", node, "--"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("exec starts");
        Running(child)
    }

    /// `nsrouter status --json`.
    pub fn status(&self) -> serde_json::Value {
        let output = Command::new(nsrouter()).args(["status", "--json"]).output().expect("status starts");
        assert!(output.status.success(), "{}", describe(&output));
        serde_json::from_slice(&output.stdout).expect("status prints JSON")
    }

    /// What keeps the kernel silent on the router's ports.
    pub fn guard(&self) -> String {
        self.status()["engine"]["guard"].as_str().unwrap().to_owned()
    }

    /// Whether programs in the router reach the network.
    pub fn has_host_port(&self) -> bool {
        self.status()["engine"]["host_port"]["available"].as_bool().unwrap()
    }

    /// The lab's state in words, for a failure's message.
    pub fn dump(&self) -> String {
        let output = Command::new(nsrouter()).arg("status").output().expect("status starts");
        describe(&output)
    }

    /// The namespace of a node.
    pub fn namespace(&self, node: &str) -> Netns {
        let status = self.status();
        let name = status["namespaces"][node].as_str().expect("the node has a namespace of its own");
        Netns::named(name).expect("the namespace is there")
    }

    /// A counter of an interface as the kernel counts it (/sys/class/net/*/statistics).
    pub fn interface_counter(&self, node: &str, interface: &str, counter: &str) -> u64 {
        let path = format!("/sys/class/net/{interface}/statistics/{counter}");
        self.succeed(node, &["cat", &path]).trim().parse().expect("a number")
    }

    /// The MAC address of an interface.
    pub fn mac(&self, node: &str, interface: &str) -> [u8; 6] {
        let text = self.succeed(node, &["cat", &format!("/sys/class/net/{interface}/address")]);
        text.trim().parse::<nsrouter_wire::eth::MacAddr>().expect("a MAC address").0
    }

    /// A socket on an interface that sees and sends raw Ethernet frames.
    pub fn tap(&self, node: &str, interface: &str) -> Tap {
        let index: u32 = self
            .succeed(node, &["cat", &format!("/sys/class/net/{interface}/ifindex")])
            .trim()
            .parse()
            .expect("a number");
        let opened = self.namespace(node).run(|| packet::open(index, PortId(0), packet::Settings::default()));
        let (receive, transmit) = opened.expect("the namespace can be entered").expect("a packet socket");
        Tap { receive, transmit }
    }

    /// An iperf3 server in a node that serves one test, ready when this returns.
    pub fn iperf3_server(&self, node: &str) -> Running {
        let server = self.spawn(node, &["iperf3", "-s", "-1"]);
        wait_for("the iperf3 server listens", || {
            let sockets = self.succeed(node, &["cat", "/proc/net/tcp6"]);
            // Port 5201, state LISTEN.
            sockets.lines().any(|line| line.contains(":1451 ") && line.contains(" 0A ")).then_some(())
        });
        server
    }
}

/// A program that runs in a node.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Raw frames on an interface.
pub struct Tap {
    receive: PacketRx,
    transmit: PacketTx,
}

impl Tap {
    /// Sends one Ethernet frame.
    pub fn send(&mut self, bytes: &[u8]) {
        self.send_offloaded(bytes, Offload::default());
    }

    /// Sends Ethernet frames in one go.
    pub fn send_all(&mut self, frames: &[Vec<u8>]) {
        assert_eq!(self.send_some(frames), frames.len() as u64, "the kernel takes the frames");
    }

    /// Sends Ethernet frames in one go, as many as the kernel takes, and says how many it took.
    pub fn send_some(&mut self, frames: &[Vec<u8>]) -> u64 {
        let mut buffers = frames.to_vec();
        let mut frames: Vec<Frame<'_>> = buffers
            .iter_mut()
            .map(|buffer| {
                let len = buffer.len();
                Frame::new(buffer, 0, len, PortId(0), Offload::default()).expect("it fits")
            })
            .collect();
        self.transmit.send(&mut frames).frames
    }

    /// Sends one Ethernet frame that has its checksum pending, or is a GSO packet.
    pub fn send_offloaded(&mut self, bytes: &[u8], offload: Offload) {
        let mut buffer = bytes.to_vec();
        let len = buffer.len();
        let frame = Frame::new(&mut buffer, 0, len, PortId(0), offload).expect("it fits");
        assert_eq!(self.transmit.send(&mut [frame]).frames, 1, "the kernel takes the frame");
    }

    /// The frames that are here now.
    pub fn take(&mut self) -> Vec<(Vec<u8>, Offload)> {
        let mut frames = Vec::new();
        loop {
            let mut burst = Burst::new();
            self.receive.recv(64, &mut burst).expect("the interface is up");
            if burst.is_empty() {
                return frames;
            }
            frames.extend(burst.iter().map(|frame| (frame.data().to_vec(), frame.offload)));
        }
    }

    /// Waits for so many frames that `wanted` wants, and gives them with all that follow within `moment`.
    pub fn collect(
        &mut self,
        count: usize,
        moment: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Vec<Vec<u8>> {
        let begun = Instant::now();
        let mut frames = Vec::new();
        let mut complete = None;
        loop {
            if frames.len() >= count && complete.get_or_insert_with(Instant::now).elapsed() >= moment {
                return frames;
            }
            assert!(begun.elapsed() < PATIENCE, "{count} frames are expected, and came: {frames:02x?}");
            let mut burst = Burst::new();
            self.receive.recv(64, &mut burst).expect("the interface is up");
            frames.extend(burst.iter().map(|frame| frame.data().to_vec()).filter(|frame| wanted(frame)));
            if burst.is_empty() {
                drop(burst);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
