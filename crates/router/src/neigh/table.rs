//! The entries with their timers: bounded by family, and who goes when there is no room.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use nsrouter_wire::eth::MacAddr;

use super::action::Action;
use crate::drop::DropReason;
use crate::verdict::NextHop;

/// The states of RFC 4861 section 7.3.2, and Linux's failed and permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Asked for, not answered yet.
    Incomplete,
    /// Confirmed a short while ago.
    Reachable,
    /// Known, but not confirmed lately, and not in use.
    Stale,
    /// In use again, waiting a moment for a sign of life.
    Delay,
    /// Being asked whether it is still there.
    Probe,
    /// Did not answer.
    Failed,
    /// Set by hand; never asked, never changed.
    Permanent,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            State::Incomplete => "incomplete",
            State::Reachable => "reachable",
            State::Stale => "stale",
            State::Delay => "delay",
            State::Probe => "probe",
            State::Failed => "failed",
            State::Permanent => "permanent",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) mac: Option<MacAddr>,
    /// In whose name it is asked for while nobody answers: the source of the packet that waits, if that is
    /// ours.
    pub(super) asker: Option<IpAddr>,
    /// Solicitations sent in this state.
    pub(super) probes: u8,
    /// When the state's timer fires.
    deadline_ns: u64,
    /// When the entry last changed or was used: the oldest goes first.
    pub(super) touched_ns: u64,
    /// When the MAC address was last set: a second answer within a second does not change it (Linux
    /// `locktime`).
    pub(super) updated_ns: u64,
    /// Whether packets were ever sent by it.
    pub(super) used: bool,
}

impl Entry {
    /// An entry that is neither asked for nor used yet, whose timer fires at `deadline_ns`.
    pub(super) fn new(state: State, mac: Option<MacAddr>, now_ns: u64, deadline_ns: u64) -> Entry {
        Entry {
            state,
            mac,
            asker: None,
            probes: 0,
            deadline_ns,
            touched_ns: now_ns,
            updated_ns: now_ns,
            used: false,
        }
    }
}

fn family(addr: IpAddr) -> usize {
    usize::from(addr.is_ipv6())
}

/// Ranks up to this one may go for anybody; those above only for a question, which traffic waits for.
const EXPENDABLE: u8 = 1;

/// Who goes first where there is no room: first what failed, then what is stale and was never used, then the
/// oldest question without an answer. `None`: it stays whatever comes.
fn rank(entry: &Entry) -> Option<u8> {
    match entry.state {
        State::Failed => Some(0),
        State::Stale if !entry.used => Some(1),
        State::Incomplete => Some(2),
        State::Stale => Some(3),
        State::Reachable | State::Delay | State::Probe | State::Permanent => None,
    }
}

/// What workers see of an entry: its MAC address while it may be used, and whether its use is to be reported.
pub(super) fn visible(entry: &Entry) -> Option<(MacAddr, bool)> {
    match entry.state {
        State::Incomplete | State::Failed => None,
        State::Stale => Some((entry.mac?, true)),
        State::Reachable | State::Delay | State::Probe | State::Permanent => Some((entry.mac?, false)),
    }
}

/// The entries of both families.
#[derive(Debug)]
pub(super) struct Table {
    entries: HashMap<NextHop, Entry>,
    /// Every entry by the time when its timer fires; permanent ones have none.
    timers: BTreeSet<(u64, NextHop)>,
    /// Every entry that may go where there is no room, by family: the first goes first.
    victims: [BTreeSet<(u8, u64, NextHop)>; 2],
    counts: [usize; 2],
    max_entries: usize,
    /// Something that workers see changed.
    changed: bool,
    /// Something that people see changed.
    list_changed: bool,
    evicted: u64,
}

impl Table {
    /// An empty table with room for `max_entries` of each family.
    pub(super) fn new(max_entries: usize) -> Table {
        Table {
            entries: HashMap::new(),
            timers: BTreeSet::new(),
            victims: [BTreeSet::new(), BTreeSet::new()],
            counts: [0; 2],
            max_entries,
            changed: false,
            list_changed: false,
            evicted: 0,
        }
    }

    pub(super) fn get(&self, next_hop: NextHop) -> Option<&Entry> {
        self.entries.get(&next_hop)
    }

