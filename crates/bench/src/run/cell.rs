//! One cell: the binary under test as a child process, with a private lab that ends with it, and the agent
//! inside.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{AgentOptions, AgentReport};
use crate::plan::{Cell, Load, Mode, Plan};
use crate::testbed::routes;
use crate::text::last_words;
use crate::traffic::ndr;

/// The longest that building and taking down a lab takes, with the traffic's waits.
const OVERHEAD: Duration = Duration::from_secs(30);
/// The longest that a lab takes to end after SIGTERM; then it is killed.
const TAKE_DOWN_WITHIN: Duration = Duration::from_secs(3);
/// The most of the child's standard error that is kept for an error message, in bytes.
const KEPT_OUTPUT: usize = 600;

/// The binary's exit codes where a second attempt is useless: usage error, and not supported or not permitted
/// here.
const REFUSED: [i32; 2] = [2, 3];

/// Stops a run from another thread: the current child is ended, and no other is started.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the run, within about 50 ms plus the lab's take-down.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the run was stopped.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The program under test.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Its path.
    pub path: PathBuf,
    /// The subcommand that runs [`crate::agent::measure`] with the arguments of [`AgentOptions::arguments`].
    pub agent_subcommand: String,
}

/// Why a cell has no samples.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// The binary could not be started.
    #[error("{} could not be started", path.display())]
    Start {
        /// The binary.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It ended without samples.
    #[error("{}{}", .status, if .said.is_empty() { String::new() } else { format!(": {}", .said) })]
    Failed {
        /// Its exit status.
        status: ExitStatus,
        /// Its last words.
        said: String,
    },
    /// It does not know the mode (exit code 2), or this machine or user cannot run it (3). A second attempt
    /// is useless.
    #[error("{said}")]
    Refused {
        /// The exit code.
        code: i32,
        /// Its last words.
        said: String,
    },
    /// It did not end in time, and was stopped.
    #[error("no result within {} s{}", .after.as_secs(), if .said.is_empty() { String::new() } else { format!(": {}", .said) })]
    Stalled {
        /// The time it had.
        after: Duration,
        /// Its last words.
        said: String,
    },
    /// Its rate is a share of a result that is missing.
    #[error("no result of {scenario} in {mode}, of which this is a share")]
    NoRate {
        /// The scenario whose result is missing.
        scenario: String,
        /// The mode.
        mode: Mode,
    },
    /// [`Cancel`] stopped it.
    #[error("interrupted")]
    Cancelled,
}

/// The longest that a cell takes.
fn patience(plan: &Plan, cell: &Cell) -> Duration {
    let mut patience =
        Duration::from_secs(u64::from(plan.seconds) * 3 + u64::from(plan.warm_up_seconds)) + OVERHEAD;
    if let Load::Ndr { .. } = cell.scenario.load {
        // As long again for the waits between the trials.
        patience += ndr::trial_length(plan.seconds) * ndr::trials_at_most() * 2;
    }
    if cell.scenario.routes > 0 {
        patience += 2 * routes::IN_EFFECT_WITHIN;
    }
    patience
}

/// Measures one cell, at `rate` frames per second where the scenario's is a share of another's result.
///
/// # Errors
/// See [`CellError`]. The child has ended in every case.
pub fn measure(
    binary: &Binary,
    plan: &Plan,
    cell: &Cell,
    rate: Option<f64>,
    cancel: &Cancel,
) -> Result<AgentReport, CellError> {
    let options = AgentOptions {
        scenario: cell.scenario,
        mode: cell.mode.clone(),
        seconds: plan.seconds,
        warm_up_seconds: plan.warm_up_seconds,
        traffic: plan.traffic,
        placement: plan.placement_of(&cell.scenario),
        congestion: plan.congestion.clone(),
        rate,
    };
    let [_, _, router] = options.placement.pins();
    let mut command = Command::new(&binary.path);
    command
        .args(cell.mode.arguments(router))
        // A unique name, so that other labs of this user do not matter.
        .args(["--name", &format!("bench-{}", std::process::id()), "--private", "--"])
        .arg(&binary.path)
        .arg(&binary.agent_subcommand)
        .args(options.arguments());
    report_of(command, &binary.path, patience(plan, cell), cancel)
}

