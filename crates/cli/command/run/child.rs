//! The command that runs beside a lab, and exit codes.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use anyhow::Context;
use nix::sys::signal::Signal;
use nsrouter_lab::{Lab, enter};
use nsrouter_rings::limits::Descriptors;
use tokio::process::{Child, Command};

use crate::options::which::LAB_VARIABLE;

/// Starts the command, where there is one, with this program first in PATH, so that `nsrouter exec` in it is
/// this one, and with the limits that this process was started with.
pub(super) fn start(
    words: &[OsString],
    lab: &Lab,
    descriptors: Descriptors,
) -> anyhow::Result<Option<Child>> {
    let Some((program, rest)) = words.split_first() else { return Ok(None) };
    let path = path_with_us_first(lab).context("cannot add this program to PATH")?;
    // Not on a thread of its own: the command ends with the thread that starts it.
    let mut command = Command::from(enter::tied_command(program));
    command.args(rest).env("PATH", path).env(LAB_VARIABLE, &lab.state().name).kill_on_drop(true);
    descriptors.give_to(command.as_std_mut());
    command.spawn().map(Some).with_context(|| format!("cannot run {}", Path::new(program).display()))
}

/// PATH with a folder first in which there is this program, called `nsrouter`, and nothing else: beside the
/// program itself there may be what anybody put there.
fn path_with_us_first(lab: &Lab) -> anyhow::Result<OsString> {
    let folder = lab.dir().join("bin");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let link = folder.join("nsrouter");
    std::os::unix::fs::symlink(std::env::current_exe()?, &link)
        .with_context(|| format!("cannot create {}", link.display()))?;
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::iter::once(folder).chain(std::env::split_paths(&rest)).collect();
    Ok(std::env::join_paths(folders)?)
}

/// The exit code of a program, or of a shell where a signal ended it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The exit code of a shell whose command a signal ended.
pub(super) fn killed_by(signal: Signal) -> ExitCode {
    // Linux numbers its signals from 1 to 64.
    ExitCode::from(128 + u8::try_from(signal as i32).unwrap_or(0))
}
