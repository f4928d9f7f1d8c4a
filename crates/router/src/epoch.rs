//! The epoch: a number that every change moves which may change a decision about packets.
//!
//! Whoever keeps decisions (a flow cache, an offload) reads [`Tables::epoch`](crate::Tables::epoch) first,
//! then decides, and uses the decision for as long as the epoch reads the same. Most changes are made in
//! place, in cells that readers look up at the same time, so where the number moves matters:
//!
//! - It moves *before* the cells change, or a decision of before would pass for one of now. A reader that
//!   sees a changed cell (an acquire load of a release store) also sees the number as it was stored before
//!   it.
//! - It moves once more *after* they have changed, or a decision that was taken in between, by cells of
//!   before, would pass for ever. A reader that sees the number of after also sees all cells that changed
//!   before it.
//!
//! In between it is odd, as in a sequence lock, and readers are told that there is no epoch to decide under.
//! Other changes come with new tables: ports, settings, neighbours. The tables of before lack them, so these
//! have no epoch any more; the change is marked before the number moves, or a reader of the old tables would
//! decide under the new number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a state of the tables, which is the same for as long as all decisions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

#[cfg(test)]
impl Epoch {
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// The epoch of a RIB and of all tables that were taken from it. One writer; clones share the number.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedEpoch(Arc<Words>);

#[derive(Debug, Default)]
struct Words {
    /// Odd while cells change.
    number: AtomicU64,
    /// The number since which tables that were taken before lack something.
    tables_since: AtomicU64,
}

impl SharedEpoch {
    /// Makes a change in place, in cells that readers may be looking up.
    pub(crate) fn change<T>(&self, change: impl FnOnce() -> T) -> T {
        let before = self.number();
        self.0.number.store(before + 1, Ordering::Release);
        let done = change();
        self.0.number.store(before + 2, Ordering::Release);
        done
    }

    /// Something changed that only tables that are taken from now on have.
    pub(crate) fn outdate_tables(&self) {
        let next = self.number() + 2;
        self.0.tables_since.store(next, Ordering::Release);
        self.0.number.store(next, Ordering::Release);
    }

    /// The number for tables that are taken now.
    pub(crate) fn number(&self) -> u64 {
        // The writer's own, so any ordering will do.
        self.0.number.load(Ordering::Relaxed)
    }

    /// The epoch for readers of tables that were taken at `taken_at`; nothing while a change is under way,
    /// and where newer tables have what these lack.
    #[inline]
    pub(crate) fn read(&self, taken_at: u64) -> Option<Epoch> {
        let number = self.0.number.load(Ordering::Acquire);
        let is_current = self.0.tables_since.load(Ordering::Relaxed) <= taken_at;
        (number.is_multiple_of(2) && is_current).then_some(Epoch(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_epoch_during_a_change_and_another_after_it() {
        let epoch = SharedEpoch::default();
        let before = epoch.read(0).unwrap();
        assert_eq!(epoch.change(|| epoch.read(0)), None);
        let after = epoch.read(0).unwrap();
        assert!(after > before);
        epoch.outdate_tables();
        assert_eq!(epoch.read(after.0), None);
        assert!(epoch.read(epoch.number()).is_some_and(|now| now > after));
    }
}
