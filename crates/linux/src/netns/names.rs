//! Names of network namespaces as iproute2 keeps them: files in `/run/netns`, each with a namespace mounted
//! on it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{FsType, statfs};

/// Where iproute2 keeps the names of network namespaces.
pub const NETNS_DIR: &str = "/run/netns";

/// `NSFS_MAGIC` of include/uapi/linux/magic.h: the file system of namespaces.
pub(super) const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// The file of a name.
pub fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameTarget {
    /// There is no such file.
    Nothing,
    /// A symbolic link, with its target, which need not exist. iproute2 follows links and creates none.
    Link(PathBuf),
    /// A file on which no namespace is mounted: a name that was not completed, or lost its namespace.
    Empty,
    /// A namespace, by its inode number.
    Namespace(u64),
}

/// Looks up what `name` stands for, without opening the namespace.
///
/// # Errors
/// Where the file cannot be examined.
pub fn look_up(name: &str) -> io::Result<NameTarget> {
    let path = path_of(name);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(NameTarget::Nothing),
        Err(error) => return Err(error),
        Ok(meta) if meta.is_symlink() => return Ok(NameTarget::Link(fs::read_link(&path)?)),
        Ok(_) => {}
    }
    match statfs(&path) {
        Err(Errno::ENOENT) => Ok(NameTarget::Nothing),
        Err(errno) => Err(errno.into()),
        Ok(fs) if fs.filesystem_type() == NSFS_MAGIC => Ok(NameTarget::Namespace(fs::metadata(&path)?.ino())),
        Ok(_) => Ok(NameTarget::Empty),
    }
}

/// Mounts the namespace that the file `source` stands for on a new file of that name.
pub(super) fn bind(name: &str, source: &str) -> io::Result<()> {
    let path = path_of(name);
    OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path)?;
    if let Err(errno) = mount(Some(source), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>) {
        fs::remove_file(&path)?;
        return Err(errno.into());
    }
    Ok(())
}

/// Removes a name, as `ip netns del` does; of a symbolic link the link alone, never its target. The namespace
/// ends when nothing else holds it.
///
/// # Errors
/// That of umount2(2) or unlink(2).
pub fn remove(name: &str) -> io::Result<()> {
    let path = path_of(name);
    match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // EINVAL: nothing is mounted there.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    fs::remove_file(path)
}

/// Creates [`NETNS_DIR`] and shares its mounts, as `ip netns add` does, so that a name mounted here is seen
/// in mount namespaces copied from this one and can be removed from them all.
///
/// # Errors
/// That of mkdir(2) or mount(2).
pub fn prepare_dir() -> io::Result<()> {
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
