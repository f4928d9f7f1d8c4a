//! Reasons to doubt the figures, and what to do about them.

use super::environment::Environment;
use super::rows::ResultRow;
use crate::metric::{Metric, Weight};
use crate::plan::{Cell, Plan};
use crate::run::Outcome;
use crate::stats::ROUNDS_FOR_A_VERDICT;

/// An interval wider than this share of its median makes a warning.
const WIDE: f64 = 0.3;
/// The most of those that are named.
const NAMED: usize = 4;

pub(crate) fn warnings(
    plan: &Plan,
    environment: &Environment,
    results: &[ResultRow],
    outcome: &Outcome,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if outcome.interrupted {
        warnings.push("the run was stopped early: the results are what had been measured until then".into());
    }
    for lost in outcome.lost_cells() {
        let Cell { scenario, mode, round } = &lost.cell;
        warnings.push(format!("{scenario} in {mode}, round {}: failed twice ({})", round + 1, lost.message));
    }
    for refusal in &outcome.skipped {
        warnings.push(format!("{} was left out: {}", refusal.mode, refusal.said));
    }
    if environment.cpus < 4 {
        warnings.push(format!(
            "{} CPU{} for a sender, a receiver and a router: they compete for CPU time, which favours the mode that \
             needs least; compare ratios only, or measure on 4 CPUs or more",
            environment.cpus,
            if environment.cpus == 1 { "" } else { "s" }
        ));
    }
    if environment.load_average.is_some_and(|load| load > environment.cpus as f64 / 2.0) {
        warnings.push(
            "the machine was busy before the run began: stop other programs, or expect wide intervals".into(),
        );
    }
    if environment.congestion_control() == Some("bbr")
        && results.iter().any(|row| row.metric == Metric::Throughput)
    {
        warnings.push(
            "the hosts' TCP is bbr, whose pacing timers cost as much as forwarding: compare with --congestion cubic"
                .into(),
        );
    }
    if (plan.rounds as usize) < ROUNDS_FOR_A_VERDICT {
        warnings.push(format!(
            "fewer than {ROUNDS_FOR_A_VERDICT} rounds: intervals are too narrow for a verdict; use --rounds {ROUNDS_FOR_A_VERDICT} or more"
        ));
    }
    let wide: Vec<String> = results
        .iter()
        .filter(|row| row.metric.weight() == Weight::Headline)
        .filter(|row| row.estimate.ci95[1] - row.estimate.ci95[0] > WIDE * row.estimate.median)
        .map(|row| format!("{} in {}", row.scenario, row.mode))
        .collect();
    if !wide.is_empty() {
        let named = wide.iter().take(NAMED).cloned().collect::<Vec<String>>().join(", ");
        let more = wide.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        warnings.push(format!("wide intervals ({named}{more}): more --rounds or longer --seconds"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use crate::plan::Mode;
    use crate::report::example::{report_of, run};
    use crate::run::{Failure, Refusal};

    #[test]
    fn warnings_say_what_to_do() {
        let (mut plan, mut outcome) = run();
        plan.rounds = 3;
        let cell = outcome.measurements[0].cell.clone();
        outcome.failures.push(Failure { cell, attempt: 2, message: "it stalled".into() });
        outcome.interrupted = true;
        let mode = Mode::of("cmd:./peer.sh");
        outcome.skipped.push(Refusal { mode, code: 3, said: "it is not installed".into() });
        let report = report_of(&plan, &outcome);
        let warnings = report.warnings.join("\n");
        for part in [
            "stopped early",
            "failed twice (it stalled)",
            "--rounds 5",
            "cmd:./peer.sh was left out: it is not installed",
        ] {
            assert!(warnings.contains(part), "{part} is not in: {warnings}");
        }
        assert!(!report.complete);
    }
}
