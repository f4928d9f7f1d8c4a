//! The description of a backend: everything that other crates must know of one, so that none of them names
//! any.

use std::error::Error;
use std::ops::Add;

use nsrouter_wire::frame::PortId;

use crate::port::{Interface, QueuePair};

/// The error of a backend: its own `OpenError`, with its causes.
pub type BackendError = Box<dyn Error + Send + Sync>;

/// A port's queues, one a worker.
pub type Queues = Vec<QueuePair>;
/// Opens a port with so many queues on each interface, in the network namespace of the calling thread.
pub type Open = fn(&[Interface], usize) -> Result<Vec<Queues>, BackendError>;
/// Makes an interface of this name in the network namespace of the calling thread, and returns so many queues
/// of its other end, which has the number of that port.
pub type OpenDevice = fn(&str, PortId, usize) -> Result<Queues, BackendError>;
/// The memory that ports of these MTUs take, with so many queues each.
pub type MemoryDemand = fn(mtus: &[u32], queues: usize) -> Result<Demand, BackendError>;

/// A way for the frames of ports to enter and leave. [`crate::BACKENDS`] lists them all.
#[derive(Debug)]
pub struct Backend {
    /// The word for `--backend`: lower-case letters and digits.
    pub name: &'static str,
    /// The help text of that word: one sentence.
    pub summary: &'static str,
    /// The kernel facility under it, as a row of `doctor`.
    pub facility: &'static str,
    /// The privileges, device nodes and kernel options that it takes; completes the sentence "it takes".
    pub requirements: &'static str,
    /// Why `auto` chooses it, where it works and none before it in the list does; `None` where `auto` never
    /// does.
    pub automatic: Option<&'static str>,
    /// Whether the hosts must send complete frames, with checksums filled in and no larger than the MTU,
    /// because offload metadata is lost on the way.
    pub complete_frames: bool,
    /// Whether each queue of a port takes a queue of its interface, so that links must be made with as many.
    pub interface_queues: bool,
    /// Whether the kernel receives the frames of a port too. A [`crate::guard`] on its interface spares it
    /// the work.
    pub needs_guard: bool,
    /// The largest MTU of a port in bytes.
    pub max_mtu: u32,
    /// The nice value of the threads that forward, where the user asks for none; `None`: that of the process.
    pub nice: Option<i32>,
    /// Tries whether it works in the calling thread's network namespace, on the interface of this index.
    /// Everything made for it is gone on return, or belongs to the namespace.
    pub probe: fn(u32) -> Result<(), BackendError>,
    /// Opens the router's ends of veths.
    pub open: Open,
    /// Makes a host's interface on a link to a router, whose port there then is no interface; `None` where
    /// such links are veths, as those between routers always are.
    pub open_device: Option<OpenDevice>,
    /// The file descriptors that so many ports of so many queues take.
    pub descriptors: fn(ports: usize, queues: usize) -> usize,
    /// What is to be free before ports are opened; `None` where it is too little to be checked.
    pub memory: Option<MemoryDemand>,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Pinned: counts as locked memory (`RLIMIT_MEMLOCK`).
    pub locked: u64,
    /// Mapped by this process, what is pinned included (`RLIMIT_AS`).
    pub mapped: u64,
    /// All of it, the kernel's own records included.
    pub total: u64,
}

impl Add for Demand {
    type Output = Demand;

    fn add(self, other: Demand) -> Demand {
        Demand {
            locked: self.locked + other.locked,
            mapped: self.mapped + other.mapped,
            total: self.total + other.total,
        }
    }
}