/// Runs the command to its end and finds the agent's report in its output.
fn report_of(
    mut command: Command,
    path: &Path,
    patience: Duration,
    cancel: &Cancel,
) -> Result<AgentReport, CellError> {
    // A process group of its own: Ctrl-C on the terminal reaches only this process, which then ends the
    // child.
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| CellError::Start { path: path.into(), source })?;
    let (lines, printed) = mpsc::channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let out = thread::spawn(move || {
        let lines_of = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
        // The receiver is gone where the run was stopped.
        lines_of.map_while(Result::ok).for_each(|line| drop(lines.send(line)));
    });
    let said =
        thread::spawn(move || stderr.map(|stderr| last_words(stderr, KEPT_OUTPUT)).unwrap_or_default());

    let deadline = Instant::now() + patience;
    let mut report = None;
    let mut stopped = None;
    loop {
        match printed.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => report = serde_json::from_str(&line).ok().or(report),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if cancel.is_cancelled() {
            stopped = Some(CellError::Cancelled);
            break;
        }
        if Instant::now() > deadline {
            stopped = Some(CellError::Stalled { after: patience, said: String::new() });
            break;
        }
    }
    let status = if stopped.is_some() { stop(&mut child) } else { end_of(&mut child, deadline, cancel) };
    // Both pipes close with the last process that holds them, and a private lab's processes end with it.
    let _ = out.join();
    let said = said.join().unwrap_or_default();
    match (stopped, status, report) {
        (Some(CellError::Stalled { after, .. }), _, _) => Err(CellError::Stalled { after, said }),
        (Some(error), _, _) => Err(error),
        (None, Ok(status), Some(report)) if status.success() => Ok(report),
        (None, Ok(_), _) if cancel.is_cancelled() => Err(CellError::Cancelled),
        (None, Ok(status), _) => match status.code() {
            Some(code) if REFUSED.contains(&code) => Err(CellError::Refused { code, said }),
            Some(_) | None => Err(CellError::Failed { status, said }),
        },
        (None, Err(source), _) => Err(CellError::Start { path: path.into(), source }),
    }
}

/// The child has closed its output; it should be about to end.
fn end_of(child: &mut Child, deadline: Instant, cancel: &Cancel) -> io::Result<ExitStatus> {
    let deadline = deadline.max(Instant::now() + TAKE_DOWN_WITHIN);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if cancel.is_cancelled() || Instant::now() > deadline {
            return stop(child);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks the child to take its lab down, and kills it where it does not: a private lab ends either way.
fn stop(child: &mut Child) -> io::Result<ExitStatus> {
    if let Ok(pid) = i32::try_from(child.id()) {
        // Fails only where it has ended already, which `try_wait` reports.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let deadline = Instant::now() + TAKE_DOWN_WITHIN;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metric::{Metric, Sample};
    use std::fs;

    fn shell(script: &str, patience: Duration, cancel: &Cancel) -> Result<AgentReport, CellError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        report_of(command, Path::new("sh"), patience, cancel)
    }

    const LONG: Duration = Duration::from_secs(20);
    const LINE: &str = r#"{"samples":[{"metric":"throughput","unit":"bit/s","value":5.0}],"traffic":"t"}"#;

    #[test]
    fn the_agents_line_is_found_among_others() {
        let script = format!("echo up; echo '{LINE}'; echo down; echo chatter >&2");
        let report = shell(&script, LONG, &Cancel::default()).unwrap();
        assert_eq!(report.samples, [Sample::new(Metric::Throughput, 5.0)]);
    }

    #[test]
    fn a_failure_says_what_the_child_said() {
        let error = shell("echo no such link >&2; exit 1", LONG, &Cancel::default()).unwrap_err();
        assert_eq!(error.to_string(), "exit status: 1: no such link");
        let error = shell("echo no such backend >&2; exit 2", LONG, &Cancel::default()).unwrap_err();
        assert!(
            matches!(&error, CellError::Refused { code: 2, said } if said == "no such backend"),
            "{error}"
        );
        // Samples of a run that failed are not to be trusted.
        let error = shell(&format!("echo '{LINE}'; exit 1"), LONG, &Cancel::default()).unwrap_err();
        assert_eq!(error.to_string(), "exit status: 1");
        let error = shell("true", LONG, &Cancel::default()).unwrap_err();
        assert!(matches!(error, CellError::Failed { .. }));
        let missing = report_of(Command::new("/no/such"), Path::new("/no/such"), LONG, &Cancel::default());
        assert!(matches!(missing, Err(CellError::Start { .. })));
    }

    #[test]
    fn a_child_that_stalls_is_ended() {
        let start = Instant::now();
        let error = shell("exec sleep 60", Duration::from_millis(100), &Cancel::default()).unwrap_err();
        assert!(matches!(error, CellError::Stalled { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_child_deaf_to_sigterm_is_killed() {
        let error =
            shell("trap '' TERM; exec sleep 60", Duration::from_millis(100), &Cancel::default()).unwrap_err();
        assert!(matches!(error, CellError::Stalled { .. }), "{error}");
    }

    #[test]
    fn cancelling_ends_the_child() {
        let cancel = Cancel::default();
        let other = cancel.clone();
        let marker = std::env::temp_dir().join(format!("nsrouter-cell-test-{}", std::process::id()));
        let script = format!("echo $$ > {}; exec sleep 60", marker.display());
        let seen = marker.clone();
        let canceller = thread::spawn(move || {
            while fs::read_to_string(&seen).map_or(true, |pid| pid.is_empty()) {
                thread::sleep(Duration::from_millis(5));
            }
            other.cancel();
        });
        assert!(matches!(shell(&script, LONG, &cancel), Err(CellError::Cancelled)));
        canceller.join().unwrap();
        let pid = fs::read_to_string(&marker).unwrap();
        fs::remove_file(&marker).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists());
    }
}
