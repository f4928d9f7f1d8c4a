//! The report as one page that needs nothing else: text, tables and SVG plots, light or dark as the reader's system is.

use std::fmt::Write as _;

use crate::plot::{self, Line, Scale};
use crate::report::{Report, ResultRow};
use crate::table::with_interval;

/// Each scheme has its own six colours; modes beyond the sixth repeat them.
const STYLE: &str = "
:root { color-scheme: light dark; --page: #fcfcfb; --ink: #0b0b0b; --soft: #52514e; --rule: #e1e0d9; --note: #f3f1e7;
  --c0: #2a78d6; --c1: #d95926; --c2: #1a8f66; --c3: #4a3aa7; --c4: #b0419f; --c5: #8a6a00; }
@media (prefers-color-scheme: dark) { :root { --page: #1a1a19; --ink: #f5f5f2; --soft: #c3c2b7; --rule: #3a3a37; --note: #26261f;
  --c0: #3987e5; --c1: #e8703f; --c2: #22a67a; --c3: #9085e9; --c4: #d55181; --c5: #c98500; } }
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 860px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p, dd { color: var(--soft); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } .grid { stroke: var(--rule); } .whisker { stroke: var(--ink); stroke-width: 1.5; }
.key span { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .4em 0 1.2em; }
.key span:first-child { margin-left: 0; } .wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } ul.notes { background: var(--note); padding: .8rem 2rem; }
dt { font-weight: 600; float: left; clear: left; width: 11rem; } dd { margin: 0 0 .3rem 11.5rem; overflow-wrap: anywhere; }
";

/// Percentiles of a latency scenario, in the order of the plot.
const LATENCIES: [(&str, &str); 5] = [
    ("latency_p50", "p50"),
    ("latency_p90", "p90"),
    ("latency_p99", "p99"),
    ("latency_p99_9", "p99.9"),
    ("latency_max", "max"),
];

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let environment = &report.environment;
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page += "<meta name=\"viewport\" content=\"width=device-width\"><title>nsrouter bench</title>";
    page = format!("{page}<style>{STYLE}</style></head><body><h1>nsrouter bench</h1>\n");
    page += &format!(
        "<p>{}, {} CPUs, Linux {}; begun {}.</p>\n<ul class=\"notes\">",
        escape(&environment.cpu),
        environment.cpus,
        escape(environment.kernel.split(' ').next().unwrap_or_default()),
        environment.started
    );
    for note in report.notes() {
        page = format!("{page}<li>{}</li>", escape(&note));
    }
    page += "</ul>\n<p class=\"key\">";
    for (index, mode) in report.modes.iter().enumerate() {
        page = format!("{page}<span style=\"background:{}\"></span>{}", plot::colour(index), escape(mode));
    }
    page += "</p>\n";
    page += &bar_charts(report);
    page += &size_charts(report);
    page += &latency_charts(report);
    page += &tables(report);
    page += &environment_list(report);
    page + "</body></html>\n"
}

/// Text as HTML shows it, in attributes too.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn title(metric: &str) -> String {
    let words = metric.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A chart for every metric that is worth one: shares and counts stand in the table alone.
fn bar_charts(report: &Report) -> String {
    let mut metrics: Vec<&str> = Vec::new();
    for row in &report.results {
        let plotted = !matches!(row.unit.as_str(), "1" | "segment") && row.metric != "round_trips";
        if plotted && !row.metric.starts_with("latency_") && !metrics.contains(&row.metric.as_str()) {
            metrics.push(&row.metric);
        }
    }
    let mut html = String::new();
    for metric in metrics {
        let rows: Vec<&ResultRow> = report.results.iter().filter(|row| row.metric == metric).collect();
        let _ = write!(html, "<h2>{}</h2>\n{}", escape(&title(metric)), plot::bars(&report.modes, &rows));
    }
    html
}

/// Frames a second against their size, where at least two sizes of a family were measured.
fn size_charts(report: &Report) -> String {
    let mut html = String::new();
    for (suffix, family) in [("", "IPv4"), ("-v6", "IPv6")] {
        let size = |row: &ResultRow| {
            let name = row.scenario.strip_prefix("udp-")?.strip_suffix(suffix)?;
            (row.metric == "forwarded").then_some(name.parse::<f64>().ok()?)
        };
        let mut sizes: Vec<f64> = report.results.iter().filter_map(size).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        if sizes.len() < 2 {
            continue;
        }
        let ticks: Vec<(f64, String)> = sizes.iter().map(|size| (*size, size.to_string())).collect();
        let line = |(index, mode): (usize, &String)| {
            let rows = report.results.iter().filter(|row| row.mode == *mode);
            Line { colour: index, points: rows.filter_map(|row| Some((size(row)?, row.estimate))).collect() }
        };
        let lines: Vec<Line> = report.modes.iter().enumerate().map(line).collect();
        let chart = plot::lines(&ticks, &lines, "packet/s", Scale::Linear);
        let _ =
            write!(html, "<h2>UDP forwarded against frame size with FCS in bytes, {family}</h2>\n{chart}");
    }
    html
}

/// Percentiles of the round trip, on a logarithmic scale.
fn latency_charts(report: &Report) -> String {
    let mut scenarios: Vec<&str> = report
        .results
        .iter()
        .filter(|row| row.metric == "latency_p50")
        .map(|row| row.scenario.as_str())
        .collect();
    scenarios.dedup();
    let mut html = String::new();
    for scenario in scenarios {
        let place = |metric: &str| LATENCIES.iter().zip(0u8..).find(|((name, _), _)| *name == metric);
        let ticks: Vec<(f64, String)> =
            LATENCIES.iter().zip(0u8..).map(|((_, label), at)| (f64::from(at), (*label).into())).collect();
        let line = |(index, mode): (usize, &String)| {
            let rows = report.results.iter().filter(|row| row.mode == *mode && row.scenario == scenario);
            let points = rows.filter_map(|row| Some((f64::from(place(&row.metric)?.1), row.estimate)));
            Line { colour: index, points: points.collect() }
        };
        let lines: Vec<Line> = report.modes.iter().enumerate().map(line).collect();
        let chart = plot::lines(&ticks, &lines, "s", Scale::Logarithmic);
        let _ = write!(html, "<h2>Round trip, {}: percentiles</h2>\n{chart}", escape(scenario));
    }
    html
}

fn tables(report: &Report) -> String {
    let mut html = String::from(
        "<h2>All results</h2><div class=\"wide\"><table><tr><th>scenario</th><th>metric</th>\
         <th>mode</th><th>median and 95% interval</th><th>ratio to kernel</th></tr>\n",
    );
    for row in &report.results {
        let ratio = report
            .ratios
            .iter()
            .find(|r| r.scenario == row.scenario && r.metric == row.metric && r.mode == row.mode);
        let ratio = ratio.map_or(String::new(), |ratio| {
            let [low, high] = ratio.ratio.estimate.ci95;
            format!("{:.2} [{low:.2}, {high:.2}]", ratio.ratio.estimate.median)
        });
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{ratio}</td></tr>",
            escape(&row.scenario),
            escape(&row.metric.replace('_', " ")),
            escape(&row.mode),
            escape(&with_interval(&row.estimate, &row.unit)),
        );
    }
    html + "</table></div>\n"
}

fn environment_list(report: &Report) -> String {
    let environment = &report.environment;
    let mut rows = vec![
        ("command", environment.command.join(" ")),
        ("nsrouter", environment.nsrouter.clone()),
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
    let mut html = String::from("<h2>Environment</h2><dl>\n");
    for (name, value) in rows {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&value));
    }
    html + "</dl>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn the_page_needs_nothing_else_and_shows_every_mode() {
        let mut report = report();
        report.warnings.push("a <b> & \"c\"".into());
        let page = page(&report);
        assert!(page.contains("a &lt;b&gt; &amp; &quot;c&quot;"));
        for part in ["prefers-color-scheme: dark", "<svg", "userspace:packet", "Throughput", "Delivered"] {
            assert!(page.contains(part), "{part}");
        }
        for foreign in ["http:", "https:", "<script", "<link", "NaN", "inf"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
