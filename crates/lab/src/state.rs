//! What this lab made, on record before it is made, so that clean-up removes that and nothing else.
//!
//! A lab's record is `/run/nsrouter/LAB/state.json`. It names the process that keeps the lab (number,
//! start time and boot, so that the dead are told from the living), the namespaces by name and inode
//! number, and every setting of the machine's own that was changed, with what it was before.
//!
//! A private lab lives in a mount namespace of its own and so does its record; outside it leaves a
//! [`Pointer`] that tells how to get in.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nsrouter_linux::whole_file;
use serde::{Deserialize, Serialize};

use crate::process::ProcessId;
use crate::topology::{Link, Mac, Role, Topology, is_name};
use crate::{Error, pointer};

pub use crate::pointer::Pointer;

/// Where records are kept; inside a private lab the same path on a tmpfs of its own.
pub const STATE_DIR: &str = "/run/nsrouter";

/// The format of the record; one of another version is not touched.
pub const VERSION: u32 = 1;

/// The mode of a record: everybody may see which labs there are.
pub(crate) const RECORD_MODE: u32 = 0o644;

/// A lab's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// Unique to this start of the lab; marks its links and namespaces.
    pub id: String,
    /// The lab's name.
    pub name: String,
    /// What forwards, in words for `status`.
    pub mode: String,
    /// What carries a userspace router's frames, in words for `nsrouter ls`.
    #[serde(default)]
    pub backend: Option<String>,
    /// Whether it is in namespaces of nsrouter's own.
    pub private: bool,
    /// Whether the links between hosts and routers are TAP devices in the hosts.
    #[serde(default)]
    pub taps: bool,
    /// Whether it has been built in full.
    pub ready: bool,
    /// The process that keeps it.
    pub owner: ProcessId,
    /// Its shape.
    pub topology: Topology,
    /// Its nodes, in the order of the topology.
    pub nodes: Vec<NodeState>,
    /// Settings of the machine's own namespace that were changed, in the order to write them back.
    pub sysctls: Vec<SavedSysctl>,
    /// Default routes of the machine's own namespace that came from router advertisements.
    pub routes: Vec<SavedRoute>,
}

/// A node on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// As in the topology.
    pub name: String,
    /// As in the topology.
    pub role: Role,
    /// Its namespace's name in `/run/netns`; `None` for a router where nsrouter was started.
    pub namespace: Option<String>,
    /// Its namespace's inode number, once made.
    pub inode: Option<u64>,
    /// Its interfaces, once made.
    pub ports: Vec<PortInfo>,
}

/// An interface of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name.
    pub ifname: String,
    /// Its index inside the node's namespace; 0 for a router's end of a TAP link, which is no interface there.
    pub ifindex: u32,
    /// Its MAC address.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// The addresses that the topology gives to it, whoever owns them.
    pub addresses: Vec<IpNet>,
}

/// A sysctl's value from before it was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSysctl {
    /// The part after `/proc/sys/`.
    pub key: String,
    /// The former value.
    pub value: String,
}

/// A default route learned from a router advertisement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoute {
    /// The interface's name.
    pub ifname: String,
    /// The router's link-local address.
    pub gateway: std::net::Ipv6Addr,
    /// RTA_TABLE.
    pub table: u32,
    /// RTA_PRIORITY.
    pub metric: u32,
    /// RTA_PREF: 0 medium, 1 high, 3 low (RFC 4191).
    pub preference: u8,
    /// Seconds that it had left; `None` for ever.
    pub expires_seconds: Option<u32>,
    /// RTAX_HOPLIMIT, if the advertisement said one.
    pub hop_limit: Option<u32>,
    /// RTAX_MTU, if the advertisement said one.
    pub mtu: Option<u32>,
}

impl State {
    /// The mark on what this lab made: the alias of its links, and of `lo` in its namespaces.
    pub fn mark(&self) -> String {
        mark(&self.id)
    }

    /// Whether a link is a TAP device in the host at its one end.
    pub(crate) fn is_tap(&self, link: &Link) -> bool {
        let role = |name: &str| self.topology.node(name).map(|node| node.role);
        self.taps && role(&link.a.node) != role(&link.b.node)
    }

    /// The node of that name.
    ///
    /// # Errors
    /// [`Error::NoNode`], which lists the nodes that there are.
    pub fn node(&self, name: &str) -> Result<&NodeState, Error> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| Error::NoNode {
            lab: self.name.clone(),
            node: name.to_owned(),
            nodes: self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Whether the process that keeps the lab is alive.
    pub fn is_running(&self) -> bool {
        self.owner.is_alive()
    }

    /// The lab's folder, for its record and its control socket.
    pub fn dir(&self) -> PathBuf {
        dir_of(&self.name)
    }

    /// Writes the record: a reader sees the old one or the new one.
    pub(crate) fn write(&self) -> Result<(), Error> {
        self.write_to(&self.dir())
    }

    fn write_to(&self, dir: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::file("write", dir)(io::Error::other(error)))?;
        let path = dir.join("state.json");
        whole_file::write(&path, &text, RECORD_MODE).map_err(Error::file("write", path))
    }

