//! Network namespaces: made, named as iproute2 names them, and entered by a thread of one's own.
//!
//! A namespace belongs to a thread, not to a process, and a socket or a child process belongs to the
//! namespace of the thread that made it. So work inside a namespace is a closure on a thread that is
//! born for it, enters, runs and ends: no caller's thread ever changes its namespace.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, statfs};

/// Where iproute2 keeps the names of network namespaces.
pub const NETNS_DIR: &str = "/run/netns";

/// `NSFS_MAGIC` of include/uapi/linux/magic.h.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// A network namespace held open: it lives at least as long as this.
#[derive(Debug)]
pub struct NodeNs {
    file: File,
    inode: u64,
    path: Option<PathBuf>,
}

impl NodeNs {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// That of opening `/proc/thread-self/ns/net`.
    pub fn current() -> io::Result<Self> {
        Self::of_file(File::open("/proc/thread-self/ns/net")?, None)
    }

    /// The namespace that a file stands for, like `/run/netns/t1` or `/proc/1/ns/net`.
    ///
    /// # Errors
    /// That of opening it; `InvalidInput` where the file is not a namespace.
    pub fn open(path: &Path) -> io::Result<Self> {
        if statfs(path)?.filesystem_type() != NSFS_MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is not a namespace"));
        }
        Self::of_file(File::open(path)?, Some(path.to_owned()))
    }

    /// The namespace of that name.
    ///
    /// # Errors
    /// As [`NodeNs::open`].
    pub fn named(name: &str) -> io::Result<Self> {
        Self::open(&path_of(name))
    }

    /// Makes a namespace without a name: it goes when this and all that runs in it have gone.
    ///
    /// # Errors
    /// That of unshare(2): EPERM without `CAP_SYS_ADMIN`, ENOSPC at `user.max_net_namespaces`.
    pub fn create() -> io::Result<Self> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        })?
    }

    fn of_file(file: File, path: Option<PathBuf>) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode, path })
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it.
    ///
    /// Files, sockets and child processes that it opens or starts belong to the namespace for good;
    /// `/proc/sys/net` is that of the namespace while it runs, `/sys` is not.
    ///
    /// # Errors
    /// That of starting the thread or of entering; a panic of `work` is passed on.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?
    }

    /// Starts a child process inside the namespace (its mounts are the caller's: `/sys` shows the
    /// caller's links, as `nsrouter exec` would not).
    ///
    /// A parent-death signal set in the child would come at once: the thread that starts it ends here.
    ///
    /// # Errors
    /// That of entering or of [`Command::spawn`].
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())?
    }

    /// The inode number, by which `/proc/PID/ns/net` names it. Numbers recur once a namespace is gone.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The file that it was opened by, if it has a name.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Gives it a name in [`NETNS_DIR`], which exists and is shared (see [`prepare_dir`]).
    pub(crate) fn name(&mut self, name: &str) -> io::Result<()> {
        let path = path_of(name);
        OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path)?;
        let source = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        if let Err(errno) = mount(Some(source.as_str()), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        {
            fs::remove_file(&path)?;
            return Err(errno.into());
        }
        self.path = Some(path);
        Ok(())
    }
}

impl AsFd for NodeNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The file that names a namespace.
pub(crate) fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// What a file in [`NETNS_DIR`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// No such file.
    Nothing,
    /// A symbolic link, which leads there or nowhere: someone's own. iproute2 follows it, nsrouter made none.
    Link(PathBuf),
    /// A file on which no namespace is mounted: someone's half-made one.
    Empty,
    /// A namespace, by its inode number.
    Namespace(u64),
}

/// Looks at what `name` stands for.
pub(crate) fn look(name: &str) -> io::Result<Named> {
    let path = path_of(name);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Named::Nothing),
        Err(error) => return Err(error),
        Ok(meta) if meta.is_symlink() => return Ok(Named::Link(fs::read_link(&path)?)),
        Ok(_) => {}
    }
    match statfs(&path) {
        Err(Errno::ENOENT) => Ok(Named::Nothing),
        Err(errno) => Err(errno.into()),
        Ok(fs) if fs.filesystem_type() == NSFS_MAGIC => Ok(Named::Namespace(fs::metadata(&path)?.ino())),
        Ok(_) => Ok(Named::Empty),
    }
}

/// Takes the name away, as `ip netns del` does, but of a symbolic link the link alone: what it leads to is somebody's own.
/// The namespace goes when nothing else holds it.
pub(crate) fn remove(name: &str) -> io::Result<()> {
    let path = path_of(name);
    match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // EINVAL: nothing is mounted there.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    fs::remove_file(path)
}

/// Makes [`NETNS_DIR`] and its mounts shared, as `ip netns add` does, so that a name mounted here is
/// seen in mount namespaces copied from this one and can be removed from them all.
pub(crate) fn prepare_dir() -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(NETNS_DIR)?;
    let share =
        || mount(None::<&str>, NETNS_DIR, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        // Not a mount point yet: make it one.
        Err(Errno::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(NETNS_DIR), NETNS_DIR, None::<&str>, flags, None::<&str>)?;
            Ok(share()?)
        }
        result => Ok(result?),
    }
}

/// Runs `work` on a thread of its own, borrowing from the caller.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<io::Result<T>> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
