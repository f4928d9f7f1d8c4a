//! The project's own source files, for tests that read them.

use std::path::{Path, PathBuf};

/// Adds every Rust file below `folder`.
#[allow(clippy::unwrap_used)]
pub(crate) fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
