//! The neighbour table and its state machine (RFC 826, RFC 4861 section 7.3).

mod action;
pub(crate) mod map;
mod probe;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

use crate::drop::DropReason;
use crate::events::{Event, Seen};
use crate::nexthop::Adjacency;
use crate::port::Ports;
use crate::random::Random;
use crate::tables::Tables;
use crate::verdict::NextHop;

pub use action::Action;
pub use map::NeighbourMap;
use table::{Entry, State, Table, visible};

/// Timers and bounds; the defaults are Linux's (`net.ipv4.neigh.default`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighConfig {
    /// Mean time for which a confirmed neighbour counts as reachable, in milliseconds; each is drawn from 0.5
    /// to 1.5 times it.
    pub reachable_ms: u64,
    /// Time between solicitations, in milliseconds (`retrans_time_ms`).
    pub retransmit_ms: u64,
    /// Time to wait for a hint of reachability before probing, in milliseconds (`delay_first_probe_time`).
    pub delay_ms: u64,
    /// Multicast or broadcast solicitations before resolution fails (`mcast_solicit`).
    pub multicast_probes: u8,
    /// Unicast probes before a known neighbour is given up (`ucast_solicit`).
    pub unicast_probes: u8,
    /// Unused entries older than this go, in milliseconds (`gc_stale_time`).
    pub stale_ms: u64,
    /// Fewer entries than this stay whatever their age (`gc_thresh1`).
    pub min_entries: usize,
    /// Entries at most, by family (`gc_thresh3`).
    pub max_entries: usize,
    /// Where jitter starts.
    pub seed: u64,
}

