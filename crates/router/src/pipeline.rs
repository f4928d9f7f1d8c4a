//! The forwarding path, top to bottom: read this file first.

use nsrouter_wire::frame::Frame;

use crate::counters::Counters;
use crate::drop::DropReason;
use crate::tables::Tables;
use crate::types::{Config, NextHop, Originate, Time, Verdict};

/// One worker's router: its counters, rate limiters and identifications. Tables and time are passed in.
#[derive(Debug)]
pub struct Router {
    counters: Counters,
}

impl Router {
    /// A router for worker number `worker`.
    pub fn new(worker: u16, config: Config) -> Self {
        let _ = worker;
        Router { counters: Counters::new(config.ports) }
    }

    /// Decides on one frame and rewrites it for its way on.
    pub fn forward(
        &mut self,
        frame: &mut Frame<'_>,
        tables: &Tables,
        now: Time,
        out: &mut impl Originate,
    ) -> Verdict {
        let _ = (tables, now, out);
        self.counters.count_rx(frame.ingress, frame.len());
        self.drop(DropReason::NoRoute)
    }

    /// A held frame may go: fills in the MAC address of `next_hop`. `Send`, or `Drop` if the entry has vanished.
    pub fn release(&mut self, frame: &mut Frame<'_>, next_hop: NextHop, tables: &Tables) -> Verdict {
        let _ = (frame, next_hop, tables);
        self.counters.held -= 1;
        self.drop(DropReason::NeighbourFailed)
    }

    /// Resolution failed: drops a held frame, and tells its sender so (host or address unreachable).
    pub fn unreachable(
        &mut self,
        frame: &mut Frame<'_>,
        next_hop: NextHop,
        tables: &Tables,
        now: Time,
        out: &mut impl Originate,
    ) -> Verdict {
        let _ = (frame, next_hop, tables, now, out);
        self.counters.held -= 1;
        self.drop(DropReason::NeighbourFailed)
    }

    /// What happens without a packet: router advertisements that are due.
    pub fn tick(&mut self, now: Time, tables: &Tables, out: &mut impl Originate) {
        let _ = (now, tables, out);
    }

    /// When [`Router::tick`] is next due, in nanoseconds of [`Time::mono_ns`].
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// What this worker did.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// To correct what did not happen as the router counted it.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    fn drop(&mut self, reason: DropReason) -> Verdict {
        self.counters.count_drop(reason);
        Verdict::Drop(reason)
    }
}
