//! A lab that is up: its nodes, enabling its forwarding and host ports, and taking it down.

use std::path::PathBuf;

use nsrouter_linux::netns::Netns;
use nsrouter_wire::eth::MacAddr;

use crate::clean::removal::{self, Removed};
use crate::error::Error;
use crate::netlink::Netlink;
use crate::options::Forwarder;
use crate::records::{PortInfo, State};
use crate::settings;
use crate::topology::{HOST_PORT, Role};

/// A lab that is up. Dropping it takes it down.
#[derive(Debug)]
pub struct Lab {
    pub(crate) state: State,
    pub(crate) nodes: Vec<LabNode>,
    pub(crate) forwarder: Forwarder,
    pub(crate) replaced: Vec<Removed>,
    pub(crate) is_down: bool,
}

/// A node that is up.
#[derive(Debug)]
pub struct LabNode {
    /// As in the topology.
    pub name: String,
    /// As in the topology.
    pub role: Role,
    /// Its network namespace.
    pub ns: Netns,
    /// Its interfaces, in the order of the topology's links.
    pub ports: Vec<PortInfo>,
}

impl Lab {
    /// The name of the lab.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// The record of the lab.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What was in the way and was removed before building: the leftovers of a dead lab, or with `replace`
    /// also what nsrouter did not create.
    pub fn replaced(&self) -> &[Removed] {
        &self.replaced
    }

    /// All nodes, in the order of the topology.
    pub fn nodes(&self) -> &[LabNode] {
        &self.nodes
    }

    /// The node of that name.
    ///
    /// # Errors
    /// [`Error::NoNode`], which lists the nodes of the lab.
    pub fn node(&self, name: &str) -> Result<&LabNode, Error> {
        self.state.node(name)?;
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| Error::NoLab(self.state.name.clone()))
    }

    /// The routers, at least one.
    pub fn routers(&self) -> impl Iterator<Item = &LabNode> {
        self.nodes.iter().filter(|node| node.role == Role::Router)
    }

    /// The folder of the lab, for its control socket.
    pub fn dir(&self) -> PathBuf {
        self.state.dir()
    }

    /// Configures the TUN device `nsr-host`, which exists in the namespace of `router`: the addresses of all
    /// its links, its static routes, the MTU, and up. Only for [`Forwarder::Userspace`].
    ///
    /// # Errors
    /// [`Error::Usage`] in kernel mode; what the kernel refused.
    pub fn add_host_port(&mut self, router: &str, mtu_bytes: u32) -> Result<PortInfo, Error> {
        if self.forwarder == Forwarder::Kernel {
            return Err(Error::Usage("the host port belongs to a userspace router".to_owned()));
        }
        let node = self.node(router)?;
        let addresses: Vec<_> = node.ports.iter().flat_map(|port| port.addresses.clone()).collect();
        let routes = self.state.topology.node(router).map(|node| node.routes.clone()).unwrap_or_default();
        let mark = self.state.mark();
        let work = || -> Result<PortInfo, Error> {
            settings::node::prepare_host_port(HOST_PORT)?;
            let netlink = Netlink::open()?;
            let index = netlink.the_link(HOST_PORT)?.index;
            netlink.set_mtu(index, mtu_bytes)?;
            netlink.mark_and_up(index, &mark)?;
            for net in &addresses {
                netlink.add_address(index, *net)?;
            }
            for route in &routes {
                netlink.add_route(route.to, None, index)?;
            }
            let facts = netlink.the_link(HOST_PORT)?;
            Ok(PortInfo {
                ifname: HOST_PORT.to_owned(),
                ifindex: index,
                mac: facts.mac.unwrap_or(MacAddr::ZERO),
                mtu: facts.mtu,
                addresses: addresses.clone(),
            })
        };
        node.ns.run(work).map_err(Error::step(format!("enter {router}")))?
    }

    /// Enables the kernel's forwarding in every router, for IPv4 and IPv6. In the namespace where nsrouter
    /// was started ([`RouterNs::Host`](crate::RouterNs::Host)) everything that it changes is recorded first.
    ///
    /// # Errors
    /// [`Error::Cannot`] where a change could not be undone; what the kernel refused.
    pub fn set_forwarding(&mut self) -> Result<(), Error> {
        for index in 0..self.nodes.len() {
            if self.nodes[index].role != Role::Router {
                continue;
            }
            if self.state.nodes[index].namespace.is_none() {
                self.set_host_forwarding(index)?;
            } else {
                let name = self.nodes[index].name.clone();
                self.nodes[index]
                    .ns
                    .run(settings::node::enable_forwarding)
                    .map_err(Error::step(format!("enter {name}")))??;
            }
        }
        Ok(())
    }

    /// Enables forwarding in a namespace with interfaces of others.
    fn set_host_forwarding(&mut self, index: usize) -> Result<(), Error> {
        let ns = &self.nodes[index].ns;
        let enter = || Error::step("enter the namespace in which nsrouter was started");
        let own: Vec<&str> = self.nodes[index].ports.iter().map(|port| port.ifname.as_str()).collect();
        let former = ns.run(|| settings::host::read_former(&Netlink::open()?, &own)).map_err(enter())??;
        self.state.sysctls.clone_from(&former.sysctls);
        self.state.routes.clone_from(&former.routes);
        self.state.write()?;
        ns.run(|| settings::host::enable_forwarding(&Netlink::open()?, &former)).map_err(enter())?
    }

    /// Takes it down: the processes in its namespaces, links, names, settings and the record. This takes a
    /// few dozen milliseconds, and a few hundred more where processes must be killed.
    pub fn down(mut self) -> Removed {
        self.take_down()
    }

    fn take_down(&mut self) -> Removed {
        self.is_down = true;
        // Building may have ended because no descriptor was left, and removing needs some.
        self.nodes.clear();
        removal::remove(&self.state)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.is_down {
            let removed = self.take_down();
            for problem in removed.problems.iter().chain(&removed.left) {
                tracing::warn!("{problem}");
            }
        }
    }
}
