//! Records: what each lab created, on file before it is created, so that clean-up removes that and nothing
//! else.
//!
//! The record of a lab is `/run/nsrouter/LAB/state.json`. It identifies the process that keeps the lab (PID,
//! start time and boot, which tell a dead process from a live one), the namespaces by name and inode number,
//! and every setting of the machine's own namespace that was changed, with its former value.
//!
//! A private lab lives in a mount namespace of its own, and so does its record; outside, a [`Pointer`] tells
//! how to enter it.

mod listing;
mod lock;
mod paths;
mod pointer;
mod registry;
mod selection;
mod state;

pub use listing::{LabInfo, labs};
pub(crate) use lock::Lock;
pub use paths::{DEFAULT_LAB, STATE_DIR};
pub(crate) use paths::{check_name, dir_of, is_own_folder};
pub use pointer::{Pointer, outside_pid};
pub(crate) use pointer::{claim, inside_mark, is_inside, pointer_dir};
pub use registry::{RecordPlace, RecordedLab, list};
pub(crate) use registry::{UnreadableRecord, list_all};
pub use selection::LabSelector;
pub(crate) use selection::choose;
pub(crate) use state::owner_of_any;
pub use state::{NodeState, PortInfo, SavedRoute, SavedSysctl, State, VERSION};

#[cfg(test)]
mod state_tests;
