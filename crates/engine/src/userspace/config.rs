//! The configuration of a userspace engine: open ports, routes, settings, threads; and why it cannot start.

use std::io;

use nsrouter_router::{NeighConfig, Route, Settings, TablesError};

use crate::open_port::{OpenHost, OpenPort};
use crate::userspace::spin::Spin;

/// The configuration that a userspace engine starts with.
pub struct UserspaceConfig {
    /// Name of the backend under the ports, for the status.
    pub backend: String,
    /// The link ports, in the order of their numbers.
    pub ports: Vec<OpenPort>,
    /// The host port, or why there is none.
    pub host: Result<OpenHost, String>,
    /// Routes beside those of the ports' own subnets.
    pub routes: Vec<Route>,
    /// Settings of the router.
    pub settings: Settings,
    /// Timers and bounds of the neighbour table.
    pub neighbours: NeighConfig,
    /// How long an idle worker busy-polls before it sleeps.
    pub spin: Spin,
    /// The CPUs that the workers are pinned to, worker by worker and from the beginning again; empty: the
    /// scheduler places them.
    pub cpus: Vec<usize>,
    /// The workers' nice value (setpriority(2)), where it differs from the process's. A lower one gives the
    /// workers priority over other programs on the same CPUs: the router's queues are shorter then, and its
    /// bursts smaller.
    pub nice: Option<i32>,
}

/// Starting the userspace engine failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserspaceError {
    /// The configured ports and routes do not make tables.
    #[error("the router's tables cannot be built: {0}")]
    Tables(#[from] TablesError),
    /// The ports have no queues, or different numbers of them.
    #[error("each worker needs an rx and a tx queue of every port, and the ports have {queues:?} pairs")]
    Queues {
        /// Pairs of each port.
        queues: Vec<usize>,
    },
    /// A pipe to wake a thread, or the epoll instance that a worker sleeps on.
    #[error(
        "cannot create the pipe or epoll instance of a thread (is the limit of open files reached?): {0}"
    )]
    Waker(#[source] io::Error),
    /// A thread.
    #[error("cannot start the thread {name}: {source}")]
    Thread {
        /// Its name.
        name: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// The control thread's runtime or netlink socket.
    #[error("cannot start the control thread: {0}")]
    Control(#[source] io::Error),
}
