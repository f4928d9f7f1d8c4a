//! A lab that is up: its nodes, what may still be switched on, and taking it down.

use std::io;
use std::path::PathBuf;

use nsrouter_linux::netns::Netns;

use crate::clean::{self, Removed};
use crate::netlink::Netlink;
use crate::state::{PortInfo, State};
use crate::topology::{HOST_PORT, Role, Topology};
use crate::{Error, Stop, build, settings};

/// Who owns the routers' addresses and forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarder {
    /// The kernel: addresses sit on the links; forwarding is off until [`Lab::set_forwarding`].
    Kernel,
    /// A process: the links have no addresses and the kernel is silent on them.
    Userspace,
}

/// Where the router is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum RouterNs {
    /// In a namespace called as the node (`router`, or `LAB-router`).
    #[default]
    Node,
    /// In a namespace of this name.
    Named(String),
    /// Where nsrouter was started; inside a private lab that is the lab's own outer namespace.
    Host,
}

/// The host's end of a link whose other end is no interface but a descriptor that the router's process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapEnd<'a> {
    /// The interface that is to be made in the host's namespace.
    pub ifname: &'a str,
    /// The router at the other end.
    pub router: &'a str,
    /// The router's port, as the topology calls it.
    pub port: &'a str,
}

/// Makes the TAP device of one link; it is called in the host's namespace, and keeps the descriptor.
pub type MakeTap<'f> = dyn FnMut(TapEnd<'_>) -> io::Result<()> + Send + 'f;

/// How a topology is to be built.
#[derive(Clone, Debug)]
pub struct Options {
    /// The lab's name; namespaces are called `NODE` in the lab `default`, else `LAB-NODE`.
    pub name: String,
    /// Where the router is; other than `Node` only for a topology with one router.
    pub router_ns: RouterNs,
    /// Removes namespaces and links that are in the way, and ends a lab of the same name.
    pub replace: bool,
    /// Who forwards.
    pub forwarder: Forwarder,
    /// For the record: what forwards, in words.
    pub mode: String,
    /// For the record: what carries a userspace router's frames, in words.
    pub backend: Option<String>,
    /// Whether hosts may leave checksums and segmentation to the link. Without, every frame that they send fits
    /// the MTU and is complete.
    pub host_offloads: bool,
    /// Queues of each end of a veth, both ways: at least 1. A sender's flows are spread over them.
    pub link_queues: u32,
    /// Ends the building early.
    pub stop: Stop,
}

/// A lab that is up. Dropping it takes it down.
#[derive(Debug)]
pub struct Lab {
    pub(crate) state: State,
    pub(crate) nodes: Vec<Node>,
    pub(crate) forwarder: Forwarder,
    pub(crate) replaced: Vec<Removed>,
    pub(crate) is_down: bool,
}

/// A node that is up.
#[derive(Debug)]
pub struct Node {
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
    /// Builds it. All is up and usable when this returns; on failure nothing is left.
    ///
    /// What a dead lab of that name left is removed first.
    ///
    /// # Errors
    /// What was in the way or what the kernel refused; see [`Error`].
    pub fn build(topology: &Topology, options: &Options) -> Result<Self, Error> {
        build::build(topology, options, None)
    }

    /// Builds it as [`Lab::build`] does, but the links between hosts and userspace routers are TAP devices in the
    /// hosts, made by `make`. They are configured like any other; the routers' ends of them are no interfaces, and
    /// their [`PortInfo::ifindex`] is 0.
    ///
    /// # Errors
    /// What was in the way, what the kernel refused, what `make` said; [`Error::Usage`] in kernel mode.
    pub fn build_with_taps(
        topology: &Topology,
        options: &Options,
        make: &mut MakeTap<'_>,
    ) -> Result<Self, Error> {
        if options.forwarder == Forwarder::Kernel {
            return Err(Error::Usage("TAP links belong to a userspace router".to_owned()));
        }
        build::build(topology, options, Some(make))
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// The lab's record.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What was in the way and was removed before building: a dead lab's leftovers, or with `replace`
    /// also what was not nsrouter's.
    pub fn replaced(&self) -> &[Removed] {
        &self.replaced
    }

    /// All nodes, in the order of the topology.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of that name.
    ///
    /// # Errors
    /// [`Error::NoNode`], which lists the nodes that there are.
    pub fn node(&self, name: &str) -> Result<&Node, Error> {
        self.state.node(name)?;
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| Error::NoLab(self.state.name.clone()))
    }

    /// The routers, at least one.
    pub fn routers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Router)
    }

    /// The lab's folder, where its control socket goes.
    pub fn dir(&self) -> PathBuf {
        self.state.dir()
    }

    /// Configures the TUN device `nsr-host`, which exists in `router`'s namespace: the addresses of all
    /// its links, the router's static routes, MTU, up. Only for [`Forwarder::Userspace`].
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
            settings::prepare_host_port(HOST_PORT)?;
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
                mac: facts.mac.unwrap_or(crate::Mac([0; 6])),
                mtu: facts.mtu,
                addresses: addresses.clone(),
            })
        };
        node.ns.run(work).map_err(Error::step(format!("enter {router}")))?
    }

    /// Switches the kernel's forwarding on in every router, both families. In the namespace where
    /// nsrouter was started ([`RouterNs::Host`]) what it changes is recorded first.
    ///
    /// # Errors
    /// [`Error::Cannot`] where what it changes could not be put back; what the kernel refused.
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
                    .run(settings::forward)
                    .map_err(Error::step(format!("enter {name}")))??;
            }
        }
        Ok(())
    }

    /// Forwarding in a namespace with other links than ours: recorded, written, proved.
    fn set_host_forwarding(&mut self, index: usize) -> Result<(), Error> {
        let ns = &self.nodes[index].ns;
        let enter = || Error::step("enter the namespace in which nsrouter was started");
        let ours: Vec<&str> = self.nodes[index].ports.iter().map(|port| port.ifname.as_str()).collect();
        let before = ns.run(|| settings::before(&Netlink::open()?, &ours)).map_err(enter())??;
        self.state.sysctls.clone_from(&before.sysctls);
        self.state.routes.clone_from(&before.routes);
        self.state.write()?;
        ns.run(|| settings::forward_and_keep(&Netlink::open()?, &before)).map_err(enter())?
    }

    /// Takes it down: processes in its namespaces, links, names, settings, record. Takes a few dozen
    /// milliseconds, and a few hundred more where processes must be killed.
    pub fn down(mut self) -> Removed {
        self.take_down()
    }

    fn take_down(&mut self) -> Removed {
        self.is_down = true;
        // What ended the building may have been the want of descriptors, and removing takes some.
        self.nodes.clear();
        clean::remove(&self.state)
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
