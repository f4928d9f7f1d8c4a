//! The comparison line by line: a metric of a scenario, and what each mode gave. Every table is made of these
//! lines.

use super::Report;
use super::grid::Grid;
use super::rows::{RatioRow, ResultRow};
use crate::metric::{Metric, Shown};
use crate::plan::{Load, Mode, Scenario};
use crate::stats::ROUNDS_FOR_A_VERDICT;
use crate::units;

/// What stands where a mode has no value.
const NONE: &str = "-";

/// A metric of a scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    report: &'a Report,
    pub(crate) scenario: Scenario,
    pub(crate) metric: Metric,
}

/// Every line, in the order in which the metrics were measured.
pub(crate) fn lines(report: &Report) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for ResultRow { scenario, metric, .. } in &report.results {
        if !lines.iter().any(|line| line.scenario == *scenario && line.metric == *metric) {
            lines.push(Line { report, scenario: *scenario, metric: *metric });
        }
    }
    lines
}

/// The lines that are worth room on a screen; the others are in results.json.
pub(crate) fn shown_lines(report: &Report) -> Vec<Line<'_>> {
    lines(report).into_iter().filter(|line| is_shown(line.metric.tables(), &line.scenario)).collect()
}

/// Whether what is shown for some scenarios is shown for this one.
pub(crate) fn is_shown(shown: Shown, scenario: &Scenario) -> bool {
    let load = scenario.load;
    match shown {
        Shown::Always => true,
        Shown::Tcp => matches!(load, Load::Tcp { .. }),
        Shown::NotTcp => !matches!(load, Load::Tcp { .. }),
        Shown::Udp => matches!(load, Load::Udp { .. }),
        Shown::Packets => matches!(load, Load::Udp { .. } | Load::Ndr { .. } | Load::Connections),
        Shown::Never => false,
    }
}

impl Line<'_> {
    pub(crate) fn result(&self, mode: &Mode) -> Option<&ResultRow> {
        self.report.result(&self.scenario, self.metric, mode)
    }

    pub(crate) fn ratio(&self, mode: &Mode, to: &Mode) -> Option<&RatioRow> {
        self.report.ratio(&self.scenario, self.metric, mode, to)
    }

    fn value_text(&self, mode: &Mode) -> Option<String> {
        self.result(mode).map(ResultRow::text)
    }

    /// The ratio, marked where it is not told apart from 1 and there were enough rounds to tell.
    fn ratio_text(&self, mode: &Mode, to: &Mode) -> Option<String> {
        let ratio = self.ratio(mode, to)?.ratio;
        let enough = self.report.environment.rounds as usize >= ROUNDS_FOR_A_VERDICT;
        let mark = if ratio.differs || !enough { "" } else { " ~" };
        Some(format!("{}{mark}", units::ratio(&ratio.estimate)))
    }

    fn title(&self) -> [String; 2] {
        [self.scenario.to_string(), self.metric.label()]
    }
}

/// The kernels that some mode is compared with.
fn references(report: &Report) -> Vec<&Mode> {
    let mut references: Vec<&Mode> = Vec::new();
    for ratio in &report.ratios {
        if !references.contains(&&ratio.to) {
            references.push(&ratio.to);
        }
    }
    references.sort_by_key(ToString::to_string);
    references
}

/// The modes that are compared with that one.
pub(crate) fn compared_with<'a>(report: &'a Report, to: &Mode) -> Vec<&'a Mode> {
    let compared = |mode: &&Mode| report.ratios.iter().any(|ratio| ratio.mode == **mode && ratio.to == *to);
    report.modes.iter().filter(compared).collect()
}

/// A row for each line, a column for each mode, then their ratios to the kernel.
pub(crate) fn wide(report: &Report) -> Grid {
    let kernel = Mode::kernel();
    let compared: Vec<&Mode> =
        report.modes.iter().filter(|mode| report.ratios.iter().any(|ratio| ratio.mode == **mode)).collect();
    let mut head = vec!["scenario".to_owned(), "metric".into()];
    head.extend(report.modes.iter().map(ToString::to_string));
    head.extend(compared.iter().map(|mode| format!("{mode} / kernel")));
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.into());
    let row = |line: &Line<'_>| {
        let mut cells = Vec::from(line.title());
        cells.extend(report.modes.iter().map(|mode| or_none(line.value_text(mode))));
        cells.extend(compared.iter().map(|mode| or_none(line.ratio_text(mode, &kernel))));
        cells
    };
    Grid { head, words: 2, rows: shown_lines(report).iter().map(row).collect() }
}

