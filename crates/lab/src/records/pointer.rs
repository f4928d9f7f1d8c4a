//! Pointers: small files outside private labs that identify their processes, by which other terminals find
//! them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use nix::unistd::{AccessFlags, Uid, access};
use nsrouter_linux::whole_file;
use serde::{Deserialize, Serialize};

use super::lock::lock;
use super::paths::{RECORD_MODE, STATE_DIR};
use crate::error::Error;
use crate::process::ProcessId;

/// A private lab, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The lab's name.
    pub name: String,
    /// The process that the user started, which receives the signals.
    pub supervisor: ProcessId,
    /// PID 1 of the lab's PID namespace, whose namespaces are the lab's.
    pub init: ProcessId,
    /// The file of this pointer.
    #[serde(skip)]
    pub path: PathBuf,
}

impl Pointer {
    /// Writes it to a file in `dir`, whose name distinguishes it from that of a dead lab of the same name.
    pub(crate) fn write(&mut self, dir: &Path) -> Result<(), Error> {
        self.path = dir.join(format!("{}.{}.json", self.name, self.supervisor.pid));
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::file("write", &self.path)(io::Error::other(error)))?;
        whole_file::write(&self.path, &text, RECORD_MODE).map_err(Error::file("write", &self.path))
    }

    /// Whether the lab still runs, and so can be entered.
    pub fn is_running(&self) -> bool {
        self.supervisor.is_alive() && self.init.is_alive()
    }
}

/// A file in the /run of a private lab that contains the PID of its supervisor outside, which means nothing
/// inside.
pub(crate) fn inside_mark() -> PathBuf {
    Path::new(STATE_DIR).join(".private")
}

/// Whether the caller is inside a private lab.
pub(crate) fn is_inside() -> bool {
    inside_mark().exists()
}

/// Inside a private lab, the PID of its supervisor outside.
pub fn outside_pid() -> Option<u32> {
    fs::read_to_string(inside_mark()).ok()?.parse().ok()
}

/// Where the pointers of a user may be: the runtime folder that the environment names, the usual one, or a
/// folder of the user in /tmp.
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

/// Whether a folder belongs to the caller and nobody else can write to it: anybody can create folders in
/// /tmp.
fn is_own(dir: &Path) -> bool {
    fs::symlink_metadata(dir)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == Uid::current().as_raw() && meta.mode() & 0o022 == 0)
}

/// The folder for a new pointer, which is created if it is missing. Call it before entering a user namespace,
/// where the user has another UID.
pub(crate) fn pointer_dir() -> Result<PathBuf, Error> {
    let mut last = None;
    for dir in dirs() {
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => last = Some((dir, error)),
            Ok(()) | Err(_) if !is_own(&dir) => {
                last = Some((
                    dir,
                    io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"),
                ));
            }
            // The file system may be mounted read-only.
            Ok(()) | Err(_) => match access(&dir, AccessFlags::W_OK) {
                Ok(()) => return Ok(dir),
                Err(errno) => last = Some((dir, errno.into())),
            },
        }
    }
    let (dir, error) = last.unwrap_or((PathBuf::from("/tmp"), io::ErrorKind::NotFound.into()));
    Err(Error::file("make a folder for the record of the lab at", dir)(error))
}

/// A claim on a name for a private lab; other nsrouters of the same user wait until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The private labs of the user that have the name already, running or dead.
    pub(crate) former: Vec<Pointer>,
    _lock: Option<Flock<File>>,
}

/// Claims a name, and reports which labs have it.
pub(crate) fn claim(name: &str) -> Result<Claim, Error> {
    // Without a folder for pointers nobody finds the lab, and it cannot conflict with another.
    let lock = match pointer_dir() {
        Ok(dir) => Some(lock(&dir, fs::OpenOptions::new().read(true), "another nsrouter's start")?),
        Err(_) => None,
    };
    let former = pointers()?.into_iter().filter(|pointer| pointer.name == name).collect();
    Ok(Claim { former, _lock: lock })
}

/// The private labs of the caller, running or dead; none inside a private lab.
pub(super) fn pointers() -> Result<Vec<Pointer>, Error> {
    let mut pointers: Vec<Pointer> = Vec::new();
    if is_inside() {
        return Ok(pointers);
    }
    for dir in dirs().into_iter().filter(|dir| is_own(dir)) {
        for entry in fs::read_dir(&dir).map_err(Error::file("read", &dir))?.filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            // A pointer that vanishes or is not valid leads to no lab that could be entered.
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
