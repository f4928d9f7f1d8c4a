//! The control socket of a lab's engines.

use std::path::{Path, PathBuf};

/// Its path in the lab's folder.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}
