//! The router of one worker: a frame in, a verdict out, and the counters of both.

use nsrouter_wire::frame::{Frame, PortId};

use crate::context::{Context, Originate, State, Time};
use crate::counters::Counters;
use crate::drop::DropReason;
use crate::ip6::{advertise, mld};
use crate::limit::Limits;
use crate::packet::L3;
use crate::pipeline;
use crate::tables::Tables;
use crate::verdict::{NextHop, Verdict};

/// What a worker's router starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Slots for link ports at the start; [`Router::add_port`] makes room for more.
    pub ports: usize,
    /// Where random numbers (IP identifications, jitter) start; any value, best one that cannot be guessed.
    pub seed: u64,
}

/// One worker's router. Tables and time are passed in.
#[derive(Debug)]
pub struct Router {
    pub(crate) state: State,
}

impl Router {
    /// A router for worker number `worker`, the only one or one of several that share `limits`.
    pub fn new(worker: u16, config: Config, limits: Limits) -> Self {
        Router { state: State::new(worker, config.ports, config.seed, limits) }
    }

    /// Decides on one frame and rewrites it for its way on.
    pub fn forward(
        &mut self,
        frame: &mut Frame<'_>,
        tables: &Tables,
        now: Time,
        out: &mut impl Originate,
    ) -> Verdict {
        self.state.counters.count_rx(frame.ingress, frame.len());
        let ingress = frame.ingress;
        let context = &mut Context { state: &mut self.state, tables, now, ingress, out };
        let verdict = if ingress == PortId::HOST {
            pipeline::host_packet(frame, context)
        } else {
            pipeline::link_frame(frame, context)
        };
        self.count(&verdict, frame.len());
        verdict
    }

    /// A pending frame may go: fills in the MAC address of `next_hop`. `Send`, or `Drop` if the entry has
    /// vanished.
    pub fn release(&mut self, frame: &mut Frame<'_>, next_hop: NextHop, tables: &Tables) -> Verdict {
        self.state.counters.held -= 1;
        let verdict = match tables.neighbours().get(&next_hop) {
            Some(known) if tables.is_up_for(next_hop) && frame.len() >= L3 => {
                frame.data_mut()[..6].copy_from_slice(&known.mac.0);
                Verdict::Send(next_hop.port)
            }
            Some(_) => Verdict::Drop(DropReason::PortDown),
            None => Verdict::Drop(DropReason::NeighbourFailed),
        };
        self.count(&verdict, frame.len());
        verdict
    }

    /// A pending frame's next hop was given up: drops it for `reason`, and tells its sender where that reason
    /// asks for it (host or address unreachable for a neighbour that did not answer).
    pub fn unreachable(
        &mut self,
        frame: &mut Frame<'_>,
        reason: DropReason,
        tables: &Tables,
        now: Time,
        out: &mut impl Originate,
    ) -> Verdict {
        self.state.counters.held -= 1;
        let ingress = frame.ingress;
        let context = &mut Context { state: &mut self.state, tables, now, ingress, out };
        let verdict = pipeline::give_up(frame, reason, context);
        self.count(&verdict, frame.len());
        verdict
    }

    /// Does what is due without a packet: router advertisements and multicast listener reports.
    pub fn tick(&mut self, now: Time, tables: &Tables, out: &mut impl Originate) {
        let context = &mut Context { state: &mut self.state, tables, now, ingress: PortId::HOST, out };
        advertise::send_due(context);
        mld::send_due(context);
    }

    /// Makes room for the counters and the memory of a port that is about to be in the tables, in this slot.
    /// Allocates, and nothing that handles a frame does.
    pub fn add_port(&mut self, slot: PortId) {
        self.state.counters.grow(slot);
        self.state.listener.grow(slot);
    }

    /// A port is not in the tables any more, and none of its frames is on its way: its counters count with
    /// those of all that were removed ([`Counters::retire`]), and nothing of it is remembered for the slot's
    /// next port.
    pub fn remove_port(&mut self, slot: PortId) {
        self.state.counters.retire(slot);
        self.state.listener.forget(slot);
    }

    /// The ports or their addresses changed in the tables: the next tick reports on the links which groups
    /// the router has joined and left.
    pub fn ports_changed(&mut self) {
        self.state.listener.ports_changed();
    }

    /// When [`Router::tick`] is next due, in nanoseconds of [`Time::mono_ns`].
    pub fn next_deadline(&self) -> Option<u64> {
        let schedule = self.state.schedule.next_deadline();
        schedule.into_iter().chain(self.state.listener.next_deadline()).min()
    }

    /// What this worker did.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// To correct what did not happen as the router counted it.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.state.counters
    }

    /// Counts what became of a frame of `bytes`: once, here, so that packet accounting holds by construction.
    #[inline]
    fn count(&mut self, verdict: &Verdict, bytes: usize) {
        let counters = &mut self.state.counters;
        match *verdict {
            Verdict::Send(port) | Verdict::Reply(port) => counters.count_tx(port, bytes),
            Verdict::Hold(_) => counters.held += 1,
            Verdict::ToHost => counters.count_tx(PortId::HOST, bytes),
            Verdict::Consumed => counters.consumed += 1,
            Verdict::Drop(reason) => counters.count_drop(reason),
        }
    }
}
