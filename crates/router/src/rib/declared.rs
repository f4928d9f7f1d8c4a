//! The declared routes by prefix, used or not.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::fib::PrefixMap;

/// The origin of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The configuration.
    Configured,
    /// The kernel's routing table.
    Learned,
}

/// How a route is inserted among those with the same prefix, metric and origin (`ip route prepend`, `append`,
/// `replace`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertMode {
    /// Before them, so that it is used.
    Prepend,
    /// After them.
    Append,
    /// In place of the first.
    Replace,
}

/// A route without its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) metric: u32,
    /// The number of what it does ([`RouteInfos`](super::route_info::RouteInfos)).
    pub(super) info: u32,
    pub(super) origin: Origin,
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
pub(super) struct Declared {
    routes: PrefixMap<Entries>,
}

impl Declared {
    /// The routes to exactly this prefix, by metric.
    pub(super) fn at(&self, prefix: IpNet) -> &[Entry] {
        self.routes.get(prefix).map_or(&[], Entries::as_slice)
    }

    pub(super) fn contains(&self, prefix: IpNet, entry: Entry) -> bool {
        self.at(prefix).contains(&entry)
    }

    pub(super) fn add(&mut self, prefix: IpNet, entry: Entry, mode: InsertMode) {
        match self.routes.get_mut(prefix) {
            Some(entries) => entries.add(entry, mode),
            None => _ = self.routes.insert(prefix, Entries::One(entry)),
        }
    }

    /// Puts the entry in place of the first with its metric and origin, which is returned, or adds it.
    pub(super) fn replace(&mut self, prefix: IpNet, entry: Entry) -> Option<Entry> {
        let replaced = self.remove_first(prefix, entry.metric, entry.origin);
        self.add(prefix, entry, InsertMode::Prepend);
        replaced
    }

    /// Takes this entry out; false when it was not there.
    pub(super) fn remove(&mut self, prefix: IpNet, entry: Entry) -> bool {
        self.take(prefix, |other| *other == entry).is_some()
    }

    pub(super) fn remove_first(&mut self, prefix: IpNet, metric: u32, origin: Origin) -> Option<Entry> {
        self.take(prefix, |other| (other.metric, other.origin) == (metric, origin))
    }

    fn take(&mut self, prefix: IpNet, which: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let entries = self.routes.get_mut(prefix)?;
        let at = entries.as_slice().iter().position(which)?;
        let entry = entries.as_slice()[at];
        if entries.take(at) {
            self.routes.remove(prefix);
        }
        Some(entry)
    }

    /// Every route.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, Entry)> {
        let routes = self.routes.iter();
        routes.flat_map(|(prefix, entries)| entries.as_slice().iter().map(move |entry| (prefix, *entry)))
    }

    /// The routes that lead to an address, the longest prefix first, and of those by metric.
    pub(super) fn covering(&self, address: IpAddr) -> impl Iterator<Item = Entry> {
        self.routes.covering(address).into_iter().flat_map(Entries::as_slice).copied()
    }
}
