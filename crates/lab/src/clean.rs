//! Removing what a lab made, and that only.

use serde::Serialize;

use crate::Error;
use crate::process::Ended;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The lab.
    pub lab: String,
    /// Whether the lab was running and was ended first.
    pub was_running: bool,
    /// Processes ended because they ran inside its namespaces.
    pub processes: Vec<Ended>,
    /// Namespaces, by name.
    pub namespaces: Vec<String>,
    /// Links of the machine's own namespace.
    pub links: Vec<String>,
    /// Sysctls of the machine's own namespace that were written back, below `/proc/sys/`.
    pub sysctls: Vec<String>,
    /// Default routes learned from router advertisements that were put back.
    pub routes: Vec<String>,
    /// What could not be removed, or was left because it is not ours any more: sentences.
    pub problems: Vec<String>,
}

/// What `nsrouter clean` cleans.
#[derive(Clone, Debug, Default)]
pub struct What {
    /// Only the lab of that name.
    pub name: Option<String>,
    /// Running labs too; they are ended first.
    pub all: bool,
}

/// Removes what dead labs left, and with `all` running labs of this user too; one entry a lab.
///
/// # Errors
/// Where the records cannot be read. What fails for a single thing is in [`Removed::problems`].
pub fn clean(what: &What) -> Result<Vec<Removed>, Error> {
    let _ = what;
    todo!()
}
