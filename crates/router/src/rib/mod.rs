//! The declared routes, and the forwarding table kept true to them, change by change.
//!
//! A change of a route is in force when the call returns: workers read the same cells. Ports and settings are published with
//! [`Rib::tables`], which also tells when the memory of removed prefixes can be used again: each snapshot carries
//! a token, and once nobody has a snapshot that is older than a removal, nobody can be inside of what was removed.

mod connected_routes;
mod declared;
mod gateways;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use nsrouter_wire::frame::PortId;

use crate::config::{PortConfig, Route, RouteKind, Settings, TablesError};
use crate::epoch::SharedEpoch;
use crate::fib::{FibWriter, Retired};
use crate::neigh::map::NeighbourMap;
use crate::nexthop::{Adjacency, NO_MTU, NextHopEntries, NextHopEntry};
use crate::port::{MAX_SLOTS, MIN_IPV6_MTU_BYTES, MIN_MTU_BYTES, Port, Ports, check_number, check_ports};
use crate::tables::Tables;
use declared::{Declared, Entry};
use gateways::Resolution;

pub use declared::{InsertMode, Origin};

/// NextHopEntries that no prefix uses any more are forgotten when there are this many, and more than those in use.
const MOST_DEAD: usize = 1 << 16;

/// Beyond this, look-ups wait for memory: the half of a usual second-level cache.
const LARGE_BYTES: usize = 1 << 20;

/// A way of treating packets that one or many routes have in common.
#[derive(Debug)]
struct Kind {
    kind: RouteKind,
    /// The largest packet that these routes let pass.
    mtu: u16,
    routes: usize,
    resolution: Resolution,
}

/// What a route does, and the largest packet that it lets pass. Linux, too, takes no IPv6 route's MTU for less than the least
/// (`ip6_forward`).
fn treatment(route: &Route) -> (RouteKind, u16) {
    let least = if route.prefix.addr().is_ipv6() { MIN_IPV6_MTU_BYTES } else { MIN_MTU_BYTES };
    let mtu = route.mtu.map_or(NO_MTU, |mtu| u16::try_from(mtu.max(least)).unwrap_or(NO_MTU));
    (route.kind.clone(), mtu)
}

/// Ports and routes, and the forwarding table that follows from them. One writer, the control plane, owns it.
#[derive(Debug)]
pub struct Rib {
    ports: Ports,
    slots: Vec<Slot>,
    neighbours: Arc<NeighbourMap>,
    own4: Arc<[Ipv4Addr]>,
    settings: Arc<Settings>,
    epoch: SharedEpoch,
    declared: Declared,
    kinds: Vec<Kind>,
    kind_numbers: HashMap<(RouteKind, u16), u32>,
    unused_kinds: Vec<u32>,
    /// Kinds with a gateway that is not on a link of ours, so that other routes decide where it is.
    recursive: HashSet<u32>,
    /// Subnets and addresses of our own, which nothing overrides.
    connected: HashMap<IpNet, Adjacency>,
    fib: FibWriter,
    targets: Arc<NextHopEntries>,
    target_numbers: HashMap<NextHopEntry, u32>,
    /// Prefixes that lead to each target, by its number.
    target_users: Vec<u32>,
    dead_targets: usize,
    generation: Arc<()>,
    /// Memory that may be used again when nobody has tables of this generation or an older one.
    waiting: VecDeque<(Arc<()>, Retired)>,
    /// Generations of tables that began before this one's.
    generations: u64,
}

/// What became of a slot's ports.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// Ports that the slot had before the one that it has, or will have next.
    former_ports: u32,
    /// The generation of tables that may have the last of these still.
    emptied_in: u64,
}

impl Rib {
    /// A table of the ports' own subnets and addresses.
    ///
    /// # Errors
    /// [`TablesError`] names the port that does not fit.
    pub fn new(configs: &[PortConfig], settings: Settings) -> Result<Rib, TablesError> {
        let epoch = SharedEpoch::default();
        let mut table = Rib {
            ports: Ports::default(),
            slots: vec![Slot::default(); configs.len()],
            neighbours: Arc::default(),
            own4: Arc::default(),
            settings: Arc::new(settings),
            epoch: epoch.clone(),
            declared: Declared::default(),
            kinds: Vec::new(),
            kind_numbers: HashMap::new(),
            unused_kinds: Vec::new(),
            recursive: HashSet::new(),
            connected: HashMap::new(),
            fib: FibWriter::new(epoch),
            targets: Arc::default(),
            target_numbers: HashMap::new(),
            target_users: Vec::new(),
            dead_targets: 0,
            generation: Arc::default(),
            waiting: VecDeque::new(),
            generations: 1,
        };
        check_ports(configs)?;
        table.take_ports(Ports::new(configs))?;
        Ok(table)
    }

