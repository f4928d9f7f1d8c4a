//! The comparison for a terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::plan::Mode;
use crate::report::{RatioRow, Report};
use crate::stats::{Estimate, ROUNDS_FOR_A_VERDICT};

/// Modes that stand side by side; more of them stand below each other.
const SIDE_BY_SIDE: usize = 2;

/// What a table is to look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Columns that there is room for; as many as it needs where there is none.
    pub width: Option<usize>,
    /// Lines of plain ASCII, for locales that are not UTF-8.
    pub ascii: bool,
}

impl Look {
    /// Whether no line of a text is too wide.
    pub fn has_room_for(self, text: &str) -> bool {
        self.width.is_none_or(|width| text.lines().all(|line| line.chars().count() <= width))
    }
}

/// A table with lines between its columns.
pub(crate) fn lined(look: Look) -> Table {
    let mut table = Table::new();
    let preset = if look.ascii { presets::ASCII_FULL_CONDENSED } else { presets::UTF8_FULL_CONDENSED };
    table.load_style(preset).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Breaks the cells of a table that is too wide.
pub fn fit(table: &mut Table, look: Look) {
    if let (Some(width), false) = (look.width, look.has_room_for(&table.to_string())) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
}

/// Numbers stand right, behind so many columns of words.
pub(crate) fn align(table: &mut Table, words: usize) {
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

impl Report {
    /// All that is worth a line: medians with their intervals, and ratios to the kernel.
    pub fn table(&self, look: Look) -> String {
        let rows = self.shown();
        if self.modes.len() <= SIDE_BY_SIDE {
            let mut table = lined(look);
            let words = self.wide(&mut table, &rows);
            align(&mut table, words);
            let text = table.to_string();
            if look.has_room_for(&text) {
                return text;
            }
        }
        let mut table = lined(look);
        let words = self.long(&mut table, &rows);
        align(&mut table, words);
        fit(&mut table, look);
        table.to_string()
    }

    /// Scenario and metric of all that is worth a row, in the order in which they were measured.
    pub(crate) fn shown(&self) -> Vec<(&str, &str)> {
        let mut rows: Vec<(&str, &str)> = Vec::new();
        for result in &self.results {
            let row = (result.scenario.as_str(), result.metric.as_str());
            if is_shown(row.0, row.1) && !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows
    }

    /// A row a metric, a column a mode, then the ratios to the kernel. Says how many columns are words.
    fn wide(&self, table: &mut Table, rows: &[(&str, &str)]) -> usize {
        let kernel = Mode::kernel().to_string();
        let compared: Vec<&String> =
            self.modes.iter().filter(|mode| self.ratios.iter().any(|ratio| ratio.mode == **mode)).collect();
        let mut header = vec!["scenario".to_owned(), "metric".into()];
        header.extend(self.modes.iter().cloned());
        header.extend(compared.iter().map(|mode| format!("{mode} / kernel")));
        table.set_header(header);
        for (scenario, metric) in rows {
            let mut cells = vec![(*scenario).to_owned(), metric.replace('_', " ")];
            cells.extend(self.modes.iter().map(|mode| self.value(scenario, metric, mode)));
            let ratios = compared.iter().map(|mode| self.ratio(scenario, metric, mode, &kernel));
            cells.extend(ratios.map(|row| self.ratio_text(row)));
            table.add_row(cells);
        }
        2
    }

    /// A row a metric and mode, and a column for each kernel that something is held against.
    fn long(&self, table: &mut Table, rows: &[(&str, &str)]) -> usize {
        let mut references: Vec<&str> = Vec::new();
        for ratio in &self.ratios {
            if !references.contains(&ratio.to.as_str()) {
                references.push(&ratio.to);
            }
        }
        references.sort_unstable();
        let mut header = vec!["scenario".to_owned(), "metric".into(), "mode".into(), "median".into()];
        header.extend(references.iter().map(|to| format!("/ {to}")));
        table.set_header(header);
        let mut last = "";
        for (scenario, metric) in rows {
            let mut title =
                [if *scenario == last { "" } else { *scenario }.to_owned(), metric.replace('_', " ")];
            last = scenario;
            for mode in &self.modes {
                if self.result(scenario, metric, mode).is_none() {
                    continue;
                }
                let mut cells = Vec::from(std::mem::take(&mut title));
                cells.extend([mode.clone(), self.value(scenario, metric, mode)]);
                let ratios = references.iter().map(|to| self.ratio(scenario, metric, mode, to));
                cells.extend(ratios.map(|row| row.map_or(String::new(), |row| self.ratio_text(Some(row)))));
                table.add_row(cells);
            }
        }
        3
    }

    fn value(&self, scenario: &str, metric: &str, mode: &str) -> String {
        let of = self.result(scenario, metric, mode);
        of.map_or("-".into(), |result| with_interval(&result.estimate, &result.unit))
    }

    fn ratio_text(&self, of: Option<&RatioRow>) -> String {
        of.map_or("-".into(), |row| {
            let [low, high] = row.ratio.estimate.ci95;
            let verdict = self.environment.rounds as usize >= ROUNDS_FOR_A_VERDICT;
            let told_apart = if row.ratio.differs || !verdict { "" } else { " ~" };
            format!("{:.2} [{low:.2}, {high:.2}]{told_apart}", row.ratio.estimate.median)
        })
    }

    /// What to know about the table: what its marks mean, what the labs were, and the warnings.
    pub fn notes(&self) -> Vec<String> {
        let environment = &self.environment;
        let rounds = environment.rounds;
        let mut notes = vec![format!(
            "medians of {rounds} round{} of {} s with 95% bootstrap intervals; traffic by {}",
            if rounds == 1 { "" } else { "s" },
            environment.seconds,
            environment.traffic
        )];
        // Both are unknown where nothing was measured.
        if environment.offloads == environment.cpu_placement {
            notes.push(environment.offloads.clone());
        } else {
            notes.push(format!("{}; {}", environment.offloads, environment.cpu_placement));
        }
        if let (Some(name), true) =
            (environment.congestion_control(), self.results.iter().any(|row| row.metric == "throughput"))
        {
            notes.push(format!("the hosts' TCP congestion control is {name}"));
        }
        if rounds as usize >= ROUNDS_FOR_A_VERDICT {
            notes.push("~ marks a ratio that does not differ significantly from 1".into());
        }
        if self.results.iter().any(|row| row.metric == "forwarded") {
            notes.push(
                "UDP: offered by the sender, forwarded to the receiver's interface, delivered to its program; router loss is \
                 between the first two. Kernel forwarding runs in the sender and slows it down, others do not"
                    .into(),
            );
        }
        if self.results.iter().any(|row| row.metric == "no_loss_rate") {
            notes.push(environment.no_loss_method.clone());
        }
        if self.results.iter().any(|row| row.metric.starts_with("cpu_per_")) {
            notes.push(
                "cpu: processor seconds of the whole machine, hosts and generators included, for what reached a host's \
                 interface; router cpu: of the router's own threads, of which the kernel has none"
                    .into(),
            );
        }
        notes.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        notes
    }
}

/// The rest is in the JSON and would only fill the table: bytes matter where there is bulk, packets where there is not, and
/// the whole machine's time beside a few echoes is everybody else's.
fn is_shown(scenario: &str, metric: &str) -> bool {
    let (bulk, echoes) =
        (scenario.starts_with("tcp-"), scenario.starts_with("latency-") || scenario.starts_with("ping"));
    match metric {
        "latency_p90" | "latency_p99_9" | "latency_max" | "round_trips" => false,
        "resolution" | "trials" | "sent" | "received" => false,
        "cpu_per_gb" | "router_cpu_per_gb" => bulk,
        "cpu_per_mpkt" => !bulk && !echoes,
        "router_cpu_per_mpkt" => !bulk,
        _ => true,
    }
}

/// A median with its interval, in a unit that suits its size.
pub(crate) fn with_interval(estimate: &Estimate, unit: &str) -> String {
    let (scale, unit, decimals) = scaled(estimate.median, unit);
    let value = |x: f64| format!("{:.decimals$}", x * scale);
    let [low, high] = estimate.ci95.map(value);
    format!("{} {unit} [{low}, {high}]", value(estimate.median)).replace("  ", " ")
}

/// A factor, the unit after it, and how many decimals leave three digits or so.
pub(crate) fn scaled(value: f64, unit: &str) -> (f64, &'static str, usize) {
    let (scale, unit) = match unit {
        "bit/s" if value >= 1e9 => (1e-9, "Gb/s"),
        "bit/s" => (1e-6, "Mb/s"),
        "packet/s" if value >= 1e6 => (1e-6, "Mpps"),
        "packet/s" => (1e-3, "kpps"),
        "s" if value >= 1e-3 => (1e3, "ms"),
        "s" => (1e6, "us"),
        "1" => (1e2, "%"),
        "s/GB" if value < 0.1 => (1e3, "ms/GB"),
        "s/GB" => (1.0, "s/GB"),
        "s/Mpkt" if value < 0.1 => (1e3, "ms/Mpkt"),
        "s/Mpkt" => (1.0, "s/Mpkt"),
        "connection/s" => (1.0, "1/s"),
        _ => (1.0, ""),
    };
    let shown = value * scale;
    let decimals = match unit {
        "" => 0,
        _ if shown >= 100.0 => 0,
        _ if shown >= 10.0 => 1,
        _ => 2,
    };
    (scale, unit, decimals)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn the_table_shows_medians_ratios_and_what_belongs_together() {
        let table = report().table(Look::default());
        let line = |start: &str| table.lines().find(|line| line.contains(start)).unwrap().to_owned();
        let throughput = line("throughput");
        assert!(
            throughput.contains("16.3 Gb/s [16.0, 16.6]") && throughput.contains("0.50 [0.50, 0.50]"),
            "{throughput}"
        );
        let delivered = line("delivered");
        assert!(delivered.contains("612 kpps") && delivered.contains("1.00 [1.00, 1.00] ~"), "{delivered}");
        assert!(line("loss").contains("1.60 % [1.60, 1.60]"));
    }

    #[test]
    fn many_modes_stand_below_each_other() {
        let mut report = report();
        report.modes.push("userspace:tap".into());
        let rows: Vec<_> = report.results.iter().filter(|row| row.mode != "kernel").cloned().collect();
        report.results.extend(rows.into_iter().map(|mut row| {
            row.mode = "userspace:tap".into();
            row
        }));
        let table = report.table(Look::default());
        let first = table.lines().position(|line| line.contains("tcp-1")).unwrap();
        let modes: Vec<&str> = table.lines().skip(first).take(3).collect();
        assert!(modes[0].contains("throughput") && modes[0].contains(" kernel "), "{table}");
        assert!(modes[1].contains("userspace:packet") && modes[1].contains("0.50 [0.50, 0.50]"), "{table}");
        assert!(modes[2].contains("userspace:tap") && !modes[2].contains("throughput"), "{table}");
    }

    #[test]
    fn processor_seconds_have_a_unit_of_their_size() {
        let estimate = Estimate { median: 0.0123, ci95: [0.01, 0.02] };
        assert_eq!(with_interval(&estimate, "s/GB"), "12.3 ms/GB [10.0, 20.0]");
        let estimate = Estimate { median: 1.5, ci95: [1.0, 2.0] };
        assert_eq!(with_interval(&estimate, "s/Mpkt"), "1.50 s/Mpkt [1.00, 2.00]");
        let estimate = Estimate { median: 4812.0, ci95: [4790.0, 4850.0] };
        assert_eq!(with_interval(&estimate, "round trip"), "4812 [4790, 4850]");
    }
}
