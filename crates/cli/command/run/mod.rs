//! `nsrouter --mode ...`: builds the lab, forwards, and takes everything down again.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nsrouter_engine::control::serve;
use nsrouter_engine::status::Status;
use nsrouter_engine::userspace::Spin;
use nsrouter_lab::enter::{self, Detached, Entered};
use nsrouter_lab::{Error, Forwarder, Lab, Options, RouterNs, Stop, Topology};
use nsrouter_rings::limits::Descriptors;
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::oneshot;

use crate::command::{clean, status};
use crate::dataplane::backend::{self, Backend, Choice, Taps};
use crate::dataplane::fit;
use crate::dataplane::forwarder::{self, Engines, Threads};
use crate::options::settings::{self, Setting};
use crate::options::{cpus, which};
use crate::output::greeting::greeting;
use crate::output::report::{self, LabReport};
use crate::output::terminal;
use crate::output::{self, Lasting, errln, out, outln};
use crate::runtime;

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
    #[arg(short, long, value_enum, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
    /// How the userspace router's frames enter and leave.
    #[arg(short, long, value_enum, default_value = "auto")]
    backend: Backend,
    /// Switch checksum and segmentation offloads off in the hosts; with the xdp backend they are always off.
    #[arg(long)]
    no_host_offloads: bool,
    /// The lab's name; namespaces of a lab other than `default` are called LAB-NODE.
    #[arg(short, long, value_name = "LAB", default_value = "default")]
    name: String,
    /// Build the network that this TOML file describes instead of the built-in one.
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// The router's namespace; `host` puts it where nsrouter was started.
    #[arg(long, value_name = "NAME|host")]
    router_ns: Option<String>,
    /// Keep names and processes in namespaces of nsrouter's own, so that nothing can clash or be left behind.
    #[arg(short, long)]
    private: bool,
    /// Remove namespaces and links of the same names first, whoever made them.
    #[arg(long)]
    replace: bool,
    /// Take the lab down after this time (30s, 5m, 1h).
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    #[arg(long, value_name = "NAME=VALUE", help = settings::HELP, value_parser = settings::parse)]
    pub(crate) set: Vec<Setting>,
    /// How long an idle worker of the userspace router looks for frames before it sleeps: `never`, `always`, a time
    /// like 50us, or `adaptive`: it naps while frames come in quick succession, and looks for a moment when they come rarely.
    /// [default: adaptive]
    #[arg(long, value_name = "SPIN", value_parser = parse_spin)]
    spin: Option<Spin>,
    /// How many threads of the userspace router forward; flows are spread over them. [default: 1, or one for each of
    /// --cpus]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Option<u16>,
    /// Pin these threads to processors, the first thread to the first one and so on: 0,1 or 0-3.
    #[arg(long, value_name = "LIST", value_parser = cpus::parse)]
    cpus: Option<cpus::List>,
    /// The nice value of these threads, -20 to 19. Below 0 they go before the programs that share their processor: shorter
    /// queues in the router, and less throughput of TCP. [default: -20 with xdp, else none]
    #[arg(long, value_name = "NICE", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-20..=19))]
    nice: Option<i32>,
    /// Print nothing but errors.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Print the final counters as JSON.
    #[arg(short, long)]
    json: bool,
    /// Return when the lab is ready, and leave it running without a terminal until `nsrouter down`.
    #[arg(short, long, conflicts_with = "command")]
    detach: bool,
    /// Run this beside the lab, and take the lab down when it ends; its exit code is nsrouter's.
    #[arg(last = true, value_name = "COMMAND")]
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
/// Exit code: the time was over before the command was; timeout(1) has the same.
const TIMED_OUT: u8 = 124;
/// How often the line of rates is renewed on a terminal, and elsewhere.
const TERMINAL_PERIOD: Duration = Duration::from_secs(1);
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Builds the lab and keeps it until its time is over.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.detach {
        match enter::detach(&args.name)? {
            Detached::Here => {}
            Detached::Ready { pid, log } => return tell_ready(args, pid, &log),
            Detached::Failed { code, said } => {
                errln!("{}", said.trim_end());
                return Ok(ExitCode::from(code));
            }
        }
    }
    // Before any thread: unshare(CLONE_NEWUSER) fails in a threaded process.
    if let Entered::Done(code) = enter::private(&args.name, args.private, args.replace)? {
        return Ok(ExitCode::from(code));
    }
    let runtime = runtime::start()?;
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
        backend: (mode == Mode::Userspace).then(|| choice.backend.name().to_owned()),
        host_offloads: !args.no_host_offloads && choice.backend != Backend::Xdp,
        link_queues: if choice.backend == Backend::Xdp { u32::try_from(threads.workers)? } else { 1 },
        stop: Stop::default(),
    };
    let quiet = args.quiet || args.json || args.detach || !args.command.is_empty();
    let lasting = Lasting::default();
    let topology = match &args.topology {
        None => Topology::default_lab(),
        Some(file) => match runtime.block_on(signals.before(read_topology(file.clone()))) {
            Ok(topology) => topology?,
            Err(signal) => return Ok(killed_by(signal)),
        },
    };
    let descriptors = Descriptors::raise().context("cannot raise the limit of open files")?;
    let backend = (mode == Mode::Userspace).then_some(choice.backend);
    fit::check_descriptors(backend, &topology, threads.workers, descriptors.hard)?;
    if mode == Mode::Userspace {
        fit::check(choice.backend, &topology, threads.workers)?;
    }
    let threads = Threads { nice: threads.nice.or(choice.backend.nice()), ..threads };
    let build = || {
        let mut taps = Taps::new(threads.workers);
        let mut lab = if mode == Mode::Userspace && choice.backend == Backend::Tap {
            Lab::build_with_taps(&topology, &options, &mut |end| taps.make(&topology, end))?
        } else {
            Lab::build(&topology, &options)?
        };
        let engine =
            forwarder::start(&mut lab, mode, choice.backend, taps, &args.set, &threads, &options.stop)?;
        anyhow::Ok((lab, engine))
    };
    let (lab, engine) = match unless_signalled(runtime, &mut signals, &options.stop, build) {
        Ok(built) => built?,
        Err((signal, built)) => {
            if let Ok((lab, engine)) = built {
                engine.stop()?;
                take_down(lab);
            }
            return Ok(killed_by(signal));
        }
    };
    for replaced in lab.replaced().iter().filter(|_| !quiet) {
        lasting.note(outln!("{}", clean::describe(replaced)));
    }
    let socket = status::socket_of(&lab.dir());
    let end = runtime.block_on(async {
        let listener = serve::bind(&socket)?;
        if !quiet {
            let text = greeting(lab.state(), &engine.status()?, choice.why.as_deref(), terminal::look());
            lasting.note(out!("{text}"));
        }
        if args.detach {
            enter::tell_ready()?;
        }
        let child = start_command(args, &lab, descriptors)?;
        tokio::select! {
            end = until_end(args, child, &mut signals, &engine, (!quiet).then_some(&lasting)) => end,
            never = serve::serve(listener, || engine.status().unwrap_or_default(), || engine.routes()) => match never {},
        }
    })?;

    let failed = matches!(end, End::Engine);
    let last = engine.stop()?;
    let look = terminal::look();
    if args.json {
        lasting.note(output::json(&lab_report(&lab, &last)));
    } else if args.command.is_empty() && !args.quiet {
        lasting.note(out!("\n{}\n{}", report::ports(&last, look), report::account(&last)));
    }
    take_down(lab);
    anyhow::ensure!(!failed, "the router ended by itself: {}", last.warnings.join("; "));
    Ok(match end {
        End::Command(status) => exit_code(status),
        End::Signal(signal) if !args.command.is_empty() || signal == Signal::SIGQUIT => killed_by(signal),
        End::Time if !args.command.is_empty() => ExitCode::from(TIMED_OUT),
        End::Signal(_) | End::Time | End::Engine if lasting.has_failed() => ExitCode::FAILURE,
        End::Signal(_) | End::Time | End::Engine => ExitCode::SUCCESS,
    })
}

