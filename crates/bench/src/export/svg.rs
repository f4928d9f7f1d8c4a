//! SVG plots: bars and lines with intervals, and distributions.

use std::fmt::Write as _;

use super::markup::escape;
use crate::metric::Unit;
use crate::plan::{Forwarder, Mode};
use crate::report::rows::{DistributionRow, ResultRow};
use crate::stats::Estimate;
use crate::units::{Scale, scale, with_interval};

/// Colours in the page's style.
const COLOURS: usize = 8;
/// Width of every plot, in units of its view box.
const WIDTH: f64 = 860.0;
/// Room on the left of bars, for the names of modes.
const NAMES: f64 = 230.0;
/// Room on the left of lines, for the numbers of the axis.
const AXIS: f64 = 80.0;
/// Room on the right of bars, for their values.
const VALUES: f64 = 190.0;
/// The most letters of a mode's name; a longer one loses its beginning.
const NAME_LETTERS: usize = 32;
/// Height of a bar.
const BAR: f64 = 14.0;
/// From one bar to the next.
const STEP: f64 = 20.0;
/// Room above a group of bars, for the name of its scenario.
const HEADING: f64 = 24.0;
/// Height of a line plot without its margins.
const HEIGHT: f64 = 260.0;
/// Marks of a distribution's vertical axis: shares of the round trips.
const SHARES: [(f64, &str); 7] = [
    (0.0, "0"),
    (0.5, "50%"),
    (0.75, "75%"),
    (0.9, "90%"),
    (0.99, "99%"),
    (0.999, "99.9%"),
    (0.9999, "99.99%"),
];

/// The colour of a mode by its index, in CSS.
pub(crate) fn colour(index: usize) -> String {
    format!("var(--c{})", index % COLOURS)
}

/// The spacing of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spacing {
    /// Linear, from zero.
    Linear,
    /// By decades.
    Logarithmic,
}

/// One mode's line.
#[derive(Debug)]
pub(crate) struct Line {
    /// The mode's index.
    pub(crate) colour: usize,
    /// Position on the horizontal axis, and value.
    pub(crate) points: Vec<(f64, Estimate)>,
}

/// One bar: a value with its interval, and the part of it that is drawn solid.
#[derive(Debug)]
pub(crate) struct Bar<'a> {
    pub(crate) row: &'a ResultRow,
    pub(crate) part: Option<&'a ResultRow>,
}

