//! The testbed: two hosts of a running lab and the router between them, and how to act inside each.

pub mod counters;
pub(crate) mod meter;
pub mod routes;
pub mod script;
pub mod setting;

use std::io;
use std::net::IpAddr;

use nsrouter_lab::records::{NodeState, PortInfo, State};
use nsrouter_lab::topology::Role;
use nsrouter_linux::netns::Netns;
use nsrouter_linux::netns::names;

use crate::plan::{Family, Pin, Placement};

/// A lab that is not what a benchmark needs, or cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// The lab has fewer than two hosts.
    #[error("the lab needs two hosts to measure between")]
    Hosts,
    /// The lab has no router.
    #[error("the lab has no router")]
    Router,
    /// A node lacks something.
    #[error("{node} has no {what}")]
    Lacks {
        /// The node.
        node: String,
        /// What it lacks.
        what: &'static str,
    },
    /// A namespace cannot be entered.
    #[error("cannot enter the namespace of {node}")]
    Enter {
        /// The node.
        node: String,
        /// ENOENT where there is no such namespace, EPERM without the right to enter it.
        source: io::Error,
    },
}

/// A node of the lab.
#[derive(Debug)]
pub struct Host {
    name: String,
    /// The name of its namespace, as `ip netns` shows it.
    namespace: String,
    netns: Netns,
    ports: Vec<PortInfo>,
    pin: Pin,
}

impl Host {
    fn of(node: &NodeState, pin: Pin) -> Result<Host, TestbedError> {
        let lacks = || TestbedError::Lacks { node: node.name.clone(), what: "namespace of its own" };
        let namespace = node.namespace.clone().ok_or_else(lacks)?;
        let enter = |source| TestbedError::Enter { node: node.name.clone(), source };
        let netns = Netns::open(&names::path_of(&namespace)).map_err(enter)?;
        Ok(Host { name: node.name.clone(), namespace, netns, ports: node.ports.clone(), pin })
    }

    /// The name in the lab.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The CPU of the host's programs.
    pub(crate) fn pin(&self) -> Pin {
        self.pin
    }

    fn lacks(&self, what: &'static str) -> TestbedError {
        TestbedError::Lacks { node: self.name.clone(), what }
    }

    /// The first interface.
    pub(crate) fn port(&self) -> Result<&PortInfo, TestbedError> {
        self.ports.first().ok_or_else(|| self.lacks("interface"))
    }

    /// The first address of that family.
    pub(crate) fn address(&self, family: Family) -> Result<IpAddr, TestbedError> {
        let found = self.ports.iter().find_map(|port| address(port, family));
        let what = match family {
            Family::V4 => "IPv4 address",
            Family::V6 => "IPv6 address",
        };
        found.map(|(address, _)| address).ok_or_else(|| self.lacks(what))
    }

    /// Runs `work` on a thread inside the host's namespace, on the host's CPU. A panic of `work` is passed
    /// on.
    pub(crate) fn run<T: Send, E: From<TestbedError> + Send>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let entered = self.netns.run(|| {
            self.pin.pin_thread();
            work()
        });
        entered.unwrap_or_else(|source| Err(TestbedError::Enter { node: self.name.clone(), source }.into()))
    }
}

/// A port's first address of that family, with the length of its prefix.
pub(crate) fn address(port: &PortInfo, family: Family) -> Option<(IpAddr, u8)> {
    let is_v4 = family == Family::V4;
    let net = port.addresses.iter().find(|net| net.addr().is_ipv4() == is_v4)?;
    Some((net.addr(), net.prefix_len()))
}

/// Two hosts and the router between them.
#[derive(Debug)]
pub struct Testbed {
    /// The host of the clients, which send.
    pub(crate) client: Host,
    /// The host of the servers.
    pub(crate) server: Host,
    /// The device under test.
    pub(crate) router: Host,
    /// PID of the process that keeps the lab, and in userspace mode forwards in it.
    pub(crate) keeper: i32,
}

impl Testbed {
    /// The first two hosts of a lab and its first router. `keeper` is the PID of the process that keeps the
    /// lab.
    ///
    /// # Errors
    /// [`TestbedError`] names what the lab lacks.
    pub fn of(lab: &State, placement: Placement, keeper: i32) -> Result<Testbed, TestbedError> {
        let [client, server, router] = placement.pins();
        let mut hosts = lab.nodes.iter().filter(|node| node.role == Role::Host);
        let mut next = |pin| Host::of(hosts.next().ok_or(TestbedError::Hosts)?, pin);
        let (client, server) = (next(client)?, next(server)?);
        let node = lab.nodes.iter().find(|node| node.role == Role::Router);
        let router = Host::of(node.ok_or(TestbedError::Router)?, router)?;
        Ok(Testbed { client, server, router, keeper })
    }

    /// The router's port on the link of that host: the one that shares its prefix.
    pub(crate) fn port_towards(&self, host: &Host) -> Result<&PortInfo, TestbedError> {
        let address = host.address(Family::V4)?;
        let shares = |port: &&PortInfo| port.addresses.iter().any(|net| net.contains(&address));
        self.router.ports.iter().find(shares).ok_or_else(|| self.router.lacks("port on the host's link"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use nsrouter_wire::eth::MacAddr;

    fn port(addresses: &[&str]) -> PortInfo {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        PortInfo { ifname: String::new(), ifindex: 0, mac: MacAddr::ZERO, mtu: 1500, addresses }
    }

    fn host(name: &str, ports: &[&[&str]]) -> Host {
        let ports = ports.iter().map(|addresses| port(addresses)).collect();
        let netns = Netns::current().unwrap();
        Host { name: name.into(), namespace: String::new(), netns, ports, pin: Pin(None) }
    }

    #[test]
    fn the_port_towards_a_host_shares_its_prefix() {
        let links: [&[&str]; 2] =
            [&["fd00:251::2/64", "10.10.251.2/24"], &["fd00:252::2/64", "10.10.252.2/24"]];
        let testbed = Testbed {
            client: host("t1", &[&["10.10.251.1/24"]]),
            server: host("t2", &[&["10.10.252.1/24"]]),
            router: host("router", &links),
            keeper: 0,
        };
        let towards =
            |host: &Host| testbed.port_towards(host).map(|port| port.addresses[1].addr().to_string());
        assert_eq!(towards(&testbed.client).unwrap(), "10.10.251.2");
        assert_eq!(towards(&testbed.server).unwrap(), "10.10.252.2");
        let stranger = towards(&host("t3", &[&["10.10.253.1/24"]])).unwrap_err();
        assert_eq!(stranger.to_string(), "router has no port on the host's link");
        let v6_only = towards(&host("t4", &[&["fd00:251::1/64"]])).unwrap_err();
        assert_eq!(v6_only.to_string(), "t4 has no IPv4 address");
    }
}
