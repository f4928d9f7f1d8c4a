//! Processes: identified for good, found by their network namespace, and ended.

mod handle;
mod id;
mod inside;

pub(crate) use handle::ProcessHandle;
pub use id::ProcessId;
pub use inside::EndedProcess;
pub(crate) use inside::{end_all_in, is_any_in};
