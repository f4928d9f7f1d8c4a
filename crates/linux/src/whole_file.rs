//! Files that are written whole or not at all: a reader sees the old contents or the new.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes `contents` to a file `PATH.new` beside `path`, then renames it to `path` (rename(2) is atomic).
///
/// `mode` is that of a new file, less the process's umask: 0o644 or 0o666, for example. Two writers of one
/// path at the same time must exclude each other.
///
/// # Errors
/// Whatever creating, writing or renaming failed with. The old file is untouched then, and `PATH.new` is
/// removed.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    file.write_all(contents).and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        // The error that is reported is the first one.
        let _ = fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_new_contents_take_the_place_of_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write(&path, b"a longer text", 0o600).unwrap();
        write(&path, b"short", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_failure_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        // A folder cannot be replaced by a file.
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        assert!(write(&path, b"text", 0o600).is_err());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}
