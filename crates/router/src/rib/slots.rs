//! The slots of the ports: which port a slot has had, and when another may have it.

use nsrouter_wire::frame::PortId;

use crate::config::PortConfig;
use crate::port::Port;

/// What became of a slot's ports.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// Ports that the slot had before the one that it has, or will have next.
    former_ports: u32,
    /// The last generation of tables with the last of these.
    emptied_in: u64,
}

/// The slots by number.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Slot>);

impl Slots {
    /// The next port of an empty slot.
    pub(super) fn port(&self, slot: PortId, config: &PortConfig) -> Port {
        let former_ports = self.0.get(slot.index()).map_or(0, |slot| slot.former_ports);
        Port::new(slot, former_ports, config)
    }

    /// The slot's port is removed; tables up to this generation may have it.
    pub(super) fn empty(&mut self, slot: PortId, generation: u64) {
        if self.0.len() <= slot.index() {
            self.0.resize(slot.index() + 1, Slot::default());
        }
        let slot = &mut self.0[slot.index()];
        slot.former_ports += 1;
        slot.emptied_in = generation;
    }

    /// Whether nobody reads tables with a former port of the slot, when this is the oldest generation that is
    /// read.
    pub(super) fn is_forgotten(&self, slot: PortId, oldest_read: u64) -> bool {
        self.0.get(slot.index()).is_none_or(|slot| slot.emptied_in < oldest_read)
    }
}
