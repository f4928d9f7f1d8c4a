//! Which multicast listener reports are due, and when (RFC 3810; RFC 2710 while a querier of version 1 is
//! heard).
//!
//! A query reaches one worker, which answers it; the first worker reports what changes. So each worker knows
//! of a querier of version 1 by what it heard itself.

use std::net::Ipv6Addr;

use arrayvec::ArrayVec;
use nsrouter_wire::frame::PortId;
use nsrouter_wire::mld::{Query, Record};

use crate::port::Port;
use crate::random::Random;

/// Nanoseconds of a millisecond.
pub(crate) const MS: u64 = 1_000_000;
/// How often a change is told (the Robustness Variable, RFC 3810 section 9.1), and within what time from one
/// to the next (Unsolicited Report Interval, section 9.11).
const ROBUSTNESS: u8 = 2;
const UNSOLICITED_NS: u64 = 1000 * MS;
/// A querier of version 1 counts as present for this long after its query (section 9.12 with the default
/// intervals).
pub(crate) const V1_NS: u64 = 260_000 * MS;
/// Answers on one port are this far apart, whatever is asked.
const GAP_NS: u64 = 10 * MS;
/// Groups of one port that are asked about one by one; beyond that all are reported.
const SINGLE: usize = 16;
/// A group that was joined or left, and how often that is still to be told.
#[derive(Clone, Copy, Debug)]
struct Change {
    group: Ipv6Addr,
    record: Record,
    left: u8,
}

/// What is to be reported on one port.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// When all groups are to be reported.
    general_ns: Option<u64>,
    /// Groups that were asked about, and when each is to be reported.
    single: ArrayVec<(Ipv6Addr, u64), SINGLE>,
    /// When a query was answered last.
    answered_ns: Option<u64>,
    /// Until when a querier of version 1 counts as present.
    v1_until_ns: u64,
    /// The groups as they were told, or are about to be.
    told: Vec<Ipv6Addr>,
    changes: Vec<Change>,
    /// When the changes are to be told next.
    changes_ns: Option<u64>,
}

impl Pending {
    fn due_ns(&self) -> Option<u64> {
        let single = self.single.iter().map(|(_, due_ns)| *due_ns);
        single.chain(self.general_ns).chain(self.changes_ns).min()
    }

    /// Whether a querier of version 1 counts as present, who understands only its own version.
    pub(crate) fn is_v1(&self, now_ns: u64) -> bool {
        now_ns < self.v1_until_ns
    }

    fn changes_are_due(&self, now_ns: u64) -> bool {
        self.changes_ns.is_some_and(|due_ns| due_ns <= now_ns)
    }

    fn all_are_due(&self, now_ns: u64) -> bool {
        self.general_ns.is_some_and(|due_ns| due_ns <= now_ns)
    }

    /// The records that are due: changes first, then answers to queries.
    pub(crate) fn due<'a>(
        &'a self,
        port: &'a Port,
        now_ns: u64,
    ) -> impl Iterator<Item = (Ipv6Addr, Record)> + 'a {
        let (changes_are_due, all_are_due) = (self.changes_are_due(now_ns), self.all_are_due(now_ns));
        let changes = self.changes.iter().filter(move |_| changes_are_due);
        let changes = changes.map(|change| (change.group, change.record));
        let all = port.groups6.iter().filter(move |_| all_are_due).copied();
        let single = self
            .single
            .iter()
            .filter(move |(group, due_ns)| *due_ns <= now_ns && !all_are_due && port.groups6.contains(group));
        let answers = all.chain(single.map(|(group, _)| *group)).map(|group| (group, Record::Joined));
        changes.chain(answers).filter(move |_| listens(port))
    }

    /// What was due is done; changes are told once more, within `wait_ns`, until that was often enough.
    fn done(&mut self, now_ns: u64, wait_ns: impl FnOnce() -> u64) {
        let is_due = |due_ns: u64| due_ns <= now_ns;
        let (changes_are_due, all_are_due) = (self.changes_are_due(now_ns), self.all_are_due(now_ns));
        if all_are_due || self.single.iter().any(|(_, due_ns)| is_due(*due_ns)) {
            self.answered_ns = Some(now_ns);
        }
        if all_are_due {
            self.general_ns = None;
            self.single.clear();
        }
        self.single.retain(|(_, due_ns)| !is_due(*due_ns));
        if changes_are_due {
            self.changes.iter_mut().for_each(|change| change.left -= 1);
            self.changes.retain(|change| change.left > 0);
            let wait_ns = wait_ns();
            self.changes_ns = (!self.changes.is_empty()).then_some(now_ns + wait_ns);
        }
    }

    /// A group is to be reported at that time; together with all of them, if those come sooner.
    fn report_at(&mut self, group: Ipv6Addr, due_ns: u64) {
        if self.general_ns.is_some_and(|general_ns| general_ns <= due_ns) {
            return;
        }
        if let Some((_, known_ns)) = self.single.iter_mut().find(|(known, _)| *known == group) {
            *known_ns = due_ns.min(*known_ns);
        } else if self.single.try_push((group, due_ns)).is_err() {
            self.general_ns = Some(due_ns);
        }
    }

    /// Notes what the port joined and left since it was told last.
    fn compare(&mut self, port: &Port, now_ns: u64) {
        if !listens(port) {
            // A port that comes back has joined everything anew.
            *self = Pending { v1_until_ns: self.v1_until_ns, ..Pending::default() };
            return;
        }
        let joined = port.groups6.iter().filter(|group| !self.told.contains(group));
        let left = self.told.iter().filter(|group| !port.groups6.contains(group));
        let of = |record| move |group: &Ipv6Addr| Change { group: *group, record, left: ROBUSTNESS };
        let new: Vec<Change> = joined.map(of(Record::Joins)).chain(left.map(of(Record::Leaves))).collect();
        if new.is_empty() {
            return;
        }
        self.changes.retain(|old| !new.iter().any(|change| change.group == old.group));
        self.changes.extend(new);
        self.changes_ns = Some(now_ns);
        self.told = port.groups6.to_vec();
    }
}

