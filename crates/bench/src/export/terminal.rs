//! Tables for a terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::report::grid::Grid;
use crate::report::{Report, aims, comparison};

/// The most modes in columns; more of them are in rows.
const SIDE_BY_SIDE: usize = 2;

/// How a table is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// The terminal's width in columns; `None` for any width.
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

/// Breaks the cells of a table that is too wide.
pub fn fit(table: &mut Table, look: Look) {
    if let (Some(width), false) = (look.width, look.has_room_for(&table.to_string())) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
}

/// The comparison: medians with their intervals, and ratios to the kernel.
pub fn comparison(report: &Report, look: Look) -> String {
    if report.modes.len() <= SIDE_BY_SIDE {
        let text = lined(&comparison::wide(report), look).to_string();
        if look.has_room_for(&text) {
            return text;
        }
    }
    fitted(&comparison::long(report), look)
}

/// The table of speed aims, where the run has measured all that they are about.
pub fn aims(report: &Report, look: Look) -> Option<String> {
    Some(format!("{}\n{}", fitted(&aims::grid(report)?, look), aims::LEGEND))
}

fn fitted(grid: &Grid, look: Look) -> String {
    let mut table = lined(grid, look);
    fit(&mut table, look);
    table.to_string()
}

/// A table with lines between its columns, its numbers aligned to the right.
fn lined(grid: &Grid, look: Look) -> Table {
    let mut table = Table::new();
    let preset = if look.ascii { presets::ASCII_FULL_CONDENSED } else { presets::UTF8_FULL_CONDENSED };
    table.load_style(preset).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(&grid.head).add_rows(&grid.rows);
    for column in table.column_iter_mut().skip(grid.words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::Mode;
    use crate::report::example::report;

    #[test]
    fn the_table_shows_medians_ratios_and_what_belongs_together() {
        let table = comparison(&report(), Look::default());
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
        report.modes.push(Mode::of("userspace:tap"));
        let rows: Vec<_> = report.results.iter().filter(|row| row.mode != Mode::kernel()).cloned().collect();
        report.results.extend(rows.into_iter().map(|mut row| {
            row.mode = Mode::of("userspace:tap");
            row
        }));
        let table = comparison(&report, Look::default());
        let first = table.lines().position(|line| line.contains("tcp-1")).unwrap();
        let modes: Vec<&str> = table.lines().skip(first).take(3).collect();
        assert!(modes[0].contains("throughput") && modes[0].contains(" kernel "), "{table}");
        assert!(modes[1].contains("userspace:packet") && modes[1].contains("0.50 [0.50, 0.50]"), "{table}");
        assert!(modes[2].contains("userspace:tap") && !modes[2].contains("throughput"), "{table}");
    }
}
