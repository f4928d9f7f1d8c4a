//! Where records are kept, and which names a lab may have: names become paths.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use crate::error::Error;
use crate::topology::is_name;

/// Where records are kept; inside a private lab the same path on a tmpfs of its own.
pub const STATE_DIR: &str = "/run/nsrouter";

/// The lab whose namespaces have the names of its nodes.
pub const DEFAULT_LAB: &str = "default";

/// The mode of a record: every user may see which labs there are.
pub(super) const RECORD_MODE: u32 = 0o644;

/// The longest name of a lab, in bytes.
const LONGEST_NAME: usize = 32;

/// The folder of a lab.
pub(crate) fn dir_of(name: &str) -> PathBuf {
    Path::new(STATE_DIR).join(name)
}

/// The record in the folder of a lab.
pub(super) fn record_in(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

/// Checks that a lab may have that name.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if is_name(name, LONGEST_NAME) { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

/// The names of the folders in [`STATE_DIR`], sorted.
pub(super) fn names() -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(STATE_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("read", STATE_DIR))?,
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| check_name(name).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Whether the folder of a lab belongs to the caller; root owns them all.
pub(crate) fn is_own_folder(dir: &Path) -> bool {
    let own = Uid::current();
    own.is_root() || fs::metadata(dir).is_ok_and(|meta| meta.uid() == own.as_raw())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_labs() {
        for name in ["default", "a", "x-1.2_3"] {
            check_name(name).unwrap();
        }
        for name in ["", ".lock", "-x", "a/b", "a b", &"x".repeat(33)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
