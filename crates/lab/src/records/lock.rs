//! Locks on files and folders, so that two nsrouters do not claim or clean at the same time.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::paths::STATE_DIR;
use crate::error::Error;
use crate::wait;

/// How long a lock is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The lock on all records, held until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits for it, at most ten seconds.
    pub(crate) fn take() -> Result<Self, Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(STATE_DIR)
            .map_err(Error::file("make", STATE_DIR))?;
        let path = Path::new(STATE_DIR).join(".lock");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        Ok(Self { _file: lock(&path, &options, "another nsrouter's start or clean-up")? })
    }
}

/// Locks a file or folder that is opened with `options`. Waits at most ten seconds for `holder`, who
/// completes the sentence "the end of ... did not happen".
pub(super) fn lock(path: &Path, options: &fs::OpenOptions, holder: &str) -> Result<Flock<File>, Error> {
    wait::until(&format!("the end of {holder}"), LOCK_TIMEOUT, || {
        let file = options.open(path).map_err(Error::file("open", path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(file)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Error::file("lock", path)(errno)),
        }
    })
}
