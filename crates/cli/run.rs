//! `nsrouter --mode ...`: builds the lab, forwards, and takes everything down again.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nsrouter_engine::control::serve;
use nsrouter_engine::status::Status;
use nsrouter_engine::userspace::Spin;
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::{Error, Forwarder, Lab, Options, RouterNs, Topology};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tokio::signal::unix::{self, SignalKind};

use crate::backend::{self, Backend, Choice, Taps};
use crate::fit;
use crate::forwarder::{self, Engines, Threads};
use crate::report::{self, LabReport};
use crate::settings::{self, Setting};
use crate::{clean, cpus, status};

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The kernel, with ip_forward switched on.
    Kernel,
    /// nsrouter's own router.
    Userspace,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Kernel => "kernel",
            Mode::Userspace => "userspace",
        }
    }
}

/// What `nsrouter --mode` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who forwards between the hosts.
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
    /// How the userspace router's frames enter and leave.
    #[arg(long, value_enum, default_value = "auto", requires = "mode")]
    backend: Backend,
    /// Have the hosts complete checksums and cut segments themselves, as the xdp backend needs it in any case.
    #[arg(long, requires = "mode")]
    no_host_offloads: bool,
    /// The lab's name; namespaces of a lab other than `default` are called LAB-NODE.
    #[arg(long, value_name = "LAB", default_value = "default", requires = "mode")]
    name: String,
    /// Build the network that this TOML file describes instead of the built-in one.
    #[arg(long, value_name = "FILE", requires = "mode")]
    topology: Option<PathBuf>,
    /// The router's namespace; `host` puts it where nsrouter was started.
    #[arg(long, value_name = "NAME|host", requires = "mode")]
    router_ns: Option<String>,
    /// Keep names and processes in namespaces of nsrouter's own, so that nothing can clash or be left behind.
    #[arg(long, requires = "mode")]
    private: bool,
    /// Remove namespaces and links of the same names first, whoever made them.
    #[arg(long, requires = "mode")]
    replace: bool,
    /// Take the lab down after this time (30s, 5m, 1h).
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, requires = "mode")]
    time: Option<Duration>,
    #[arg(long, value_name = "NAME=VALUE", help = settings::HELP, value_parser = settings::parse, requires = "mode")]
    pub(crate) set: Vec<Setting>,
    /// How long an idle worker of the userspace router looks for frames before it sleeps: `never`, `always`, a time
    /// like 50us, or `adaptive`: it naps while frames come in quick succession, and looks for a moment when they come rarely.
    /// [default: adaptive]
    #[arg(long, value_name = "SPIN", value_parser = parse_spin, requires = "mode")]
    spin: Option<Spin>,
    /// How many threads of the userspace router forward; flows are spread over them. [default: 1, or one for each of
    /// --cpus]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), requires = "mode")]
    workers: Option<u16>,
    /// The processors that these threads stay on, in turn: 0,1 or 0-3.
    #[arg(long, value_name = "LIST", value_parser = cpus::parse, requires = "mode")]
    cpus: Option<cpus::List>,
    /// The nice value of these threads, -20 to 19. Below 0 they go before the programs that share their processor: shorter
    /// queues in the router, and less throughput of TCP. [default: -20 with xdp, else none]
    #[arg(long, value_name = "NICE", allow_negative_numbers = true, requires = "mode",
          value_parser = clap::value_parser!(i32).range(-20..=19))]
    nice: Option<i32>,
    /// Print the final counters as JSON.
    #[arg(long, requires = "mode")]
    json: bool,
    /// Run this beside the lab, and take the lab down when it ends; its exit code is nsrouter's.
    #[arg(last = true, value_name = "COMMAND", requires = "mode")]
    command: Vec<OsString>,
}

fn parse_spin(text: &str) -> Result<Spin, String> {
    match text {
        "never" => Ok(Spin::Never),
        "always" => Ok(Spin::Always),
        "adaptive" => Ok(Spin::Adaptive),
        time => humantime::parse_duration(time)
            .map(Spin::For)
            .map_err(|_| "write never, always, adaptive or a time like 50us".to_owned()),
    }
}

/// How long a command may take to end after it was asked to.
const COMMAND_PATIENCE: Duration = Duration::from_millis(500);
/// How often the line of rates is renewed on a terminal, and elsewhere.
const TERMINAL_PERIOD: Duration = Duration::from_secs(1);
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Builds the lab and keeps it until its time is over.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Before any thread: unshare(CLONE_NEWUSER) fails in a threaded process.
    if let Entered::Done(code) = enter::private(&args.name, args.private)? {
        return Ok(ExitCode::from(code));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime that waits for signals")?;
    keep(args, &runtime)
}

