//! Routes as they were declared, by prefix; which of them is used is decided elsewhere.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::fib::{Prefixes, net4, net6};

/// Who declared a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It came with the configuration.
    Configured,
    /// It was taken over from the kernel.
    Learned,
}

/// Where a route goes among those with the same prefix, metric and origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertMode {
    /// Before them: it is used, and they are not.
    Prepend,
    /// After them.
    Append,
    /// In place of the first of them.
    Replace,
}

/// A route without its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) metric: u32,
    /// The number of what it does.
    pub(crate) kind: u32,
    pub(crate) origin: Origin,
}

/// The routes to one prefix, by metric; most prefixes have but one.
#[derive(Debug)]
enum Entries {
    One(Entry),
    #[allow(clippy::box_collection)]
    // half as large as without, and nearly all entries are the other variant
    Many(Box<Vec<Entry>>),
}

impl Entries {
    fn as_slice(&self) -> &[Entry] {
        match self {
            Entries::One(entry) => std::slice::from_ref(entry),
            Entries::Many(entries) => entries,
        }
    }

    fn add(&mut self, entry: Entry, placement: InsertMode) {
        let mut entries = self.as_slice().to_vec();
        let at = entries.partition_point(|other| match placement {
            InsertMode::Append => other.metric <= entry.metric,
            InsertMode::Prepend | InsertMode::Replace => other.metric < entry.metric,
        });
        entries.insert(at, entry);
        *self = Entries::Many(Box::new(entries));
    }

    /// Takes the entry at `at` out; true when none is left.
    fn take(&mut self, at: usize) -> bool {
        match self {
            Entries::One(_) => true,
            Entries::Many(entries) => {
                entries.remove(at);
                if let [last] = entries.as_slice() {
                    *self = Entries::One(*last);
                }
                false
            }
        }
    }
}

/// All declared routes.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    v4: Prefixes<u32, Entries>,
    v6: Prefixes<u128, Entries>,
}

impl Declared {
    fn entries_mut(&mut self, prefix: IpNet) -> Option<&mut Entries> {
        match prefix {
            IpNet::V4(net) => self.v4.get_mut(u32::from(net.network()), net.prefix_len()),
            IpNet::V6(net) => self.v6.get_mut(u128::from(net.network()), net.prefix_len()),
        }
    }

    /// The routes to exactly this prefix, by metric.
    pub(crate) fn at(&self, prefix: IpNet) -> &[Entry] {
        let entries = match prefix {
            IpNet::V4(net) => self.v4.get(u32::from(net.network()), net.prefix_len()),
            IpNet::V6(net) => self.v6.get(u128::from(net.network()), net.prefix_len()),
        };
        entries.map_or(&[], Entries::as_slice)
    }

    pub(crate) fn contains(&self, prefix: IpNet, entry: Entry) -> bool {
        self.at(prefix).contains(&entry)
    }

    pub(crate) fn add(&mut self, prefix: IpNet, entry: Entry, placement: InsertMode) {
        if let Some(entries) = self.entries_mut(prefix) {
            return entries.add(entry, placement);
        }
        let one = Entries::One(entry);
        match prefix {
            IpNet::V4(net) => drop(self.v4.insert(u32::from(net.network()), net.prefix_len(), one)),
            IpNet::V6(net) => drop(self.v6.insert(u128::from(net.network()), net.prefix_len(), one)),
        }
    }

    /// Puts the entry in place of the first with its metric and origin, which is returned, or adds it.
    pub(crate) fn replace(&mut self, prefix: IpNet, entry: Entry) -> Option<Entry> {
        let replaced = self.remove_first(prefix, entry.metric, entry.origin);
        self.add(prefix, entry, InsertMode::Prepend);
        replaced
    }

    /// Takes this entry out; false when it was not there.
    pub(crate) fn remove(&mut self, prefix: IpNet, entry: Entry) -> bool {
        self.take(prefix, |other| *other == entry).is_some()
    }

    pub(crate) fn remove_first(&mut self, prefix: IpNet, metric: u32, origin: Origin) -> Option<Entry> {
        self.take(prefix, |other| (other.metric, other.origin) == (metric, origin))
    }

    fn take(&mut self, prefix: IpNet, which: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let entries = self.entries_mut(prefix)?;
        let at = entries.as_slice().iter().position(which)?;
        let entry = entries.as_slice()[at];
        if entries.take(at) {
            match prefix {
                IpNet::V4(net) => drop(self.v4.remove(u32::from(net.network()), net.prefix_len())),
                IpNet::V6(net) => drop(self.v6.remove(u128::from(net.network()), net.prefix_len())),
            }
        }
        Some(entry)
    }

    /// Every route.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNet, Entry)> {
        let v4 = self.v4.iter().map(|(address, length, entries)| (net4(address, length), entries));
        let v6 = self.v6.iter().map(|(address, length, entries)| (net6(address, length), entries));
        v4.chain(v6)
            .flat_map(|(prefix, entries)| entries.as_slice().iter().map(move |entry| (prefix, *entry)))
    }

    /// The routes that lead to an address, the longest prefix first, and of those by metric.
    pub(crate) fn covering(&self, address: IpAddr) -> Vec<Entry> {
        let mut found = Vec::new();
        match address {
            IpAddr::V4(address) => {
                let address = u32::from(address);
                found.extend(self.v4.get(address, 32).into_iter().flat_map(Entries::as_slice));
                let mut length = 32;
                while let Some((_, shorter, entries)) = self.v4.cover(address, length) {
                    found.extend(entries.as_slice());
                    length = shorter;
                }
            }
            IpAddr::V6(address) => {
                let address = u128::from(address);
                found.extend(self.v6.get(address, 128).into_iter().flat_map(Entries::as_slice));
                let mut length = 128;
                while let Some((_, shorter, entries)) = self.v6.cover(address, length) {
                    found.extend(entries.as_slice());
                    length = shorter;
                }
            }
        }
        found
    }
}
