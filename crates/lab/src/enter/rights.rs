//! What the caller may do here: tried, not guessed. Effective uid 0 may be that of a user namespace.

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

use super::Part;
use crate::{Error, wait};

/// What it takes to make and configure network namespaces.
const ADMIN_CAPABILITIES: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::SYS_ADMIN);

/// Whether the caller can build a lab where it is: make network namespaces, and name them.
///
/// The process has one thread again when this returns, if it had one before.
///
/// # Errors
/// Where `/proc` cannot be read.
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

/// Whether this mount namespace may be changed. The rights are looked at before the place, and nothing is
/// mounted on the place (can_umount() in fs/namespace.c): EPERM says no, EINVAL says yes.
fn can_mount() -> bool {
    umount2("/proc/self/ns", MntFlags::UMOUNT_NOFOLLOW) == Err(Errno::EINVAL)
}

/// Whether names and records can be written.
fn can_write() -> bool {
    let first_there = |path: &'static str| if fs::exists(path).unwrap_or(false) { path } else { "/run" };
    [NETNS_DIR, crate::state::STATE_DIR]
        .into_iter()
        .all(|dir| access(first_there(dir), AccessFlags::W_OK | AccessFlags::X_OK).is_ok())
}

/// A joined thread may still be on its way out, and unshare(CLONE_NEWUSER) would fail with EINVAL.
fn await_single_thread() -> Result<(), Error> {
    wait::until("the end of a helper thread", Duration::from_secs(2), || {
        let path = "/proc/self/task";
        let threads = fs::read_dir(path).map_err(Error::file("read", path))?.count();
        // Where the program has others of its own there is nothing to wait for.
        Ok((threads == 1).then_some(()))
    })
    .or_else(|error| if matches!(error, Error::Late { .. }) { Ok(()) } else { Err(error) })
}

/// Whether a private lab can be had without root: tried in a child process.
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

/// The child's part: the error number is the exit code.
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

/// Why user namespaces are refused: the settings that are known to forbid them, looked at one by one.
/// `uid`: the caller's, before it may have changed.
pub(super) fn forbidden(source: io::Error, uid: Uid) -> Error {
    let what = format!("this machine does not let this user have a private lab ({source})");
    let is = |key: &str, value: &str| sysctl::read(key).is_ok_and(|found| found == value);
    let setting = if is("user/max_user_namespaces", "0") {
        Some("user.max_user_namespaces is 0: set it to some thousands with sysctl")
    } else if is("kernel/unprivileged_userns_clone", "0") {
        Some("kernel.unprivileged_userns_clone is 0: set it to 1 with sysctl")
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        Some(
            "kernel.apparmor_restrict_unprivileged_userns is 1: set it to 0 with sysctl, or give nsrouter an AppArmor profile with `userns`",
        )
    } else if is("user/max_net_namespaces", "0") {
        Some("user.max_net_namespaces is 0: set it to some thousands with sysctl")
    } else if fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| fields::value(&status, "Seccomp") == Some("2"))
    {
        Some("a system-call filter (seccomp) is on, as in a container: start that with more rights")
    } else {
        None
    };
    let hint = match (setting, uid.is_root()) {
        (Some(setting), _) => format!("{setting}; or run nsrouter as root"),
        // Mapping root into a user namespace takes CAP_SETFCAP (verify_root_map() in
        // kernel/user_namespace.c).
        (None, true) => {
            "this is root without its capabilities: it needs CAP_SYS_ADMIN and CAP_NET_ADMIN, or \
                         CAP_SETFCAP for a user namespace"
                .to_owned()
        }
        (None, false) => "user namespaces are refused, and no setting known to nsrouter says why (a chroot \
                          does it too); run nsrouter as root"
            .to_owned(),
    };
    Error::Cannot { what, hint }
}
