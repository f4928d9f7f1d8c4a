//! Every sample as CSV.

use std::fmt::Write as _;

use crate::report::Report;

/// A line per sample (RFC 4180, with this system's line ends). Rounds are counted from 0, as in results.json.
pub(crate) fn table(report: &Report) -> String {
    let mut text = String::from("scenario,mode,metric,unit,round,value\n");
    for row in &report.results {
        let (scenario, mode) = (row.scenario.to_string(), row.mode.to_string());
        let words = [&scenario, &mode, row.metric.name(), row.metric.unit().symbol()].map(field).join(",");
        for (round, value) in row.rounds.iter().zip(&row.samples) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{words},{round},{value}");
        }
    }
    text
}

/// A field, quoted where it contains a separator or a quote.
fn field(word: &str) -> String {
    if word.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", word.replace('"', "\"\""))
    } else {
        word.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::report;

    #[test]
    fn every_sample_is_a_line_of_csv() {
        let report = report();
        let text = table(&report);
        let samples: usize = report.results.iter().map(|row| row.samples.len()).sum();
        assert_eq!(text.lines().count(), samples + 1);
        assert!(text.contains("\ntcp-1,kernel,throughput,bit/s,0,16000000000\n"), "{text}");
        assert_eq!(field("cmd:./a,\"b\""), "\"cmd:./a,\"\"b\"\"\"");
    }
}
