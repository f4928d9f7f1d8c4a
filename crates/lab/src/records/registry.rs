//! The labs that are on record: those whose names everybody sees, and the private labs of the caller.

use super::paths::{is_own_folder, names};
use super::pointer::{Pointer, pointers};
use super::state::State;
use crate::error::Error;

/// A lab on record, running or dead.
#[derive(Clone, Debug)]
pub struct RecordedLab {
    /// Its name.
    pub name: String,
    /// Whether the process that keeps it is alive.
    pub running: bool,
    /// Where its record is.
    pub place: RecordPlace,
}

/// Where the record of a lab is.
#[derive(Clone, Debug)]
pub enum RecordPlace {
    /// In this mount namespace.
    Here(Box<State>),
    /// In the mount namespace of a private lab.
    Private(Pointer),
}

impl RecordedLab {
    /// The PID of the process that receives the lab's signals.
    pub(crate) fn pid(&self) -> i32 {
        match &self.place {
            RecordPlace::Here(state) => state.owner.pid,
            RecordPlace::Private(pointer) => pointer.supervisor.pid,
        }
    }

    /// Whether its record is that of a private lab.
    pub(crate) fn is_private(&self) -> bool {
        matches!(self.place, RecordPlace::Private(_))
    }

    /// Whether the kernel lets the caller enter the namespaces of the lab: root may enter all, other users
    /// their own.
    pub(crate) fn may_be_entered(&self) -> bool {
        match &self.place {
            RecordPlace::Private(_) => true,
            RecordPlace::Here(state) => is_own_folder(&state.dir()),
        }
    }
}

/// All labs on record: those of this mount namespace, then the private labs of the caller. A record that
/// cannot be read is skipped with a warning, so that it does not keep the user from the other labs.
///
/// # Errors
/// Where the folders cannot be read.
pub fn list() -> Result<Vec<RecordedLab>, Error> {
    let (found, unreadable) = list_all()?;
    unreadable.iter().for_each(|record| tracing::warn!("{}", record.error));
    Ok(found)
}

/// A record that cannot be read.
#[derive(Debug)]
pub(crate) struct UnreadableRecord {
    /// The name of the lab.
    pub(crate) name: String,
    /// Why not.
    pub(crate) error: Error,
}

/// All labs on record as [`list`] returns them, and the records that cannot be read.
pub(crate) fn list_all() -> Result<(Vec<RecordedLab>, Vec<UnreadableRecord>), Error> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for name in names()? {
        match State::read(&name) {
            Ok(Some(state)) => {
                let running = state.is_running();
                found.push(RecordedLab { name, running, place: RecordPlace::Here(Box::new(state)) });
            }
            Ok(None) => {}
            Err(error) => unreadable.push(UnreadableRecord { name, error }),
        }
    }
    for pointer in pointers()? {
        let (name, running) = (pointer.name.clone(), pointer.is_running());
        found.push(RecordedLab { name, running, place: RecordPlace::Private(pointer) });
    }
    Ok((found, unreadable))
}
