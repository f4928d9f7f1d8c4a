//! How another terminal finds a private lab: a small file outside it that names its processes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use nix::unistd::{AccessFlags, Uid, access};
use nsrouter_linux::whole_file;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::process::ProcessId;
use crate::state::{RECORD_MODE, STATE_DIR, lock};

/// A private lab, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The lab's name.
    pub name: String,
    /// The process that the user started and that signals go to.
    pub supervisor: ProcessId,
    /// PID 1 of the lab's PID namespace, whose namespaces are the lab's.
    pub init: ProcessId,
    /// The file that says so.
    #[serde(skip)]
    pub path: PathBuf,
}

impl Pointer {
    /// Whether the lab can still be entered.
    pub fn is_running(&self) -> bool {
        self.supervisor.is_alive() && self.init.is_alive()
    }
}

/// Lies in a private lab's own /run, and holds the number that its supervisor has outside. Inside, that number means nothing.
pub(crate) fn inside_mark() -> PathBuf {
    Path::new(STATE_DIR).join(".private")
}

/// Whether the caller is inside a private lab.
pub(crate) fn is_inside() -> bool {
    inside_mark().exists()
}

/// Inside a private lab, the number of its supervisor outside.
pub(crate) fn outside_pid() -> Option<u32> {
    fs::read_to_string(inside_mark()).ok()?.parse().ok()
}

/// Where a user's pointers may be: the runtime folder that the environment names, the usual one, or a
/// folder of the user's own in /tmp.
fn dirs() -> Vec<PathBuf> {
    let uid = Uid::current();
    let mut dirs = Vec::new();
    if uid.is_root() {
        dirs.push(PathBuf::from("/run/nsrouter-private"));
    }
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute())
    {
        dirs.push(dir.join("nsrouter"));
    }
    dirs.push(PathBuf::from(format!("/run/user/{uid}/nsrouter")));
    dirs.push(PathBuf::from(format!("/tmp/nsrouter-{uid}")));
    dirs.dedup();
    dirs
}

/// Whether a folder is the caller's and nobody else can write to it: /tmp is everybody's.
fn is_ours(dir: &Path) -> bool {
    fs::symlink_metadata(dir)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == Uid::current().as_raw() && meta.mode() & 0o022 == 0)
}

/// The folder for a new pointer, made if need be. To be asked for before the user namespace is entered,
/// where the user's number is another.
pub(crate) fn dir() -> Result<PathBuf, Error> {
    let mut last = None;
    for dir in dirs() {
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => last = Some((dir, error)),
            Ok(()) | Err(_) if !is_ours(&dir) => {
                last = Some((dir, io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's")));
            }
            // It may be on a file system that is mounted read-only.
            Ok(()) | Err(_) => match access(&dir, AccessFlags::W_OK) {
                Ok(()) => return Ok(dir),
                Err(errno) => last = Some((dir, errno.into())),
            },
        }
    }
    let (dir, error) = last.unwrap_or((PathBuf::from("/tmp"), io::ErrorKind::NotFound.into()));
    Err(Error::file("make a folder for the lab's record at", dir)(error))
}

/// A name that is being taken for a private lab; other nsrouters of the user's wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The user's private labs that have the name, running or dead.
    pub(crate) former: Vec<Pointer>,
    _lock: Option<Flock<File>>,
}

/// Takes a name, and says who has it.
pub(crate) fn claim(name: &str) -> Result<Claim, Error> {
    // Without a folder for pointers nobody finds the lab, and it cannot stand in another one's way.
    let lock = match dir() {
        Ok(dir) => Some(lock(&dir, fs::OpenOptions::new().read(true), "another nsrouter's start")?),
        Err(_) => None,
    };
    let former = list()?.into_iter().filter(|pointer| pointer.name == name).collect();
    Ok(Claim { former, _lock: lock })
}

/// Writes a pointer into `dir`.
pub(crate) fn write(dir: &Path, pointer: &mut Pointer) -> Result<(), Error> {
    // The process tells it from one that died.
    pointer.path = dir.join(format!("{}.{}.json", pointer.name, pointer.supervisor.pid));
    let text = serde_json::to_vec_pretty(pointer)
        .map_err(|error| Error::file("write", &pointer.path)(io::Error::other(error)))?;
    whole_file::write(&pointer.path, &text, RECORD_MODE).map_err(Error::file("write", &pointer.path))
}

/// The caller's private labs, running or dead. Inside a private lab there are none.
pub(crate) fn list() -> Result<Vec<Pointer>, Error> {
    let mut pointers: Vec<Pointer> = Vec::new();
    if is_inside() {
        return Ok(pointers);
    }
    for dir in dirs().into_iter().filter(|dir| is_ours(dir)) {
        for entry in fs::read_dir(&dir).map_err(Error::file("read", &dir))?.filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            // One that goes or is half-known is no lab that anyone could enter.
            let Some(mut pointer) =
                fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Pointer>(&text).ok())
            else {
                continue;
            };
            pointer.path = path;
            pointers.push(pointer);
        }
    }
    pointers.sort_by(|a, b| (&a.name, a.supervisor.pid).cmp(&(&b.name, b.supervisor.pid)));
    pointers.dedup_by(|a, b| a.path == b.path);
    Ok(pointers)
}
