//! A lab, built and taken down.

use std::path::PathBuf;

use crate::Error;
use crate::clean::Removed;
use crate::netns::NodeNs;
use crate::state::{PortInfo, State};
use crate::topology::{Role, Topology};

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
}

/// A lab that is up. Dropping it takes it down.
#[derive(Debug)]
pub struct Lab {
    state: State,
    nodes: Vec<Node>,
    replaced: Option<Removed>,
}

/// A node that is up.
#[derive(Debug)]
pub struct Node {
    /// As in the topology.
    pub name: String,
    /// As in the topology.
    pub role: Role,
    /// Its network namespace.
    pub ns: NodeNs,
    /// Its interfaces, in the order of the topology's links.
    pub ports: Vec<PortInfo>,
}

impl Lab {
    /// Builds it. All is up and usable when this returns; on failure nothing is left.
    ///
    /// # Errors
    /// What was in the way or what the kernel refused; see [`Error`].
    pub fn build(topology: &Topology, options: &Options) -> Result<Self, Error> {
        let _ = (topology, options);
        todo!()
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// The lab's record.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What a dead (or with `replace` any) lab of that name had left and was removed before building.
    pub fn replaced(&self) -> Option<&Removed> {
        self.replaced.as_ref()
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
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
    /// its links, MTU, up. Only for [`Forwarder::Userspace`].
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn add_host_port(&mut self, router: &str, mtu_bytes: u32) -> Result<PortInfo, Error> {
        let _ = (router, mtu_bytes);
        todo!()
    }

    /// Switches the kernel's forwarding on in every router, both families. In the machine's own
    /// namespace ([`RouterNs::Host`]) what it changes is recorded first.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_forwarding(&mut self) -> Result<(), Error> {
        todo!()
    }

    /// Takes it down: processes in its namespaces, links, names, settings, record.
    pub fn down(self) -> Removed {
        todo!()
    }
}
