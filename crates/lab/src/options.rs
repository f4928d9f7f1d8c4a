//! How a topology is to be built.

use std::io;

use crate::stop::Stop;
use crate::topology::Role;

/// Who owns the routers' addresses and forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarder {
    /// The kernel: it has the addresses; forwarding is off until
    /// [`Lab::set_forwarding`](crate::Lab::set_forwarding).
    Kernel,
    /// A process: the links have no addresses, and the kernel is silent on them.
    Userspace,
}

impl Forwarder {
    /// Whether the kernel owns the addresses of a node with that role.
    pub(crate) fn is_kernel_owner(self, role: Role) -> bool {
        match (role, self) {
            (Role::Host, Self::Kernel | Self::Userspace) | (Role::Router, Self::Kernel) => true,
            (Role::Router, Self::Userspace) => false,
        }
    }
}

/// The network namespace of the router.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum RouterNs {
    /// A namespace with the name of the node (`router`, or `LAB-router`).
    #[default]
    Node,
    /// A namespace of this name.
    Named(String),
    /// The namespace where nsrouter was started; inside a private lab that is the lab's own outer namespace.
    Host,
}

/// The host's end of a link whose other end is not an interface but a descriptor of the router's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapEnd<'a> {
    /// The interface to create in the namespace of the host.
    pub ifname: &'a str,
    /// The router at the other end.
    pub router: &'a str,
    /// The port of the router, by its name in the topology.
    pub port: &'a str,
}

/// Creates the TAP device of one link. It is called in the namespace of the host, and keeps the descriptor.
pub type MakeTap<'f> = dyn FnMut(TapEnd<'_>) -> io::Result<()> + Send + 'f;

/// How a topology is to be built.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// The name of the lab; its namespaces are called `NODE` in the lab `default`, else `LAB-NODE`.
    pub name: String,
    /// The namespace of the router; other than `Node` only for a topology with one router.
    pub router_ns: RouterNs,
    /// Whether to remove namespaces and links that are in the way, and to end a running lab of the same name.
    pub replace: bool,
    /// Who forwards.
    pub forwarder: Forwarder,
    /// For the record: the forwarding mode, for people.
    pub mode: String,
    /// For the record: the backend of a userspace router, for people.
    pub backend: Option<String>,
    /// Whether hosts may leave checksums and segmentation to the link. Without, every frame that they send
    /// fits the MTU and is complete.
    pub host_offloads: bool,
    /// Queues of each end of a veth pair, in both directions: at least 1. The flows of a sender are spread
    /// over them.
    pub link_queues: u32,
    /// Ends the building early.
    pub stop: Stop,
}
