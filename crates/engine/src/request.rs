//! Requests to the control thread, from the threads that hold the engine, and their channel.

use std::error::Error;

use nsrouter_router::{Origin, Route, TablesError};
use nsrouter_wire::frame::PortId;
use tokio::sync::{mpsc, oneshot};

use crate::open_port::OpenPort;
use crate::port::PortHandle;

/// Opens a port whose frames are to enter by that slot.
pub(crate) type OpenFn = Box<dyn FnOnce(PortId) -> Result<OpenPort, OpenError> + Send>;
/// Why a port cannot be opened.
pub(crate) type OpenError = Box<dyn Error + Send + Sync>;

/// A request to the control thread, with where its answer goes.
pub(crate) enum Request {
    /// List the declared routes.
    Routes(oneshot::Sender<RouteExcerpt>),
    /// Add a port, once it is open.
    AddPort(OpenFn, oneshot::Sender<Result<PortHandle, PortError>>),
    /// Remove a port.
    RemovePort(PortHandle, oneshot::Sender<Result<(), PortError>>),
}

/// Declared routes: the first of them, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct RouteExcerpt {
    pub(crate) routes: Vec<(Origin, Route)>,
    pub(crate) total: usize,
}

/// Adding or removing a port failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// There is no slot for it.
    #[error("there is no slot for another port: {0}")]
    Slot(#[source] TablesError),
    /// It cannot be opened.
    #[error("the port cannot be opened: {0}")]
    Open(#[source] OpenError),
    /// It has not one pair of queues a worker.
    #[error("each of {workers} workers needs an rx and a tx queue, and the port {name} has {queues} pairs")]
    Queues {
        /// The port's name.
        name: String,
        /// Its pairs.
        queues: usize,
        /// The engine's workers.
        workers: usize,
    },
    /// A worker cannot sleep on its receive queue.
    #[error("worker {worker} cannot wait for frames of the port {name}: {source}")]
    Wait {
        /// The worker's number.
        worker: usize,
        /// The port's name.
        name: String,
        /// The error of epoll(7).
        source: std::io::Error,
    },
    /// It is being removed, was removed, or was never there.
    #[error("there is no port of generation {} in slot {}", .0.generation, .0.slot.0)]
    NoSuchPort(PortHandle),
    /// The control thread has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// The channel to the control thread.
pub(crate) fn channel() -> (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Request>) {
    mpsc::unbounded_channel()
}