/// What ends a lab.
enum End {
    Signal(Signal),
    Time,
    Command(ExitStatus),
    Engine,
}

/// Builds, waits and takes down. Only the waiting is asynchronous.
fn keep(args: &Args, runtime: &Runtime) -> anyhow::Result<ExitCode> {
    // Before anything is built, so that a signal during the building is not the end of the process.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let mode = args.mode.unwrap_or(Mode::Kernel);
    if mode == Mode::Kernel && !args.set.is_empty() {
        return Err(Error::Usage(
            "--set is for the userspace router; set the kernel's with `nsrouter exec router -- sysctl -w ...`".to_owned(),
        )
        .into());
    }
    let threads = threads(args, mode)?;
    let choice = match mode {
        Mode::Kernel if args.backend != Backend::Auto => {
            return Err(Error::Usage(
                "--backend is for the userspace router; leave it out, or say --mode userspace".to_owned(),
            )
            .into());
        }
        Mode::Kernel => Choice { backend: args.backend, why: None },
        Mode::Userspace => backend::choose(args.backend)?,
    };
    let options = Options {
        name: args.name.clone(),
        router_ns: match args.router_ns.as_deref() {
            None => RouterNs::Node,
            Some("host") => RouterNs::Host,
            Some(name) => RouterNs::Named(name.to_owned()),
        },
        replace: args.replace,
        forwarder: match mode {
            Mode::Kernel => Forwarder::Kernel,
            Mode::Userspace => Forwarder::Userspace,
        },
        mode: mode.name().to_owned(),
        host_offloads: !args.no_host_offloads && choice.backend != Backend::Xdp,
        link_queues: if choice.backend == Backend::Xdp { u32::try_from(threads.workers)? } else { 1 },
    };
    let quiet = args.json || !args.command.is_empty();
    let topology = match &args.topology {
        None => Topology::default_lab(),
        Some(file) => read_topology(file)?,
    };
    if mode == Mode::Userspace {
        fit::check(choice.backend, &topology, threads.workers)?;
    }
    let mut taps = Taps::new(threads.workers);
    let mut lab = if mode == Mode::Userspace && choice.backend == Backend::Tap {
        Lab::build_with_taps(&topology, &options, &mut |end| taps.make(&topology, end))?
    } else {
        Lab::build(&topology, &options)?
    };
    for replaced in lab.replaced().iter().filter(|_| !quiet) {
        println!("{}", clean::describe(replaced));
    }
    let threads = Threads { nice: threads.nice.or(choice.backend.nice()), ..threads };
    let engine = forwarder::start(&mut lab, mode, choice.backend, taps, &args.set, &threads)?;
    let socket = status::socket_of(&lab.dir());
    let end = runtime.block_on(async {
        let listener = serve::bind(&socket)?;
        if !quiet {
            greet(&lab, &engine, &choice)?;
        }
        let child = start_command(args)?;
        tokio::select! {
            end = until_end(args, child, &mut signals, &engine, quiet) => end,
            never = serve::serve(listener, || engine.status().unwrap_or_default()) => match never {},
        }
    })?;

    let failed = matches!(end, End::Engine);
    let last = engine.stop()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&lab_report(&lab, &last))?);
    } else if args.command.is_empty() {
        print!("\n{}\n{}", report::ports(&last), report::account(&last));
    }
    for problem in lab.down().problems {
        eprintln!("nsrouter: {problem}");
    }
    anyhow::ensure!(!failed, "the router ended by itself: {}", last.troubles.join("; "));
    Ok(match end {
        End::Command(status) => exit_code(status),
        End::Signal(signal) if !args.command.is_empty() => ExitCode::from(128 + signal_number(signal)),
        End::Signal(_) | End::Time | End::Engine => ExitCode::SUCCESS,
    })
}

/// The forwarding threads that are asked for.
fn threads(args: &Args, mode: Mode) -> anyhow::Result<Threads> {
    let cpus = args.cpus.as_ref().map(|cpus::List(cpus)| cpus.clone()).unwrap_or_default();
    let of_threads = args.workers.is_some() || !cpus.is_empty() || args.nice.is_some() || args.spin.is_some();
    if mode == Mode::Kernel && of_threads {
        return Err(Error::Usage(
            "--workers, --cpus, --nice and --spin are for the userspace router; the kernel has no threads for forwarding"
                .to_owned(),
        )
        .into());
    }
    cpus::check(&cpus)?;
    let workers = args.workers.map_or(cpus.len().max(1), usize::from);
    Ok(Threads { workers, cpus, nice: args.nice, spin: args.spin.unwrap_or_default() })
}

