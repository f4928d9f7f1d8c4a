//! Results as files: JSON, CSV, Markdown and a page with plots. Each is written whole: no reader sees half of
//! one, even of an interrupted run.

mod csv;
mod html;
mod markdown;
mod markup;
mod svg;
pub mod terminal;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nsrouter_linux::whole_file;

use crate::report::Report;

/// Readable and writable by everyone, as far as the umask allows.
const MODE: u32 = 0o666;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder for the files cannot be created.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Writes `results.json`, `results.csv`, `results.md` and `report.html` into the folder, which is created
/// where it is missing.
///
/// # Errors
/// See [`OutputError`].
pub fn write_folder(folder: &Path, report: &Report) -> Result<(), OutputError> {
    fs::create_dir_all(folder).map_err(|source| OutputError::Folder { path: folder.into(), source })?;
    write_json(&folder.join("results.json"), report)?;
    replace(&folder.join("results.csv"), &csv::table(report))?;
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

fn replace(file: &Path, text: &str) -> Result<(), OutputError> {
    whole_file::write(file, text.as_bytes(), MODE)
        .map_err(|source| OutputError::Write { path: file.into(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::example::report;

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write_json(Path::new("/nonexistent/results.json"), &report()).unwrap_err();
        assert_eq!(error.to_string(), "cannot write /nonexistent/results.json");
        let error = write_folder(Path::new("/proc/nonexistent"), &report()).unwrap_err();
        assert_eq!(error.to_string(), "cannot make the folder /proc/nonexistent");
    }
}
