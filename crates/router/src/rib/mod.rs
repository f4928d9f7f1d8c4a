//! The routing information base: ports, declared routes and neighbours, and the FIB kept true to them, change
//! by change.
//!
//! A change of a route is in force when the call returns: workers read the same cells. Ports, settings and
//! neighbours are published with [`Rib::tables`], which also tells when the memory of removed prefixes can be
//! used again: once nobody has a snapshot that is older than a removal, nobody can be inside of what was
//! removed.

mod connected_routes;
mod declared;
mod gateways;
mod generations;
mod route_info;
mod slots;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use nsrouter_wire::frame::PortId;

use crate::config::{PortConfig, Route, Settings, TablesError};
use crate::epoch::SharedEpoch;
use crate::fib::{FibWriter, Retired};
use crate::neigh::map::NeighbourMap;
use crate::nexthop::writer::NextHopWriter;
use crate::nexthop::{Adjacency, NO_MTU, NextHopEntry};
use crate::port::{MAX_SLOTS, Port, Ports, check_number, check_ports};
use crate::tables::Tables;
use declared::{Declared, Entry};
use gateways::Resolver;
use generations::Generations;
use route_info::{RouteInfo, RouteInfos};
use slots::Slots;

pub use declared::{InsertMode, Origin};

/// Beyond this, look-ups wait for memory: the half of a usual second-level cache.
const LARGE_BYTES: usize = 1 << 20;

/// Ports and routes, and the forwarding table that follows from them. One writer, the control plane, owns it.
#[derive(Debug)]
pub struct Rib {
    ports: Ports,
    slots: Slots,
    own4: Arc<[Ipv4Addr]>,
    /// The routes to the ports' own subnets and addresses, which no declared route overrides.
    connected: HashMap<IpNet, Adjacency>,
    declared: Declared,
    infos: RouteInfos,
    fib: FibWriter,
    next_hops: NextHopWriter,
    neighbours: Arc<NeighbourMap>,
    settings: Arc<Settings>,
    epoch: SharedEpoch,
    generations: Generations<Retired>,
}

