//! What the router originates while a burst is forwarded: buffers that were made at the start, and events for
//! the control plane.
//!
//! What was seen of neighbours keeps traffic alive, so it has a channel of its own, and is tried again where that is full.
//! Questions for unknown neighbours, which any host can cause by the hundred thousand, have another, and a budget (see
//! [`super::ask`]). A frame whose question is refused is not held, for nobody would ever release it.

use crossbeam_channel::{Sender, TrySendError};
use nsrouter_rings::port::BURST_FRAMES;
use nsrouter_router::{Event, NextHop, Originate};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

use crate::userspace::ask::{Asker, Wish};
use crate::userspace::wake::Bell;

/// Frames that may be originated between two flushes: the fragments of a 64 KiB packet and errors beside them.
const BUFFERS: usize = 128;
const HEADROOM_BYTES: usize = 64;
/// The largest frame that a port of any MTU may be sent: an MTU may be raised at any time. Memory that no frame was
/// written to costs nothing, so buffers are as large as that from the start.
const FRAME_BYTES: usize = 65_535 + 18;
const BUFFER_BYTES: usize = HEADROOM_BYTES + FRAME_BYTES;
/// Events that wait for room in the channel. Every one of them is repeated by the traffic that caused it, so
/// past this bound they may go.
const WAITING_EVENTS: usize = 256;
/// Next hops that are remembered to have been refused, of one burst: one for each frame, and for each buffer.
const REFUSALS: usize = BURST_FRAMES + BUFFERS;

/// The channels to the control plane.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    /// What was seen of neighbours and of our own addresses.
    pub(crate) sightings: Sender<Event>,
    /// Neighbours that are wanted and not known.
    pub(crate) questions: Sender<Event>,
}

/// Where an originated frame is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Port(PortId),
    Hold(NextHop),
    /// It was to be held, and its next hop was not asked for.
    Nowhere,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    len: usize,
    offload: Offload,
    destination: Destination,
}

/// The frames and events that one worker's router originates.
#[derive(Debug)]
pub(crate) struct Outbox {
    buffers: Box<[u8]>,
    entries: Vec<Entry>,
    /// Entries that were shown.
    shown: usize,
    lent_bytes: usize,
    reports: Reports,
    control: Bell,
    waiting: Vec<Event>,
    asker: Asker,
    /// Whose traffic it is that asks now, and what time it is.
    ingress: PortId,
    now_ns: u64,
    /// Next hops that were not asked for, since [`Outbox::begin`].
    refused: Vec<NextHop>,
}

impl Outbox {
    /// An outbox of a worker with so many link ports.
    pub(crate) fn new(ports: usize, reports: Reports, control: Bell) -> Outbox {
        Outbox {
            buffers: vec![0; BUFFERS * BUFFER_BYTES].into(),
            entries: Vec::with_capacity(BUFFERS),
            shown: 0,
            lent_bytes: 0,
            reports,
            control,
            waiting: Vec::with_capacity(WAITING_EVENTS),
            asker: Asker::new(ports),
            ingress: PortId::HOST,
            now_ns: 0,
            refused: Vec::with_capacity(REFUSALS),
        }
    }

    /// From here on it is what came in by `ingress` that asks for neighbours.
    pub(crate) fn begin(&mut self, ingress: PortId, now_ns: u64) {
        self.ingress = ingress;
        self.now_ns = now_ns;
        self.refused.clear();
    }

    /// Whether nobody will say what becomes of frames that wait for this next hop.
    pub(crate) fn is_refused(&self, next_hop: NextHop) -> bool {
        self.refused.iter().rev().any(|refused| *refused == next_hop)
    }

    /// The control plane has said what became of this next hop: whoever wants it next asks again.
    pub(crate) fn forget(&mut self, next_hop: NextHop) {
        self.asker.forget(next_hop);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Frames made since the box was emptied.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Shows the frames in the order of their making, those that were shown already left out, until so many have been.
    ///
    /// A frame that is to be held goes by [`Destination::Nowhere`] where it would be held in vain.
    pub(crate) fn show(&mut self, until: usize, mut each: impl FnMut(&mut Frame<'_>, Destination)) {
        let buffers = self.buffers.chunks_exact_mut(BUFFER_BYTES);
        for (buffer, entry) in buffers.zip(&self.entries).take(until).skip(self.shown) {
            let frame = Frame::new(buffer, HEADROOM_BYTES, entry.len, PortId::HOST, entry.offload);
            let destination = match entry.destination {
                Destination::Hold(next_hop) if self.refused.contains(&next_hop) => Destination::Nowhere,
                other @ (Destination::Hold(_) | Destination::Port(_) | Destination::Nowhere) => other,
            };
            if let Some(mut frame) = frame {
                each(&mut frame, destination);
            }
        }
        self.shown = self.shown.max(until.min(self.entries.len()));
    }

    /// Makes room for others: what was not shown is lost.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.shown = 0;
    }

    /// Offers the waiting events to the control plane again.
    pub(crate) fn retry_events(&mut self) {
        while let Some(event) = self.waiting.pop() {
            if self.reports.sightings.try_send(event).is_err() {
                self.waiting.push(event);
                break;
            }
        }
        if !self.reports.sightings.is_empty() || !self.reports.questions.is_empty() {
            self.control.ring();
        }
    }

    fn push(&mut self, destination: Destination, offload: Offload) {
        // `buffer` lent a buffer only where there was one, so there is room.
        if self.entries.len() < BUFFERS {
            self.entries.push(Entry { len: self.lent_bytes, offload, destination });
        }
    }
}

impl Originate for Outbox {
    fn buffer(&mut self, len: usize) -> Option<&mut [u8]> {
        let buffer = self.buffers.chunks_exact_mut(BUFFER_BYTES).nth(self.entries.len())?;
        self.lent_bytes = len;
        buffer.get_mut(HEADROOM_BYTES..HEADROOM_BYTES.checked_add(len)?)
    }

    fn send(&mut self, egress: PortId, offload: Offload) {
        self.push(Destination::Port(egress), offload);
    }

    fn hold(&mut self, next_hop: NextHop) {
        self.push(Destination::Hold(next_hop), Offload::default());
    }

    fn report(&mut self, event: Event) {
        match event {
            Event::Unresolved { next_hop, .. } => self.ask(next_hop, event),
            Event::NeighbourSeen { .. } | Event::InUse(_) | Event::AddressConflict { .. } => self.tell(event),
        }
    }
}

impl Outbox {
    fn tell(&mut self, event: Event) {
        match self.reports.sightings.try_send(event) {
            Ok(()) => self.control.ring(),
            Err(TrySendError::Full(event)) => {
                if self.waiting.len() < WAITING_EVENTS && !self.waiting.contains(&event) {
                    self.waiting.push(event);
                }
            }
            // The control plane is gone, which it reports itself.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    fn ask(&mut self, next_hop: NextHop, event: Event) {
        match self.asker.wish(self.ingress, next_hop, self.now_ns) {
            Wish::Asked => return,
            Wish::Ask => match self.reports.questions.try_send(event) {
                Ok(()) => return self.control.ring(),
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.asker.forget(next_hop),
            },
            Wish::Refused => {}
        }
        if self.refused.len() < REFUSALS {
            self.refused.push(next_hop);
        }
    }
}
