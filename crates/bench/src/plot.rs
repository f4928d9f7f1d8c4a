//! SVG plots: bars and lines, both with intervals.

use std::fmt::Write as _;

use crate::html::escape;
use crate::report::ResultRow;
use crate::stats::Estimate;
use crate::table::{scaled, with_interval};

/// Colours in the page's style.
const COLOURS: usize = 6;
/// Width of every plot, in pixels of its own.
const WIDTH: f64 = 820.0;
/// Left of the plot: names of rows, or the numbers of the axis.
const NAMES: f64 = 150.0;
const AXIS: f64 = 80.0;
/// Right of the bars: their values.
const VALUES: f64 = 200.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
const GAP: f64 = 14.0;
/// Height of a line plot without its margins.
const HEIGHT: f64 = 240.0;

/// The colour of the mode in that place, as CSS says it.
pub(crate) fn colour(index: usize) -> String {
    format!("var(--c{})", index % COLOURS)
}

/// How the values of a line plot are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// By decades.
    Logarithmic,
}

/// One mode's line.
#[derive(Debug)]
pub(crate) struct Line {
    /// The mode's place.
    pub(crate) colour: usize,
    /// Position on the axis below, and value.
    pub(crate) points: Vec<(f64, Estimate)>,
}

/// Horizontal bars of one metric, grouped by scenario, in the order of the rows.
pub(crate) fn bars(modes: &[String], rows: &[&ResultRow]) -> String {
    let top = rows.iter().map(|row| row.estimate.ci95[1].max(row.estimate.median)).fold(0.0, f64::max);
    let room = WIDTH - NAMES - VALUES;
    let x = |value: f64| NAMES + if top > 0.0 { value / top * room } else { 0.0 };
    let (mut y, mut body, mut scenario) = (0.0, String::new(), "");
    for row in rows {
        if row.scenario != scenario {
            y += if scenario.is_empty() { 4.0 } else { GAP };
            scenario = &row.scenario;
            let _ = writeln!(body, "<text x=\"0\" y=\"{:.1}\">{}</text>", y + 12.5, escape(scenario));
        }
        let index = modes.iter().position(|mode| *mode == row.mode).unwrap_or(0);
        let Estimate { median, ci95: [low, high] } = row.estimate;
        let value = escape(&with_interval(&row.estimate, &row.unit));
        let _ = writeln!(
            body,
            "<rect x=\"{NAMES}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{}\"><title>{}: {value}</title></rect>",
            x(median) - NAMES,
            colour(index),
            escape(&row.mode),
        );
        let middle = y + BAR / 2.0;
        let _ = writeln!(
            body,
            "<path class=\"whisker\" d=\"M{:.1} {middle:.1}H{:.1}M{0:.1} {2:.1}v8M{1:.1} {2:.1}v8\"/>",
            x(low),
            x(high),
            middle - 4.0
        );
        let at = WIDTH - VALUES + 12.0;
        let _ = writeln!(body, "<text class=\"soft\" x=\"{at}\" y=\"{:.1}\">{value}</text>", y + 12.5);
        y += STEP;
    }
    format!("<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\">\n{body}</svg>\n", y + 4.0)
}

