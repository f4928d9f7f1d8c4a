//! The configuration that the tables are made of, and how it follows the kernel's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use nsrouter_router::{NeighConfig, NextHop, PortConfig, Rib, Route, Settings, TablesError};
use nsrouter_wire::frame::PortId;

use crate::netlink::interfaces::Interfaces;
use crate::netlink::link::PortState;
use crate::port::Port;

/// Ports, routes and settings: the control thread rebuilds the tables when one of them changes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// By slot.
    ports: BTreeMap<PortId, PlannedPort>,
    pub(crate) routes: Vec<Route>,
    /// The host port's interface index, by which the kernel reaches the lab.
    pub(crate) host_ifindex: Option<u32>,
    pub(crate) settings: Settings,
    pub(crate) neighbours: NeighConfig,
}

/// A port of the plan, and its link.
#[derive(Clone, Debug)]
pub(crate) struct PlannedPort {
    /// The port, with its link's MTU and the router's addresses as they are now.
    pub(crate) port: Port,
    /// The largest MTU that its backend can carry, in bytes.
    pub(crate) max_mtu: u32,
    pub(crate) state: PortState,
    /// The subnets that it was added with: an address in one of them belongs to this port.
    subnets: Vec<IpNet>,
}

impl PlannedPort {
    /// Its configuration in the tables.
    fn config(&self) -> PortConfig {
        PortConfig {
            name: self.port.name.clone(),
            mac: self.port.mac,
            mtu: self.port.mtu.min(self.max_mtu),
            addresses: self.port.addresses.clone(),
            up: self.port.up,
        }
    }
}

/// The outcome of [`Plan::take_addresses`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressChange {
    /// A port has other addresses now.
    pub(crate) is_changed: bool,
    /// Addresses outside every port's subnet.
    pub(crate) outside_subnets: Vec<IpNet>,
}

impl Plan {
    /// A plan without ports.
    pub(crate) fn new(
        routes: Vec<Route>,
        host_ifindex: Option<u32>,
        settings: Settings,
        neighbours: NeighConfig,
    ) -> Plan {
        Plan { ports: BTreeMap::new(), routes, host_ifindex, settings, neighbours }
    }

    /// Adds a port to a slot, and returns its configuration in the tables.
    pub(crate) fn insert(&mut self, slot: PortId, port: Port, max_mtu: u32) -> PortConfig {
        let subnets = port.addresses.clone();
        let planned = PlannedPort { port, max_mtu, state: PortState::default(), subnets };
        let config = planned.config();
        self.ports.insert(slot, planned);
        config
    }

    /// Removes the port of a slot.
    pub(crate) fn remove(&mut self, slot: PortId) {
        self.ports.remove(&slot);
    }

    /// The port of a slot.
    pub(crate) fn port(&self, slot: PortId) -> Option<&PlannedPort> {
        self.ports.get(&slot)
    }

    /// The same, to be changed.
    pub(crate) fn port_mut(&mut self, slot: PortId) -> Option<&mut PlannedPort> {
        self.ports.get_mut(&slot)
    }

    /// The ports, by slot.
    pub(crate) fn ports(&self) -> impl Iterator<Item = &PlannedPort> {
        self.ports.values()
    }

    /// The slot of the port with this interface, which 0 is not.
    pub(crate) fn slot_of(&self, ifindex: u32) -> Option<PortId> {
        let mut ports = self.ports.iter().filter(|_| ifindex != 0);
        ports.find(|(_, planned)| planned.port.ifindex == ifindex).map(|(slot, _)| *slot)
    }

    /// The ports' configurations in the tables.
    pub(crate) fn port_configs(&self) -> Vec<(PortId, PortConfig)> {
        self.ports.iter().map(|(slot, planned)| (*slot, planned.config())).collect()
    }

    /// The table of ports and configured routes, at the start, when the ports have the first slots.
    pub(crate) fn route_table(&self) -> Result<Rib, TablesError> {
        let configs: Vec<PortConfig> = self.ports.values().map(PlannedPort::config).collect();
        let mut table = Rib::new(&configs, self.settings.clone())?;
        table.configure(&self.routes)?;
        Ok(table)
    }

    /// The interfaces by which the kernel reaches the router's links.
    pub(crate) fn interfaces(&self) -> Interfaces {
        let ports = self.ports.iter().filter(|(_, planned)| planned.port.ifindex != 0);
        let ports = ports.map(|(slot, planned)| (planned.port.ifindex, *slot)).collect();
        let configured = self.routes.iter().map(|route| route.prefix.trunc()).collect();
        Interfaces { host: self.host_ifindex, ports, configured, ..Interfaces::default() }
    }

    /// The neighbour that the kernel means by an interface of the router's and an address.
    pub(crate) fn neighbour(&self, ifindex: u32, addr: IpAddr) -> Option<NextHop> {
        let port = if self.host_ifindex == Some(ifindex) {
            self.port_of(&IpNet::from(addr))
        } else {
            self.slot_of(ifindex)
        };
        Some(NextHop { port: port?, addr })
    }

