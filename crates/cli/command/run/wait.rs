//! Waiting for whatever ends a lab, while the line of rates is kept current.

use std::io::IsTerminal;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

use crate::command::signals::Signals;
use crate::dataplane::engines::Engines;
use crate::output::{self, Lasting, outln, report};

/// How long a command may take to end after it was asked to.
const COMMAND_PATIENCE: Duration = Duration::from_millis(500);
/// How often the line of rates is renewed on a terminal, and elsewhere.
const TERMINAL_PERIOD: Duration = Duration::from_secs(1);
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// What ended a lab.
pub(super) enum End {
    /// A signal to this process.
    Signal(Signal),
    /// `--for`.
    Time,
    /// The command beside the lab.
    Command(ExitStatus),
    /// The engine, by itself.
    Engine,
}

/// Waits for whatever ends the lab; on a command's behalf its own end is waited for, a little.
pub(super) async fn until_end(
    time: Option<Duration>,
    mut child: Option<Child>,
    signals: &mut Signals,
    engine: &Engines,
    screen: Option<&Lasting>,
) -> anyhow::Result<End> {
    let time = async {
        match time {
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

/// Keeps the line of rates current on `screen`, where there is to be one; returns when forwarding ended by
/// itself.
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
