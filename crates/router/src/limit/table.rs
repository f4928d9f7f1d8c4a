//! Entries by address, shared by all workers: a table of fixed size in which the oldest entry of a set gives
//! way.
//!
//! Whoever spoofs addresses evicts the entries of others, and the table does not grow.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::hash::{halves, spread};

const SETS: usize = 256;
const WAYS: usize = 4;

/// An entry of a [`Table`].
pub(super) trait Entry: Copy + Default {
    /// The address that it belongs to; nothing while it is unused.
    fn address(&self) -> Option<u128>;
    /// When it was used last, in nanoseconds.
    fn last_ns(&self) -> u64;
}

/// Four entries a set, each set behind a lock of its own.
#[derive(Debug)]
pub(super) struct Table<T> {
    sets: Box<[Mutex<[T; WAYS]>]>,
    seed: u64,
}

impl<T: Entry> Table<T> {
    /// An empty table. Nobody who does not know the seed can choose which entry to evict.
    pub(super) fn new(seed: u64) -> Table<T> {
        Table { sets: (0..SETS).map(|_| Mutex::new([T::default(); WAYS])).collect(), seed }
    }

    /// Changes the entry of an address, which is `new` when there was none.
    pub(super) fn with<R>(&self, address: u128, new: T, change: impl FnOnce(&mut T) -> R) -> R {
        let mut set = self.set(address);
        let found = set.iter().position(|entry| entry.address() == Some(address));
        let way = found.unwrap_or_else(|| {
            let age = |way: &usize| (set[*way].address().is_some(), set[*way].last_ns());
            let oldest = (0..WAYS).min_by_key(age).unwrap_or(0);
            set[oldest] = new;
            oldest
        });
        change(&mut set[way])
    }

    /// The set of an address. Entries are sound at every moment, so a worker that panicked left nothing half
    /// done.
    fn set(&self, address: u128) -> MutexGuard<'_, [T; WAYS]> {
        let [high, low] = halves(address);
        let set = usize::try_from(spread(self.seed, high ^ low) >> 32).unwrap_or(0) % SETS;
        self.sets[set].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
