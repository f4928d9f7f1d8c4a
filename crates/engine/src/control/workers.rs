//! The workers as the control thread reaches them: their channels, and commands that found one full.

use std::collections::VecDeque;

use crossbeam_channel::TrySendError;
use nsrouter_wire::frame::PortId;

use crate::command::{Command, WorkerHandle};

/// Commands in the backlog at which the control thread takes in no more requests, each of which would cause others.
const CONGESTED: usize = 4096;

/// Handles of all workers, by number.
#[derive(Debug)]
pub(super) struct Workers {
    handles: Vec<WorkerHandle>,
    /// Commands that await room in a worker's channel: (worker, command), oldest first.
    backlog: VecDeque<(usize, Command)>,
}

impl Workers {
    /// An empty backlog for these workers.
    pub(super) fn new(handles: Vec<WorkerHandle>) -> Workers {
        Workers { handles, backlog: VecDeque::new() }
    }

    /// Has the first worker that still forwards send a frame. A probe that finds no room is sent again by its timer.
    pub(super) fn transmit(&self, port: PortId, frame: Vec<u8>) {
        let mut command = Command::Transmit(port, frame);
        for worker in &self.handles {
            match worker.commands.try_send(command) {
                Ok(()) | Err(TrySendError::Full(_)) => return worker.waker.wake(),
                Err(TrySendError::Disconnected(back)) => command = back,
            }
        }
    }

    /// Queues a command for every worker; [`Workers::send_backlog`] sends it.
    pub(super) fn broadcast(&mut self, command: &Command) {
        for worker in 0..self.handles.len() {
            self.backlog.push_back((worker, command.clone()));
        }
    }

    /// Sends the queued commands, as far as the workers' channels have room.
    pub(super) fn send_backlog(&mut self) {
        for _ in 0..self.backlog.len() {
            let Some((worker, command)) = self.backlog.pop_front() else { break };
            let handle = &self.handles[worker];
            match handle.commands.try_send(command) {
                Ok(()) => handle.waker.wake(),
                Err(TrySendError::Full(command)) => self.backlog.push_back((worker, command)),
                // A worker that ended has no pending frames any more.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }

    /// Whether a command awaits room in a channel.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether the workers are too far behind for requests that would cause more commands.
    pub(super) fn is_congested(&self) -> bool {
        self.backlog.len() >= CONGESTED
    }
}