/// A row for each line and mode, and a column for each kernel that modes are compared with. What the row
/// above says too is left out.
pub(crate) fn long(report: &Report) -> Grid {
    let references = references(report);
    let mut head = ["scenario", "metric", "mode", "median"].map(str::to_owned).to_vec();
    head.extend(references.iter().map(|to| format!("/ {to}")));
    let (mut rows, mut last) = (Vec::new(), None);
    for line in shown_lines(report) {
        let mut title = line.title();
        if last.replace(line.scenario) == Some(line.scenario) {
            title[0].clear();
        }
        for mode in &report.modes {
            let Some(value) = line.value_text(mode) else { continue };
            let mut cells = Vec::from(std::mem::take(&mut title));
            cells.extend([mode.to_string(), value]);
            cells.extend(references.iter().map(|to| line.ratio_text(mode, to).unwrap_or_default()));
            rows.push(cells);
        }
    }
    Grid { head, words: 3, rows }
}

/// A row for each line, a column for each mode, with the ratio to the kernel in parentheses.
pub(crate) fn in_parentheses(report: &Report) -> Grid {
    let kernel = Mode::kernel();
    let mut head = vec!["scenario".to_owned(), "metric".into()];
    head.extend(report.modes.iter().map(ToString::to_string));
    let row = |line: &Line<'_>| {
        let mut cells = Vec::from(line.title());
        cells.extend(report.modes.iter().map(|mode| {
            let Some(value) = line.value_text(mode) else { return String::new() };
            let ratio = line.ratio(mode, &kernel);
            ratio.map_or(value.clone(), |row| format!("{value} ({})", units::ratio(&row.ratio.estimate)))
        }));
        cells
    };
    Grid { head, words: 2, rows: shown_lines(report).iter().map(row).collect() }
}

/// Every result: a row for each line and mode, what is not shown elsewhere included.
pub(crate) fn everything(report: &Report) -> Grid {
    let references = references(report);
    let mut head = ["scenario", "metric", "mode", "median and 95% interval"].map(str::to_owned).to_vec();
    head.extend(references.iter().map(|to| format!("to {to}")));
    let mut rows = Vec::new();
    for line in lines(report) {
        for mode in &report.modes {
            let Some(value) = line.value_text(mode) else { continue };
            let mut cells = Vec::from(line.title());
            cells.extend([mode.to_string(), value]);
            let ratio = |to: &&Mode| line.ratio(mode, to).map(|row| units::ratio(&row.ratio.estimate));
            cells.extend(references.iter().map(|to| ratio(to).unwrap_or_default()));
            rows.push(cells);
        }
    }
    Grid { head, words: 3, rows }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::example::report;

    #[test]
    fn what_a_line_is_about_decides_where_it_is_shown() {
        let of = |shown: Shown| -> Vec<&str> {
            let all = ["tcp-1", "udp-64", "ndr-64", "connections", "ping", "latency-idle", "latency-load"];
            all.into_iter().filter(|name| is_shown(shown, &name.parse().unwrap())).collect()
        };
        assert_eq!(of(Shown::Always).len(), 7);
        assert_eq!(of(Shown::Tcp), ["tcp-1"]);
        assert_eq!(of(Shown::NotTcp).len(), 6);
        assert_eq!(of(Shown::Udp), ["udp-64"]);
        assert_eq!(of(Shown::Packets), ["udp-64", "ndr-64", "connections"]);
        assert_eq!(of(Shown::Never), [""; 0]);
    }

    #[test]
    fn every_row_is_as_wide_as_its_head() {
        let report = report();
        for grid in [wide(&report), long(&report), in_parentheses(&report), everything(&report)] {
            assert!(!grid.rows.is_empty());
            assert!(grid.rows.iter().all(|row| row.len() == grid.head.len()), "{grid:?}");
        }
    }

    #[test]
    fn everything_has_what_the_tables_leave_out() {
        let mut report = report();
        let mut row = report.results[0].clone();
        row.metric = Metric::Sent;
        report.results.push(row);
        let labels = |grid: Grid| grid.rows.iter().filter(|row| row[1] == "sent").count();
        assert_eq!((labels(wide(&report)), labels(everything(&report))), (0, 1));
    }
}
