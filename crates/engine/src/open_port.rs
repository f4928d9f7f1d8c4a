//! Ports that are open: the queues by which the workers use them.

use nsrouter_rings::guard::Guard;
use nsrouter_rings::port::{QueuePair, Receive, Transmit};

use crate::netlink::far_link::FarLink;
use crate::port::Port;

/// A link port, open.
#[derive(Debug)]
pub struct OpenPort {
    /// Its link and addresses.
    pub port: Port,
    /// Its queues, one pair a worker; every port has as many.
    pub queues: Vec<QueuePair>,
    /// Keeps the port's frames from the kernel's input path, or why nothing does; `None` where no frame of
    /// the port takes that path.
    pub guard: Option<Result<Guard, String>>,
    /// Watches the other end of the link, for a port that is no interface itself.
    pub far_link: Option<FarLink>,
}

impl OpenPort {
    /// The largest MTU in bytes that each of the port's queues can carry.
    pub(crate) fn max_mtu(&self) -> u32 {
        self.queues.iter().map(|pair| pair.tx.max_mtu()).min().unwrap_or(u32::MAX)
    }
}

/// The host port, open.
pub struct OpenHost {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Packets of local programs on the router enter here; the first worker forwards them.
    pub rx: Box<dyn Receive>,
    /// Packets for local programs leave here, one queue a worker.
    pub txs: Vec<Box<dyn Transmit>>,
}
