//! The receive queues of one worker, and the epoll(7) instance on which the worker sleeps for all of them.

use std::io;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nsrouter_rings::port::{BURST_FRAMES, Burst, Receive, Received};
use nsrouter_router::Tables;
use nsrouter_wire::frame::PortId;

use crate::port::PortHandle;
use crate::shared::Shared;
use crate::userspace::by_port::ByPort;
use crate::waker::Waker;

/// Failures in a row after which a queue is no longer polled.
const FAILURES: u32 = 16;
/// The epoll token of the worker's waker.
const WAKER: u64 = u64::MAX;

/// The epoll token of a port's queue: slot and generation.
fn token(handle: PortHandle) -> u64 {
    u64::from(handle.generation) << 16 | u64::from(handle.slot.0)
}

/// The port that a token stands for; `None` for the waker's.
fn handle_of(token: u64) -> Option<PortHandle> {
    let generation = u32::try_from(token >> 16).ok()?;
    let [low, high, ..] = token.to_le_bytes();
    Some(PortHandle { slot: PortId(u16::from_le_bytes([low, high])), generation })
}

/// A queue by which frames enter.
pub(super) struct RxQueue {
    handle: PortHandle,
    name: String,
    pub(super) ring: Box<dyn Receive>,
    /// Polling it may find frames: it just did, or epoll(7) says so. Only used where polling costs a system
    /// call.
    pub(super) is_ready: bool,
    /// The tables have its port, and it did not fail for good.
    is_polled: bool,
    /// Failures in a row; at [`FAILURES`] the queue is left alone.
    failures: u32,
}

impl RxQueue {
    /// The port that its frames come in by.
    pub(super) fn port(&self) -> PortId {
        self.handle.slot
    }

    /// Lends the frames that wait, up to a burst, and says which others were lost; nothing where the queue
    /// failed.
    #[inline]
    pub(super) fn recv<'r>(&'r mut self, burst: &mut Burst<'r>, shared: &Shared) -> Option<Received> {
        match self.ring.recv(BURST_FRAMES, burst) {
            Ok(received) => {
                self.failures = 0;
                Some(received)
            }
            Err(error) => {
                self.is_polled = is_usable(&mut self.failures, &self.name, &error, shared);
                None
            }
        }
    }
}

/// All receive queues of one worker.
pub(super) struct RxQueues {
    queues: ByPort<Option<RxQueue>>,
    /// Every queue and the waker, registered once: a sleep costs one system call however many they are.
    epoll: Epoll,
    /// The ends of the last sleep; room for all.
    events: Vec<EpollEvent>,
    /// The port that the next round begins with: after a sleep the one that ended it, so that an answer by
    /// another port is met in the same round; in a stream each in turn, so that none always gets the last
    /// room on the way out.
    first: PortId,
}

