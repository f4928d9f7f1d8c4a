//! Slots of ports, as the control thread fills and empties them: the stage of each slot's port, and its
//! generation.
//!
//! ```text
//! Empty -> Opening -> Adding -> Active -> Removing -> Empty
//!             |          |                   ^
//!             v          +-------------------+  a worker cannot take over its queues
//!           Empty  the port cannot be opened
//! ```
//!
//! A port is in the tables while it is active, and no longer. A slot is empty again only once every worker
//! has let go of its port, so that no frame, report or event of the old port is taken for the next one's.

use std::collections::BTreeSet;

use nsrouter_wire::frame::PortId;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::netlink::far_link::FarLink;
use crate::open_port::OpenPort;
use crate::port::{Port, PortHandle};
use crate::request::{OpenError, PortError};
use crate::shared::PortEntry;

/// A port that was opened, or why it could not be.
pub(super) type Opened = (PortHandle, Result<OpenPort, OpenError>);
/// Where the outcome of adding a port goes.
pub(super) type AddAnswer = oneshot::Sender<Result<PortHandle, PortError>>;
/// Where the outcome of removing one goes.
pub(super) type RemoveAnswer = oneshot::Sender<Result<(), PortError>>;

/// The stage of a slot's port.
#[derive(Debug, Default)]
pub(super) enum Stage {
    #[default]
    Empty,
    /// A thread opens it.
    Opening(AddAnswer),
    /// Workers take over its queues.
    Adding(Box<Adding>),
    /// It is in the tables.
    Active {
        /// Ends the watch of the other end of its link.
        far_link: Option<AbortHandle>,
    },
    /// Workers let go of it.
    Removing(Removing),
}

/// A port whose queues the workers take over.
#[derive(Debug)]
pub(super) struct Adding {
    pub(super) answer: AddAnswer,
    pub(super) port: Port,
    /// Its entry in the list of ports.
    pub(super) entry: PortEntry,
    /// The largest MTU that its backend can carry, in bytes.
    pub(super) max_mtu: u32,
    pub(super) far_link: Option<FarLink>,
    /// Workers that have not answered yet.
    pub(super) waiting: BTreeSet<usize>,
    /// Workers that have its queues.
    pub(super) added: BTreeSet<usize>,
    /// Why it cannot be added.
    pub(super) error: Option<PortError>,
}

/// A port that the workers let go of.
#[derive(Debug)]
pub(super) struct Removing {
    /// Workers that have not answered yet.
    pub(super) waiting: BTreeSet<usize>,
    pub(super) answer: Removal,
}

/// The request that a removal is for.
#[derive(Debug)]
pub(super) enum Removal {
    /// One to remove the port.
    Requested(RemoveAnswer),
    /// One to add it, which failed.
    Failed(AddAnswer, PortError),
}

#[derive(Debug, Default)]
struct Slot {
    /// Ports that the slot had before the one that it has, or will have next.
    generation: u32,
    stage: Stage,
}

/// All slots that were ever used.
#[derive(Debug)]
pub(super) struct Slots(Vec<Slot>);

impl Slots {
    /// So many slots whose first ports are active.
    pub(super) fn active(ports: usize) -> Slots {
        let slot = || Slot { generation: 0, stage: Stage::Active { far_link: None } };
        Slots((0..ports).map(|_| slot()).collect())
    }

    /// The port of a slot, at whatever stage; `None` for an empty slot.
    pub(super) fn handle(&self, slot: PortId) -> Option<PortHandle> {
        let generation = match self.0.get(slot.index())? {
            Slot { stage: Stage::Empty, .. } => return None,
            Slot { generation, .. } => *generation,
        };
        Some(PortHandle { slot, generation })
    }

    /// Whether the slot has a port, at whatever stage.
    pub(super) fn is_taken(&self, slot: PortId) -> bool {
        self.handle(slot).is_some()
    }

    /// Whether the port in this slot is in the tables.
    pub(super) fn is_active(&self, slot: PortId) -> bool {
        self.0.get(slot.index()).is_some_and(|slot| matches!(slot.stage, Stage::Active { .. }))
    }

