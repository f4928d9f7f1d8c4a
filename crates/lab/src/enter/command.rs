//! A command beside the lab: tied to the process that keeps the lab before it becomes the user's program, so
//! that not even a `kill -9` of that process leaves it running.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::part::Part;

/// The exit code of a shell whose command exists but cannot be run.
pub(super) const NOT_RUNNABLE: u8 = 126;
/// The exit code of a shell whose command does not exist.
pub(super) const NOT_FOUND: u8 = 127;

/// A command that runs `program` and ends with the calling thread, whatever ends that. Where `program` cannot
/// be run it reports so itself, and its exit code is 126 or 127, as a shell's.
///
/// Start it from a thread that lives as long as the process.
pub fn tied_command(program: &OsStr) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(Part::Command(std::process::id()).argument()).arg(program);
    command
}

/// The part of the child, which returns only where it fails, with the exit code of a shell.
pub(super) fn become_command(parent: u32) -> u8 {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else { return NOT_FOUND };
    if let Err(errno) = set_pdeathsig(Signal::SIGKILL) {
        tracing::warn!("cannot tie {} to nsrouter: {errno}", program.display());
    }
    // The parent may have ended before that was set, and then no signal comes.
    if u32::try_from(getppid().as_raw()) != Ok(parent) {
        return u8::MAX;
    }
    let error = Command::new(&program).args(words).exec();
    eprintln!("nsrouter: {}", sentence(&program, &error));
    code(&error)
}

/// The program, and why it could not be run.
pub(super) fn sentence(program: &OsStr, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound && !Path::new(program).exists() {
        return format!("there is no program called `{}`", program.display());
    }
    format!("cannot run {}: {error}", program.display())
}

/// The exit code that a shell has for that error.
pub(super) fn code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE }
}
