//! The results as Markdown: what made them, the aims where those were measured, and a table.

use std::fmt::Write as _;

use crate::export::terminal::with_interval;
use crate::plan::Mode;
use crate::report::Report;
use crate::report::aims;

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let environment = &report.environment;
    let mut page = String::from("# nsrouter bench\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(page, "    {}\n", environment.command.join(" "));
    let _ = writeln!(
        page,
        "{}; nsrouter {}; Linux {}; {}, {} CPUs{}; {} rounds of {} s after {} s of warm-up, seed {}.\n",
        environment.started,
        environment.software(),
        environment.kernel.split(' ').next().unwrap_or_default(),
        environment.cpu,
        environment.cpus,
        if environment.hypervisor { " of a virtual machine" } else { "" },
        environment.rounds,
        environment.seconds,
        environment.warm_up_seconds,
        environment.seed
    );
    if let Some(aims) = aims::rows(report) {
        page += &table(&aims);
        let _ = writeln!(page, "\n{}.\n", aims::LEGEND);
    }
    page += &table(&results(report));
    page += "\nIn parentheses: the ratio to the kernel, with its interval.\n\n";
    for note in report.notes() {
        let _ = writeln!(page, "- {note}");
    }
    page
}

/// The header, then a row a metric, with a column a mode.
fn results(report: &Report) -> Vec<Vec<String>> {
    let kernel = Mode::kernel().to_string();
    let mut header = vec!["scenario".to_owned(), "metric".into()];
    header.extend(report.modes.iter().cloned());
    let mut rows = vec![header];
    for (scenario, metric) in report.shown() {
        let mut cells = vec![scenario.to_owned(), metric.replace('_', " ")];
        cells.extend(report.modes.iter().map(|mode| {
            let Some(result) = report.result(scenario, metric, mode) else { return String::new() };
            let value = with_interval(&result.estimate, &result.unit);
            match report.ratio(scenario, metric, mode, &kernel).map(|row| row.ratio.estimate) {
                Some(ratio) => {
                    format!("{value} ({:.2} [{:.2}, {:.2}])", ratio.median, ratio.ci95[0], ratio.ci95[1])
                }
                None => value,
            }
        }));
        rows.push(cells);
    }
    rows
}

fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn every_row_has_all_columns() {
        let page = page(&report());
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
        assert!(rows.len() > 4, "{page}");
        assert!(rows.iter().all(|row| row.matches('|').count() == 5), "{page}");
        assert!(
            page.contains(
                "| tcp-1 | throughput | 16.3 Gb/s [16.0, 16.6] | 8.16 Gb/s [8.00, 8.32] (0.50 [0.50, 0.50]) |"
            ),
            "{page}"
        );
    }
}
