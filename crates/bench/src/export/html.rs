//! The report as one page that needs nothing else: text, tables and SVG plots, light or dark as the reader's
//! system is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::markup::escape;
use super::svg::{self, Bar, Line};
use crate::metric::{Better, Metric, Unit, Weight};
use crate::plan::{Family, Frames, Mode, Rate, Scenario};
use crate::report::comparison::{self, compared_with, is_shown};
use crate::report::grid::Grid;
use crate::report::notes::notes;
use crate::report::rows::ResultRow;
use crate::report::{Report, environment::Environment};
use crate::stats::Estimate;

/// Light and dark scheme, with eight colours each; modes beyond the eighth repeat them.
const STYLE: &str = "
:root { color-scheme: light dark; --page: #fcfcfb; --ink: #0b0b0b; --soft: #52514e; --rule: #e1e0d9; --note: #f3f1e7;
  --c0: #2a78d6; --c1: #d95926; --c2: #1a8f66; --c3: #4a3aa7; --c4: #b0419f; --c5: #8a6a00;
  --c6: #a3262a; --c7: #5d6b78; --good: #0f7a4c; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #1a1a19; --ink: #f5f5f2; --soft: #c3c2b7; --rule: #3a3a37; --note: #26261f;
  --c0: #3987e5; --c1: #e8703f; --c2: #22a67a; --c3: #9085e9; --c4: #d55181; --c5: #c98500;
  --c6: #f07a7a; --c7: #9aa7b3; --good: #4cc38a; --bad: #ff8a80; } }
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p, dd { color: var(--soft); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } svg .head { font-weight: 600; } .grid { stroke: var(--rule); } .whisker { stroke: var(--ink); stroke-width: 1.5; }
.key span { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .4em 0 1.2em; }
.key span:first-child { margin-left: 0; } .wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th.number { text-align: right; } td.good { color: var(--good); } td.bad { color: var(--bad); } td.number { text-align: right; font-variant-numeric: tabular-nums; } ul.notes { background: var(--note); padding: .8rem 2rem; }
dt { font-weight: 600; float: left; clear: left; width: 11rem; } dd { margin: 0 0 .3rem 11.5rem; overflow-wrap: anywhere; }
";

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let environment = &report.environment;
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page += "<meta name=\"viewport\" content=\"width=device-width\"><title>nsrouter bench</title>";
    page = format!("{page}<style>{STYLE}</style></head><body><h1>nsrouter bench</h1>\n");
    page += &format!(
        "<p>{}, {} CPUs, Linux {}; started {}.</p>\n<ul class=\"notes\">",
        escape(&environment.cpu),
        environment.cpus,
        escape(environment.kernel.split(' ').next().unwrap_or_default()),
        environment.started
    );
    for note in notes(report) {
        page = format!("{page}<li>{}</li>", escape(&note));
    }
    page += "</ul>\n";
    page += &glance(report);
    page += &bar_charts(report);
    page += &size_charts(report);
    page += &distribution_charts(report);
    page += "<h2>All results</h2>";
    page += &table(&comparison::everything(report));
    page += &environment_list(environment);
    page + "</body></html>\n"
}

/// Each mode's ratios to the kernel, a line for each scenario and metric.
fn glance(report: &Report) -> String {
    let kernel = Mode::kernel();
    let modes = compared_with(report, &kernel);
    let mut lines = comparison::lines(report);
    lines.retain(|line| {
        let is_main = matches!(line.metric.weight(), Weight::Headline | Weight::Main);
        is_main && modes.iter().any(|mode| line.ratio(mode, &kernel).is_some())
    });
    if lines.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<h2>At a glance: ratios to the kernel</h2><div class=\"wide\"><table><tr><th></th><th></th>",
    );
    for mode in &modes {
        let _ = write!(html, "<th class=\"number\">{}</th>", escape(&svg::shortened(mode)));
    }
    html += "</tr>\n";
    let mut last = None;
    for line in lines {
        let repeated = last.replace(line.scenario) == Some(line.scenario);
        let name = if repeated { String::new() } else { line.scenario.to_string() };
        let _ = write!(html, "<tr><td>{}</td><td>{}</td>", escape(&name), escape(&line.metric.label()));
        for mode in &modes {
            let Some(row) = line.ratio(mode, &kernel) else {
                html += "<td></td>";
                continue;
            };
            let median = row.ratio.estimate.median;
            let class = match (row.ratio.differs, line.metric.better()) {
                (false, _) | (true, Better::Neither) => "",
                (true, Better::More) if median > 1.0 => " good",
                (true, Better::Less) if median <= 1.0 => " good",
                (true, Better::More | Better::Less) => " bad",
            };
            let _ = write!(html, "<td class=\"number{class}\">{median:.2}</td>");
        }
        html += "</tr>\n";
    }
    html + "</table></div><p>Green is better than the kernel, red is worse; without a colour the difference is not \
            significant.</p>\n"
}

fn bar_charts(report: &Report) -> String {
    let mut html = String::new();
    for metric in Metric::ALL {
        let rows = report.results.iter();
        let rows = rows.filter(|row| row.metric == metric && is_shown(metric.bars(), &row.scenario));
        let part_of = |row: &ResultRow| report.result(&row.scenario, metric.part()?, &row.mode);
        let bars: Vec<Bar<'_>> = rows.map(|row| Bar { row, part: part_of(row) }).collect();
        if !bars.is_empty() {
            let _ = write!(html, "<h2>{}</h2>\n{}", escape(metric.title()), svg::bars(&report.modes, &bars));
        }
    }
    html
}

