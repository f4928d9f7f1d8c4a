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

/// Frames that may be originated between two flushes: the fragments of a 64 KiB packet at the smallest MTU (1,365 of
/// 48 bytes of payload each at 68), and errors beside them.
const FRAMES: usize = 2048;
/// Bytes for them, headroom included: a burst's large packets in fragments, and a frame of the largest MTU. Memory that no
/// frame was written to costs nothing.
const ARENA_BYTES: usize = 2 << 20;
/// Before each frame, for the virtio-net header. A multiple of 16, as the frames' places are.
const HEADROOM_BYTES: usize = 64;
/// Events that wait for room in the channel. Every one of them is repeated by the traffic that caused it, so
/// past this bound they may go.
const WAITING_EVENTS: usize = 256;
/// Next hops that are remembered to have been refused, of one burst: that of each frame, and those of an error and a
/// redirect about it.
const REFUSALS: usize = 3 * BURST_FRAMES;

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
    /// Where its headroom begins in the arena.
    at: usize,
    len: usize,
    offload: Offload,
    destination: Destination,
}

/// The frames and events that one worker's router originates.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The frames, one behind the other.
    arena: Box<[u8]>,
    entries: Vec<Entry>,
    /// Entries that were shown.
    shown: usize,
    /// Where the next frame's headroom begins, and the bytes that were lent for it.
    free_at: usize,
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
            arena: vec![0; ARENA_BYTES].into(),
            entries: Vec::with_capacity(FRAMES),
            shown: 0,
            free_at: 0,
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
        for entry in self.entries.iter().take(until).skip(self.shown) {
            let buffer =
                self.arena.get_mut(entry.at..entry.at + HEADROOM_BYTES + entry.len).unwrap_or_default();
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
        (self.shown, self.free_at) = (0, 0);
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
        if self.entries.len() < FRAMES {
            self.entries.push(Entry { at: self.free_at, len: self.lent_bytes, offload, destination });
            self.free_at += (HEADROOM_BYTES + self.lent_bytes).next_multiple_of(16);
        }
    }
}

impl Originate for Outbox {
    fn buffer(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.entries.len() >= FRAMES {
            return None;
        }
        let begin = self.free_at.checked_add(HEADROOM_BYTES)?;
        let buffer = self.arena.get_mut(begin..begin.checked_add(len)?)?;
        self.lent_bytes = len;
        Some(buffer)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn outbox() -> Outbox {
        let (sightings, _) = crossbeam_channel::bounded(1);
        let (questions, _) = crossbeam_channel::bounded(1);
        Outbox::new(1, Reports { sightings, questions }, Bell::new().unwrap())
    }

    /// Originates frames of these lengths, each filled with its number, and checks what is shown of them.
    fn originate(outbox: &mut Outbox, lengths: impl Iterator<Item = usize> + Clone) {
        for (len, number) in lengths.clone().zip(1u16..) {
            outbox.buffer(len).unwrap().fill(number.to_le_bytes()[0]);
            outbox.send(PortId(0), Offload::default());
        }
        let mut shown = Vec::new();
        outbox.show(usize::MAX, |frame, _| {
            assert!(
                frame.data().iter().all(|byte| *byte == frame.data()[0]),
                "no frame reaches into another"
            );
            shown.push((frame.len(), frame.data()[0]));
        });
        let expected = lengths.zip(1u16..).map(|(len, number)| (len, number.to_le_bytes()[0]));
        assert_eq!(shown, expected.collect::<Vec<_>>());
    }

    #[test]
    fn the_fragments_of_the_largest_packet_fit_at_the_smallest_mtu_and_so_does_the_largest_frame() {
        let mut outbox = outbox();
        // 65,515 bytes of payload, 48 at a time.
        originate(&mut outbox, std::iter::repeat_n(14 + 68, 1365));
        outbox.clear();
        // Eight packets of 64 KiB, which is all that one burst brings of that size, at 576.
        originate(&mut outbox, std::iter::repeat_n(14 + 572, 8 * 119));
        outbox.clear();
        originate(&mut outbox, [65_535 + 18, 60, 1514].into_iter());
    }

    #[test]
    fn without_room_there_is_no_buffer() {
        let mut outbox = outbox();
        originate(&mut outbox, std::iter::repeat_n(60, FRAMES));
        assert!(outbox.buffer(60).is_none());
        outbox.clear();
        assert!(outbox.buffer(ARENA_BYTES).is_none());
        assert!(outbox.buffer(ARENA_BYTES - HEADROOM_BYTES).is_some());
    }
}