    /// Whether a port would lose an address if the host port had these.
    pub(crate) fn would_lose(&self, addresses: &[IpNet]) -> bool {
        let mut all = self.ports.values().flat_map(|planned| &planned.port.addresses);
        all.any(|address| !addresses.contains(address))
    }

    /// Gives every address of the host port to the port whose subnet it is in, and removes those that are
    /// gone.
    ///
    /// The order of those that stay is kept and new ones come last, as in Linux's list of a link's IPv4
    /// addresses: the first of a subnet is the source address of the router's own packets there.
    pub(crate) fn take_addresses(&mut self, addresses: &[IpNet]) -> AddressChange {
        let mut change = AddressChange::default();
        for PlannedPort { port, .. } in self.ports.values_mut() {
            let before = port.addresses.len();
            port.addresses.retain(|net| addresses.contains(net));
            change.is_changed |= port.addresses.len() != before;
        }
        for net in addresses {
            if self.ports.values().any(|planned| planned.port.addresses.contains(net)) {
                continue;
            }
            match self.port_of(net).and_then(|slot| self.ports.get_mut(&slot)) {
                Some(planned) => {
                    planned.port.addresses.push(*net);
                    change.is_changed = true;
                }
                None => change.outside_subnets.push(*net),
            }
        }
        change
    }

    /// The port with the narrowest subnet around this address.
    fn port_of(&self, net: &IpNet) -> Option<PortId> {
        let subnets =
            self.ports.iter().flat_map(|(slot, planned)| planned.subnets.iter().map(|it| (*slot, it)));
        let around = subnets.filter(|(_, subnet)| subnet.contains(&net.addr()));
        around.max_by_key(|(_, subnet)| subnet.prefix_len()).map(|(slot, _)| slot)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use nsrouter_wire::eth::MacAddr;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn plan(ports: &[&[&str]]) -> Plan {
        let port = |addresses: &&[&str]| Port {
            name: "eth".to_owned(),
            ifindex: 0,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            addresses: nets(addresses),
            up: true,
        };
        let mut plan = Plan::new(Vec::new(), None, Settings::default(), NeighConfig::default());
        for (addresses, slot) in ports.iter().zip(0..) {
            plan.insert(PortId(slot), port(addresses), u32::MAX);
        }
        plan
    }

    #[test]
    fn addresses_go_to_the_port_of_their_subnet() {
        let mut plan = plan(&[&["10.0.0.1/8", "fd01::1/64"], &["10.2.0.1/24", "10.9.0.1/32"]]);
        let same = nets(&["fd01::1/64", "10.9.0.1/32", "10.2.0.1/24", "10.0.0.1/8"]);
        assert_eq!(plan.take_addresses(&same), AddressChange::default());
        let more =
            [same.clone(), nets(&["10.2.0.9/24", "10.3.0.9/32", "fd01::9/64", "192.168.0.1/24"])].concat();
        let change = plan.take_addresses(&more);
        assert_eq!(change, AddressChange { is_changed: true, outside_subnets: nets(&["192.168.0.1/24"]) });
        assert_eq!(
            plan.ports[&PortId(0)].port.addresses,
            nets(&["10.0.0.1/8", "fd01::1/64", "10.3.0.9/32", "fd01::9/64"])
        );
        assert_eq!(
            plan.ports[&PortId(1)].port.addresses,
            nets(&["10.2.0.1/24", "10.9.0.1/32", "10.2.0.9/24"])
        );
    }

    #[test]
    fn a_port_s_mtu_is_what_link_and_port_can_both_have() {
        let mut plan = plan(&[&["10.0.0.1/8"], &["10.2.0.1/24"], &["10.3.0.1/24"]]);
        for (slot, mtu, max_mtu) in [(0, 9000, 1774), (1, 1500, 1400)] {
            let planned = plan.port_mut(PortId(slot)).unwrap();
            (planned.port.mtu, planned.max_mtu) = (mtu, max_mtu);
        }
        let mtus: Vec<u32> = plan.port_configs().iter().map(|(_, config)| config.mtu).collect();
        assert_eq!(mtus, [1774, 1400, 1500]);
    }

    #[test]
    fn an_address_that_is_gone_comes_back_to_its_port() {
        let mut plan = plan(&[&["10.1.0.1/24"], &["10.2.0.1/24"]]);
        assert!(plan.take_addresses(&nets(&["10.1.0.1/24"])).is_changed);
        assert_eq!(plan.ports[&PortId(1)].port.addresses, []);
        assert!(plan.take_addresses(&nets(&["10.1.0.1/24", "10.2.0.1/24"])).is_changed);
        assert_eq!(plan.ports[&PortId(1)].port.addresses, nets(&["10.2.0.1/24"]));
    }
}