/// Horizontal bars of one metric, grouped by scenario, in the order of the rows. Every group has its own
/// scale, from zero.
pub(crate) fn bars(modes: &[Mode], bars: &[Bar<'_>]) -> String {
    let (mut y, mut body) = (0.0, String::new());
    let mut rest = bars;
    while let Some(first) = rest.first() {
        let scenario = first.row.scenario;
        let len = rest.iter().take_while(|bar| bar.row.scenario == scenario).count();
        let (group, others) = rest.split_at(len);
        rest = others;
        let _ = writeln!(
            body,
            "<text class=\"head\" x=\"0\" y=\"{:.1}\">{}</text>",
            y + 15.0,
            escape(&scenario.to_string())
        );
        y += HEADING;
        let top = group.iter().map(|bar| highest(&bar.row.estimate)).fold(0.0, f64::max);
        let room = WIDTH - NAMES - VALUES;
        let width = |value: f64| if top > 0.0 { value.max(0.0) / top * room } else { 0.0 };
        for Bar { row, part } in group {
            let index = modes.iter().position(|mode| *mode == row.mode).unwrap_or(0);
            let Estimate { median, ci95: [low, high] } = row.estimate;
            let value = escape(&row.text());
            let (name, colour) = (escape(&shortened(&row.mode)), colour(index));
            let (beside, baseline) = (NAMES - 10.0, y + 11.5);
            let _ = writeln!(
                body,
                "<text class=\"soft\" x=\"{beside}\" y=\"{baseline:.1}\" text-anchor=\"end\">{name}</text>"
            );
            let _ = writeln!(
                body,
                "<rect x=\"{NAMES}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"{}><title>{}: {value}</title></rect>",
                width(median),
                if part.is_some() { " opacity=\"0.4\"" } else { "" },
                escape(&row.mode.to_string()),
            );
            if let Some(part) = part {
                let told = escape(&part.text());
                let _ = writeln!(
                    body,
                    "<rect x=\"{NAMES}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"><title>the router's own: {told}</title></rect>",
                    width(part.estimate.median)
                );
            }
            let (middle, end, left, right) = (y + BAR / 2.0, y + BAR - 3.0, width(low), width(high));
            let _ = writeln!(
                body,
                "<path class=\"whisker\" d=\"M{0:.1} {middle:.1}H{1:.1}M{0:.1} {2:.1}V{end:.1}M{1:.1} {2:.1}V{end:.1}\"/>",
                NAMES + left,
                NAMES + right,
                y + 3.0
            );
            let at = WIDTH - VALUES + 14.0;
            let _ = writeln!(body, "<text x=\"{at}\" y=\"{baseline:.1}\">{value}</text>");
            y += STEP;
        }
        y += 8.0;
    }
    format!("<svg viewBox=\"0 0 {WIDTH} {y:.0}\" role=\"img\">\n{body}</svg>\n")
}

fn highest(estimate: &Estimate) -> f64 {
    estimate.ci95[1].max(estimate.median)
}

/// A mode's name shortened: a script without its folders, and only the end of what is still too long.
pub(crate) fn shortened(mode: &Mode) -> String {
    let name = mode.to_string();
    let name = match &mode.forwarder {
        Forwarder::Script { path } => name.replacen(path, path.rsplit('/').next().unwrap_or(path), 1),
        Forwarder::Kernel | Forwarder::Userspace { .. } => name,
    };
    let letters = name.chars().count();
    if letters <= NAME_LETTERS {
        return name;
    }
    let end: String = name.chars().skip(letters + 1 - NAME_LETTERS).collect();
    format!("\u{2026}{end}")
}

/// A plot's frame: a grid line with its text for each mark of the vertical axis, and the texts of the
/// horizontal axis.
fn frame(body: &mut String, levels: &[(f64, String)], below: &[(f64, String)], vertical: bool) {
    for (y, text) in levels {
        let _ = writeln!(body, "<path class=\"grid\" d=\"M{AXIS} {y:.1}H{WIDTH}\"/>");
        let (at, baseline) = (AXIS - 8.0, y + 4.0);
        let _ = writeln!(
            body,
            "<text class=\"soft\" x=\"{at}\" y=\"{baseline:.1}\" text-anchor=\"end\">{text}</text>"
        );
    }
    let mut free_from = 0.0;
    for (x, text) in below {
        if vertical {
            let _ = writeln!(body, "<path class=\"grid\" d=\"M{x:.1} 10V{:.1}\"/>", HEIGHT + 10.0);
        }
        // 64 and 128 are so close that not every number fits.
        if *x < free_from {
            continue;
        }
        free_from = x + 34.0;
        let _ = writeln!(
            body,
            "<text class=\"soft\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT + 30.0,
            escape(text)
        );
    }
}

fn svg(body: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">\n{body}</svg>\n", HEIGHT + 40.0)
}

/// Lines with the median as dots and the interval as whiskers. `ticks` name positions on the horizontal axis,
/// in ascending order.
pub(crate) fn lines(ticks: &[(f64, String)], lines: &[Line], unit: Unit) -> String {
    let top = lines.iter().flat_map(|line| &line.points).map(|(_, e)| highest(e)).fold(0.0, f64::max);
    let (Some((left, _)), Some((right, _)), true) = (ticks.first(), ticks.last(), top > 0.0) else {
        return String::new();
    };
    let marks = marks(0.0, top, Spacing::Linear);
    let Some(&top) = marks.last() else { return String::new() };
    let y = |value: f64| 10.0 + HEIGHT * (1.0 - value / top);
    let x = |at: f64| AXIS + 20.0 + (at - left) / (right - left).max(1e-9) * (WIDTH - AXIS - 60.0);
    let mut body = String::new();
    let levels: Vec<(f64, String)> = marks.iter().map(|&mark| (y(mark), axis_text(mark, unit))).collect();
    let below: Vec<(f64, String)> = ticks.iter().map(|(at, text)| (x(*at), text.clone())).collect();
    frame(&mut body, &levels, &below, false);
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
        for (at, estimate) in &points {
            let [low, high] = estimate.ci95.map(y);
            let _ = writeln!(
                body,
                "<path stroke=\"{colour}\" stroke-width=\"1.5\" d=\"M{0:.1} {low:.1}V{high:.1}\"/><circle cx=\"{0:.1}\" cy=\"{1:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{2}</title></circle>",
                x(*at),
                y(estimate.median),
                escape(&with_interval(estimate, unit))
            );
        }
    }
    svg(&body)
}