    /// Changes an entry, if it is there; not its timer, which [`Table::set_timer`] sets.
    pub(super) fn update(&mut self, next_hop: NextHop, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&next_hop) else { return };
        let victims = &mut self.victims[family(next_hop.addr)];
        let before = (rank(entry), entry.touched_ns, visible(entry));
        let state = entry.state;
        change(entry);
        let after = (rank(entry), entry.touched_ns, visible(entry));
        // What changes nothing for workers costs them no new map.
        self.changed |= before.2 != after.2;
        self.list_changed |= before.2 != after.2 || state != entry.state;
        if (before.0, before.1) == (after.0, after.1) {
            return;
        }
        if let Some(rank) = before.0 {
            victims.remove(&(rank, before.1, next_hop));
        }
        if let Some(rank) = after.0 {
            victims.insert((rank, after.1, next_hop));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NextHop, &Entry)> {
        self.entries.iter().map(|(next_hop, entry)| (*next_hop, entry))
    }

    /// How many entries there are of that address's family.
    pub(super) fn count(&self, addr: IpAddr) -> usize {
        self.counts[family(addr)]
    }

    /// Whose timer fires next, and when.
    pub(super) fn next_due(&self) -> Option<(u64, NextHop)> {
        self.timers.first().copied()
    }

    /// Whether anything that workers see changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether anything that people see changed since this was last asked.
    pub(super) fn take_list_changed(&mut self) -> bool {
        std::mem::take(&mut self.list_changed)
    }

    /// Entries that had to go, or were not made, because the table was full.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Sets an entry's timer.
    pub(super) fn set_timer(&mut self, next_hop: NextHop, deadline_ns: u64) {
        let Some(entry) = self.entries.get_mut(&next_hop) else { return };
        self.timers.remove(&(entry.deadline_ns, next_hop));
        self.timers.insert((deadline_ns, next_hop));
        entry.deadline_ns = deadline_ns;
    }

    /// Brings an entry into a state whose timer fires at `deadline_ns`.
    pub(super) fn set(&mut self, next_hop: NextHop, state: State, now_ns: u64, deadline_ns: u64) {
        self.set_timer(next_hop, deadline_ns);
        self.update(next_hop, |entry| {
            if entry.state != state {
                entry.probes = 0;
            }
            entry.state = state;
            entry.touched_ns = now_ns;
        });
    }

    pub(super) fn insert(&mut self, next_hop: NextHop, entry: Entry) {
        if entry.state != State::Permanent {
            self.timers.insert((entry.deadline_ns, next_hop));
        }
        if let Some(rank) = rank(&entry) {
            self.victims[family(next_hop.addr)].insert((rank, entry.touched_ns, next_hop));
        }
        self.counts[family(next_hop.addr)] += 1;
        self.changed |= visible(&entry).is_some();
        self.list_changed = true;
        self.entries.insert(next_hop, entry);
    }

    pub(super) fn remove(&mut self, next_hop: NextHop) -> Option<Entry> {
        let entry = self.entries.remove(&next_hop)?;
        self.timers.remove(&(entry.deadline_ns, next_hop));
        if let Some(rank) = rank(&entry) {
            self.victims[family(next_hop.addr)].remove(&(rank, entry.touched_ns, next_hop));
        }
        self.counts[family(next_hop.addr)] -= 1;
        self.changed |= visible(&entry).is_some();
        self.list_changed = true;
        Some(entry)
    }

    /// Makes sure that one more entry of that family fits; false when nothing may go for it.
    ///
    /// What carries traffic goes only for other traffic, never for somebody who merely said hello.
    pub(super) fn make_room(&mut self, next_hop: NextHop, new: State, actions: &mut Vec<Action>) -> bool {
        let own = family(next_hop.addr);
        if self.counts[own] < self.max_entries {
            return true;
        }
        let first = self.victims[own].first().copied();
        let victim = first.filter(|(rank, ..)| *rank <= EXPENDABLE || new == State::Incomplete);
        self.evicted += 1;
        let Some((_, _, victim)) = victim else { return false };
        if self.remove(victim).is_some_and(|entry| entry.state == State::Incomplete) {
            actions.push(Action::Failed(victim, DropReason::NeighbourTableFull));
        }
        true
    }
}
