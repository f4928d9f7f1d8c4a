//! Network namespaces: created, opened, and entered by a thread of their own.
//!
//! A namespace belongs to a thread, not to a process, and a socket or a child process belongs to the
//! namespace of the thread that made it. So work inside a namespace is a closure on a thread that is started
//! for it, enters, runs the closure and ends: the caller's thread never changes its namespace.

pub mod names;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::statfs;

/// `lo` in every new network namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
pub const LOOPBACK_IFINDEX: u32 = 1;

/// A network namespace held open: it lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    file: File,
    inode: u64,
}

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// That of opening `/proc/thread-self/ns/net`.
    pub fn current() -> io::Result<Self> {
        Self::of_file(File::open("/proc/thread-self/ns/net")?)
    }

    /// The namespace that a file stands for, like `/run/netns/t1` or `/proc/1/ns/net`.
    ///
    /// # Errors
    /// That of opening it; `InvalidInput` where the file is not a namespace.
    pub fn open(path: &Path) -> io::Result<Self> {
        if statfs(path)?.filesystem_type() != names::NSFS_MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is not a namespace"));
        }
        Self::of_file(File::open(path)?)
    }

    /// The namespace of that name in [`names::NETNS_DIR`].
    ///
    /// # Errors
    /// As [`Netns::open`].
    pub fn named(name: &str) -> io::Result<Self> {
        Self::open(&names::path_of(name))
    }

    /// Creates a namespace without a name: it ends when this and all that runs in it have ended.
    ///
    /// # Errors
    /// That of unshare(2): EPERM without `CAP_SYS_ADMIN`, ENOSPC at `user.max_net_namespaces`.
    pub fn create() -> io::Result<Self> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        })?
    }

    fn of_file(file: File) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode })
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it.
    ///
    /// Files, sockets and child processes that it opens or starts belong to the namespace for good;
    /// `/proc/sys/net` and `/proc/thread-self/net` are those of the namespace while it runs, `/sys` is not.
    ///
    /// # Errors
    /// That of starting the thread or of entering; a panic of `work` is passed on.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?
    }

    /// Starts a child process inside the namespace. Its mounts are the caller's, so `/sys` shows the caller's
    /// interfaces.
    ///
    /// A parent-death signal set in the child would arrive at once: the thread that starts it ends here.
    ///
    /// # Errors
    /// That of entering or of [`Command::spawn`].
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())?
    }

    /// The inode number, by which `/proc/PID/ns/net` names it. The kernel reuses numbers once a namespace is
    /// gone.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Gives it a name in [`names::NETNS_DIR`], which exists and is shared: see [`names::prepare_dir`].
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken; that of mount(2).
    pub fn set_name(&self, name: &str) -> io::Result<()> {
        names::bind(name, &format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs `work` on a thread of its own, borrowing from the caller.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<io::Result<T>> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_own_namespace_has_the_inode_that_proc_names() {
        let own = Netns::current().unwrap();
        let link = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!(link.to_str().unwrap(), format!("net:[{}]", own.inode()));
        let opened = Netns::open(Path::new("/proc/thread-self/ns/net")).unwrap();
        assert_eq!(opened.inode(), own.inode());
    }

    #[test]
    fn a_file_that_is_not_a_namespace_is_refused() {
        let error = Netns::open(Path::new("/proc/self/stat")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(Netns::named("nsrouter-no-such").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn work_runs_inside_and_its_result_comes_out() {
        let created = match Netns::create() {
            // Without the right to create one there is none to enter either.
            Err(error) if error.raw_os_error() == Some(nix::libc::EPERM) => return,
            created => created.unwrap(),
        };
        let own = Netns::current().unwrap();
        let inside = created.run(|| Netns::current().unwrap().inode()).unwrap();
        assert_eq!(inside, created.inode());
        assert_ne!(inside, own.inode());
        assert_eq!(Netns::current().unwrap().inode(), own.inode(), "this thread stays where it was");
    }
}