/// Cumulative distributions of round trips: time on the horizontal axis, by decades, and shares on the
/// vertical, by nines.
pub(crate) fn distributions(modes: &[Mode], rows: &[&DistributionRow]) -> String {
    let ends = || rows.iter().flat_map(|row| &row.classes).map(|(end, _)| *end);
    let (low, high) = (ends().fold(f64::INFINITY, f64::min), ends().fold(0.0, f64::max));
    let marks = marks(low, high, Spacing::Logarithmic);
    let (Some(&left), Some(&right), true) = (marks.first(), marks.last(), high > 0.0) else {
        return String::new();
    };
    let Some((most, _)) = SHARES.last() else { return String::new() };
    let nines = |share: f64| -(1.0 - share.min(*most)).log10();
    let y = |share: f64| 10.0 + HEIGHT * (1.0 - nines(share) / nines(*most));
    let x = |time: f64| AXIS + 20.0 + (time / left).log10() / (right / left).log10() * (WIDTH - AXIS - 60.0);
    let mut body = String::new();
    let levels: Vec<(f64, String)> = SHARES.iter().map(|(share, text)| (y(*share), (*text).into())).collect();
    let below: Vec<(f64, String)> =
        marks.iter().map(|&mark| (x(mark), axis_text(mark, Unit::Second))).collect();
    frame(&mut body, &levels, &below, true);
    for row in rows {
        let index = modes.iter().position(|mode| *mode == row.mode).unwrap_or(0);
        let all: u64 = row.classes.iter().map(|(_, count)| count).sum();
        let mut until = 0;
        let mut path = Vec::new();
        for (end, count) in &row.classes {
            // A step: each class begins at the share of those before it.
            path.push(format!("{:.1},{:.1}", x(*end), y(until as f64 / all as f64)));
            until += count;
            path.push(format!("{:.1},{:.1}", x(*end), y(until as f64 / all as f64)));
        }
        let _ = writeln!(
            body,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\" points=\"{}\"><title>{}</title></polyline>",
            colour(index),
            path.join(" "),
            escape(&row.mode.to_string())
        );
    }
    svg(&body)
}

fn axis_text(mark: f64, unit: Unit) -> String {
    let Scale { factor, symbol, .. } = scale(mark, unit);
    if mark > 0.0 { format!("{} {symbol}", trimmed(mark * factor)) } else { "0".into() }
}

/// Round values for the marks of an axis that enclose all values.
fn marks(low: f64, high: f64, spacing: Spacing) -> Vec<f64> {
    match spacing {
        Spacing::Linear => {
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
        Spacing::Logarithmic => {
            // No time is below a nanosecond, and zero has no logarithm.
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

/// Two decimals, without trailing zeros.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn marks_are_round_and_enclose_the_values() {
        assert_eq!(marks(3.0, 9.0, Spacing::Linear), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let marks = marks(60e-6, 900e-6, Spacing::Logarithmic);
        assert!(marks[0] <= 60e-6 && marks[marks.len() - 1] >= 900e-6, "{marks:?}");
        assert_eq!(marks.len(), 5, "{marks:?}");
        assert_eq!((trimmed(2.50), trimmed(100.0)), ("2.5".into(), "100".into()));
    }

    #[test]
    fn nothing_to_plot_is_no_plot() {
        assert_eq!(lines(&[], &[], Unit::Second), "");
        assert_eq!(distributions(&[], &[]), "");
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(
            shortened(&Mode::of("cmd:/home/somebody/peers/testpmd:no-offload")),
            "cmd:testpmd:no-offload"
        );
        let short = shortened(&Mode::of("userspace:packet:spin=50us:no-offload"));
        assert!(short.starts_with('\u{2026}') && short.ends_with("=50us:no-offload"), "{short}");
        assert_eq!(short.chars().count(), NAME_LETTERS);
        assert_eq!(shortened(&Mode::kernel()), "kernel");
    }

    #[test]
    fn a_distribution_rises_to_its_end() {
        let row = DistributionRow {
            scenario: "latency-idle".parse().unwrap(),
            mode: Mode::kernel(),
            unit: Unit::Second,
            classes: vec![(10e-6, 90), (20e-6, 10)],
        };
        let svg = distributions(&[Mode::kernel()], &[&row]);
        let points =
            svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let height = |point: &str| point.split(',').nth(1).and_then(|y| y.parse::<f64>().ok());
        let heights: Vec<f64> = points.split(' ').filter_map(height).collect();
        assert_eq!(heights.len(), 4);
        assert!(heights.is_sorted_by(|a, b| a >= b) && heights[3] < 11.0, "{heights:?}");
    }
}