/// Says that a lab without a terminal is ready.
fn tell_ready(args: &Args, pid: i32, log: &Path) -> anyhow::Result<ExitCode> {
    if args.json {
        let ready = serde_json::json!({ "lab": args.name, "pid": pid, "log": log });
        output::json(&ready)?;
    } else {
        outln!("lab `{}` is up: process {pid}, log {}", args.name, log.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn take_down(lab: Lab) {
    let removed = lab.down();
    for sentence in removed.problems.iter().chain(&removed.left) {
        errln!("nsrouter: {sentence}");
    }
}

/// Does `work` on a thread of its own, and asks it to stop when a signal comes; then what came of it stands beside the signal.
fn unless_signalled<T: Send>(
    runtime: &Runtime,
    signals: &mut Signals,
    stop: &Stop,
    work: impl FnOnce() -> T + Send,
) -> Result<T, (Signal, T)> {
    thread::scope(|scope| {
        let (done, is_done) = oneshot::channel::<()>();
        let worker = scope.spawn(move || {
            let result = work();
            drop(done);
            result
        });
        let signal = runtime.block_on(signals.before(is_done)).err();
        if signal.is_some() {
            stop.ask();
        }
        let result = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match signal {
            Some(signal) => Err((signal, result)),
            None => Ok(result),
        }
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

/// Reads it on a thread that nobody waits for: from a pipe it may never come.
async fn read_topology(file: PathBuf) -> anyhow::Result<Topology> {
    let (tell, told) = oneshot::channel();
    let name = file.display().to_string();
    thread::spawn(move || {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Error::Usage(format!("cannot read the topology {}: {error}", file.display())));
        // Whoever asked may have gone.
        let _ = tell.send(text);
    });
    let text = told.await.context("the thread that reads the topology is gone")??;
    Topology::from_toml(&text).map_err(Error::from).context(name)
}

/// The signals that end a lab.
struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        // Under nohup(1) it stays ignored.
        let ignored = enter::ignores_hangup().then_some(Signal::SIGHUP);
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT]
            .into_iter()
            .filter(|signal| Some(*signal) != ignored)
            .map(|signal| Ok((signal, unix::signal(SignalKind::from_raw(signal as i32))?)))
            .collect::<io::Result<_>>()
            .map(Signals)
            .context("cannot listen to signals")
    }

    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// What comes of `work`, or the signal that came before.
    async fn before<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::select! {
            signal = self.next() => Err(signal),
            result = work => Ok(result),
        }
    }
}

/// Waits for whatever ends the lab; on a command's behalf its own end is waited for, a little.
async fn until_end(
    args: &Args,
    mut child: Option<Child>,
    signals: &mut Signals,
    engine: &Engines,
    screen: Option<&Lasting>,
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
        () = watch(engine, screen) => End::Engine,
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

/// Keeps the line of rates current on `screen`, where there is to be one; returns when forwarding ended by itself.
async fn watch(engine: &Engines, screen: Option<&Lasting>) {
    let terminal = std::io::stdout().is_terminal();
    let period = if terminal { TERMINAL_PERIOD } else { LOG_PERIOD };
    let mut before = engine.status().unwrap_or_default();
    let mut since = Instant::now();
    let mut ticks = tokio::time::interval(TERMINAL_PERIOD);
    while !engine.has_ended() {
        ticks.tick().await;
        let Some(screen) = screen.filter(|_| since.elapsed() >= period) else { continue };
        let now = engine.status().unwrap_or_default();
        let line = report::rates(&before, &now, since.elapsed().as_secs_f64());
        screen.note(if terminal {
            output::draw(&line)
        } else {
            outln!("{} {line}", humantime::format_rfc3339_seconds(SystemTime::now()))
        });
        before = now;
        since = Instant::now();
    }
}

/// Starts the command with this program first in PATH, so that `nsrouter exec` in it is this one, and with the limits that
/// this process was started with.
fn start_command(args: &Args, lab: &Lab, descriptors: Descriptors) -> anyhow::Result<Option<Child>> {
    let Some((program, rest)) = args.command.split_first() else { return Ok(None) };
    let path = path_with_us_first(lab).context("cannot put this program into PATH")?;
    // Not on a thread of its own: the command ends with the thread that starts it.
    let mut command = Command::from(enter::tied_command(program));
    command.args(rest).env("PATH", path).env(which::LAB_VARIABLE, &args.name).kill_on_drop(true);
    descriptors.give_to(command.as_std_mut());
    command.spawn().map(Some).with_context(|| format!("cannot run {}", Path::new(program).display()))
}

/// PATH with a folder first in which there is this program, called `nsrouter`, and nothing else: beside the program itself
/// there may be what anybody put there.
fn path_with_us_first(lab: &Lab) -> anyhow::Result<OsString> {
    let folder = lab.dir().join("bin");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let link = folder.join("nsrouter");
    std::os::unix::fs::symlink(std::env::current_exe()?, &link)
        .with_context(|| format!("cannot make {}", link.display()))?;
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::iter::once(folder).chain(std::env::split_paths(&rest)).collect();
    Ok(std::env::join_paths(folders)?)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The exit code of a shell whose command a signal ended.
fn killed_by(signal: Signal) -> ExitCode {
    // Linux numbers its signals from 1 to 64.
    ExitCode::from(128 + u8::try_from(signal as i32).unwrap_or(0))
}

fn lab_report<'a>(lab: &'a Lab, engine: &'a Status) -> LabReport<'a> {
    status::report_of(lab.state(), engine)
}
