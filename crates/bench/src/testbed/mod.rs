//! The lab as the measuring end sees it: two hosts, the router between them, and how to act inside each.

pub(crate) mod interface;
pub(crate) mod meter;
pub(crate) mod routes;
pub(crate) mod script;
pub mod setting;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::agent::AgentError;
use crate::plan::Family;
use crate::plan::Pin;

/// An interface of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub ifname: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Bytes of IP.
    pub mtu: u32,
    /// Its addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Port {
    /// Its first address of that family, with its prefix length.
    pub fn address(&self, family: Family) -> Option<(IpAddr, u8)> {
        self.addresses.iter().copied().find(|(address, _)| address.is_ipv4() == (family == Family::V4))
    }
}

/// A node of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name in the lab.
    pub name: String,
    /// What `setns` takes: `/run/netns/t1`, for one.
    pub netns: PathBuf,
    /// Its interfaces.
    pub ports: Vec<Port>,
    /// Where its programs run.
    pub pin: Pin,
}

impl Host {
    /// Its first interface.
    pub(crate) fn port(&self) -> Result<&Port, AgentError> {
        self.ports.first().ok_or_else(|| AgentError::Lacks { node: self.name.clone(), what: "interface" })
    }

    /// Its first address of that family.
    pub(crate) fn address(&self, family: Family) -> Result<IpAddr, AgentError> {
        let address = self.ports.iter().find_map(|port| port.address(family));
        let what = if family == Family::V4 { "IPv4 address" } else { "IPv6 address" };
        address.map(|(address, _)| address).ok_or_else(|| AgentError::Lacks { node: self.name.clone(), what })
    }

    /// Runs `work` on a thread inside the node's namespace, at the node's place.
    pub(crate) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, AgentError> + Send,
    ) -> Result<T, AgentError> {
        let enter = || -> io::Result<()> {
            setns(File::open(&self.netns)?, CloneFlags::CLONE_NEWNET)?;
            Ok(())
        };
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter().map_err(|source| AgentError::Enter { netns: self.netns.clone(), source })?;
                self.pin.pin_thread();
                work()
            });
            thread.join().unwrap_or(Err(AgentError::Panicked))
        })
    }
}

/// The two hosts and the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    /// Where clients run.
    pub client: Host,
    /// Where servers run.
    pub server: Host,
    /// What stands between them.
    pub router: Host,
    /// The process that holds the lab, and in userspace mode forwards in it.
    pub keeper: i32,
}

impl Lab {
    /// The router's port on the link of that host: the one that shares its prefix.
    pub(crate) fn port_towards(&self, host: &Host) -> Result<&Port, AgentError> {
        let there = host.address(Family::V4)?;
        let shares = |port: &&Port| {
            port.address(Family::V4).is_some_and(|(address, len)| same_prefix(address, there, len))
        };
        let what = "port on the host's link";
        let lacks = || AgentError::Lacks { node: self.router.name.clone(), what };
        self.router.ports.iter().find(shares).ok_or_else(lacks)
    }
}

fn same_prefix(one: IpAddr, other: IpAddr, len: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    };
    one.is_ipv4() == other.is_ipv4() && (bits(one) ^ bits(other)).leading_zeros() >= u32::from(len)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_prefix_is_shared_or_not() {
        let same = |a: &str, b: &str, len| same_prefix(a.parse().unwrap(), b.parse().unwrap(), len);
        assert!(same("10.10.251.1", "10.10.251.2", 24));
        assert!(!same("10.10.251.1", "10.10.252.1", 24));
        assert!(same("fd00:251::1", "fd00:251::2", 64));
        assert!(!same("10.10.251.1", "fd00:251::2", 0));
    }
}