/// A port that is down says nothing, and IPv6 needs its smallest MTU.
fn listens(port: &Port) -> bool {
    port.up && port.has_ipv6
}

/// What a worker is to report about groups, and when.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Only one worker reports changes.
    speaks: bool,
    /// Whether the ports may have changed since they were looked at.
    is_to_look: bool,
    ports: Vec<Pending>,
    /// When the first of all that is pending is due.
    due_ns: Option<u64>,
    random: Random,
}

impl Listener {
    pub(crate) fn new(worker: u16, ports: usize, seed: u64) -> Listener {
        Listener {
            speaks: worker == 0,
            is_to_look: worker == 0,
            ports: (0..ports).map(|_| Pending::default()).collect(),
            due_ns: None,
            random: Random::new(seed),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if self.is_to_look { Some(0) } else { self.due_ns }
    }

    /// Makes room for the port of this slot.
    pub(crate) fn grow(&mut self, slot: PortId) {
        let missing = (slot.index() + 1).saturating_sub(self.ports.len());
        self.ports.extend(std::iter::repeat_with(Pending::default).take(missing));
    }

    /// The slot's port was removed: nothing is to be reported any more, and nothing is known of the link.
    pub(crate) fn forget(&mut self, slot: PortId) {
        if let Some(pending) = self.ports.get_mut(slot.index()) {
            *pending = Pending::default();
        }
    }

    /// The ports are others now, or have other addresses.
    pub(crate) fn ports_changed(&mut self) {
        self.is_to_look = self.speaks;
    }

    /// Another listener reported the group: one that reports is enough (RFC 2710 section 4).
    pub(crate) fn heard_report(&mut self, port: PortId, group: Ipv6Addr) {
        if let Some(pending) = self.ports.get_mut(port.index()) {
            pending.single.retain(|(asked, _)| *asked != group);
        }
    }

    /// Whether something may be due: notes first what the ports joined and left, if they changed.
    pub(crate) fn is_due<'p>(
        &mut self,
        ports: impl Iterator<Item = &'p Port>,
        reports: bool,
        now_ns: u64,
    ) -> bool {
        if !std::mem::take(&mut self.is_to_look) {
            return self.due_ns.is_some_and(|due_ns| due_ns <= now_ns);
        }
        for port in ports.filter(|_| reports) {
            if let Some(pending) = self.ports.get_mut(port.id.index()) {
                pending.compare(port, now_ns);
            }
        }
        true
    }

    /// What is to be reported on a port, if something of it is due; [`Listener::put_back`] follows.
    pub(crate) fn take_due(&mut self, port: PortId, now_ns: u64) -> Option<Pending> {
        let slot = self.ports.get_mut(port.index())?;
        slot.due_ns().is_some_and(|due_ns| due_ns <= now_ns).then(|| std::mem::take(slot))
    }

    /// What was due on the port was reported.
    pub(crate) fn put_back(&mut self, port: PortId, mut pending: Pending, now_ns: u64) {
        pending.done(now_ns, || 1 + self.random.below(UNSOLICITED_NS));
        if let Some(slot) = self.ports.get_mut(port.index()) {
            *slot = pending;
        }
    }

    /// Finds out when the next report is due.
    pub(crate) fn settle(&mut self) {
        self.due_ns = self.ports.iter().filter_map(Pending::due_ns).min();
    }

    /// A query was heard on the port.
    pub(crate) fn asked(&mut self, port: &Port, query: &Query, now_ns: u64) {
        let Some(pending) = self.ports.get_mut(port.id.index()).filter(|_| listens(port)) else { return };
        if query.is_v1 {
            pending.v1_until_ns = now_ns + V1_NS;
        }
        let longest_ns = u64::from(query.max_response_ms.max(1)) * MS;
        let earliest_ns = pending.answered_ns.map_or(0, |answered_ns| answered_ns + GAP_NS);
        let random = &mut self.random;
        let mut due_ns = || (now_ns + random.below(longest_ns)).max(earliest_ns);
        if !query.group.is_unspecified() {
            if port.groups6.contains(&query.group) {
                pending.report_at(query.group, due_ns());
            }
        } else if now_ns < pending.v1_until_ns {
            // RFC 2710 section 4: each group at a time of its own.
            port.groups6.iter().for_each(|group| pending.report_at(*group, due_ns()));
        } else {
            let due_ns = due_ns();
            pending.general_ns = Some(pending.general_ns.map_or(due_ns, |before_ns| due_ns.min(before_ns)));
        }
        self.due_ns = self.due_ns.into_iter().chain(pending.due_ns()).min();
    }
}
