//! The record of one lab: its contents, and reading and writing them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use nsrouter_linux::whole_file;
use nsrouter_wire::eth::MacAddr;
use serde::{Deserialize, Serialize};

use super::paths::{RECORD_MODE, dir_of, record_in};
use crate::error::Error;
use crate::process::ProcessId;
use crate::topology::{Endpoint, Link, Role, Topology, is_name, mac_text};

/// The format of records; a record of another version is left alone.
pub const VERSION: u32 = 1;

/// The record of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// Unique to this start of the lab: part of the mark on its links and namespaces.
    pub id: String,
    /// The lab's name.
    pub name: String,
    /// The forwarding mode, for people: `kernel` or `userspace`.
    pub mode: String,
    /// The backend of a userspace router, for people.
    #[serde(default)]
    pub backend: Option<String>,
    /// Whether it is a private lab: in user, mount and PID namespaces of its own.
    pub private: bool,
    /// Whether the links between hosts and routers are TAP devices in the hosts.
    #[serde(default)]
    pub taps: bool,
    /// Whether it has been built completely.
    pub ready: bool,
    /// The process that keeps it.
    pub owner: ProcessId,
    /// Its topology.
    pub topology: Topology,
    /// Its nodes, in the order of the topology.
    pub nodes: Vec<NodeState>,
    /// Sysctls of the machine's own namespace that were changed, in the order in which to restore them.
    pub sysctls: Vec<SavedSysctl>,
    /// Default routes of the machine's own namespace that router advertisements added.
    pub routes: Vec<SavedRoute>,
}

/// The record of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// As in the topology.
    pub name: String,
    /// As in the topology.
    pub role: Role,
    /// The name of its namespace in `/run/netns`; `None` for a router in the namespace where nsrouter was
    /// started.
    pub namespace: Option<String>,
    /// The inode number of its namespace, once created.
    pub inode: Option<u64>,
    /// Its interfaces, once configured.
    pub ports: Vec<PortInfo>,
}

/// An interface of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name.
    pub ifname: String,
    /// Its index in the node's namespace; 0 for a router's end of a TAP link, which is not an interface
    /// there.
    pub ifindex: u32,
    /// Its MAC address.
    #[serde(with = "mac_text")]
    pub mac: MacAddr,
    /// MTU, bytes.
    pub mtu: u32,
    /// Its addresses in the topology, whether the kernel or a userspace router owns them.
    pub addresses: Vec<IpNet>,
}

/// The former value of a sysctl that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSysctl {
    /// Its path below `/proc/sys/`.
    pub key: String,
    /// The former value.
    pub value: String,
}

/// A default route that a router advertisement added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoute {
    /// The name of the interface.
    pub ifname: String,
    /// The router's link-local address.
    pub gateway: std::net::Ipv6Addr,
    /// RTA_TABLE.
    pub table: u32,
    /// RTA_PRIORITY.
    pub metric: u32,
    /// RTA_PREF: 0 medium, 1 high, 3 low (RFC 4191).
    pub preference: u8,
    /// Seconds until it was to expire; `None` for never.
    pub expires_seconds: Option<u32>,
    /// RTAX_HOPLIMIT, if the advertisement had one.
    pub hop_limit: Option<u32>,
    /// RTAX_MTU, if the advertisement had one.
    pub mtu: Option<u32>,
}

impl State {
    /// The mark on everything that this lab created: the alias of its links, and of `lo` in its namespaces.
    pub fn mark(&self) -> String {
        format!("nsrouter:{}", self.id)
    }

    /// Whether a link is a TAP device in the host at one of its ends.
    pub(crate) fn is_tap(&self, link: &Link) -> bool {
        let role = |name: &str| self.topology.node(name).map(|node| node.role);
        self.taps && role(&link.a.node) != role(&link.b.node)
    }

    /// The link ends that are interfaces in the namespace where nsrouter was started.
    pub(crate) fn host_ends(&self) -> impl Iterator<Item = &Endpoint> {
        self.nodes
            .iter()
            .filter(|node| node.namespace.is_none())
            .flat_map(|node| self.topology.endpoints(&node.name))
            .filter(|(_, link)| !self.is_tap(link))
            .map(|(end, _)| end)
    }

    /// The node of that name.
    ///
    /// # Errors
    /// [`Error::NoNode`], which lists the nodes of the lab.
    pub fn node(&self, name: &str) -> Result<&NodeState, Error> {
        self.index_of(name).map(|index| &self.nodes[index])
    }

    /// The place of the node of that name.
    ///
    /// # Errors
    /// [`Error::NoNode`], which lists the nodes of the lab.
    pub(crate) fn index_of(&self, name: &str) -> Result<usize, Error> {
        self.nodes.iter().position(|node| node.name == name).ok_or_else(|| Error::NoNode {
            lab: self.name.clone(),
            node: name.to_owned(),
            nodes: self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Whether the process that keeps the lab is alive.
    pub fn is_running(&self) -> bool {
        self.owner.is_alive()
    }

    /// The folder of the lab, with its record and its control socket.
    pub fn dir(&self) -> PathBuf {
        dir_of(&self.name)
    }

    /// Writes the record; a reader sees the old one or the new one.
    pub(crate) fn write(&self) -> Result<(), Error> {
        self.write_to(&self.dir())
    }

    pub(super) fn write_to(&self, dir: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::file("write", dir)(io::Error::other(error)))?;
        let path = record_in(dir);
        whole_file::write(&path, &text, RECORD_MODE).map_err(Error::file("write", path))
    }

    /// Names become paths: why one of them is not one that nsrouter would have written to the record of the
    /// lab `name`.
    fn check(&self, name: &str) -> Option<String> {
        if self.name != name {
            return Some(format!("it is the record of a lab called {:?}", self.name));
        }
        let mut namespaces = self.nodes.iter().filter_map(|node| node.namespace.as_ref());
        if let Some(namespace) = namespaces.find(|namespace| !is_name(namespace, 255)) {
            return Some(format!("{namespace:?} is not a valid name for a network namespace"));
        }
        let is_key = |key: &str| {
            key.starts_with("net/") && key.split('/').all(|part| !["", ".", ".."].contains(&part))
        };
        let mut keys = self.sysctls.iter().map(|saved| &saved.key);
        keys.find(|key| !is_key(key)).map(|key| format!("{key:?} is not a sysctl below /proc/sys/net"))
    }

    /// The record in that folder, which has the name of the lab.
    pub(super) fn read_from(dir: &Path) -> Result<Self, Error> {
        let path = record_in(dir);
        let text = fs::read(&path).map_err(Error::file("read", &path))?;
        let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let invalid = |why: String| Error::Record { name: name.to_owned(), path: path.clone(), why };
        let state: Self = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
        if state.version != VERSION {
            return Err(invalid(format!(
                "it was written by another version of nsrouter (record version {})",
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
    /// Where there is one that cannot be read: [`Error::File`], [`Error::Record`].
    pub fn read(name: &str) -> Result<Option<Self>, Error> {
        match Self::read_from(&dir_of(name)) {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }
}

/// The process that keeps the lab in that folder, as far as an otherwise invalid record tells.
pub(crate) fn owner_of_any(dir: &Path) -> Option<ProcessId> {
    let text = fs::read(record_in(dir)).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&text).ok()?;
    serde_json::from_value(record.get("owner")?.clone()).ok()
}
