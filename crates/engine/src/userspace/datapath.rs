//! A burst's way through a worker: received by one queue, forwarded by the router, sent by its ports'
//! transmit queues.

use arrayvec::ArrayVec;
use nsrouter_rings::port::{BURST_FRAMES, Burst, Transmit};
use nsrouter_router::{Counters, DropReason, NextHop, Router, Tables, Time, Verdict};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

use crate::shared::Shared;
use crate::userspace::egress::Egress;
use crate::userspace::originate::{Destination, Outbox};
use crate::userspace::pending::PendingPool;
use crate::userspace::rx::RxQueue;

/// The parts that a frame passes between its arrival and its departure.
pub(super) struct Datapath {
    pub(super) router: Router,
    pub(super) egress: Egress,
    pub(super) pending: PendingPool,
    pub(super) outbox: Outbox,
}

impl Datapath {
    /// Forwards the frames that wait in one queue, up to a burst; false when there were none.
    pub(super) fn forward_burst(
        &mut self,
        queue: &mut RxQueue,
        tables: &Tables,
        now: Time,
        shared: &Shared,
    ) -> bool {
        let port = queue.port();
        let mut burst = Burst::new();
        let Some(received) = queue.recv(&mut burst, shared) else { return false };
        // Their bytes are lost, so they count for none.
        let refused = [
            (received.truncated_frames, DropReason::RxTruncated),
            (received.too_big_frames, DropReason::RxTooBig),
            (received.unsupported_frames, DropReason::RxUnsupported),
        ];
        if refused.iter().any(|(frames, _)| *frames > 0) {
            let counters = self.router.counters_mut();
            for (frames, reason) in refused {
                (0..frames).for_each(|_| counters.received_dropped(port, 0, reason));
            }
        } else if burst.is_empty() {
            return false;
        }
        self.outbox.begin(port, now.mono_ns);
        tables.prefetch(&burst);
        let mut ports: ArrayVec<Option<PortId>, BURST_FRAMES> = ArrayVec::new();
        let mut originated: ArrayVec<usize, BURST_FRAMES> = ArrayVec::new();
        // Frames of the burst that are to be kept pending, by their position in it.
        let mut unresolved: ArrayVec<(usize, NextHop), BURST_FRAMES> = ArrayVec::new();
        for (position, frame) in burst.iter_mut().enumerate() {
            let verdict = self.router.forward(frame, tables, now, &mut self.outbox);
            ports.push(match verdict {
                Verdict::Send(port) | Verdict::Reply(port) => Some(port),
                Verdict::ToHost => Some(PortId::HOST),
                Verdict::Hold(next_hop) => {
                    if self.outbox.is_refused(next_hop) {
                        self.router.counters_mut().unheld(DropReason::NeighbourLimit);
                    } else {
                        unresolved.push((position, next_hop));
                    }
                    None
                }
                Verdict::Consumed | Verdict::Drop(_) => None,
            });
            originated.push(self.outbox.len());
        }
        if self.outbox.is_empty() {
            for (position, next_hop) in unresolved {
                enqueue(&mut self.pending, &burst[position], next_hop, now, self.router.counters_mut());
            }
            self.egress.send_burst(burst, &ports, self.router.counters_mut());
            return true;
        }
        // Fragments go where the packet would have gone, among others of its flow; a redirect before the
        // packet that it is about.
        let mut unresolved = unresolved.into_iter().peekable();
        for (position, ((frame, port), originated)) in burst.iter_mut().zip(ports).zip(originated).enumerate()
        {
            self.send_originated(originated, now);
            if let Some((_, next_hop)) = unresolved.next_if(|(unresolved, _)| *unresolved == position) {
                enqueue(&mut self.pending, frame, next_hop, now, self.router.counters_mut());
            }
            if let Some(port) = port {
                self.egress.send(port, std::slice::from_mut(frame), self.router.counters_mut());
            }
        }
        self.flush_outbox(now);
        true
    }

    /// Takes over the transmit queue of a port, and makes room for its counters and limits.
    pub(super) fn add_port(&mut self, port: PortId, queue: Box<dyn Transmit>) {
        self.router.add_port(port);
        self.pending.add_port(port);
        self.outbox.add_port(port);
        self.egress.add(port, queue);
    }

    /// Lets go of a port that the tables have no longer, and gives its transmit queue back: frames that are
    /// pending for one of its neighbours are dropped.
    pub(super) fn remove_port(&mut self, port: PortId) -> Option<Box<dyn Transmit>> {
        self.drop_pending_of(|next_hop| next_hop.port == port, DropReason::PortDown);
        let queue = self.egress.remove(port, self.router.counters_mut());
        self.outbox.remove_port(port);
        self.router.remove_port(port);
        queue
    }

