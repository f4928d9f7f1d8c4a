//! Which of several running labs a command is about.

use nsrouter_lab::records::LabSelector;

/// The environment variable that names the lab to a command that runs beside it.
pub(crate) const LAB_VARIABLE: &str = "NSROUTER_LAB";

/// How one of several labs is chosen.
#[derive(Debug, clap::Args)]
#[group(id = "which")]
pub(crate) struct Args {
    /// The lab's name; optional where only one is running, or for `default`.
    #[arg(short, long, value_name = "LAB", env = LAB_VARIABLE)]
    name: Option<String>,
    /// The lab's process ID, as `nsrouter ls` shows it: for private labs that share a name.
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
}

impl Args {
    /// The lab that is meant.
    pub(crate) fn lab(&self) -> LabSelector<'_> {
        // A process says it all, also where the environment names the lab that this command runs beside.
        let name = self.name.as_deref().filter(|_| self.pid.is_none());
        LabSelector { name, pid: self.pid }
    }
}