/// Packets and bits per second against the frames' size, where at least two sizes of a family were measured.
fn size_charts(report: &Report) -> String {
    let mut html = String::new();
    for (family, family_name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        let size = |row: &ResultRow| {
            let Scenario { load, family: of, routes } = row.scenario;
            let plain = of == family && routes == 0 && load.rate() == Some(Rate::Full);
            match load.frames()? {
                Frames::Size(size) if plain && row.metric == Metric::Forwarded => Some(f64::from(size)),
                Frames::Size(_) | Frames::Imix => None,
            }
        };
        let mut sizes: Vec<f64> = report.results.iter().filter_map(size).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        if sizes.len() < 2 {
            continue;
        }
        let ticks: Vec<(f64, String)> = sizes.iter().map(|size| (*size, size.to_string())).collect();
        for (what, unit, bits) in
            [("Packets", Unit::PacketPerSecond, false), ("Bits", Unit::BitPerSecond, true)]
        {
            let factor = |size: f64| if bits { size * 8.0 } else { 1.0 };
            let point = |row: &ResultRow| {
                let (size, estimate) = (size(row)?, row.estimate);
                let of = |value: f64| value * factor(size);
                Some((size, Estimate { median: of(estimate.median), ci95: estimate.ci95.map(of) }))
            };
            let line = |(index, mode): (usize, &Mode)| {
                let rows = report.results.iter().filter(|row| row.mode == *mode);
                Line { colour: index, points: rows.filter_map(point).collect() }
            };
            let lines: Vec<Line> = report.modes.iter().enumerate().map(line).collect();
            let chart = svg::lines(&ticks, &lines, unit);
            let _ = write!(
                html,
                "<h2>{what} per second forwarded, against the frame's size in bytes with FCS, {family_name} UDP</h2>\n{}{chart}",
                key(report)
            );
        }
    }
    html
}

fn distribution_charts(report: &Report) -> String {
    let mut scenarios: Vec<Scenario> = report.distributions.iter().map(|row| row.scenario).collect();
    scenarios.dedup();
    let mut html = String::new();
    for scenario in scenarios {
        let rows: Vec<_> = report.distributions.iter().filter(|row| row.scenario == scenario).collect();
        let chart = svg::distributions(&report.modes, &rows);
        let _ = write!(
            html,
            "<h2>Round trip, {}: the share of echoes answered within a time</h2>\n{}{chart}",
            escape(&scenario.to_string()),
            key(report)
        );
    }
    html
}

/// The key of colours to modes.
fn key(report: &Report) -> String {
    let mut html = String::from("<p class=\"key\">");
    for (index, mode) in report.modes.iter().enumerate() {
        let _ = write!(
            html,
            "<span style=\"background:{}\"></span>{}",
            svg::colour(index),
            escape(&mode.to_string())
        );
    }
    html + "</p>\n"
}

fn table(grid: &Grid) -> String {
    let mut html = String::from("<div class=\"wide\"><table><tr>");
    for head in &grid.head {
        let _ = write!(html, "<th>{}</th>", escape(head));
    }
    html += "</tr>\n";
    for row in &grid.rows {
        html += "<tr>";
        for (column, cell) in row.iter().enumerate() {
            let class = if column < grid.words { "" } else { " class=\"number\"" };
            let _ = write!(html, "<td{class}>{}</td>", escape(cell));
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}

fn environment_list(environment: &Environment) -> String {
    let mut rows = vec![
        ("command", environment.command.join(" ")),
        ("nsrouter", environment.software()),
        ("kernel", environment.kernel.clone()),
        ("traffic", environment.traffic.clone()),
        ("CPU placement", environment.cpu_placement.clone()),
        ("offloads", environment.offloads.clone()),
        ("seed", environment.seed.to_string()),
        (
            "method",
            format!(
                "{} rounds of {} s after {} s of warm-up",
                environment.rounds, environment.seconds, environment.warm_up_seconds
            ),
        ),
    ];
    rows.extend(environment.sysctls.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let labs: Vec<(String, String)> = environment
        .labs
        .iter()
        .flat_map(|(mode, setting)| {
            let port = |(port, on): (&String, &Vec<String>)| format!("{port}: {}", on.join(" "));
            let offloads: Vec<String> = setting.offloads.iter().map(port).collect();
            let node = |(node, values): (&String, &BTreeMap<String, String>)| {
                let values: Vec<String> =
                    values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
                format!("{node}: {}", values.join(", "))
            };
            let sysctls: Vec<String> = setting.sysctls.iter().map(node).collect();
            [
                (format!("offloads that are on, {mode}"), offloads.join("; ")),
                (format!("sysctls, {mode}"), sysctls.join("; ")),
            ]
        })
        .collect();
    rows.extend(labs.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let mut html = String::from("<h2>Environment</h2><dl>\n");
    for (name, value) in rows {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&value));
    }
    html + "</dl>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::report;

    #[test]
    fn the_page_needs_nothing_else_and_shows_every_mode() {
        let mut report = report();
        report.warnings.push("a <b> & \"c\"".into());
        let page = page(&report);
        assert!(page.contains("a &lt;b&gt; &amp; &quot;c&quot;"));
        for part in [
            "prefers-color-scheme: dark",
            "<svg",
            "userspace:packet",
            "TCP throughput",
            "UDP delivered",
            "number bad\">0.50",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for foreign in ["http:", "https:", "<script", "<link", "NaN", "inf"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