fn read_topology(file: &Path) -> anyhow::Result<Topology> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::Usage(format!("cannot read the topology {}: {error}", file.display())))?;
    Ok(Topology::from_toml(&text).map_err(Error::from)?)
}

/// The signals that end a lab.
struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let listen = |kind| unix::signal(kind).context("cannot listen to signals");
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.hangup.recv() => Signal::SIGHUP,
        }
    }
}

/// Waits for whatever ends the lab; on a command's behalf its own end is waited for, a little.
async fn until_end(
    args: &Args,
    mut child: Option<Child>,
    signals: &mut Signals,
    engine: &Engines,
    quiet: bool,
) -> anyhow::Result<End> {
    let time = async {
        match args.time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let command = async {
        match &mut child {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        signal = signals.next() => End::Signal(signal),
        () = time => End::Time,
        status = command => End::Command(status.context("cannot wait for the command")?),
        () = watch(engine, quiet) => End::Engine,
    };
    let Some(mut child) = child else { return Ok(end) };
    let signal = match &end {
        End::Command(_) => return Ok(end),
        End::Signal(signal) => *signal,
        End::Time | End::Engine => Signal::SIGTERM,
    };
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended at this moment, which is as good.
        let _ = kill(Pid::from_raw(pid), signal);
    }
    if tokio::time::timeout(COMMAND_PATIENCE, child.wait()).await.is_err() {
        child.kill().await.context("cannot end the command")?;
    }
    Ok(end)
}

/// Keeps the line of rates current; returns when forwarding ended by itself.
async fn watch(engine: &Engines, quiet: bool) {
    let terminal = std::io::stdout().is_terminal();
    let period = if terminal { TERMINAL_PERIOD } else { LOG_PERIOD };
    let mut before = engine.status().unwrap_or_default();
    let mut since = Instant::now();
    let mut ticks = tokio::time::interval(TERMINAL_PERIOD);
    while !engine.has_ended() {
        ticks.tick().await;
        if quiet || since.elapsed() < period {
            continue;
        }
        let now = engine.status().unwrap_or_default();
        let line = report::rates(&before, &now, since.elapsed().as_secs_f64());
        // A closed standard output is no reason to take the lab down.
        let mut out = std::io::stdout().lock();
        let _ = if terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
        before = now;
        since = Instant::now();
    }
}

/// Starts the command with this program's folder first in PATH, so that `nsrouter exec` in it is this one.
fn start_command(args: &Args) -> anyhow::Result<Option<Child>> {
    let Some((program, rest)) = args.command.split_first() else { return Ok(None) };
    let path = path_with_us_first().context("cannot tell where this program lies")?;
    let child = Command::new(program)
        .args(rest)
        .env("PATH", path)
        .env(status::LAB_VARIABLE, &args.name)
        .kill_on_drop(true)
        .spawn();
    match child {
        Ok(child) => Ok(Some(child)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let program = Path::new(program).display();
            Err(Error::Usage(format!("there is no program called `{program}`")).into())
        }
        Err(error) => Err(error).with_context(|| format!("cannot run {}", Path::new(program).display())),
    }
}

fn path_with_us_first() -> anyhow::Result<OsString> {
    let us = std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default();
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::iter::once(us).chain(std::env::split_paths(&rest)).collect();
    Ok(std::env::join_paths(folders)?)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn signal_number(signal: Signal) -> u8 {
    // Linux numbers its signals from 1 to 64.
    u8::try_from(signal as i32).unwrap_or(0)
}

/// What stands on the screen while the lab is up.
fn greet(lab: &Lab, engine: &Engines, choice: &Choice) -> anyhow::Result<()> {
    let state = lab.state();
    let status = engine.status()?;
    println!("lab `{}`: {} mode, {}", lab.name(), status.mode, status.backend);
    if let Some(why) = &choice.why {
        println!("  {} because {why}", status.backend);
    }
    println!();
    println!("{}", report::picture(&state.topology, state.taps));
    if !status.host_port.available {
        println!("no host port: {}\n", status.host_port.reason);
    }
    let name = if lab.name() == "default" { String::new() } else { format!(" --name {}", lab.name()) };
    println!("Try, in another terminal:");
    println!("  nsrouter check{name}");
    println!("  nsrouter exec{name} t1 -- ping 10.10.252.1");
    println!(
        "  nsrouter exec{name} t2 -- iperf3 -s -1   and   nsrouter exec{name} t1 -- iperf3 -c 10.10.252.1"
    );
    println!("  nsrouter status{name}\n");
    println!("Ctrl-C takes it down.");
    Ok(())
}

fn lab_report<'a>(lab: &'a Lab, engine: &'a Status) -> LabReport<'a> {
    status::report_of(lab.state(), engine)
}