/// Lines with the median as dots and the interval as whiskers. `ticks` name positions on the axis below, in ascending order.
pub(crate) fn lines(ticks: &[(f64, String)], lines: &[Line], unit: &str, scale: Scale) -> String {
    let all = || lines.iter().flat_map(|line| &line.points).map(|(_, estimate)| estimate);
    let high = all().map(|e| e.ci95[1].max(e.median)).fold(0.0, f64::max);
    let low = all().map(|e| e.ci95[0].min(e.median)).fold(f64::INFINITY, f64::min);
    let (Some((left, _)), Some((right, _)), true) = (ticks.first(), ticks.last(), high > 0.0) else {
        return String::new();
    };
    let marks = marks(low, high, scale);
    let (Some(&bottom), Some(&top)) = (marks.first(), marks.last()) else { return String::new() };
    let level = |value: f64| match scale {
        Scale::Linear => value,
        Scale::Logarithmic => value.max(bottom).log10(),
    };
    let y = |value: f64| 10.0 + HEIGHT * (level(top) - level(value)) / (level(top) - level(bottom));
    let x = |at: f64| AXIS + 20.0 + (at - left) / (right - left).max(1e-9) * (WIDTH - AXIS - 60.0);
    let mut body = String::new();
    for mark in marks {
        let (factor, name, _) = scaled(mark, unit);
        let text = if mark > 0.0 { format!("{} {name}", trimmed(mark * factor)) } else { "0".into() };
        let _ = writeln!(body, "<path class=\"grid\" d=\"M{AXIS} {:.1}H{WIDTH}\"/>", y(mark));
        let (at, below) = (AXIS - 8.0, y(mark) + 4.0);
        let _ = writeln!(
            body,
            "<text class=\"soft\" x=\"{at}\" y=\"{below:.1}\" text-anchor=\"end\">{text}</text>"
        );
    }
    let mut free_from = 0.0;
    for (at, text) in ticks {
        // 64 and 128 stand so close that not every number fits.
        if x(*at) < free_from {
            continue;
        }
        free_from = x(*at) + 30.0;
        let _ = writeln!(
            body,
            "<text class=\"soft\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(*at),
            HEIGHT + 30.0,
            escape(text)
        );
    }
    for line in lines {
        let mut points = line.points.clone();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let path: Vec<String> =
            points.iter().map(|(at, e)| format!("{:.1},{:.1}", x(*at), y(e.median))).collect();
        let colour = colour(line.colour);
        let _ = writeln!(
            body,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            path.join(" ")
        );
        for (at, Estimate { median, ci95 }) in &points {
            let _ = writeln!(
                body,
                "<path stroke=\"{colour}\" stroke-width=\"1.5\" d=\"M{0:.1} {1:.1}V{2:.1}\"/><circle cx=\"{0:.1}\" cy=\"{3:.1}\" r=\"4\" fill=\"{colour}\"/>",
                x(*at),
                y(ci95[0]),
                y(ci95[1]),
                y(*median)
            );
        }
    }
    format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">\n{body}</svg>\n", HEIGHT + 40.0)
}

/// Round values for the axis that enclose all.
fn marks(low: f64, high: f64, scale: Scale) -> Vec<f64> {
    match scale {
        Scale::Linear => {
            let power = 10f64.powf((high / 4.0).log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0]
                .into_iter()
                .map(|n| n * power)
                .find(|step| step * 5.0 >= high)
                .unwrap_or(10.0 * power);
            let mut marks = vec![0.0];
            while marks.last().is_some_and(|&last| last < high) && marks.len() < 12 {
                marks.push(marks.len() as f64 * step);
            }
            marks
        }
        Scale::Logarithmic => {
            // Nothing takes less than a nanosecond, and zero has no logarithm.
            let mut decade = 10f64.powf(low.clamp(1e-9, high.max(1e-9)).log10().floor());
            let mut marks: Vec<f64> = Vec::new();
            while marks.last().is_none_or(|&last| last < high) && marks.len() < 40 {
                marks.extend([1.0, 2.0, 5.0].map(|n| n * decade));
                decade *= 10.0;
            }
            let from = marks.iter().rposition(|&mark| mark <= low).unwrap_or(0);
            let to = marks.iter().position(|&mark| mark >= high).unwrap_or(marks.len() - 1);
            marks[from..=to.max(from + 1).min(marks.len() - 1)].to_vec()
        }
    }
}

/// Three digits at most, no zeros behind the point.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_enclose_the_values() {
        assert_eq!(marks(3.0, 9.0, Scale::Linear), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let marks = marks(60e-6, 900e-6, Scale::Logarithmic);
        assert!(marks[0] <= 60e-6 && marks[marks.len() - 1] >= 900e-6, "{marks:?}");
        assert_eq!(marks.len(), 5, "{marks:?}");
        assert_eq!((trimmed(2.50), trimmed(100.0)), ("2.5".into(), "100".into()));
    }

    #[test]
    fn nothing_to_plot_is_no_plot() {
        assert_eq!(lines(&[], &[], "s", Scale::Linear), "");
    }
}
