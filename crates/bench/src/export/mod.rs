//! Results as files: JSON, CSV, Markdown and a page with plots. A reader, or a run cut short, never meets half of one.

mod html;
mod markdown;
mod svg;
pub mod terminal;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::report::Report;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder for the files is not there and cannot be made.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No room, no right, no such folder.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes `results.json`, `results.csv`, `results.md` and `report.html` into the folder, which is made where it is missing.
///
/// # Errors
/// See [`OutputError`].
pub fn write_folder(folder: &Path, report: &Report) -> Result<(), OutputError> {
    fs::create_dir_all(folder).map_err(|source| OutputError::Folder { path: folder.into(), source })?;
    write_json(&folder.join("results.json"), report)?;
    replace(&folder.join("results.csv"), &csv(report))?;
    replace(&folder.join("results.md"), &markdown::page(report))?;
    replace(&folder.join("report.html"), &html::page(report))
}

/// Writes the report as JSON: everything that [`Report`] holds.
///
/// # Errors
/// [`OutputError::Write`].
pub fn write_json(file: &Path, report: &Report) -> Result<(), OutputError> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|error| OutputError::Write { path: file.into(), source: error.into() })?;
    replace(file, &(text + "\n"))
}

/// Written beside and renamed over.
fn replace(file: &Path, text: &str) -> Result<(), OutputError> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, file))
        .map_err(|source| OutputError::Write { path: file.into(), source })
}

/// One line a raw sample (RFC 4180, but with the line ends of this system). Rounds are counted from 0, as in the JSON.
fn csv(report: &Report) -> String {
    let mut text = String::from("scenario,mode,metric,unit,round,value\n");
    for row in &report.results {
        for (round, value) in row.rounds.iter().zip(&row.samples) {
            let words = [&row.scenario, &row.mode, &row.metric, &row.unit].map(|word| field(word));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{},{round},{value}", words.join(","));
        }
    }
    text
}

/// Quoted where a comma or quote of its own would be taken for the file's.
fn field(word: &str) -> String {
    if word.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", word.replace('"', "\"\""))
    } else {
        word.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn every_sample_is_a_line_of_csv() {
        let report = report();
        let text = csv(&report);
        let samples: usize = report.results.iter().map(|row| row.samples.len()).sum();
        assert_eq!(text.lines().count(), samples + 1);
        assert!(text.contains("\ntcp-1,kernel,throughput,bit/s,0,16000000000\n"), "{text}");
        assert_eq!(field("cmd:./a,\"b\""), "\"cmd:./a,\"\"b\"\"\"");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write_json(Path::new("/nonexistent/results.json"), &report()).unwrap_err();
        assert_eq!(error.to_string(), "cannot write /nonexistent/results.json");
        let error = write_folder(Path::new("/proc/nonexistent"), &report()).unwrap_err();
        assert_eq!(error.to_string(), "cannot make the folder /proc/nonexistent");
    }
}