    /// Declares configured routes, all of which have to be usable in principle.
    ///
    /// # Errors
    /// [`TablesError`] names the route that does not fit.
    pub fn configure(&mut self, routes: &[Route]) -> Result<(), TablesError> {
        for route in routes {
            match self.insert(Origin::Configured, InsertMode::Append, route) {
                // What leads to the gateway may come later.
                Ok(()) | Err(TablesError::GatewayUnreachable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.check_gateways()
    }

    /// A slot for a port that was not there before: one that is empty, that no declared route names, and whose last port
    /// is in no tables that anybody still reads. The lowest of these, or the one after the last.
    ///
    /// A port that comes back goes to the slot that it had, so that the routes declared by it are used again: nobody
    /// has to ask for that slot.
    ///
    /// # Errors
    /// [`TablesError::TooManyPorts`] when all slots are in use.
    pub fn free_slot(&mut self) -> Result<PortId, TablesError> {
        self.reclaim();
        let named: HashSet<PortId> =
            self.kind_numbers.keys().flat_map(|(kind, _)| gateways::ports(kind)).collect();
        // The generations that wait come right before this one.
        let oldest_read = self.generations - self.waiting.len() as u64;
        let is_free = |slot: &PortId| {
            let is_read = self.slots.get(slot.index()).is_some_and(|slot| slot.emptied_in >= oldest_read);
            self.ports.get(*slot).is_none() && !is_read && !named.contains(slot)
        };
        let slots = (0..u16::MAX).map(PortId).take(MAX_SLOTS);
        slots.into_iter().find(is_free).ok_or(TablesError::TooManyPorts(MAX_SLOTS + 1))
    }

    /// Adds a port to an empty slot, and the routes to its subnets and addresses; routes that are declared by this slot,
    /// or whose gateways are in the port's subnets, are used from now on. To be published with [`Rib::tables`].
    ///
    /// Before the port that the slot had last counts as gone, every worker must have finished its frames with the tables
    /// without it, and what workers reported of it must have been read: [`Rib::free_slot`] sees to the first.
    ///
    /// # Errors
    /// [`TablesError::SlotTaken`] or [`TablesError::TooManyPorts`]; nothing is changed then. With [`TablesError::Full`]
    /// the port is there, and some of its routes are not used.
    pub fn add_port(&mut self, slot: PortId, config: &PortConfig) -> Result<(), TablesError> {
        check_number(slot.index() + 1)?;
        if self.ports.get(slot).is_some() {
            return Err(TablesError::SlotTaken(slot));
        }
        if self.slots.len() <= slot.index() {
            self.slots.resize(slot.index() + 1, Slot::default());
        }
        let port = Port::new(slot, self.slots[slot.index()].former_ports, config);
        self.take_ports(self.ports.with(slot, Some(port)))
    }

    /// Removes the port of a slot, as if its link went down: its addresses, the routes to its subnets, the next hops by it
    /// and its neighbours go. Routes that are declared by it stay declared, and are used again when the slot has a port.
    /// False when the slot is empty. To be published with [`Rib::tables`].
    ///
    /// # Errors
    /// [`TablesError::Full`] when what takes the place of its routes does not fit; the port is removed nevertheless.
    pub fn remove_port(&mut self, slot: PortId) -> Result<bool, TablesError> {
        if self.ports.get(slot).is_none() {
            return Ok(false);
        }
        self.slots[slot.index()].former_ports += 1;
        self.slots[slot.index()].emptied_in = self.generations;
        self.take_ports(self.ports.with(slot, None)).map(|()| true)
    }

    /// Gives ports another configuration, all at once. Routes by a port that went down give way to others; those by one
    /// that came up are used again; one whose MTU is too small for IPv6 has none. To be published with
    /// [`Rib::tables`].
    ///
    /// What has happened to a link is taken as it is, whatever a configuration would be refused for: no port keeps the others
    /// from following theirs.
    ///
    /// # Errors
    /// [`TablesError::SlotEmpty`]; nothing is changed then. With [`TablesError::Full`] the change is made in part.
    pub fn set_ports<'a>(
        &mut self,
        configs: impl IntoIterator<Item = (PortId, &'a PortConfig)>,
    ) -> Result<(), TablesError> {
        let mut ports = self.ports.clone();
        for (slot, config) in configs {
            let Some(before) = ports.get(slot) else { return Err(TablesError::SlotEmpty(slot)) };
            let after = Port::new(slot, before.generation, config);
            if *before != after {
                ports = ports.with(slot, Some(after));
            }
        }
        self.take_ports(ports)
    }

    /// Gives the tables other neighbours; those of ports that are gone are left out. To be published with
    /// [`Rib::tables`].
    pub fn set_neighbours(&mut self, neighbours: Arc<NeighbourMap>) {
        let neighbours = NeighbourMap::only_of(neighbours, &self.ports);
        if !neighbours.decides_as(&self.neighbours) {
            self.epoch.outdate_tables();
        }
        self.neighbours = neighbours;
    }

    /// Makes the forwarding table, and all else that follows from ports, follow from these.
    fn take_ports(&mut self, ports: Ports) -> Result<(), TablesError> {
        if self.ports.is(&ports) {
            return Ok(());
        }
        self.epoch.outdate_tables();
        self.ports = ports;
        self.neighbours = NeighbourMap::only_of(std::mem::take(&mut self.neighbours), &self.ports);
        self.own4 = self.ports.iter().flat_map(|port| port.v4.iter().map(Ipv4Net::addr)).collect();
        let before = std::mem::replace(&mut self.connected, connected_routes::ways(&self.ports));
        let numbers: Vec<u32> = self.kind_numbers.values().copied().collect();
        let changed = self.resolve_again(numbers);
        let changed_subnets = before
            .iter()
            .filter(|(prefix, adjacency)| self.connected.get(*prefix) != Some(*adjacency))
            .map(|(prefix, _)| *prefix);
        let new_subnets = self.connected.keys().filter(|prefix| !before.contains_key(*prefix)).copied();
        let prefixes: Vec<IpNet> = changed_subnets.chain(new_subnets).collect();
        prefixes.into_iter().try_for_each(|prefix| self.refresh(prefix))?;
        self.refresh_users_of(&changed)
    }

    /// Declares a route. One that is there already, equal in all, stays as it is.
    ///
    /// # Errors
    /// [`TablesError::GatewayUnreachable`] when the gateway is on no link: the route is declared, and used as soon as it
    /// can be. With any other error nothing is changed.
    pub fn insert(
        &mut self,
        origin: Origin,
        placement: InsertMode,
        route: &Route,
    ) -> Result<(), TablesError> {
        let prefix = route.prefix.trunc();
        let kind = self.intern(route)?;
        let entry = Entry { metric: route.metric, kind, origin };
        let replaced = match placement {
            InsertMode::Replace => self.declared.replace(prefix, entry),
            InsertMode::Prepend | InsertMode::Append => {
                if self.declared.contains(prefix, entry) {
                    self.release(kind);
                    return self.stranded(route);
                }
                self.declared.add(prefix, entry, placement);
                None
            }
        };
        if let Some(replaced) = replaced {
            self.release(replaced.kind);
        }
        if let Err(full) = self.changed(prefix) {
            self.declared.remove(prefix, entry);
            self.release(kind);
            self.changed(prefix)?;
            return Err(full);
        }
        self.stranded(route)
    }

    /// Takes a declared route back; false when there is none that is equal in all.
    ///
    /// # Errors
    /// [`TablesError::Full`] when what takes its place does not fit.
    pub fn remove(&mut self, origin: Origin, route: &Route) -> Result<bool, TablesError> {
        let prefix = route.prefix.trunc();
        let Some(kind) = self.kind_numbers.get(&treatment(route)).copied() else { return Ok(false) };
        if !self.declared.remove(prefix, Entry { metric: route.metric, kind, origin }) {
            return Ok(false);
        }
        self.release(kind);
        self.changed(prefix)?;
        Ok(true)
    }

    /// Takes back the first route of this origin to the prefix with this metric, whatever it does.
    ///
    /// # Errors
    /// [`TablesError::Full`] when what takes its place does not fit.
    pub fn remove_first(&mut self, origin: Origin, prefix: IpNet, metric: u32) -> Result<bool, TablesError> {
        let prefix = prefix.trunc();
        let Some(entry) = self.declared.remove_first(prefix, metric, origin) else { return Ok(false) };
        self.release(entry.kind);
        self.changed(prefix)?;
        Ok(true)
    }

    /// Takes back all routes of this origin that are not among `routes`.
    ///
    /// # Errors
    /// [`TablesError::Full`] when what takes their place does not fit.
    pub fn retain(&mut self, origin: Origin, routes: &[Route]) -> Result<(), TablesError> {
        let keep: HashSet<(IpNet, Entry)> = routes
            .iter()
            .filter_map(|route| {
                let kind = *self.kind_numbers.get(&treatment(route))?;
                Some((route.prefix.trunc(), Entry { metric: route.metric, kind, origin }))
            })
            .collect();
        let gone: Vec<(IpNet, Entry)> = self
            .declared
            .iter()
            .filter(|(prefix, entry)| entry.origin == origin && !keep.contains(&(*prefix, *entry)))
            .collect();
        for (prefix, entry) in gone {
            self.declared.remove(prefix, entry);
            self.release(entry.kind);
            self.changed(prefix)?;
        }
        Ok(())
    }

    /// A snapshot for the workers. Everything is shared, so this costs the same whatever the
    /// number of routes.
    pub fn tables(&mut self) -> Tables {
        if self.dead_targets > MOST_DEAD && self.dead_targets > self.target_numbers.len() / 2 {
            self.forget_dead_targets();
        }
        let before = std::mem::take(&mut self.generation);
        self.generations += 1;
        self.waiting.push_back((before, self.fib.take_retired()));
        self.reclaim();
        Tables {
            ports: self.ports.clone(),
            fib: self.fib.fib(),
            is_large: self.fib.fib_memory_bytes() > LARGE_BYTES,
            targets: Arc::clone(&self.targets),
            own4: Arc::clone(&self.own4),
            neighbours: Arc::clone(&self.neighbours),
            settings: Arc::clone(&self.settings),
            epoch: self.epoch.clone(),
            taken_at: self.epoch.number(),
            _generation: Arc::clone(&self.generation),
        }
    }

    /// Lets memory be used again that no reader can be inside of any more: oldest first, as a reader of an older generation
    /// may still be inside of anything that was removed later.
    fn reclaim(&mut self) {
        while let Some((generation, _)) = self.waiting.front_mut()
            && Arc::get_mut(generation).is_some()
            && let Some((_, retired)) = self.waiting.pop_front()
        {
            self.fib.reuse(retired);
        }
    }

    /// Every declared route, used or not, with who declared it; without the ports' own subnets and addresses.
    pub fn routes(&self) -> impl Iterator<Item = (Origin, Route)> {
        self.declared.iter().filter_map(|(prefix, entry)| {
            let Kind { kind, mtu, .. } = self.kinds.get(usize::try_from(entry.kind).ok()?)?;
            let mtu = (*mtu != NO_MTU).then_some(u32::from(*mtu));
            Some((entry.origin, Route { prefix, kind: kind.clone(), metric: entry.metric, mtu }))
        })
    }

    /// Number of prefixes, those of our own subnets and addresses included.
    pub fn prefixes(&self) -> usize {
        self.fib.len()
    }

    /// Bytes of memory that lookups go through.
    pub fn fib_memory_bytes(&self) -> usize {
        self.fib.fib_memory_bytes()
    }

    /// The first route whose gateway is on no link, as an error.
    ///
    /// # Errors
    /// [`TablesError::GatewayUnreachable`] if there is one.
    fn check_gateways(&self) -> Result<(), TablesError> {
        let unreachable = |number: u32| self.kind(number).and_then(|kind| kind.resolution.unreachable);
        if !self.recursive.iter().any(|number| unreachable(*number).is_some()) {
            return Ok(());
        }
        let first = self.declared.iter().find_map(|(prefix, entry)| Some((prefix, unreachable(entry.kind)?)));
        first.map_or(Ok(()), |(prefix, via)| Err(TablesError::GatewayUnreachable { prefix, via }))
    }

    fn kind(&self, number: u32) -> Option<&Kind> {
        self.kinds.get(usize::try_from(number).ok()?)
    }

    fn kind_mut(&mut self, number: u32) -> Option<&mut Kind> {
        self.kinds.get_mut(usize::try_from(number).ok()?)
    }

    fn stranded(&self, route: &Route) -> Result<(), TablesError> {
        if self.recursive.is_empty() {
            return Ok(());
        }
        let number = self.kind_numbers.get(&treatment(route));
        match number.and_then(|number| self.kind(*number)?.resolution.unreachable) {
            Some(via) => Err(TablesError::GatewayUnreachable { prefix: route.prefix, via }),
            None => Ok(()),
        }
    }

    /// The number of the route's kind, with one more route to it.
    fn intern(&mut self, route: &Route) -> Result<u32, TablesError> {
        let treatment = treatment(route);
        if let Some(number) = self.kind_numbers.get(&treatment).copied() {
            if let Some(kind) = self.kind_mut(number) {
                kind.routes += 1;
            }
            return Ok(number);
        }
        gateways::check(&self.ports, route)?;
        let resolution = gateways::resolve(&self.ports, self, &route.kind);
        let is_recursive = resolution.recursive;
        let kind = Kind { kind: route.kind.clone(), mtu: treatment.1, routes: 1, resolution };
        let number = match self.unused_kinds.pop() {
            Some(number) => {
                if let Some(unused) = self.kind_mut(number) {
                    *unused = kind;
                }
                number
            }
            None => {
                let full = TablesError::Full { prefix: route.prefix };
                let number = u32::try_from(self.kinds.len()).map_err(|_| full)?;
                self.kinds.push(kind);
                number
            }
        };
        if is_recursive {
            self.recursive.insert(number);
        }
        self.kind_numbers.insert(treatment, number);
        Ok(number)
    }

    /// One route fewer has this kind.
    fn release(&mut self, number: u32) {
        let Some(kind) = self.kind_mut(number) else { return };
        kind.routes -= 1;
        if kind.routes == 0 {
            let treatment = (kind.kind.clone(), kind.mtu);
            self.kind_numbers.remove(&treatment);
            self.recursive.remove(&number);
            self.unused_kinds.push(number);
        }
    }

    /// Brings the forwarding table up to date after the declared routes to a prefix have changed.
    fn changed(&mut self, prefix: IpNet) -> Result<(), TablesError> {
        let decides = |number: &u32| {
            let gateways = self.kind(*number).map(|kind| gateways::gateways(&kind.kind));
            gateways.is_some_and(|mut gateways| gateways.any(|via| prefix.contains(&via)))
        };
        if self.recursive.iter().any(decides) {
            let numbers = self.recursive.iter().copied().collect();
            let changed = self.resolve_again(numbers);
            self.refresh_users_of(&changed)?;
        }
        self.refresh(prefix)
    }

    /// Resolves kinds anew and returns those that came out otherwise.
    fn resolve_again(&mut self, numbers: Vec<u32>) -> HashSet<u32> {
        let mut changed = HashSet::new();
        for number in numbers {
            let Some(kind) = self.kind(number) else { continue };
            let resolution = gateways::resolve(&self.ports, self, &kind.kind);
            if resolution == kind.resolution {
                continue;
            }
            if resolution.recursive {
                self.recursive.insert(number);
            } else {
                self.recursive.remove(&number);
            }
            if let Some(kind) = self.kind_mut(number) {
                kind.resolution = resolution;
            }
            changed.insert(number);
        }
        changed
    }

    fn refresh_users_of(&mut self, kinds: &HashSet<u32>) -> Result<(), TablesError> {
        if kinds.is_empty() {
            return Ok(());
        }
        let users: Vec<IpNet> = self
            .declared
            .iter()
            .filter(|(_, entry)| kinds.contains(&entry.kind))
            .map(|(prefix, _)| prefix)
            .collect();
        users.into_iter().try_for_each(|prefix| self.refresh(prefix))
    }

    /// Makes the forwarding table say about this prefix what ports and declared routes say: our own subnets first, then of
    /// the routes that can be used now the one with the lowest metric, of equals the first.
    fn refresh(&mut self, prefix: IpNet) -> Result<(), TablesError> {
        let usable = |entry: &Entry| {
            let kind = self.kind(entry.kind)?;
            Some((kind.resolution.adjacency.clone()?, kind.mtu))
        };
        let adjacency = match self.connected.get(&prefix) {
            Some(adjacency) => Some((adjacency.clone(), NO_MTU)),
            None => self.declared.at(prefix).iter().find_map(usable),
        };
        let had = match adjacency {
            Some((adjacency, mtu)) => {
                let full = |_| TablesError::Full { prefix };
                let number = self.target(prefix, adjacency, mtu)?;
                let had = self.fib.insert(prefix, number).map_err(full)?;
                if had == Some(number) {
                    return Ok(());
                }
                self.use_target(number);
                had
            }
            None => self.fib.remove(prefix),
        };
        if let Some(users) = had.and_then(|number| self.target_users.get_mut(usize::try_from(number).ok()?)) {
            *users -= 1;
            self.dead_targets += usize::from(*users == 0);
        }
        Ok(())
    }

    fn use_target(&mut self, number: u32) {
        if let Some(users) = usize::try_from(number).ok().and_then(|at| self.target_users.get_mut(at)) {
            self.dead_targets -= usize::from(*users == 0);
            *users += 1;
        }
    }

    /// The number of a target, which is there for readers before anything can lead to it.
    fn target(&mut self, prefix: IpNet, adjacency: Adjacency, mtu: u16) -> Result<u32, TablesError> {
        let prefix_len = if prefix.addr().is_ipv6() { prefix.prefix_len() } else { 0 };
        let target = NextHopEntry { adjacency, prefix_len, mtu };
        if let Some(number) = self.target_numbers.get(&target) {
            return Ok(*number);
        }
        let number = self.target_numbers.len();
        self.targets.set(number, target.clone());
        let number = u32::try_from(number).map_err(|_| TablesError::Full { prefix })?;
        self.target_numbers.insert(target, number);
        self.target_users.push(0);
        self.dead_targets += 1;
        Ok(number)
    }

    /// Begins numbers and forwarding table anew. Readers go on with the old ones until they take new tables.
    fn forget_dead_targets(&mut self) {
        // Nobody changes the table any more that older tables have.
        self.epoch.outdate_tables();
        let fib = std::mem::replace(&mut self.fib, FibWriter::new(self.epoch.clone()));
        let targets = std::mem::take(&mut self.targets);
        self.target_numbers.clear();
        self.target_users.clear();
        self.dead_targets = 0;
        // The memory went with the table; who reads which generation is still asked.
        self.waiting.iter_mut().for_each(|(_, retired)| *retired = Retired::default());
        for (prefix, number) in fib.iter() {
            let target = usize::try_from(number).ok().and_then(|number| targets.get(number));
            let Some(target) = target else { continue };
            // What had room before has room now.
            if let Ok(number) = self.target(prefix, target.adjacency.clone(), target.mtu)
                && self.fib.insert(prefix, number).is_ok()
            {
                self.use_target(number);
            }
        }
    }
}

impl Tables {
    /// Builds tables. Routes to the ports' own subnets and addresses are added by themselves.
    ///
    /// # Errors
    /// [`TablesError`] names the port or route that does not fit.
    pub fn new(ports: &[PortConfig], routes: &[Route], settings: Settings) -> Result<Tables, TablesError> {
        let mut table = Rib::new(ports, settings)?;
        table.configure(routes)?;
        Ok(table.tables())
    }
}

/// The declared routes that lead to an address, the longest prefix first, and of those by metric.
impl gateways::Lookup for Rib {
    fn kinds_to(&self, address: IpAddr) -> Vec<&RouteKind> {
        let entries = self.declared.covering(address);
        entries.into_iter().filter_map(|entry| Some(&self.kind(entry.kind)?.kind)).collect()
    }
}

#[cfg(test)]
mod epoch_tests;
#[cfg(test)]
mod slot_tests;
#[cfg(test)]
mod tests;
