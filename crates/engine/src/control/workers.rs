//! The workers as the control thread reaches them: their channels, and commands that found one full.

use std::collections::VecDeque;

use crossbeam_channel::TrySendError;
use nsrouter_wire::frame::PortId;

use crate::command::{Command, WorkerHandle};

/// Commands in the backlog at which the control thread takes in no more requests, each of which would cause
/// others.
const CONGESTED: usize = 4096;

/// One worker, and the commands that await room in its channel, oldest first.
#[derive(Debug)]
struct Worker {
    handle: WorkerHandle,
    backlog: VecDeque<Command>,
}

/// All workers, by number.
#[derive(Debug)]
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    /// Workers with nothing to do.
    pub(super) fn new(handles: Vec<WorkerHandle>) -> Workers {
        Workers(handles.into_iter().map(|handle| Worker { handle, backlog: VecDeque::new() }).collect())
    }

    /// How many there are, ended ones included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Has the first worker that still forwards send a frame. A probe that finds no room is sent again by its
    /// timer.
    pub(super) fn transmit(&self, port: PortId, frame: Vec<u8>) {
        let mut command = Command::Transmit(port, frame);
        for Worker { handle, .. } in &self.0 {
            match handle.commands.try_send(command) {
                Ok(()) | Err(TrySendError::Full(_)) => return handle.waker.wake(),
                Err(TrySendError::Disconnected(back)) => command = back,
            }
        }
    }

    /// Queues a command for one worker; [`Workers::send_backlog`] sends it.
    pub(super) fn command(&mut self, worker: usize, command: Command) {
        if let Some(worker) = self.0.get_mut(worker) {
            worker.backlog.push_back(command);
        }
    }

    /// Queues a command for every worker.
    pub(super) fn broadcast(&mut self, command: impl Fn() -> Command) {
        self.0.iter_mut().for_each(|worker| worker.backlog.push_back(command()));
    }

    /// Sends the queued commands in order, as far as the workers' channels have room.
    pub(super) fn send_backlog(&mut self) {
        for Worker { handle, backlog } in &mut self.0 {
            let before = backlog.len();
            while let Some(command) = backlog.pop_front() {
                match handle.commands.try_send(command) {
                    Ok(()) => {}
                    Err(TrySendError::Full(command)) => {
                        backlog.push_front(command);
                        break;
                    }
                    // A worker that ended has no queues and no pending frames any more.
                    Err(TrySendError::Disconnected(_)) => backlog.clear(),
                }
            }
            if backlog.len() < before {
                handle.waker.wake();
            }
        }
    }

    /// Whether a command awaits room in a channel.
    pub(super) fn has_backlog(&self) -> bool {
        self.0.iter().any(|worker| !worker.backlog.is_empty())
    }

    /// Whether the workers are too far behind for requests that would cause more commands.
    pub(super) fn is_congested(&self) -> bool {
        self.0.iter().map(|worker| worker.backlog.len()).sum::<usize>() >= CONGESTED
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::command;
    use crate::waker::Waker;

    use super::*;

    #[test]
    fn commands_keep_their_order_past_a_full_channel() {
        let (handle, receiver) = command::channel(Waker::new().unwrap());
        let mut workers = Workers::new(vec![handle]);
        const COMMANDS: u16 = 3000;
        for number in 0..COMMANDS {
            workers.command(0, Command::Transmit(PortId(number), Vec::new()));
        }
        assert!(!workers.is_congested());
        let mut received = Vec::new();
        while workers.has_backlog() {
            workers.send_backlog();
            received.extend(receiver.try_iter().take(700).map(|command| match command {
                Command::Transmit(port, _) => port.0,
                other => panic!("{other:?}"),
            }));
        }
        received.extend(receiver.try_iter().map(|command| match command {
            Command::Transmit(port, _) => port.0,
            other => panic!("{other:?}"),
        }));
        assert_eq!(received, (0..COMMANDS).collect::<Vec<_>>());
        (0..2000).for_each(|_| {
            workers.broadcast(|| Command::PortsChanged);
            workers.broadcast(|| Command::PortsChanged);
        });
        assert!(!workers.is_congested());
        (0..96).for_each(|_| workers.broadcast(|| Command::PortsChanged));
        assert!(workers.is_congested());
        drop(receiver);
        workers.send_backlog();
        assert!(!workers.has_backlog(), "of a worker that ended");
    }
}
