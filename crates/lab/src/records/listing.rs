//! Every lab that the caller can see, as `nsrouter ls` shows it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;

use super::paths::STATE_DIR;
use super::pointer::Pointer;
use super::registry::{RecordPlace, RecordedLab, list};
use super::state::State;
use crate::error::Error;

/// One lab of the list.
#[derive(Clone, Debug)]
pub struct LabInfo {
    /// Its name.
    pub name: String,
    /// Its forwarding mode: `kernel` or `userspace`. `None` where the record cannot be read.
    pub mode: Option<String>,
    /// The backend of its userspace router; `None` in kernel mode, and where the record cannot be read.
    pub backend: Option<String>,
    /// Whether it is a private lab.
    pub private: bool,
    /// The PID of the process that signals go to, in the caller's PID namespace where it has one there.
    pub pid: i32,
    /// The user whose lab it is.
    pub owner: Uid,
    /// How long it has been up; `None` for a dead lab.
    pub age: Option<Duration>,
    /// Whether the process that keeps it is alive. `nsrouter clean` removes the remains of a dead lab.
    pub is_running: bool,
}

/// All labs on record that the caller can see, by name: first those whose names everybody sees, then the
/// private labs of the caller.
///
/// # Errors
/// Where the folders of records cannot be read.
pub fn labs() -> Result<Vec<LabInfo>, Error> {
    Ok(list()?.iter().map(info).collect())
}

fn info(lab: &RecordedLab) -> LabInfo {
    let (record, process, file) = match &lab.place {
        RecordPlace::Here(state) => (Some((**state).clone()), &state.owner, state.dir()),
        RecordPlace::Private(pointer) => (record_inside(pointer), &pointer.supervisor, pointer.path.clone()),
    };
    LabInfo {
        name: lab.name.clone(),
        mode: record.as_ref().map(|state| state.mode.clone()),
        backend: record.and_then(|state| state.backend),
        private: lab.is_private(),
        pid: process.pid,
        owner: fs::metadata(&file).map_or_else(|_| Uid::current(), |meta| Uid::from_raw(meta.uid())),
        age: lab.running.then(|| process.age()).flatten(),
        is_running: lab.running,
    }
}

/// The record of a private lab, read from outside through the root of its PID 1.
fn record_inside(pointer: &Pointer) -> Option<State> {
    let root = PathBuf::from(format!("/proc/{}/root", pointer.init.pid));
    let folder = root.join(Path::new(STATE_DIR).strip_prefix("/").ok()?).join(&pointer.name);
    State::read_from(&folder).ok()
}
