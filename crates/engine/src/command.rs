//! Commands of the control thread to the workers, and their channel.

use crossbeam_channel::{Receiver, Sender};
use nsrouter_rings::port::QueuePair;
use nsrouter_router::{DropReason, NextHop};
use nsrouter_wire::frame::PortId;

use crate::port::PortHandle;
use crate::waker::Waker;

/// Commands that may wait for a worker.
const CAPACITY: usize = 1024;

/// A command of the control thread to a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send this frame, made by the neighbour state machine.
    Transmit(PortId, Vec<u8>),
    /// The tables have other ports, or ports with other addresses.
    PortsChanged,
    /// The next hop has a MAC address now: send the frames that are pending for it.
    Release(NextHop),
    /// The next hop was given up for this reason: drop the frames that are pending for it.
    Fail(NextHop, DropReason),
    /// Take over your queues of a port, which tables to come will have.
    AddPort(Box<NewPort>),
    /// Give your queues of a port back, which the tables have no longer.
    RemovePort(PortHandle),
}

/// A worker's part of a port that is added.
#[derive(Debug)]
pub(crate) struct NewPort {
    pub(crate) handle: PortHandle,
    /// Interface name, for warnings.
    pub(crate) name: String,
    pub(crate) queues: QueuePair,
}

/// The control thread's end of the channel to one worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) commands: Sender<Command>,
    /// Ends the worker's sleep once a command was sent.
    pub(crate) waker: Waker,
}

/// The channel to a worker that sleeps on `waker`.
pub(crate) fn channel(waker: Waker) -> (WorkerHandle, Receiver<Command>) {
    let (commands, receiver) = crossbeam_channel::bounded(CAPACITY);
    (WorkerHandle { commands, waker }, receiver)
}