    /// Names become paths: why one of them is none that nsrouter would have written into the folder `name`.
    fn check(&self, name: &str) -> Option<String> {
        if self.name != name {
            return Some(format!("it calls its lab {:?}", self.name));
        }
        let mut namespaces = self.nodes.iter().filter_map(|node| node.namespace.as_ref());
        if let Some(namespace) = namespaces.find(|namespace| !is_name(namespace, 255)) {
            return Some(format!("{namespace:?} is no name for a network namespace"));
        }
        let is_key = |key: &str| {
            key.starts_with("net/") && key.split('/').all(|part| !["", ".", ".."].contains(&part))
        };
        let mut keys = self.sysctls.iter().map(|saved| &saved.key);
        keys.find(|key| !is_key(key)).map(|key| format!("{key:?} is no setting below /proc/sys/net"))
    }

    pub(crate) fn read_from(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("state.json");
        let text = fs::read(&path).map_err(Error::file("read", &path))?;
        let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let invalid = |why: String| Error::Record { name: name.to_owned(), path: path.clone(), why };
        let state: Self = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
        if state.version != VERSION {
            return Err(invalid(format!(
                "it was written by another nsrouter (record version {})",
                state.version
            )));
        }
        match state.check(name) {
            None => Ok(state),
            Some(why) => Err(invalid(why)),
        }
    }

    /// The record of the lab of that name, if there is one.
    ///
    /// # Errors
    /// Where there is one that cannot be read.
    pub fn read(name: &str) -> Result<Option<Self>, Error> {
        match Self::read_from(&dir_of(name)) {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }
}

/// The process that keeps the lab of that folder, as far as a record that makes no sense otherwise tells it.
pub(crate) fn owner_of_any(dir: &Path) -> Option<ProcessId> {
    let text = fs::read(dir.join("state.json")).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&text).ok()?;
    serde_json::from_value(record.get("owner")?.clone()).ok()
}

/// The mark of the lab with that id.
pub(crate) fn mark(id: &str) -> String {
    format!("nsrouter:{id}")
}

/// A lab's folder.
pub(crate) fn dir_of(name: &str) -> PathBuf {
    Path::new(STATE_DIR).join(name)
}

/// Whether a lab may have that name.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if is_name(name, 32) { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

/// Keeps two nsrouters from claiming or cleaning at the same time; goes with the process that holds it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits for it, at most ten seconds.
    pub(crate) fn take() -> Result<Self, Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(STATE_DIR)
            .map_err(Error::file("make", STATE_DIR))?;
        let path = Path::new(STATE_DIR).join(".lock");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        Ok(Self { _file: lock(&path, &options, "another nsrouter's start or clean-up")? })
    }
}

/// Takes the lock on a file or folder, opened with `options`; waits for `whom`, at most ten seconds.
pub(crate) fn lock(path: &Path, options: &fs::OpenOptions, whom: &str) -> Result<Flock<File>, Error> {
    crate::wait::until(whom, std::time::Duration::from_secs(10), || {
        let file = options.open(path).map_err(Error::file("open", path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(file)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Error::file("lock", path)(errno)),
        }
    })
}

/// A lab that is on record, running or dead.
#[derive(Clone, Debug)]
pub struct Found {
    /// The lab's name.
    pub name: String,
    /// Whether the process that keeps it is alive.
    pub running: bool,
    /// Where its record is.
    pub place: Place,
}

/// Where a lab's record is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In this mount namespace.
    Here(Box<State>),
    /// In a mount namespace of its own.
    Private(Pointer),
}

/// All labs on record: those of this mount namespace, then the caller's private ones. A record that cannot be read is passed
/// over with a warning: it must not stand between the user and the other labs.
///
/// # Errors
/// Where the folders cannot be read.
pub fn list() -> Result<Vec<Found>, Error> {
    let (found, unread) = list_all()?;
    unread.iter().for_each(|(_, error)| tracing::warn!("{error}"));
    Ok(found)
}

/// A lab's name, and why its record cannot be read.
pub(crate) type Unread = (String, Error);

/// All labs on record as [`list`] has them, and the names of those whose record cannot be read, with what is wrong.
pub(crate) fn list_all() -> Result<(Vec<Found>, Vec<Unread>), Error> {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for name in names()? {
        match State::read(&name) {
            Ok(Some(state)) => {
                found.push(Found { name, running: state.is_running(), place: Place::Here(Box::new(state)) });
            }
            Ok(None) => {}
            Err(error) => unread.push((name, error)),
        }
    }
    for pointer in pointer::list()? {
        found.push(Found {
            name: pointer.name.clone(),
            running: pointer.is_running(),
            place: Place::Private(pointer),
        });
    }
    Ok((found, unread))
}

/// The names of the folders in [`STATE_DIR`], sorted.
pub(crate) fn names() -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(STATE_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("read", STATE_DIR))?,
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| check_name(name).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
