//! The run under way: progress on standard error, and an end by signal.

use std::io::IsTerminal;
use std::time::Instant;

use nsrouter_bench::plan::Plan;
use nsrouter_bench::run::cell::{Binary, Cancel};
use nsrouter_bench::run::{self, Event, Outcome};

use crate::command::signals::Signals;
use crate::output::{draw_error, errln};
use crate::runtime;

/// Measures on a thread of its own, while this one waits for a signal to stop it. `keep` is called with all
/// that was measured until then, after every round.
pub(super) fn measure(
    binary: &Binary,
    plan: &Plan,
    keep: impl Fn(&Outcome) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Outcome> {
    let runtime = runtime::start()?;
    let cancel = Cancel::default();
    let (binary, plan, worker_cancel) = (binary.clone(), plan.clone(), cancel.clone());
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut work = tokio::task::spawn_blocking(move || {
            let mut progress = Progress::new(&plan);
            run::run(&binary, &plan, &worker_cancel, |event| {
                progress.show(&plan, &event);
                if let Event::Round { so_far } = &event
                    && let Err(error) = keep(so_far)
                {
                    progress.line(&format!("{error:#}"));
                }
            })
        });
        let outcome = tokio::select! {
            outcome = &mut work => outcome,
            _ = signals.next() => { cancel.cancel(); work.await }
        };
        Ok(outcome?)
    })
}

/// Progress on standard error: a line that is redrawn on a terminal, a line per round elsewhere.
struct Progress {
    terminal: bool,
    begun: Instant,
    done: u32,
    all: u32,
}

impl Progress {
    fn new(plan: &Plan) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let all = u32::try_from(plan.schedule().len()).unwrap_or(u32::MAX);
        Progress { terminal, begun: Instant::now(), done: 0, all }
    }

    fn line(&self, text: &str) {
        if self.terminal {
            draw_error("");
        }
        errln!("{text}");
    }

    /// The time left, at the pace so far.
    fn left(&self) -> String {
        let left = self.begun.elapsed() / self.done.max(1) * self.all.saturating_sub(self.done);
        format!("{:.1} minutes left", left.as_secs_f64() / 60.0)
    }

    fn show(&mut self, plan: &Plan, event: &Event<'_>) {
        match event {
            Event::Begin { cell } if self.terminal => {
                let left = if self.done > 0 { format!(", {}", self.left()) } else { String::new() };
                let (scenario, mode) = (&cell.scenario, &cell.mode);
                draw_error(&format!("{}/{} {scenario} {mode}{left}", self.done + 1, self.all));
            }
            Event::Begin { .. } => {}
            Event::Done => self.done += 1,
            Event::Skipped(refusal) => self.line(&format!("{} is left out: {}", refusal.mode, refusal.said)),
            Event::Failed(failure) => {
                let cell = &failure.cell;
                self.line(&format!(
                    "round {}: {} in {}, attempt {}: {}",
                    cell.round + 1,
                    cell.scenario,
                    cell.mode,
                    failure.attempt,
                    failure.message
                ));
            }
            Event::Round { so_far } if !self.terminal => {
                let rounds = so_far.measurements.last().map_or(0, |m| m.cell.round + 1);
                self.line(&format!("round {rounds} of {} measured, {}", plan.rounds, self.left()));
            }
            Event::Round { .. } => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            draw_error("");
        }
    }
}
