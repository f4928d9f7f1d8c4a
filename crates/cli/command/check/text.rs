//! The report of `check` as text.

use nsrouter_lab::records::State;

use crate::command::check::row::{Outcome, Row};

/// Rows that a person sees without scrolling; after more of them the failures are printed once more.
const SCREENFUL: usize = 40;

/// A row as a line. The reason why a test was skipped is printed once; `printed` are those that were.
pub(super) fn line(row: &Row, width: usize, printed: &mut Vec<String>) -> String {
    let (word, detail) = match &row.outcome {
        Outcome::Pass { detail } => ("pass", detail.as_str()),
        Outcome::Fail { detail } => ("FAIL", detail.as_str()),
        Outcome::Skipped { detail } if printed.contains(detail) => ("skip", ""),
        Outcome::Skipped { detail } => {
            printed.push(detail.clone());
            ("skip", detail.as_str())
        }
    };
    let text = format!("{word}  {}  {:<width$}  {detail}", row.family, row.test);
    format!("{}\n", text.trim_end())
}

/// The last line, and where there are many rows the failures once more.
pub(super) fn summary(state: &State, rows: &[Row]) -> String {
    let mut text = String::new();
    let failures: Vec<&Row> = rows.iter().filter(|row| matches!(row.outcome, Outcome::Fail { .. })).collect();
    let skipped = rows.iter().filter(|row| matches!(row.outcome, Outcome::Skipped { .. })).count();
    if rows.len() > SCREENFUL && !failures.is_empty() {
        text.push_str("\nFailed:\n");
        text.extend(failures.iter().map(|row| line(row, 0, &mut Vec::new())));
    }
    let verdict = match (failures.len(), rows.len() - skipped) {
        (0, run) => format!("all {run} tests passed"),
        (failed, run) => format!("{failed} of {run} tests failed"),
    };
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    text + &format!("lab {} ({}): {verdict}{skipped}\n", state.name, state.mode)
}