impl Rib {
    /// A table of the ports' own subnets and addresses.
    ///
    /// # Errors
    /// [`TablesError`] names the port that does not fit.
    pub fn new(configs: &[PortConfig], settings: Settings) -> Result<Rib, TablesError> {
        let epoch = SharedEpoch::default();
        let mut rib = Rib {
            ports: Ports::default(),
            slots: Slots::default(),
            own4: Arc::default(),
            connected: HashMap::new(),
            declared: Declared::default(),
            infos: RouteInfos::default(),
            fib: FibWriter::new(epoch.clone()),
            next_hops: NextHopWriter::default(),
            neighbours: Arc::default(),
            settings: Arc::new(settings),
            epoch,
            generations: Generations::default(),
        };
        check_ports(configs)?;
        rib.take_ports(Ports::new(configs))?;
        Ok(rib)
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

    /// A slot for a port that was not there before: one that is empty, that no declared route names, and
    /// whose last port is in no tables that anybody still reads. The lowest of these, or the one after the
    /// last.
    ///
    /// A port that comes back goes to the slot that it had, so that the routes declared by it are used again:
    /// nobody has to ask for that slot.
    ///
    /// Slots for which `is_taken` holds are left out: the caller has plans for them, or waits for the last
    /// frame of a port that they had.
    ///
    /// # Errors
    /// [`TablesError::TooManyPorts`] when all slots are in use.
    pub fn free_slot(&mut self, is_taken: impl Fn(PortId) -> bool) -> Result<PortId, TablesError> {
        self.reclaim();
        let named: HashSet<PortId> = self.infos.kinds().flat_map(gateways::ports).collect();
        let oldest_read = self.generations.oldest_read();
        let is_free = |slot: &PortId| {
            self.ports.get(*slot).is_none()
                && self.slots.is_forgotten(*slot, oldest_read)
                && !named.contains(slot)
                && !is_taken(*slot)
        };
        let slots = (0..u16::MAX).map(PortId).take(MAX_SLOTS);
        slots.into_iter().find(is_free).ok_or(TablesError::TooManyPorts(MAX_SLOTS + 1))
    }

    /// Adds a port to an empty slot, and the routes to its subnets and addresses; routes that are declared by
    /// this slot, or whose gateways are in the port's subnets, are used from now on. To be published with
    /// [`Rib::tables`].
    ///
    /// Before the port that the slot had last counts as gone, every worker must have finished its frames with
    /// the tables without it, and what workers reported of it must have been read: [`Rib::free_slot`] sees to
    /// the first.
    ///
    /// # Errors
    /// [`TablesError::SlotTaken`] or [`TablesError::TooManyPorts`]; nothing is changed then. With
    /// [`TablesError::Full`] the port is there, and some of its routes are not used.
    pub fn add_port(&mut self, slot: PortId, config: &PortConfig) -> Result<(), TablesError> {
        check_number(slot.index() + 1)?;
        if self.ports.get(slot).is_some() {
            return Err(TablesError::SlotTaken(slot));
        }
        let port = self.slots.port(slot, config);
        self.take_ports(self.ports.with(slot, Some(port)))
    }

    /// Removes the port of a slot, as if its link went down: its addresses, the routes to its subnets, the
    /// next hops by it and its neighbours go. Routes that are declared by it stay declared, and are used
    /// again when the slot has a port. False when the slot is empty. To be published with [`Rib::tables`].
    ///
    /// # Errors
    /// [`TablesError::Full`] when what takes the place of its routes does not fit; the port is removed
    /// nevertheless.
    pub fn remove_port(&mut self, slot: PortId) -> Result<bool, TablesError> {
        if self.ports.get(slot).is_none() {
            return Ok(false);
        }
        self.slots.empty(slot, self.generations.number());
        self.take_ports(self.ports.with(slot, None)).map(|()| true)
    }

    /// Gives ports another configuration, all at once. Routes by a port that went down give way to others;
    /// those by one that came up are used again; one whose MTU is too small for IPv6 has none. To be
    /// published with [`Rib::tables`].
    ///
    /// What has happened to a link is taken as it is, whatever a configuration would be refused for: no port
    /// keeps the others from following theirs.
    ///
    /// # Errors
    /// [`TablesError::SlotEmpty`]; nothing is changed then. With [`TablesError::Full`] the change is made in
    /// part.
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
        let before = std::mem::replace(&mut self.connected, connected_routes::adjacencies(&self.ports));
        let changed = self.resolve_again(self.infos.numbers());
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
    /// [`TablesError::GatewayUnreachable`] when the gateway is on no link: the route is declared, and used as
    /// soon as it can be. With any other error nothing is changed.
    pub fn insert(&mut self, origin: Origin, mode: InsertMode, route: &Route) -> Result<(), TablesError> {
        let prefix = route.prefix.trunc();
        let info = self.intern(route)?;
        let entry = Entry { metric: route.metric, info, origin };
        let replaced = match mode {
            InsertMode::Replace => self.declared.replace(prefix, entry),
            InsertMode::Prepend | InsertMode::Append => {
                if self.declared.contains(prefix, entry) {
                    self.infos.release(info);
                    return self.check_gateway(prefix, info);
                }
                self.declared.add(prefix, entry, mode);
                None
            }
        };
        if let Some(replaced) = replaced {
            self.infos.release(replaced.info);
        }
        if let Err(full) = self.changed(prefix) {
            self.declared.remove(prefix, entry);
            self.infos.release(info);
            self.changed(prefix)?;
            return Err(full);
        }
        self.check_gateway(prefix, info)
    }

    /// Takes a declared route back; false when there is none that is equal in all.
    ///
    /// # Errors
    /// [`TablesError::Full`] when what takes its place does not fit.
    pub fn remove(&mut self, origin: Origin, route: &Route) -> Result<bool, TablesError> {
        let prefix = route.prefix.trunc();
        let Some(info) = self.infos.number(route) else { return Ok(false) };
        if !self.declared.remove(prefix, Entry { metric: route.metric, info, origin }) {
            return Ok(false);
        }
        self.infos.release(info);
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
        self.infos.release(entry.info);
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
                let info = self.infos.number(route)?;
                Some((route.prefix.trunc(), Entry { metric: route.metric, info, origin }))
            })
            .collect();
        let gone: Vec<(IpNet, Entry)> = self
            .declared
            .iter()
            .filter(|(prefix, entry)| entry.origin == origin && !keep.contains(&(*prefix, *entry)))
            .collect();
        for (prefix, entry) in gone {
            self.declared.remove(prefix, entry);
            self.infos.release(entry.info);
            self.changed(prefix)?;
        }
        Ok(())
    }

    /// A snapshot for the workers. Everything is shared, so this costs the same whatever the
    /// number of routes.
    pub fn tables(&mut self) -> Tables {
        if self.next_hops.is_mostly_unused() {
            self.renumber_next_hops();
        }
        let generation = self.generations.begin(self.fib.take_retired());
        self.reclaim();
        Tables {
            ports: self.ports.clone(),
            fib: self.fib.fib(),
            is_large: self.fib.fib_memory_bytes() > LARGE_BYTES,
            next_hops: self.next_hops.entries(),
            own4: Arc::clone(&self.own4),
            neighbours: Arc::clone(&self.neighbours),
            settings: Arc::clone(&self.settings),
            epoch: self.epoch.clone(),
            taken_at: self.epoch.number(),
            _generation: generation,
        }
    }

    /// Lets memory be used again that no reader can be inside of any more.
    fn reclaim(&mut self) {
        while let Some(retired) = self.generations.take_unread() {
            self.fib.reuse(retired);
        }
    }

    /// Every declared route, used or not, with who declared it; without the ports' own subnets and addresses.
    pub fn routes(&self) -> impl Iterator<Item = (Origin, Route)> {
        self.declared.iter().filter_map(|(prefix, entry)| {
            let RouteInfo { kind, mtu, .. } = self.infos.get(entry.info)?;
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
        if !self.infos.recursive().any(|info| self.infos.unresolved(info).is_some()) {
            return Ok(());
        }
        let unresolved = |(prefix, entry): (IpNet, Entry)| Some((prefix, self.infos.unresolved(entry.info)?));
        let first = self.declared.iter().find_map(unresolved);
        first.map_or(Ok(()), |(prefix, via)| Err(TablesError::GatewayUnreachable { prefix, via }))
    }

    /// Whether the gateways of the routes that share `info` resolve.
    ///
    /// # Errors
    /// [`TablesError::GatewayUnreachable`] if one does not.
    fn check_gateway(&self, prefix: IpNet, info: u32) -> Result<(), TablesError> {
        let unresolved = self.infos.unresolved(info);
        unresolved.map_or(Ok(()), |via| Err(TablesError::GatewayUnreachable { prefix, via }))
    }

    fn resolver(&self) -> Resolver<'_> {
        Resolver { ports: &self.ports, declared: &self.declared, infos: &self.infos }
    }

    /// The number of what the route does, shared by one more route.
    fn intern(&mut self, route: &Route) -> Result<u32, TablesError> {
        if let Some(info) = self.infos.number(route) {
            self.infos.share(info);
            return Ok(info);
        }
        gateways::check(&self.ports, route)?;
        let resolution = self.resolver().resolve(&route.kind);
        self.infos.add(route, resolution).ok_or(TablesError::Full { prefix: route.prefix })
    }

    /// Brings the forwarding table up to date after the declared routes to a prefix have changed.
    fn changed(&mut self, prefix: IpNet) -> Result<(), TablesError> {
        let decides = |info: u32| {
            let info = self.infos.get(info);
            info.is_some_and(|info| gateways::gateways(&info.kind).any(|via| prefix.contains(&via)))
        };
        if self.infos.recursive().any(decides) {
            let changed = self.resolve_again(self.infos.recursive().collect());
            self.refresh_users_of(&changed)?;
        }
        self.refresh(prefix)
    }

    /// Resolves the gateways of these anew, and returns those that came out otherwise.
    fn resolve_again(&mut self, infos: Vec<u32>) -> HashSet<u32> {
        let mut changed = HashSet::new();
        for number in infos {
            let Some(info) = self.infos.get(number) else { continue };
            let resolution = self.resolver().resolve(&info.kind);
            if self.infos.resolve(number, resolution) {
                changed.insert(number);
            }
        }
        changed
    }

    /// Brings the FIB up to date for the prefixes of all routes that do what one of these numbers stands for.
    fn refresh_users_of(&mut self, infos: &HashSet<u32>) -> Result<(), TablesError> {
        if infos.is_empty() {
            return Ok(());
        }
        let users = self.declared.iter().filter(|(_, entry)| infos.contains(&entry.info));
        let users: Vec<IpNet> = users.map(|(prefix, _)| prefix).collect();
        users.into_iter().try_for_each(|prefix| self.refresh(prefix))
    }

    /// Makes the forwarding table say about this prefix what ports and declared routes say: our own subnets
    /// first, then of the routes that can be used now the one with the lowest metric, of equals the first.
    fn refresh(&mut self, prefix: IpNet) -> Result<(), TablesError> {
        let usable = |entry: &Entry| {
            let info = self.infos.get(entry.info)?;
            Some((info.resolution.adjacency.clone()?, info.mtu))
        };
        let best = match self.connected.get(&prefix) {
            Some(adjacency) => Some((adjacency.clone(), NO_MTU)),
            None => self.declared.at(prefix).iter().find_map(usable),
        };
        let had = match best {
            Some((adjacency, mtu)) => {
                let full = TablesError::Full { prefix };
                let prefix_len = if prefix.addr().is_ipv6() { prefix.prefix_len() } else { 0 };
                let entry = NextHopEntry { adjacency, prefix_len, mtu };
                let number = self.next_hops.number(entry).ok_or(full.clone())?;
                let had = self.fib.insert(prefix, number).map_err(|_| full)?;
                if had == Some(number) {
                    return Ok(());
                }
                self.next_hops.share(number);
                had
            }
            None => self.fib.remove(prefix),
        };
        if let Some(had) = had {
            self.next_hops.release(had);
        }
        Ok(())
    }

    /// Numbers the next-hop entries anew, those in use alone, in a new FIB. Readers go on with the old ones
    /// until they take new tables.
    fn renumber_next_hops(&mut self) {
        self.epoch.outdate_tables();
        let fib = std::mem::replace(&mut self.fib, FibWriter::new(self.epoch.clone()));
        let entries = std::mem::take(&mut self.next_hops).entries();
        // The memory went with the old FIB.
        self.generations.forget_waiting();
        for (prefix, number) in fib.iter() {
            let entry = usize::try_from(number).ok().and_then(|number| entries.get(number));
            let Some(entry) = entry else { continue };
            // What had room before has room now.
            if let Some(number) = self.next_hops.number(entry.clone())
                && self.fib.insert(prefix, number).is_ok()
            {
                self.next_hops.share(number);
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
        let mut rib = Rib::new(ports, settings)?;
        rib.configure(routes)?;
        Ok(rib.tables())
    }
}

#[cfg(test)]
mod epoch_tests;
#[cfg(test)]
mod slot_tests;
#[cfg(test)]
mod tests;
