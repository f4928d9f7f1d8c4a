//! Resource limits of a child process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::resource::{Resource, rlim_t, setrlimit};

/// Sets the limit of open files that a child starts with.
pub(crate) fn set_in_child(command: &mut Command, soft: rlim_t, hard: rlim_t) {
    let set = move || setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(io::Error::from);
    // SAFETY: between fork and exec the closure makes one system call, with numbers of its own, and allocates
    // nothing.
    unsafe { command.pre_exec(set) };
}