    /// Sends a frame of the control thread's. Without the port there is none to send.
    pub(super) fn transmit(&mut self, port: PortId, bytes: &mut [u8]) {
        let len = bytes.len();
        let frame = Frame::new(bytes, 0, len, PortId::HOST, Offload::default());
        if let Some(frame) = frame.filter(|_| self.egress.has(port)) {
            let counters = self.router.counters_mut();
            counters.originated += 1;
            counters.count_tx(port, len);
            self.egress.send(port, &mut [frame], counters);
        }
    }

    /// Sends the frames that are pending for a next hop, which has a MAC address now.
    pub(super) fn release(&mut self, next_hop: NextHop, tables: &Tables) {
        let Datapath { router, egress, pending, outbox } = self;
        outbox.forget(next_hop);
        pending.take(next_hop, |frame| match router.release(frame, next_hop, tables) {
            Verdict::Send(port) | Verdict::Reply(port) => {
                egress.send(port, std::slice::from_mut(frame), router.counters_mut());
            }
            Verdict::ToHost | Verdict::Hold(_) | Verdict::Consumed | Verdict::Drop(_) => {}
        });
    }

    /// Drops the frames that are pending for a next hop, which was given up for that reason, and tells their
    /// senders.
    pub(super) fn fail(&mut self, next_hop: NextHop, reason: DropReason, tables: &Tables, now: Time) {
        let Datapath { router, pending, outbox, .. } = self;
        outbox.forget(next_hop);
        pending.take(next_hop, |frame| {
            router.unreachable(frame, reason, tables, now, outbox);
        });
        self.flush_outbox(now);
    }

    /// Does what is due without a frame: pending frames expire, and the router advertises and reports.
    pub(super) fn tick(&mut self, tables: &Tables, now: Time) {
        self.expire_pending(now);
        if self.router.next_deadline().is_some_and(|deadline| deadline <= now.mono_ns) {
            self.outbox.begin(PortId::HOST, now.mono_ns);
            self.router.tick(now, tables, &mut self.outbox);
        }
        self.flush_outbox(now);
    }

    /// When [`Datapath::tick`] is next due, in nanoseconds of the engine's clock.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.router.next_deadline().into_iter().chain(self.pending.due_ns()).min()
    }

    /// Drops every pending frame, as the worker ends.
    pub(super) fn drop_pending(&mut self) {
        self.drop_pending_of(|_| true, DropReason::WorkerStopped);
    }

    /// Drops the frames that are pending for such next hops.
    fn drop_pending_of(&mut self, is_meant: impl Fn(&NextHop) -> bool, reason: DropReason) {
        let counters = self.router.counters_mut();
        for next_hop in self.pending.next_hops().into_iter().filter(is_meant) {
            self.pending.take(next_hop, |_| counters.unheld(reason));
        }
    }

    /// Sends the frames that the router originated, up to the one of this number since the outbox was
    /// cleared.
    fn send_originated(&mut self, until: usize, now: Time) {
        let Datapath { router, egress, pending, outbox } = self;
        let counters = router.counters_mut();
        outbox.show(until, |frame, destination| match destination {
            Destination::Port(port) => egress.send(port, std::slice::from_mut(frame), counters),
            Destination::Pending(next_hop) => enqueue(pending, frame, next_hop, now, counters),
            Destination::Nowhere => counters.unheld(DropReason::NeighbourLimit),
        });
    }

    /// Drops frames that have been pending for a MAC address for too long.
    fn expire_pending(&mut self, now: Time) {
        let counters = self.router.counters_mut();
        for _ in 0..self.pending.expire(now.mono_ns) {
            counters.unheld(DropReason::HoldExpired);
        }
    }

    fn flush_outbox(&mut self, now: Time) {
        if !self.outbox.is_empty() {
            self.send_originated(self.outbox.len(), now);
            self.outbox.clear();
        }
    }
}

/// Keeps a frame until its next hop is resolved; frames that find no room, or are pushed out, are drops.
fn enqueue(
    pending: &mut PendingPool,
    frame: &Frame<'_>,
    next_hop: NextHop,
    now: Time,
    counters: &mut Counters,
) {
    let outcome = pending.enqueue(frame, next_hop, now.mono_ns);
    for _ in 0..outcome.evicted + u64::from(!outcome.is_kept) {
        counters.unheld(DropReason::HoldOverflow);
    }
}