impl Default for NeighConfig {
    fn default() -> Self {
        NeighConfig {
            reachable_ms: 30_000,
            retransmit_ms: 1000,
            delay_ms: 5000,
            multicast_probes: 3,
            unicast_probes: 3,
            stale_ms: 60_000,
            min_entries: 128,
            max_entries: 1024,
            seed: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

/// A row of the neighbour table, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourEntry {
    /// The link.
    pub port: PortId,
    /// The neighbour's address.
    pub addr: IpAddr,
    /// Its MAC address, when known.
    pub mac: Option<MacAddr>,
    /// Its state, in the words of `ip neigh`, lower case.
    pub state: &'static str,
}

/// A second answer within this time does not replace the first (Linux `locktime`).
const LOCK_NS: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

/// The neighbour table, owned by the control plane.
#[derive(Debug)]
pub struct Neighbours {
    config: NeighConfig,
    table: Table,
    /// The ports whose neighbours these are.
    ports: Ports,
    random: Random,
}

impl Neighbours {
    /// An empty table.
    pub fn new(config: NeighConfig) -> Self {
        Neighbours {
            random: Random::new(config.seed),
            table: Table::new(config.max_entries),
            config,
            ports: Ports::default(),
        }
    }

    /// Sets a permanent entry: never probed, and never changed by the network.
    pub fn set_permanent(&mut self, next_hop: NextHop, mac: MacAddr, actions: &mut Vec<Action>) {
        let was_waiting = self.table.remove(next_hop).is_some_and(|entry| entry.state == State::Incomplete);
        self.table.insert(next_hop, Entry::new(State::Permanent, Some(mac), 0, u64::MAX));
        if was_waiting {
            actions.push(Action::Resolved(next_hop));
        }
    }

    /// Removes a permanent entry; the neighbour is resolved when it is needed next.
    pub fn forget(&mut self, next_hop: NextHop) {
        if self.table.get(next_hop).is_some_and(|entry| entry.state == State::Permanent) {
            self.table.remove(next_hop);
        }
    }

    /// Handles an event that a worker reported, and appends what the control plane does next.
    pub fn event(&mut self, event: &Event, tables: &Tables, now_ns: u64, actions: &mut Vec<Action>) {
        self.follow_ports(tables, actions);
        match *event {
            Event::Unresolved { next_hop, asker } => {
                self.unresolved(next_hop, asker, tables, now_ns, actions);
            }
            Event::InUse(next_hop) => self.in_use(next_hop, now_ns),
            Event::NeighbourSeen { port, addr, mac, kind } => {
                self.seen(NextHop { port, addr }, mac, kind, tables, now_ns, actions);
            }
            Event::AddressConflict { .. } => {}
        }
    }

    /// Fires the timers that are due, and appends what the control plane does next.
    pub fn tick(&mut self, tables: &Tables, now_ns: u64, actions: &mut Vec<Action>) {
        self.follow_ports(tables, actions);
        while let Some((deadline_ns, next_hop)) = self.table.next_due() {
            if deadline_ns > now_ns {
                break;
            }
            self.fire(next_hop, tables, now_ns, actions);
        }
    }

    /// When [`Neighbours::tick`] is next due, in nanoseconds of the same clock.
    pub fn next_deadline(&self) -> Option<u64> {
        self.table.next_due().map(|(deadline_ns, _)| deadline_ns)
    }

    /// The map to publish, if it changed since it was last asked for.
    pub fn map(&mut self) -> Option<Arc<NeighbourMap>> {
        if !self.table.take_changed() {
            return None;
        }
        let usable: Vec<_> = self
            .table
            .iter()
            .filter_map(|(next_hop, entry)| {
                let (mac, is_stale) = visible(entry)?;
                Some((next_hop, mac, is_stale))
            })
            .collect();
        Some(Arc::new(NeighbourMap::new(self.config.seed, self.ports.clone(), &usable)))
    }

    /// The table, for display.
    pub fn list(&self) -> impl Iterator<Item = NeighbourEntry> {
        self.table.iter().map(|(next_hop, entry)| NeighbourEntry {
            port: next_hop.port,
            addr: next_hop.addr,
            mac: entry.mac.filter(|_| !matches!(entry.state, State::Incomplete | State::Failed)),
            state: entry.state.name(),
        })
    }

    /// Whether [`Neighbours::list`] tells something new since this was last asked.
    pub fn take_list_changed(&mut self) -> bool {
        self.table.take_list_changed()
    }

    /// Entries that were evicted, or not created, because the table was full.
    pub fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    fn unresolved(
        &mut self,
        next_hop: NextHop,
        asker: Option<IpAddr>,
        tables: &Tables,
        now_ns: u64,
        actions: &mut Vec<Action>,
    ) {
        match self.table.get(next_hop).map(|entry| entry.state) {
            None => {
                if !tables.is_up_for(next_hop) {
                    return actions.push(Action::Failed(next_hop, DropReason::PortDown));
                }
                if !self.table.make_room(next_hop, State::Incomplete, actions) {
                    return actions.push(Action::Failed(next_hop, DropReason::NeighbourTableFull));
                }
                let mut entry = Entry::new(State::Incomplete, None, now_ns, now_ns);
                entry.asker = asker;
                entry.used = true;
                self.table.insert(next_hop, entry);
                self.probe(next_hop, tables, now_ns, actions);
            }
            Some(State::Failed) => {
                self.table.update(next_hop, |entry| {
                    entry.mac = None;
                    entry.asker = asker;
                });
                self.table.set(next_hop, State::Incomplete, now_ns, now_ns);
                self.probe(next_hop, tables, now_ns, actions);
            }
            Some(State::Incomplete) => self.table.update(next_hop, |entry| {
                entry.used = true;
                entry.asker = asker;
            }),
            // It was resolved while the report was under way.
            Some(State::Reachable | State::Stale | State::Delay | State::Probe | State::Permanent) => {
                actions.push(Action::Resolved(next_hop));
            }
        }
    }

    fn in_use(&mut self, next_hop: NextHop, now_ns: u64) {
        self.table.update(next_hop, |entry| {
            entry.used = true;
            entry.touched_ns = now_ns;
        });
        if self.table.get(next_hop).is_some_and(|entry| entry.state == State::Stale) {
            self.table.set(next_hop, State::Delay, now_ns, now_ns + self.config.delay_ms * MS);
        }
    }

    /// RFC 4861 section 7.2.5 for advertisements; for ARP what Linux `arp_process` makes of it.
    fn seen(
        &mut self,
        next_hop: NextHop,
        mac: Option<MacAddr>,
        kind: Seen,
        tables: &Tables,
        now_ns: u64,
        actions: &mut Vec<Action>,
    ) {
        let creates = matches!(kind, Seen::ArpRequest | Seen::Solicitation);
        let (confirms, overrides) = match kind {
            Seen::ArpRequest | Seen::Solicitation | Seen::ArpAnnouncement => (false, true),
            Seen::ArpReply => (true, self.lock_is_over(next_hop, now_ns)),
            Seen::Advertisement { solicited, overrides } => (solicited, overrides),
        };
        let Some(entry) = self.table.get(next_hop).copied() else {
            // Only who talks to us gets an entry, and only on the link where its address belongs: nobody can
            // fill the table with announcements.
            if let Some(mac) = mac
                && creates
                && is_on_link(tables, next_hop)
                && self.table.make_room(next_hop, State::Stale, actions)
            {
                let deadline_ns = now_ns + self.config.stale_ms * MS;
                self.table.insert(next_hop, Entry::new(State::Stale, Some(mac), now_ns, deadline_ns));
            }
            return;
        };
        let differs = mac.is_some() && mac != entry.mac;
        match entry.state {
            State::Permanent => {}
            State::Incomplete | State::Failed => {
                if mac.is_some() {
                    self.learn(next_hop, mac, now_ns);
                    self.confirm_or_stale(next_hop, confirms, now_ns);
                    if entry.state == State::Incomplete {
                        actions.push(Action::Resolved(next_hop));
                    }
                }
            }
            State::Reachable if differs && !overrides => self.stale(next_hop, now_ns),
            State::Stale | State::Delay | State::Probe if differs && !overrides => {}
            State::Reachable | State::Stale | State::Delay | State::Probe => {
                if differs {
                    self.learn(next_hop, mac, now_ns);
                }
                if confirms || differs {
                    self.confirm_or_stale(next_hop, confirms, now_ns);
                }
            }
        }
    }

    fn lock_is_over(&self, next_hop: NextHop, now_ns: u64) -> bool {
        self.table.get(next_hop).is_none_or(|entry| now_ns.saturating_sub(entry.updated_ns) > LOCK_NS)
    }

    fn learn(&mut self, next_hop: NextHop, mac: Option<MacAddr>, now_ns: u64) {
        self.table.update(next_hop, |entry| {
            entry.mac = mac;
            entry.updated_ns = now_ns;
        });
    }

    fn confirm_or_stale(&mut self, next_hop: NextHop, confirmed: bool, now_ns: u64) {
        if !confirmed {
            return self.stale(next_hop, now_ns);
        }
        // RFC 4861 section 6.3.2: uniformly between half and one and a half times the base.
        let base_ns = self.config.reachable_ms.max(1) * MS;
        let lifetime_ns = base_ns / 2 + self.random.below(base_ns);
        self.table.set(next_hop, State::Reachable, now_ns, now_ns + lifetime_ns);
    }

    fn stale(&mut self, next_hop: NextHop, now_ns: u64) {
        self.table.set(next_hop, State::Stale, now_ns, now_ns + self.config.stale_ms * MS);
    }

    /// A timer is due.
    fn fire(&mut self, next_hop: NextHop, tables: &Tables, now_ns: u64, actions: &mut Vec<Action>) {
        let Some(entry) = self.table.get(next_hop).copied() else { return };
        match entry.state {
            State::Incomplete if entry.probes < self.config.multicast_probes => {
                self.probe(next_hop, tables, now_ns, actions);
            }
            State::Probe if entry.probes < self.config.unicast_probes => {
                self.probe(next_hop, tables, now_ns, actions);
            }
            State::Incomplete | State::Probe => {
                self.table.set(next_hop, State::Failed, now_ns, now_ns + self.config.stale_ms * MS);
                actions.push(Action::Failed(next_hop, DropReason::NeighbourFailed));
            }
            State::Reachable => self.stale(next_hop, now_ns),
            State::Delay => {
                self.table.set(next_hop, State::Probe, now_ns, now_ns);
                self.probe(next_hop, tables, now_ns, actions);
            }
            // A small table keeps what it knows, however old.
            State::Stale if self.table.count(next_hop.addr) <= self.config.min_entries => {
                self.table.set(next_hop, State::Stale, entry.touched_ns, now_ns + self.config.stale_ms * MS);
            }
            State::Stale | State::Failed | State::Permanent => {
                self.table.remove(next_hop);
            }
        }
    }

    /// Asks once more, everybody or whom we knew, and sets the timer for the next time.
    fn probe(&mut self, next_hop: NextHop, tables: &Tables, now_ns: u64, actions: &mut Vec<Action>) {
        self.table.update(next_hop, |entry| entry.probes = entry.probes.saturating_add(1));
        let Some(entry) = self.table.get(next_hop) else { return };
        // No packet waits for a neighbour that is only asked whether it is still there.
        let asker = entry.asker.filter(|_| entry.state == State::Incomplete);
        if let Some(frame) = probe::frame(tables, next_hop, asker, entry.mac) {
            actions.push(Action::Probe { port: next_hop.port, frame });
        }
        self.table.set_timer(next_hop, now_ns + self.config.retransmit_ms * MS);
    }

    /// Forgets the neighbours behind a link that lost its carrier (`neigh_carrier_down`,
    /// net/core/neighbour.c): who is there when it comes back is asked for anew, and who is asked for until
    /// then does not answer.
    pub fn carrier_lost(&mut self, port: PortId, actions: &mut Vec<Action>) {
        self.forget_all(|next_hop| next_hop.port == port, actions);
    }

    /// Forgets the neighbours behind a link that went down, which no frames wait for any more, and those
    /// behind a port that was removed, those set by hand included.
    fn follow_ports(&mut self, tables: &Tables, actions: &mut Vec<Action>) {
        if self.ports.is(&tables.ports) {
            return;
        }
        let before = std::mem::replace(&mut self.ports, tables.ports.clone());
        let lost = |next_hop: NextHop| tables.ports.has_lost(&before, next_hop.port);
        self.forget_where(|next_hop, _| lost(next_hop), actions);
        self.forget_all(|next_hop| !tables.is_up_for(next_hop), actions);
    }

    /// Forgets the neighbours that `which` is true of, but those set by hand.
    fn forget_all(&mut self, which: impl Fn(NextHop) -> bool, actions: &mut Vec<Action>) {
        self.forget_where(|next_hop, entry| which(next_hop) && entry.state != State::Permanent, actions);
    }

    /// Forgets the entries that `which` is true of, and gives up the frames that wait for them.
    fn forget_where(&mut self, which: impl Fn(NextHop, &Entry) -> bool, actions: &mut Vec<Action>) {
        let entries = self.table.iter().filter(|(next_hop, entry)| which(*next_hop, entry));
        let gone: Vec<NextHop> = entries.map(|(next_hop, _)| next_hop).collect();
        for next_hop in gone {
            if self.table.remove(next_hop).is_some_and(|entry| entry.state == State::Incomplete) {
                actions.push(Action::Failed(next_hop, DropReason::PortDown));
            }
        }
    }
}

/// Whether the address belongs on that link: link-local, or within a subnet of the port.
fn is_on_link(tables: &Tables, next_hop: NextHop) -> bool {
    let target = match next_hop.addr {
        IpAddr::V4(addr) => tables.route4(addr),
        IpAddr::V6(addr) if addr.is_unicast_link_local() => return tables.is_up_for(next_hop),
        IpAddr::V6(addr) => tables.route6(addr),
    };
    match &target.adjacency {
        Adjacency::OnLink(port) => *port == next_hop.port,
        Adjacency::Via(port, via) => *port == next_hop.port && *via == next_hop.addr,
        Adjacency::Group(group) => group.members().iter().any(|hop| hop.port == next_hop.port),
        Adjacency::Local | Adjacency::Broadcast | Adjacency::Reject(_) => false,
    }
}
