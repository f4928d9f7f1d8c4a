//! The mounts of a private lab: nothing that is mounted in it is visible outside.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::Error;
use crate::records::{STATE_DIR, inside_mark};

/// Folders in /run that belong to the machine and start empty in a private lab.
const HIDDEN: [&str; 2] = ["netns", "nsrouter"];

fn mount_fs(kind: &str, place: &str, flags: MsFlags, data: Option<&str>) -> nix::Result<()> {
    mount(Some(kind), place, Some(kind), flags, data)
}

fn bind(source: &Path, place: &Path) -> nix::Result<()> {
    mount(Some(source), place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
}

/// Opens a folder, so that it can be reached once something is mounted over it.
fn hold(path: &str) -> io::Result<File> {
    fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path)
}

fn held_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// In a new mount namespace, in a new PID namespace: /proc, /sys and /run of the lab's own.
/// `supervisor`: the PID outside of the process that keeps the lab.
pub(super) fn make_private(supervisor: u32) -> Result<(), Error> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(Error::step("make the mounts private"))?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Inside a container parts of /proc are often covered, and then the kernel refuses a whole one
    // (mount_too_revealing() in fs/namespace.c).
    mount_fs("proc", "/proc", plain, None).map_err(|errno| Error::Cannot {
        what: format!("a private lab needs a /proc of its own, and mounting one is refused ({errno})"),
        hint: "in a container, start it with an uncovered /proc (docker: --security-opt \
               systempaths=unconfined), or run nsrouter as root and without --private"
            .to_owned(),
    })?;
    // Without it /sys/class/net shows the links outside, which is no reason to fail.
    if let Err(error) = mount_sys(false) {
        tracing::debug!("no /sys of the lab's own: {error}");
    }
    private_run().map_err(Error::step("give the lab a /run of its own"))?;
    let mark = inside_mark();
    DirBuilder::new().mode(0o755).create(STATE_DIR).map_err(Error::file("make", STATE_DIR))?;
    fs::write(&mark, supervisor.to_string()).map_err(Error::file("write", &mark))
}

/// Mounts a /sys that shows the links of the caller's network namespace. `replace` removes the old one, as
/// `ip netns exec` does; what is mounted below it stays reachable.
pub(super) fn mount_sys(replace: bool) -> io::Result<()> {
    let below = ["fs/cgroup", "fs/bpf"];
    let old = hold("/sys")?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if replace {
        // A read-only /sys stays read-only, as in iproute2's netns_switch().
        let _ = umount2("/sys", MntFlags::MNT_DETACH);
    }
    mount_fs("sysfs", "/sys", plain, None)?;
    for name in below {
        let source = held_path(&old).join(name);
        // Best effort: only programs that use control groups need it.
        if source.exists() {
            let _ = bind(&source, &Path::new("/sys").join(name));
        }
    }
    Ok(())
}

/// Mounts a tmpfs on /run with everything that was there, except the names and records of namespaces.
fn private_run() -> io::Result<()> {
    let old = hold("/run")?;
    let entries: Vec<fs::DirEntry> = fs::read_dir(held_path(&old))?.filter_map(Result::ok).collect();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_fs("tmpfs", "/run", flags, Some("mode=0755"))?;
    for entry in entries {
        let name = entry.file_name();
        if HIDDEN.iter().any(|hidden| name == *hidden) {
            continue;
        }
        // One that vanished or may not be bound is one that nobody could use; the others are still carried
        // over.
        if let Err(error) = carry_over(&held_path(&old).join(&name), &Path::new("/run").join(&name)) {
            tracing::debug!("/run/{}: {error}", name.display());
        }
    }
    Ok(())
}

fn carry_over(source: &Path, place: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(source)?;
    if meta.is_symlink() {
        return symlink(fs::read_link(source)?, place);
    }
    if meta.is_dir() {
        DirBuilder::new().mode(meta.mode() & 0o7777).create(place)?;
    } else {
        File::create(place)?;
    }
    Ok(bind(source, place)?)
}
