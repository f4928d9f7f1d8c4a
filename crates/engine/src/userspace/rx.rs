//! The receive queues of one worker, and the epoll(7) instance on which the worker sleeps for all of them.

use std::io;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nsrouter_rings::port::{BURST_FRAMES, Burst, Receive, Received};
use nsrouter_wire::frame::PortId;

use crate::shared::Shared;
use crate::waker::Waker;

/// Failures in a row after which a queue is no longer polled.
const FAILURES: u32 = 16;
/// The epoll token of the worker's waker; its receive queues have their indices.
const WAKER: u64 = u64::MAX;

/// A queue by which frames enter.
pub(super) struct RxQueue {
    pub(super) port: PortId,
    name: String,
    pub(super) ring: Box<dyn Receive>,
    /// Polling it may find frames: it just did, or epoll(7) says so. Only used where polling costs a system call.
    pub(super) is_ready: bool,
    /// Failures in a row; at [`FAILURES`] the queue is left alone.
    failures: u32,
}

impl RxQueue {
    /// A queue of the port of this name.
    pub(super) fn new(port: PortId, name: String, ring: Box<dyn Receive>) -> RxQueue {
        RxQueue { port, name, ring, is_ready: true, failures: 0 }
    }

    /// Lends the frames that wait, up to a burst, and says which others were lost; nothing where the queue failed.
    #[inline]
    pub(super) fn recv<'r>(&'r mut self, burst: &mut Burst<'r>, shared: &Shared) -> Option<Received> {
        match self.ring.recv(BURST_FRAMES, burst) {
            Ok(received) => {
                self.failures = 0;
                Some(received)
            }
            Err(error) => {
                note_failure(&mut self.failures, &self.name, &error, shared);
                None
            }
        }
    }

    fn is_alive(&self) -> bool {
        self.failures < FAILURES
    }
}

/// All receive queues of one worker.
pub(super) struct RxQueues {
    queues: Vec<RxQueue>,
    /// Every queue and the waker, registered once: a sleep costs one system call however many they are.
    epoll: Epoll,
    /// What ended the last sleep; room for all.
    events: Vec<EpollEvent>,
    /// The queue that the next round begins with: after a sleep the one that ended it, so that an answer by another port is
    /// met in the same round; in a stream each in turn, so that none always gets the last room on the way out.
    first: usize,
}

impl RxQueues {
    /// Registers the queues and the waker that end the worker's sleep.
    ///
    /// # Errors
    /// The error of epoll(7): out of descriptors, say.
    pub(super) fn new(queues: Vec<RxQueue>, waker: &Waker) -> io::Result<RxQueues> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (queue, index) in queues.iter().zip(0..) {
            epoll.add(queue.ring.fd(), EpollEvent::new(EpollFlags::EPOLLIN, index))?;
        }
        epoll.add(waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        let events = vec![EpollEvent::empty(); queues.len() + 1];
        Ok(RxQueues { queues, epoll, events, first: 0 })
    }

    /// The queues that are alive, in the order of this round.
    pub(super) fn in_turn(&mut self) -> impl Iterator<Item = &mut RxQueue> {
        let first = self.first % self.queues.len().max(1);
        let (last, first) = self.queues.split_at_mut(first);
        first.iter_mut().chain(last).filter(|queue| queue.is_alive())
    }

    /// The next round begins with the next queue.
    pub(super) fn advance(&mut self) {
        self.first = self.first.wrapping_add(1);
    }

    /// Every queue, alive or not.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut RxQueue> {
        self.queues.iter_mut()
    }

    /// A worker that did not poll has no readiness information: assume every queue is readable.
    pub(super) fn assume_ready(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.is_ready = true);
    }

    /// Sleeps until a frame arrives, the waker is used or the time is over.
    pub(super) fn sleep(&mut self, timeout: EpollTimeout, waker: &Waker, shared: &Shared) {
        let Ok(count) = self.epoll.wait(&mut self.events, timeout) else {
            // Interrupted.
            return self.assume_ready();
        };
        self.queues.iter_mut().for_each(|queue| queue.is_ready = false);
        for event in &self.events[..count] {
            let index = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Some(queue) = self.queues.get_mut(index) else {
                waker.clear();
                continue;
            };
            self.first = index;
            queue.is_ready = event.events().contains(EpollFlags::EPOLLIN);
            if event.events().intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP)
                && let Err(error) = queue.ring.take_error()
            {
                note_failure(&mut queue.failures, &queue.name, &error, shared);
            }
            if !queue.is_alive() {
                // It can fail only where the queue is not registered.
                let _ = self.epoll.delete(queue.ring.fd());
            }
        }
    }

    /// The rings, for the thread that closes them.
    pub(super) fn into_rings(self) -> impl ExactSizeIterator<Item = Box<dyn Receive>> {
        self.queues.into_iter().map(|queue| queue.ring)
    }
}

/// Counts a failure in a row, and warns of the last one.
fn note_failure(failures: &mut u32, name: &str, error: &io::Error, shared: &Shared) {
    *failures += 1;
    // The control thread warns of links that go down; this is the warning for the queue's own end.
    if *failures == FAILURES {
        shared.warn(format!("port {name} gives no more frames: {error}"));
    }
}
