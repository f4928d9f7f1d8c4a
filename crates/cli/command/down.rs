//! `nsrouter down`: ends labs, wherever they were started.

use std::process::ExitCode;

use nsrouter_lab::clean::{CleanSelection, Removed, clean};
use nsrouter_lab::records::{LabInfo, labs};
use nsrouter_lab::{Error, enter};

use crate::output::removed;

/// Take a lab down and return when it is gone, be it in another terminal, in the background, private, or
/// dead.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The lab's name; optional where there is only one lab, or for `default`.
    #[arg(value_name = "LAB", conflicts_with = "all")]
    lab: Option<String>,
    /// The same, as other subcommands take it.
    #[arg(short, long, value_name = "LAB", conflicts_with_all = ["lab", "all"], hide = true)]
    name: Option<String>,
    /// The lab's process ID, as `nsrouter ls` shows it.
    #[arg(long, value_name = "PID", conflicts_with = "all")]
    pid: Option<i32>,
    /// Take down every lab that you may.
    #[arg(short, long)]
    all: bool,
}

/// Ends them, and says what went.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut well = true;
    for lab in meant(args, labs()?)? {
        let what = CleanSelection { name: Some(lab.name.clone()), pid: Some(lab.pid), all: true };
        let gone = clean(&what)?;
        removed::tell(&gone)?;
        well &= gone.iter().all(|lab| lab.problems.is_empty());
        forget_log(&lab.name, &gone);
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The labs that are meant.
fn meant(args: &Args, mut labs: Vec<LabInfo>) -> Result<Vec<LabInfo>, Error> {
    if args.all {
        return if labs.is_empty() { Err(Error::NoLabs) } else { Ok(labs) };
    }
    let name = args.lab.as_ref().or(args.name.as_ref());
    labs.retain(|lab| name.is_none_or(|name| *name == lab.name) && args.pid.is_none_or(|pid| pid == lab.pid));
    if name.is_none() && args.pid.is_none() && labs.iter().any(|lab| lab.name == "default") {
        labs.retain(|lab| lab.name == "default");
    }
    match (labs.len(), name, args.pid) {
        (1, _, _) => Ok(labs),
        (0, Some(name), _) => Err(Error::NoLab(name.clone())),
        (0, None, Some(pid)) => Err(Error::NoLabOf(pid)),
        (0, None, None) => Err(Error::NoLabs),
        (_, _, _) => {
            let all = labs.iter().map(|lab| format!("{} (process {})", lab.name, lab.pid));
            Err(Error::WhichLab(all.collect::<Vec<_>>().join(", ")))
        }
    }
}

/// Removes what a lab without a terminal wrote: it went well, and nobody needs to read it.
fn forget_log(name: &str, removed: &[Removed]) {
    if removed.iter().all(|lab| lab.problems.is_empty())
        && let Ok(log) = enter::log_of(name)
    {
        // A lab of a terminal has none.
        let _ = std::fs::remove_file(log);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use nix::unistd::Uid;

    use super::*;

    fn lab(name: &str, pid: i32) -> LabInfo {
        LabInfo {
            name: name.to_owned(),
            mode: None,
            backend: None,
            private: true,
            pid,
            owner: Uid::from_raw(0),
            age: None,
            is_running: true,
        }
    }

    fn pids(args: &Args, labs: &[LabInfo]) -> Result<Vec<i32>, Error> {
        Ok(meant(args, labs.to_vec())?.iter().map(|lab| lab.pid).collect())
    }

    #[test]
    fn one_is_meant_unless_all_are() {
        let args = |lab: Option<&str>, pid| Args { lab: lab.map(str::to_owned), name: None, pid, all: false };
        let labs = [lab("a", 1), lab("default", 2), lab("twice", 3), lab("twice", 4)];
        assert_eq!(pids(&args(None, None), &labs).unwrap(), [2]);
        assert_eq!(pids(&args(None, None), &labs[..1]).unwrap(), [1]);
        assert_eq!(pids(&args(Some("a"), None), &labs).unwrap(), [1]);
        assert_eq!(pids(&args(Some("twice"), Some(4)), &labs).unwrap(), [4]);
        assert_eq!(pids(&args(None, Some(3)), &labs).unwrap(), [3]);
        assert!(matches!(pids(&args(Some("twice"), None), &labs), Err(Error::WhichLab(_))));
        assert!(matches!(pids(&args(None, None), &labs[2..]), Err(Error::WhichLab(_))));
        assert!(matches!(pids(&args(Some("b"), None), &labs), Err(Error::NoLab(_))));
        assert!(matches!(pids(&args(None, Some(9)), &labs), Err(Error::NoLabOf(9))));
        let all = Args { lab: None, name: None, pid: None, all: true };
        assert_eq!(pids(&all, &labs).unwrap(), [1, 2, 3, 4]);
        assert!(matches!(pids(&all, &[]), Err(Error::NoLabs)));
    }
}
