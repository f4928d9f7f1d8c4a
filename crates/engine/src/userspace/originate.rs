//! Frames that the router originates while a burst is forwarded, in preallocated buffers, and its reports to
//! the control thread.
//!
//! Observations of neighbours keep traffic alive, so they are sent again where their channel is full.
//! Requests to resolve unknown neighbours, which any host can cause by the hundred thousand, are limited (see
//! [`super::resolution`]). A frame whose request is refused is not kept pending, for no answer would ever
//! release it.

use crossbeam_channel::TrySendError;
use nsrouter_rings::port::BURST_FRAMES;
use nsrouter_router::{Event, NextHop, Originate};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

use crate::report::{ReportSender, port_of};
use crate::userspace::resolution::{Admission, ResolutionLimit};
use crate::waker::Waker;

/// Frames that may be originated between two flushes: the fragments of a 64 KiB packet at the smallest MTU
/// (1,365 of 48 bytes of payload each at 68), and errors beside them.
const FRAMES: usize = 2048;
/// Bytes for them, headroom included: a burst's large packets in fragments, and a frame of the largest MTU.
/// Memory that no frame was written to costs nothing.
const ARENA_BYTES: usize = 2 << 20;
/// Before each frame, for the virtio-net header. A multiple of 16, as the frames' places are.
const HEADROOM_BYTES: usize = 64;
/// Events that wait for room in the channel. Every one of them is repeated by the traffic that caused it, so
/// past this bound they may be lost.
const WAITING_EVENTS: usize = 256;
/// Refused next hops that are remembered, of one burst: that of each frame, and those of an error and a
/// redirect about it.
const REFUSALS: usize = 3 * BURST_FRAMES;

/// Destination of an originated frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// It leaves by this port.
    Port(PortId),
    /// It is pending until its next hop is resolved.
    Pending(NextHop),
    /// Its next hop is unknown, and was not requested.
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
    reports: ReportSender,
    /// Wakes the control thread.
    control: Waker,
    waiting: Vec<Event>,
    limit: ResolutionLimit,
    /// The ingress port of the frames that are being forwarded, and the time.
    ingress: PortId,
    now_ns: u64,
    /// Next hops whose request was refused, since [`Outbox::begin`].
    refused: Vec<NextHop>,
}

impl Outbox {
    /// An empty outbox.
    pub(crate) fn new(reports: ReportSender, control: Waker) -> Outbox {
        Outbox {
            arena: vec![0; ARENA_BYTES].into(),
            entries: Vec::with_capacity(FRAMES),
            shown: 0,
            free_at: 0,
            lent_bytes: 0,
            reports,
            control,
            waiting: Vec::with_capacity(WAITING_EVENTS),
            limit: ResolutionLimit::new(),
            ingress: PortId::HOST,
            now_ns: 0,
            refused: Vec::with_capacity(REFUSALS),
        }
    }

    /// Makes room for the requests of another port.
    pub(crate) fn add_port(&mut self, port: PortId) {
        self.limit.add_port(port);
    }

    /// Forgets a port that is gone: no report is about it from now on.
    pub(crate) fn remove_port(&mut self, port: PortId) {
        self.limit.remove_port(port);
        self.waiting.retain(|event| port_of(event) != port);
    }

    /// From here on neighbours are requested for frames that came in by `ingress`.
    pub(crate) fn begin(&mut self, ingress: PortId, now_ns: u64) {
        self.ingress = ingress;
        self.now_ns = now_ns;
        self.refused.clear();
    }

    /// Whether the request of this next hop was refused, so that no answer will come.
    pub(crate) fn is_refused(&self, next_hop: NextHop) -> bool {
        self.refused.iter().rev().any(|refused| *refused == next_hop)
    }

    /// The next hop was resolved or given up: the next frame for it requests it again.
    pub(crate) fn forget(&mut self, next_hop: NextHop) {
        self.limit.forget(next_hop);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Frames originated since the outbox was cleared.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Shows the frames that were not shown yet, oldest first, up to the one of number `until`.
    ///
    /// A frame for a next hop whose request was refused goes [`Destination::Nowhere`].
    pub(crate) fn show(&mut self, until: usize, mut each: impl FnMut(&mut Frame<'_>, Destination)) {
        for entry in self.entries.iter().take(until).skip(self.shown) {
            let buffer =
                self.arena.get_mut(entry.at..entry.at + HEADROOM_BYTES + entry.len).unwrap_or_default();
            let frame = Frame::new(buffer, HEADROOM_BYTES, entry.len, PortId::HOST, entry.offload);
            let destination = match entry.destination {
                Destination::Pending(next_hop) if self.refused.contains(&next_hop) => Destination::Nowhere,
                other @ (Destination::Pending(_) | Destination::Port(_) | Destination::Nowhere) => other,
            };
            if let Some(mut frame) = frame {
                each(&mut frame, destination);
            }
        }
        self.shown = self.shown.max(until.min(self.entries.len()));
    }

    /// Makes room for others: frames that were not shown are lost.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        (self.shown, self.free_at) = (0, 0);
    }

    /// Sends the waiting events to the control thread again.
    pub(crate) fn retry_events(&mut self) {
        while let Some(event) = self.waiting.pop() {
            if self.reports.observations.try_send(event).is_err() {
                self.waiting.push(event);
                break;
            }
        }
        if !self.reports.observations.is_empty() || !self.reports.requests.is_empty() {
            self.control.wake();
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
        self.push(Destination::Pending(next_hop), Offload::default());
    }

    fn report(&mut self, event: Event) {
        match event {
            Event::Unresolved { next_hop, .. } => self.request(next_hop, event),
            Event::NeighbourSeen { .. } | Event::InUse(_) | Event::AddressConflict { .. } => {
                self.observe(event)
            }
        }
    }
}

impl Outbox {
    fn observe(&mut self, event: Event) {
        match self.reports.observations.try_send(event) {
            Ok(()) => self.control.wake(),
            Err(TrySendError::Full(event)) => {
                if self.waiting.len() < WAITING_EVENTS && !self.waiting.contains(&event) {
                    self.waiting.push(event);
                }
            }
            // The control thread has ended, of which it warns itself.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    fn request(&mut self, next_hop: NextHop, event: Event) {
        match self.limit.admit(self.ingress, next_hop, self.now_ns) {
            Admission::InProgress => return,
            Admission::Admitted => match self.reports.requests.try_send(event) {
                Ok(()) => return self.control.wake(),
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.limit.forget(next_hop),
            },
            Admission::Refused => {}
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
        let (reports, _) = crate::report::channel();
        Outbox::new(reports, Waker::new().unwrap())
    }

    /// Originates frames of these lengths, each filled with its number, and checks that they are shown so.
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
