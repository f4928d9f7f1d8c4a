//! `nsrouter --mode ...` and `nsrouter up`: builds the lab, forwards, and takes everything down again.

mod args;
mod child;
mod wait;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use nix::sys::signal::Signal;
use nsrouter_engine::control::serve;
use nsrouter_lab::enter::{self, Detached, Entered};
use nsrouter_lab::topology::Topology;
use nsrouter_lab::{Error, Lab};
use nsrouter_rings::limits::Descriptors;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

pub(crate) use self::args::Args;

use self::child::{exit_code, killed_by};
use self::wait::{End, until_end};
use crate::command::signals::{Signals, unless_signalled};
use crate::dataplane::ports::DeviceEnds;
use crate::dataplane::{fit, forwarder, socket};
use crate::output::greeting::greeting;
use crate::output::{self, Lasting, errln, out, outln, removed, report, terminal};
use crate::runtime;

/// Exit code: the time was over before the command was; timeout(1) has the same.
const TIMED_OUT: u8 = 124;

/// Builds the lab and keeps it until its time is over.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.detach {
        match enter::detach(&args.name)? {
            Detached::Here => {}
            Detached::Ready { pid, log } => return tell_ready(&args.name, args.json, pid, &log),
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

/// Builds, waits and takes down. Only the waiting is asynchronous.
fn keep(args: &Args, runtime: &Runtime) -> anyhow::Result<ExitCode> {
    // Before anything is built, so that a signal during the building is not the end of the process.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let dataplane = args.dataplane()?;
    let options = args.lab_options(dataplane.as_ref())?;
    let topology = match &args.topology {
        None => Topology::default_lab(),
        Some(file) => match runtime.block_on(signals.before(read_topology(file.clone()))) {
            Ok(topology) => topology?,
            Err(signal) => return Ok(killed_by(signal)),
        },
    };
    let descriptors = Descriptors::raise().context("cannot raise the limit of open files")?;
    let backend = dataplane.as_ref().map(|dataplane| dataplane.choice.backend);
    let workers = dataplane.as_ref().map_or(1, |dataplane| dataplane.threads.workers);
    fit::check_descriptors(backend, &topology, workers, descriptors.hard)?;
    if let Some(backend) = backend {
        fit::check(backend, &topology, workers)?;
    }
    let build = || {
        let mut devices = DeviceEnds::new(workers);
        let mut lab = match backend.and_then(|backend| backend.open_device) {
            Some(open) => {
                Lab::build_with_taps(&topology, &options, &mut |end| devices.make(open, &topology, end))?
            }
            None => Lab::build(&topology, &options)?,
        };
        let engines = forwarder::start(&mut lab, dataplane.as_ref(), devices, &options.stop)?;
        anyhow::Ok((lab, engines))
    };
    let (lab, engines) = match unless_signalled(runtime, &mut signals, &options.stop, build) {
        Ok(built) => built?,
        Err((signal, built)) => {
            if let Ok((lab, engines)) = built {
                engines.stop()?;
                take_down(lab);
            }
            return Ok(killed_by(signal));
        }
    };
    let is_quiet = args.quiet || args.json || args.detach || !args.command.is_empty();
    let lasting = Lasting::default();
    for replaced in lab.replaced().iter().filter(|_| !is_quiet) {
        lasting.note(outln!("{}", removed::describe(replaced)));
    }
    let socket = socket::path(&lab.dir());
    let end = runtime.block_on(async {
        let listener = serve::bind(&socket)?;
        if !is_quiet {
            let reason = dataplane.as_ref().and_then(|dataplane| dataplane.choice.reason.as_deref());
            lasting.note(out!("{}", greeting(lab.state(), &engines.status()?, reason, terminal::look())));
        }
        if args.detach {
            enter::tell_ready()?;
        }
        let child = child::start(&args.command, &lab, descriptors)?;
        let screen = (!is_quiet).then_some(&lasting);
        tokio::select! {
            end = until_end(args.time, child, &mut signals, &engines, screen) => end,
            never = serve::serve(listener, || engines.status().unwrap_or_default(), || engines.routes()) => match never {},
        }
    })?;

    let failed = matches!(end, End::Engine);
    let last = engines.stop()?;
    if args.json {
        lasting.note(output::json(&report::of_lab(lab.state(), &last)));
    } else if args.command.is_empty() && !args.quiet {
        let look = terminal::look();
        lasting.note(out!("\n{}\n{}", report::ports(&last, look), report::account(&last)));
    }
    take_down(lab);
    anyhow::ensure!(!failed, "the router stopped unexpectedly: {}", last.warnings.join("; "));
    Ok(match end {
        End::Command(status) => exit_code(status),
        End::Signal(signal) if !args.command.is_empty() || signal == Signal::SIGQUIT => killed_by(signal),
        End::Time if !args.command.is_empty() => ExitCode::from(TIMED_OUT),
        End::Signal(_) | End::Time | End::Engine if lasting.has_failed() => ExitCode::FAILURE,
        End::Signal(_) | End::Time | End::Engine => ExitCode::SUCCESS,
    })
}

/// Reports that a lab in the background is ready.
fn tell_ready(name: &str, json: bool, pid: i32, log: &Path) -> anyhow::Result<ExitCode> {
    if json {
        let ready = serde_json::json!({ "lab": name, "pid": pid, "log": log });
        output::json(&ready)?;
    } else {
        outln!("lab `{name}` is up: process {pid}, log {}", log.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn take_down(lab: Lab) {
    let removed = lab.down();
    for sentence in removed.problems.iter().chain(&removed.left) {
        errln!("nsrouter: {sentence}");
    }
}

/// Reads it on a thread that is not joined: a pipe may never deliver.
async fn read_topology(file: PathBuf) -> anyhow::Result<Topology> {
    let (tell, told) = oneshot::channel();
    let name = file.display().to_string();
    thread::spawn(move || {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Error::Usage(format!("cannot read the topology {}: {error}", file.display())));
        // The receiver is gone after a signal.
        let _ = tell.send(text);
    });
    let text = told.await.context("the thread that reads the topology has ended")??;
    Topology::from_toml(&text).map_err(Error::from).context(name)
}
