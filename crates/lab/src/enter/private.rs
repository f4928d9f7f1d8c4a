//! The three processes of a private lab, and how a fourth one enters it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Uid, close, pipe2};

use super::part::Part;
use super::relay::{Event, Signals, pid_of, reap};
use super::{mounts, rights};
use crate::clean::removal;
use crate::error::Error;
use crate::netlink::Netlink;
use crate::process::{ProcessHandle, ProcessId};
use crate::records::{self, Pointer};

/// The exit code that stands for SIGKILL.
const KILLED: u8 = 128 + 9;

/// How long a PID 1 may take to end once all other processes in its namespace have ended.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// The part of the supervisor: returns the exit code when the lab has ended.
pub(super) fn supervise(name: &str, replace: bool) -> Result<u8, Error> {
    let signals = Signals::take()?;
    // No other lab takes the name until the new one can be found.
    let claim = records::claim(name)?;
    for former in claim.former.iter().filter(|former| former.is_running()) {
        if !replace {
            return Err(Error::Running { name: name.to_owned(), pid: former.supervisor.pid });
        }
        let removed = removal::end_private(former, true);
        if let Some(problem) = removed.problems.first() {
            return Err(Error::Replace { name: name.to_owned(), problem: problem.clone() });
        }
    }
    // While the UID is still the real one. Without a pointer the lab works, but other terminals do not find
    // it.
    let pointer_dir = records::pointer_dir().inspect_err(|error| tracing::warn!("{error}")).ok();
    let supervisor = ProcessId::current().map_err(Error::step("identify this process"))?;
    unshare_pids()?;
    // Signals go through the pipe, so that none is lost while the processes inside are starting. Init reads
    // its end-of-file when the supervisor has ended, whatever ended it.
    let (listen, speak) = pipe2(OFlag::O_CLOEXEC).map_err(Error::step("make a pipe"))?;
    let mut init = start_init(&signals, listen)?;
    let pid = pid_of(&init);
    let mut pointer = Pointer {
        name: name.to_owned(),
        supervisor,
        init: ProcessId::of(pid.as_raw()).map_err(Error::step("examine PID 1 of the lab"))?,
        path: std::path::PathBuf::new(),
    };
    if let Some(dir) = pointer_dir
        && let Err(error) = pointer.write(&dir)
    {
        tracing::warn!("{error}");
    }
    drop(claim);
    let code = relay_to_init(&signals, speak, pid);
    if code.is_err() {
        // Nothing may outlive the process that the user started.
        let _ = init.kill();
    }
    if !pointer.path.as_os_str().is_empty() {
        let _ = fs::remove_file(&pointer.path);
    }
    code
}

