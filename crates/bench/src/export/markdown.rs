//! The results as Markdown: the environment, the aims where those were measured, and a table.

use std::fmt::Write as _;

use crate::report::grid::Grid;
use crate::report::notes::notes;
use crate::report::{Report, aims, comparison};

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
    if let Some(grid) = aims::grid(report) {
        page += &table(&grid);
        let _ = writeln!(page, "\n{}.\n", aims::LEGEND);
    }
    page += &table(&comparison::in_parentheses(report));
    page += "\nIn parentheses: the ratio to the kernel, with its interval.\n\n";
    for note in notes(report) {
        let _ = writeln!(page, "- {note}");
    }
    page
}

fn table(grid: &Grid) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|{}\n", "---|".repeat(grid.head.len()));
    let rows = grid.rows.iter().map(|row| line(row));
    [line(&grid.head), rule].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::report;

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
