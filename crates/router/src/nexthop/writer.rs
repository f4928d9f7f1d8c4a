//! The writer's side of the next-hop entries: which entry has which number, and which are in use.

use std::collections::HashMap;
use std::sync::Arc;

use crate::nexthop::{NextHopEntries, NextHopEntry};

/// Unused entries are dropped when there are this many, and more than those in use.
const MAX_UNUSED: usize = 1 << 16;

/// Next-hop entries, each with its number.
#[derive(Debug, Default)]
pub(crate) struct NextHopWriter {
    entries: Arc<NextHopEntries>,
    numbers: HashMap<NextHopEntry, u32>,
    /// Prefixes that lead to each entry, by its number.
    users: Vec<u32>,
    unused: usize,
}

impl NextHopWriter {
    /// The readers' side.
    pub(crate) fn entries(&self) -> Arc<NextHopEntries> {
        Arc::clone(&self.entries)
    }

    /// The number of an entry, which readers find there before anything can lead to it; nothing when no
    /// number is left.
    pub(crate) fn number(&mut self, entry: NextHopEntry) -> Option<u32> {
        if let Some(number) = self.numbers.get(&entry) {
            return Some(*number);
        }
        let at = self.numbers.len();
        let number = u32::try_from(at).ok()?;
        self.entries.set(at, entry.clone());
        self.numbers.insert(entry, number);
        self.users.push(0);
        self.unused += 1;
        Some(number)
    }

    /// One prefix more leads to the entry of this number.
    pub(crate) fn share(&mut self, number: u32) {
        if let Some(users) = self.users_of(number) {
            *users += 1;
            self.unused -= usize::from(*users == 1);
        }
    }

    /// One prefix fewer leads to the entry of this number.
    pub(crate) fn release(&mut self, number: u32) {
        if let Some(users) = self.users_of(number) {
            *users -= 1;
            self.unused += usize::from(*users == 0);
        }
    }

    /// Whether so many entries are unused that it is time to number them anew.
    pub(crate) fn is_mostly_unused(&self) -> bool {
        self.unused > MAX_UNUSED && self.unused > self.numbers.len() / 2
    }

    /// How many entries there are, the unused ones included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn users_of(&mut self, number: u32) -> Option<&mut u32> {
        self.users.get_mut(usize::try_from(number).ok()?)
    }
}