/// Creates a PID namespace for the children, and a user namespace where it needs one.
fn unshare_pids() -> Result<(), Error> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if rights::has_admin_capabilities()? {
        match unshare(CloneFlags::CLONE_NEWPID) {
            Ok(()) => return Ok(()),
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(rights::forbidden(errno.into(), uid)),
        }
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
        .map_err(|errno| rights::forbidden(errno.into(), uid))?;
    // user_namespaces(7): an unprivileged user may map only its own IDs, and only without setgroups(2).
    let write =
        |path: &str, text: String| fs::write(path, text).map_err(|error| rights::forbidden(error, uid));
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn start_init(signals: &Signals, listen: OwnedFd) -> Result<std::process::Child, Error> {
    fcntl(&listen, FcntlArg::F_SETFD(FdFlag::empty())).map_err(Error::step("pass a pipe on"))?;
    // `listen` is closed here when the child has its copy.
    signals.spawn(&mut Part::Init(listen.as_raw_fd(), std::process::id()).command())
}

fn relay_to_init(signals: &Signals, speak: OwnedFd, init: nix::unistd::Pid) -> Result<u8, Error> {
    let mut speak = File::from(speak);
    loop {
        if let Some(code) = reap(init)? {
            return Ok(code);
        }
        match signals.next(None::<&OwnedFd>)? {
            Event::Signal(signal) => {
                let number = u8::try_from(signal as i32).unwrap_or(0);
                // EPIPE: init has ended, and SIGCHLD follows.
                let _ = speak.write_all(&[number]);
            }
            Event::Child | Event::Terminal(_) | Event::Other => {}
        }
    }
}

/// The part of init: returns the exit code of the nsrouter inside; all other processes end with init.
pub(super) fn init(fd: i32, supervisor: u32) -> Result<u8, Error> {
    let signals = Signals::take()?;
    set_pdeathsig(Signal::SIGKILL).map_err(Error::step("tie this process to its supervisor"))?;
    // Opened again, because the new descriptor is closed on exec.
    let mut listen =
        File::open(format!("/proc/self/fd/{fd}")).map_err(Error::step("open the supervisor's pipe"))?;
    close(fd).map_err(Error::step("close the supervisor's pipe"))?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .map_err(|errno| rights::forbidden(errno.into(), Uid::effective()))?;
    mounts::make_private(supervisor)?;
    {
        let netlink = Netlink::open()?;
        netlink.mark_and_up(netlink.the_link("lo")?.index, "nsrouter:private")?;
    }
    let inside = pid_of(&signals.spawn(&mut Part::Inside.command())?);
    loop {
        if let Some(code) = reap(inside)? {
            return Ok(code);
        }
        match signals.next(Some(&listen))? {
            // Signals come through the pipe; one that is sent to PID 1 itself is ignored.
            Event::Child | Event::Signal(_) | Event::Terminal(_) => {}
            Event::Other => {
                let mut number = [0];
                match listen.read(&mut number) {
                    // The supervisor has ended, and the lab ends with it.
                    Ok(0) => return Ok(u8::MAX),
                    Ok(_) => {
                        if let Ok(signal) = Signal::try_from(i32::from(number[0])) {
                            // ESRCH: it has just ended.
                            let _ = kill(inside, signal);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Error::step("read the supervisor's pipe")(error)),
                }
            }
        }
    }
}

/// Starts this program again inside a running private lab, and relays for it.
pub(super) fn join(pointer: &Pointer) -> Result<u8, Error> {
    let signals = Signals::take()?;
    let here = std::env::current_dir().ok();
    let step = || Error::step(format!("enter the private lab {}", pointer.name));
    let of = |which: &str| format!("/proc/{}/ns/{which}", pointer.init.pid);
    // All are opened before the first is entered: inside, the PID would mean another process.
    let user = File::open(of("user")).map_err(step())?;
    let spaces: Vec<File> = ["mnt", "pid", "net"]
        .into_iter()
        .map(|which| File::open(of(which)))
        .collect::<io::Result<_>>()
        .map_err(step())?;
    let init = ProcessHandle::open(pointer.init.pid).map_err(step())?;
    let (true, Some(init)) = (pointer.is_running(), init) else {
        return Err(Error::NoLab(pointer.name.clone()));
    };
    match setns(&user, CloneFlags::CLONE_NEWUSER) {
        // EINVAL: the caller is in that user namespace already.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(step()(errno.into())),
    }
    for space in &spaces {
        setns(space, CloneFlags::empty()).map_err(io::Error::from).map_err(step())?;
    }
    // Without a part: no supervisor, no init, and the record of the lab is visible.
    let mut command = std::process::Command::new("/proc/self/exe");
    std::os::unix::process::CommandExt::arg0(&mut command, "nsrouter");
    command.args(std::env::args_os().skip(1));
    if let Some(dir) = here.filter(|dir| Path::exists(dir)) {
        command.current_dir(dir);
    }
    let child = pid_of(&signals.spawn(&mut command)?);
    loop {
        if let Some(code) = reap(child)? {
            // The kernel kills the processes inside just before PID 1 ends.
            if code == KILLED && init.ends_within(LAST_MOMENT).unwrap_or(false) {
                eprintln!("nsrouter: lab {} has ended, and everything that ran in it", pointer.name);
            }
            return Ok(code);
        }
        match signals.next(None::<&OwnedFd>)? {
            Event::Signal(signal) => {
                let _ = kill(child, signal);
            }
            Event::Child | Event::Terminal(_) | Event::Other => {}
        }
    }
}
