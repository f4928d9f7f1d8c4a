//! What the caller may do here: tried rather than guessed, because UID 0 may be that of a user namespace.

use std::fs;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{AccessFlags, Uid, access};
use nsrouter_linux::netns::Netns;
use nsrouter_linux::netns::names::NETNS_DIR;
use nsrouter_linux::procfs::fields;
use nsrouter_linux::sysctl;
use rustix::thread::{CapabilitySet, capabilities};

use super::part::Part;
use crate::error::Error;
use crate::records::STATE_DIR;
use crate::wait;

/// The capabilities that creating and configuring network namespaces needs.
const ADMIN_CAPABILITIES: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::SYS_ADMIN);

/// Whether the caller can build a lab where it is: create network namespaces, and name them.
///
/// The process has one thread again when this returns, if it had one before.
///
/// # Errors
/// Where the capabilities of the process or its threads cannot be read.
pub fn can_build_here() -> Result<bool, Error> {
    if !has_admin_capabilities()? || !can_mount() || !can_write() {
        return Ok(false);
    }
    let made = Netns::create().is_ok();
    await_single_thread()?;
    Ok(made)
}

pub(super) fn has_admin_capabilities() -> Result<bool, Error> {
    let own = capabilities(None).map_err(Error::step("read the capabilities of this process"))?;
    Ok(own.effective.contains(ADMIN_CAPABILITIES))
}

/// Whether this mount namespace may be changed. The kernel checks the rights before the path, and nothing is
/// mounted on the path (can_umount() in fs/namespace.c): EPERM means no, EINVAL means yes.
fn can_mount() -> bool {
    umount2("/proc/self/ns", MntFlags::UMOUNT_NOFOLLOW) == Err(Errno::EINVAL)
}

/// Whether names and records can be written.
fn can_write() -> bool {
    let existing = |path: &'static str| if fs::exists(path).unwrap_or(false) { path } else { "/run" };
    [NETNS_DIR, STATE_DIR]
        .into_iter()
        .all(|dir| access(existing(dir), AccessFlags::W_OK | AccessFlags::X_OK).is_ok())
}

/// A thread that was joined may not have ended completely, and unshare(CLONE_NEWUSER) would fail with EINVAL.
fn await_single_thread() -> Result<(), Error> {
    wait::until("the end of a helper thread", Duration::from_secs(2), || {
        let path = "/proc/self/task";
        let threads = fs::read_dir(path).map_err(Error::file("read", path))?.count();
        // A program may have other threads of its own, which do not end.
        Ok((threads == 1).then_some(()))
    })
    .or_else(|error| if matches!(error, Error::Late { .. }) { Ok(()) } else { Err(error) })
}

/// Checks that a private lab is possible without root, by trying it in a child process.
///
/// # Errors
/// [`Error::Cannot`] with what is missing.
pub fn try_user_namespace() -> Result<(), Error> {
    let mut probe = Part::Probe.command();
    let status = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.map_err(Error::step("start /proc/self/exe"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(forbidden(io::Error::from_raw_os_error(code), Uid::effective())),
        None => Err(forbidden(io::Error::other("the attempt was killed"), Uid::effective())),
    }
}

/// The part of the child: its exit code is the error number.
pub(super) fn probe() -> u8 {
    let flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID;
    match unshare(flags) {
        Ok(()) => 0,
        Err(errno) => u8::try_from(errno as i32).unwrap_or(u8::MAX),
    }
}

/// Why user namespaces are refused: checks the settings that are known to forbid them, one by one. `uid`: the
/// caller's, before it may have changed.
pub(super) fn forbidden(source: io::Error, uid: Uid) -> Error {
    let what = format!("this machine does not permit this user a private lab ({source})");
    let is = |key: &str, value: &str| sysctl::read(key).is_ok_and(|found| found == value);
    let setting = if is("user/max_user_namespaces", "0") {
        Some("user.max_user_namespaces is 0: set it to some thousands with sysctl")
    } else if is("kernel/unprivileged_userns_clone", "0") {
        Some("kernel.unprivileged_userns_clone is 0: set it to 1 with sysctl")
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        Some(
            "kernel.apparmor_restrict_unprivileged_userns is 1: set it to 0 with sysctl, or give nsrouter an \
             AppArmor profile with `userns`",
        )
    } else if is("user/max_net_namespaces", "0") {
        Some("user.max_net_namespaces is 0: set it to some thousands with sysctl")
    } else if fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| fields::value(&status, "Seccomp") == Some("2"))
    {
        Some("a system-call filter (seccomp) is active, as in a container: start it with more rights")
    } else {
        None
    };
    let hint = match (setting, uid.is_root()) {
        (Some(setting), _) => format!("{setting}; or run nsrouter as root"),
        // Mapping root into a user namespace needs CAP_SETFCAP (verify_root_map() in
        // kernel/user_namespace.c).
        (None, true) => {
            "this is root without its capabilities: it needs CAP_SYS_ADMIN and CAP_NET_ADMIN, or \
                         CAP_SETFCAP for a user namespace"
                .to_owned()
        }
        (None, false) => {
            "user namespaces are refused, and no setting known to nsrouter explains it (a chroot \
                          refuses them too); run nsrouter as root"
                .to_owned()
        }
    };
    Error::Cannot { what, hint }
}
