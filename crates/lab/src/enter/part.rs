//! The part that a process plays in a private lab, as its zeroth argument tells it.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The part of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// PID 1 of a private lab, with the descriptor on which it hears the supervisor, and the supervisor's
    /// PID.
    Init(i32, u32),
    /// The nsrouter inside a private lab, which does the work.
    Inside,
    /// A child that tries to create user namespaces.
    Probe,
    /// A process that keeps a lab without a terminal.
    Detached,
    /// A child that becomes the user's command, with the PID of its parent.
    Command(u32),
}

impl Part {
    fn of(argument: &OsStr) -> Option<Self> {
        match argument.to_str()? {
            "nsrouter-inside" => Some(Self::Inside),
            "nsrouter-probe" => Some(Self::Probe),
            "nsrouter-detached" => Some(Self::Detached),
            other => match other.split_once(':')? {
                ("nsrouter-init", numbers) => {
                    let (fd, supervisor) = numbers.split_once(':')?;
                    Some(Self::Init(fd.parse().ok()?, supervisor.parse().ok()?))
                }
                ("nsrouter-command", parent) => parent.parse().ok().map(Self::Command),
                _ => None,
            },
        }
    }

    /// The zeroth argument that tells it.
    pub(super) fn argument(&self) -> String {
        match self {
            Self::Init(fd, supervisor) => format!("nsrouter-init:{fd}:{supervisor}"),
            Self::Inside => "nsrouter-inside".to_owned(),
            Self::Probe => "nsrouter-probe".to_owned(),
            Self::Detached => "nsrouter-detached".to_owned(),
            Self::Command(parent) => format!("nsrouter-command:{parent}"),
        }
    }

    /// The part of the calling process; `None` for one that the user started.
    pub(super) fn current() -> Option<Self> {
        std::env::args_os().next().as_deref().and_then(Self::of)
    }

    /// A command that starts this program again in that part, with the same arguments.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(self.argument()).args(std::env::args_os().skip(1));
        command
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_part_is_told_by_the_zeroth_argument() {
        for part in [Part::Init(7, 8), Part::Inside, Part::Probe, Part::Detached, Part::Command(9)] {
            assert_eq!(Part::of(OsStr::new(&part.argument())), Some(part));
        }
        assert_eq!(Part::of(OsStr::new("nsrouter")), None);
        assert_eq!(Part::of(OsStr::new("nsrouter-init:x")), None);
    }
}