    /// A port begins to be opened for an empty slot.
    pub(super) fn open(&mut self, slot: PortId, answer: AddAnswer) -> PortHandle {
        if self.0.len() <= slot.index() {
            self.0.resize_with(slot.index() + 1, Slot::default);
        }
        let entry = &mut self.0[slot.index()];
        entry.stage = Stage::Opening(answer);
        PortHandle { slot, generation: entry.generation }
    }

    /// The stage of a port; `None` where it was removed, or never there.
    pub(super) fn stage(&mut self, handle: PortHandle) -> Option<&mut Stage> {
        let slot = self.0.get_mut(handle.slot.index())?;
        let is_there = slot.generation == handle.generation && !matches!(slot.stage, Stage::Empty);
        is_there.then_some(&mut slot.stage)
    }

    /// Takes the stage out of a slot, so that [`Slots::put`] or [`Slots::free`] follows.
    pub(super) fn take(&mut self, handle: PortHandle) -> Option<Stage> {
        self.stage(handle).map(std::mem::take)
    }

    /// Brings a port to its next stage.
    pub(super) fn put(&mut self, handle: PortHandle, stage: Stage) {
        if let Some(slot) = self.0.get_mut(handle.slot.index()) {
            slot.stage = stage;
        }
    }

    /// Frees the slot of a port that is gone: another may have it from now on.
    pub(super) fn free(&mut self, handle: PortHandle) {
        if let Some(slot) = self.0.get_mut(handle.slot.index()) {
            *slot = Slot { generation: handle.generation.wrapping_add(1), stage: Stage::Empty };
        }
    }

    /// No answer is expected of workers for which `has_ended` holds. Returns the ports that wait for no
    /// worker any more.
    pub(super) fn stop_waiting_for(&mut self, has_ended: impl Fn(usize) -> bool) -> Vec<PortHandle> {
        let mut complete = Vec::new();
        for (slot, number) in self.0.iter_mut().zip(0..) {
            let waiting = match &mut slot.stage {
                Stage::Adding(adding) => &mut adding.waiting,
                Stage::Removing(removing) => &mut removing.waiting,
                Stage::Empty | Stage::Opening(_) | Stage::Active { .. } => continue,
            };
            waiting.retain(|worker| !has_ended(*worker));
            if waiting.is_empty() {
                complete.push(PortHandle { slot: PortId(number), generation: slot.generation });
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_slot_s_ports_are_told_apart() {
        let mut slots = Slots::active(2);
        let first = PortHandle { slot: PortId(1), generation: 0 };
        assert!(slots.is_active(PortId(1)) && slots.stage(first).is_some());
        assert!(matches!(slots.take(first), Some(Stage::Active { .. })));
        slots.free(first);
        assert!(slots.take(first).is_none() && slots.stage(first).is_none());
        assert!(!slots.is_taken(PortId(1)) && !slots.is_active(PortId(1)));
        let (answer, _) = oneshot::channel();
        let second = slots.open(PortId(1), answer);
        assert_eq!(second, PortHandle { slot: PortId(1), generation: 1 });
        assert!(slots.is_taken(PortId(1)) && !slots.is_active(PortId(1)));
        assert!(slots.stage(first).is_none() && slots.take(first).is_none());
        assert_eq!(slots.handle(PortId(1)), Some(second));
        // Slots between those that were used are empty.
        let (answer, _) = oneshot::channel();
        assert_eq!(slots.open(PortId(5), answer).generation, 0);
        assert!(!slots.is_taken(PortId(3)));
    }

    #[test]
    fn a_worker_that_ended_is_not_waited_for() {
        let mut slots = Slots::active(1);
        let handle = slots.handle(PortId(0)).unwrap();
        let (answer, _receiver) = oneshot::channel();
        let waiting = BTreeSet::from([0, 1]);
        slots.put(handle, Stage::Removing(Removing { waiting, answer: Removal::Requested(answer) }));
        assert_eq!(slots.stop_waiting_for(|worker| worker == 0), []);
        assert_eq!(slots.stop_waiting_for(|worker| worker == 1), [handle]);
    }
}