impl RxQueues {
    /// No queue yet; `waker` ends the worker's sleep.
    ///
    /// # Errors
    /// The error of epoll(7): out of descriptors, say.
    pub(super) fn new(waker: &Waker) -> io::Result<RxQueues> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        Ok(RxQueues { queues: ByPort::new(), epoll, events: vec![EpollEvent::empty()], first: PortId::HOST })
    }

    /// Takes over a port's queue, in a slot that has none, and registers it for the worker's sleep. Where the
    /// tables do not have the port yet, its frames wait until [`RxQueues::poll_ports_of`].
    ///
    /// # Errors
    /// The error of epoll(7), with the queue.
    pub(super) fn add(
        &mut self,
        handle: PortHandle,
        name: String,
        ring: Box<dyn Receive>,
        is_polled: bool,
    ) -> Result<(), (io::Error, Box<dyn Receive>)> {
        if let Err(errno) = self.epoll.add(ring.fd(), EpollEvent::new(EpollFlags::EPOLLIN, token(handle))) {
            return Err((errno.into(), ring));
        }
        self.events.push(EpollEvent::empty());
        *self.queues.entry(handle.slot) =
            Some(RxQueue { handle, name, ring, is_ready: true, is_polled, failures: 0 });
        Ok(())
    }

    /// Gives a port's queue back; `None` where the slot has a port of another generation, or none.
    pub(super) fn remove(&mut self, handle: PortHandle) -> Option<Box<dyn Receive>> {
        let queue = self.queues.get_mut(handle.slot)?.take_if(|queue| queue.handle == handle)?;
        // It can fail only where the queue is not registered any more, as one that failed.
        let _ = self.epoll.delete(queue.ring.fd());
        self.events.pop();
        Some(queue.ring)
    }

    /// Polls the queues of the ports that these tables have from now on.
    pub(super) fn poll_ports_of(&mut self, tables: &Tables) {
        for queue in self.iter_mut().filter(|queue| queue.failures < FAILURES) {
            queue.is_polled |= tables.port(queue.port()).is_some();
        }
    }

    /// The queues that are polled, in the order of this round.
    #[inline]
    pub(super) fn in_turn(&mut self) -> impl Iterator<Item = &mut RxQueue> {
        self.queues.in_turn(self.first).flatten().filter(|queue| queue.is_polled)
    }

    /// The next round begins with the next port.
    pub(super) fn advance(&mut self) {
        self.first = self.queues.next(self.first);
    }

    /// Every queue, polled or not.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut RxQueue> {
        self.queues.iter_mut().filter_map(|(_, queue)| queue.as_mut())
    }

    /// A worker that did not poll has no readiness information: assume every queue is readable.
    pub(super) fn assume_ready(&mut self) {
        self.iter_mut().for_each(|queue| queue.is_ready = true);
    }

    /// Sleeps until a frame arrives, the waker is used or the time is over.
    pub(super) fn sleep(&mut self, timeout: EpollTimeout, waker: &Waker, shared: &Shared) {
        let Ok(count) = self.epoll.wait(&mut self.events, timeout) else {
            // Interrupted.
            return self.assume_ready();
        };
        self.queues.iter_mut().for_each(|(_, queue)| {
            if let Some(queue) = queue {
                queue.is_ready = false;
            }
        });
        for event in &self.events[..count] {
            let Some(handle) = handle_of(event.data()) else {
                waker.clear();
                continue;
            };
            // An event of a port that the slot has no longer is nothing to the next one.
            let queue = self.queues.get_mut(handle.slot).and_then(Option::as_mut);
            let Some(queue) = queue.filter(|queue| queue.handle == handle) else { continue };
            self.first = handle.slot;
            queue.is_ready = event.events().contains(EpollFlags::EPOLLIN);
            if event.events().intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP)
                && let Err(error) = queue.ring.take_error()
            {
                queue.is_polled &= is_usable(&mut queue.failures, &queue.name, &error, shared);
            }
            if queue.failures >= FAILURES {
                // It can fail only where the queue is not registered.
                let _ = self.epoll.delete(queue.ring.fd());
            }
        }
    }

    /// The rings, for the thread that closes them.
    pub(super) fn into_rings(self) -> impl Iterator<Item = Box<dyn Receive>> {
        self.queues.into_states().flatten().map(|queue| queue.ring)
    }
}

/// Counts a failure in a row, and warns of the last one. False after that.
fn is_usable(failures: &mut u32, name: &str, error: &io::Error, shared: &Shared) -> bool {
    *failures += 1;
    // The control thread warns of links that go down; this is the warning for the queue's own end.
    if *failures == FAILURES {
        shared.warn(format!("port {name} gives no more frames: {error}"));
    }
    *failures < FAILURES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use nsrouter_rings::memory;
    use nsrouter_rings::port::Capabilities;

    use super::*;

    #[test]
    fn tokens_tell_generations_of_a_slot_apart() {
        for (slot, generation) in [(0, 0), (7, 1), (u16::MAX, 0), (7, u32::MAX), (65_534, 3)] {
            let handle = PortHandle { slot: PortId(slot), generation };
            assert_eq!(handle_of(token(handle)), Some(handle));
        }
        assert_eq!(handle_of(WAKER), None);
    }

    #[test]
    fn a_queue_is_given_back_by_its_own_handle_alone() {
        let waker = Waker::new().unwrap();
        let mut queues = RxQueues::new(&waker).unwrap();
        let handle = |generation| PortHandle { slot: PortId(3), generation };
        let none = Capabilities { checksum: false, tso: false, uso: false };
        let (ring, _, _wire) = memory::port(PortId(3), 1, none).unwrap();
        assert!(queues.add(handle(1), "three".to_owned(), Box::new(ring), true).is_ok());
        assert!(queues.remove(handle(0)).is_none());
        assert!(queues.remove(PortHandle { slot: PortId(2), generation: 1 }).is_none());
        assert_eq!(queues.in_turn().count(), 1);
        assert!(queues.remove(handle(1)).is_some());
        assert!(queues.remove(handle(1)).is_none());
        assert_eq!((queues.in_turn().count(), queues.events.len()), (0, 1));
    }
}
