//! What a reader should know before believing the figures, and what to do about it.

use crate::plan::Plan;
use crate::report::ResultRow;
use crate::report::environment::Environment;
use crate::run::Outcome;
use crate::stats::ROUNDS_FOR_A_VERDICT;

/// An interval wider than this share of its median makes a warning.
const WIDE: f64 = 0.3;
/// As many of those are named.
const NAMED: usize = 4;

pub(crate) fn warnings(
    plan: &Plan,
    environment: &Environment,
    results: &[ResultRow],
    outcome: &Outcome,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if outcome.interrupted {
        warnings.push("the run was stopped early: what is here is what had been measured".into());
    }
    for lost in outcome.lost_cells() {
        let Cell { scenario, mode, round } = Cell::of(lost);
        warnings.push(format!("{scenario} in {mode}, round {}: failed twice ({})", round + 1, lost.message));
    }
    for refusal in &outcome.skipped {
        warnings.push(format!("{} was left out: {}", refusal.mode, refusal.said));
    }
    if environment.cpus < 4 {
        warnings.push(format!(
            "{} CPU{} for a sender, a receiver and a router: they take time from each other, which favours the mode that \
             needs least; compare ratios, on a machine with 4 or more where it matters",
            environment.cpus,
            if environment.cpus == 1 { "" } else { "s" }
        ));
    }
    if environment.load_average.is_some_and(|load| load > environment.cpus as f64 / 2.0) {
        warnings.push(
            "the machine was busy before the run began: stop what else runs, or expect wide intervals".into(),
        );
    }
    if environment.congestion_control() == Some("bbr") && results.iter().any(|row| row.metric == "throughput")
    {
        warnings.push(
            "the hosts' TCP is bbr, which paces by timers that cost as much as forwarding: compare with --congestion cubic"
                .into(),
        );
    }
    if (plan.rounds as usize) < ROUNDS_FOR_A_VERDICT {
        warnings.push(format!(
            "fewer than {ROUNDS_FOR_A_VERDICT} rounds: intervals are too narrow to tell modes apart; use --rounds {ROUNDS_FOR_A_VERDICT} or more"
        ));
    }
    let wide: Vec<String> = results
        .iter()
        .filter(|row| {
            matches!(row.metric.as_str(), "throughput" | "forwarded" | "latency_p50" | "no_loss_rate")
        })
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

/// Names of a failed cell.
struct Cell {
    scenario: String,
    mode: String,
    round: u32,
}

impl Cell {
    fn of(failure: &crate::run::Failure) -> Cell {
        let cell = &failure.cell;
        Cell { scenario: cell.scenario.to_string(), mode: cell.mode.to_string(), round: cell.round }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::Report;
    use crate::report::tests::example;
    use crate::run::{Failure, Refusal};
    use crate::traffic::Generator;

    #[test]
    fn warnings_say_what_to_do() {
        let (mut plan, mut outcome) = example();
        plan.rounds = 3;
        let cell = outcome.measurements[0].cell.clone();
        outcome.failures.push(Failure { cell, attempt: 2, message: "it stalled".into() });
        outcome.interrupted = true;
        let mode = "cmd:./peer.sh".parse().unwrap();
        outcome.skipped.push(Refusal { mode, code: 3, said: "it is not installed".into() });
        let report = Report::new(&plan, Environment::look(&plan, &Generator::Builtin, "0.0.0"), &outcome);
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
