//! What the router originates while a burst is forwarded: buffers that were made at the start, and events for
//! the control plane that are never lost to a full channel without being tried again.

use crossbeam_channel::{Sender, TrySendError};
use nsrouter_router::{Event, NextHop, Originate};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

use crate::userspace::wake::Bell;

/// Frames that may be originated between two flushes: the fragments of a 64 KiB packet and errors beside them.
const BUFFERS: usize = 128;
const HEADROOM_BYTES: usize = 64;
/// Events that wait for room in the channel. Every one of them is repeated by the traffic that caused it, so
/// past this bound they may go.
const WAITING_EVENTS: usize = 256;

/// Where an originated frame is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Port(PortId),
    Hold(NextHop),
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
    buffers: Vec<Box<[u8]>>,
    entries: Vec<Entry>,
    /// Entries that were shown.
    shown: usize,
    lent_bytes: usize,
    events: Sender<Event>,
    control: Bell,
    waiting: Vec<Event>,
}

impl Outbox {
    /// An outbox whose buffers hold frames of up to `frame_bytes`.
    pub(crate) fn new(frame_bytes: usize, events: Sender<Event>, control: Bell) -> Outbox {
        Outbox {
            buffers: (0..BUFFERS).map(|_| vec![0; HEADROOM_BYTES + frame_bytes].into()).collect(),
            entries: Vec::with_capacity(BUFFERS),
            shown: 0,
            lent_bytes: 0,
            events,
            control,
            waiting: Vec::with_capacity(WAITING_EVENTS),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Frames made since the box was emptied.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Shows the frames in the order of their making, those that were shown already left out, until so many have been.
    pub(crate) fn show(&mut self, until: usize, mut each: impl FnMut(&mut Frame<'_>, Destination)) {
        let entries = self.buffers.iter_mut().zip(&self.entries).take(until).skip(self.shown);
        for (buffer, entry) in entries {
            let frame = Frame::new(buffer, HEADROOM_BYTES, entry.len, PortId::HOST, entry.offload);
            if let Some(mut frame) = frame {
                each(&mut frame, entry.destination);
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
            if self.events.try_send(event).is_err() {
                self.waiting.push(event);
                break;
            }
        }
        if !self.events.is_empty() {
            self.control.ring();
        }
    }

    fn push(&mut self, destination: Destination, offload: Offload) {
        // `buffer` lent a buffer only where there was one, so there is room.
        if self.entries.len() < self.buffers.len() {
            self.entries.push(Entry { len: self.lent_bytes, offload, destination });
        }
    }
}

impl Originate for Outbox {
    fn buffer(&mut self, len: usize) -> Option<&mut [u8]> {
        let buffer = self.buffers.get_mut(self.entries.len())?;
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
        match self.events.try_send(event) {
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
}
