//! The configuration that the tables are made of, and how it follows the kernel's.

use std::net::IpAddr;

use ipnet::IpNet;
use nsrouter_router::{NeighConfig, NextHop, PortConfig, Rib, Route, Settings, TablesError};
use nsrouter_wire::frame::PortId;

use crate::netlink::interfaces::Interfaces;
use crate::port::Port;

/// Ports, routes and settings: the control thread rebuilds the tables when one of them changes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) ports: Vec<Port>,
    pub(crate) routes: Vec<Route>,
    /// The host port's interface index, by which the kernel reaches the lab.
    pub(crate) host_ifindex: Option<u32>,
    pub(crate) settings: Settings,
    pub(crate) neighbours: NeighConfig,
    /// The largest MTU that each port's backend can carry; a port that is not named here can have any.
    pub(crate) max_mtus: Vec<u32>,
    /// The subnets that each port was started with: an address in one of them belongs to that port.
    subnets: Vec<(usize, IpNet)>,
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
    pub(crate) fn new(
        ports: Vec<Port>,
        routes: Vec<Route>,
        host_ifindex: Option<u32>,
        settings: Settings,
        neighbours: NeighConfig,
    ) -> Plan {
        let subnets = ports.iter().enumerate();
        let subnets =
            subnets.flat_map(|(index, port)| port.addresses.iter().map(move |net| (index, *net))).collect();
        Plan { ports, routes, host_ifindex, settings, neighbours, max_mtus: Vec::new(), subnets }
    }

    pub(crate) fn port_configs(&self) -> Vec<PortConfig> {
        let most = self.max_mtus.iter().copied().chain(std::iter::repeat(u32::MAX));
        self.ports
            .iter()
            .zip(most)
            .map(|(port, most)| PortConfig {
                name: port.name.clone(),
                mac: port.mac,
                mtu: port.mtu.min(most),
                addresses: port.addresses.clone(),
                up: port.up,
            })
            .collect()
    }

    /// The configured routes between the ports.
    pub(crate) fn route_table(&self) -> Result<Rib, TablesError> {
        let mut table = Rib::new(&self.port_configs(), self.settings.clone())?;
        table.configure(&self.routes)?;
        Ok(table)
    }

    /// The interfaces by which the kernel reaches the router's links.
    pub(crate) fn interfaces(&self) -> Interfaces {
        let ports = self.ports.iter().map(|port| port.ifindex).collect();
        let configured = self.routes.iter().map(|route| route.prefix.trunc()).collect();
        Interfaces { host: self.host_ifindex, ports, configured, ..Interfaces::default() }
    }

    /// The neighbour that the kernel means by an interface of the router's and an address.
    pub(crate) fn neighbour(&self, ifindex: u32, addr: IpAddr) -> Option<NextHop> {
        let index = if self.host_ifindex == Some(ifindex) {
            self.port_of(&IpNet::from(addr))
        } else {
            self.ports.iter().position(|port| port.ifindex != 0 && port.ifindex == ifindex)
        };
        Some(NextHop { port: PortId(u16::try_from(index?).ok()?), addr })
    }

    /// Whether a port would lose an address if the host port had these.
    pub(crate) fn would_lose(&self, addresses: &[IpNet]) -> bool {
        let all = self.ports.iter().flat_map(|port| &port.addresses);
        all.into_iter().any(|address| !addresses.contains(address))
    }

    /// Gives every address of the host port to the port whose subnet it is in, and removes those that are gone.
    ///
    /// The order of those that stay is kept and new ones come last, as in Linux's list of a link's IPv4 addresses: the
    /// first of a subnet is the source address of the router's own packets there.
    pub(crate) fn take_addresses(&mut self, addresses: &[IpNet]) -> AddressChange {
        let mut change = AddressChange::default();
        for port in &mut self.ports {
            let before = port.addresses.len();
            port.addresses.retain(|net| addresses.contains(net));
            change.is_changed |= port.addresses.len() != before;
        }
        for net in addresses {
            if self.ports.iter().any(|port| port.addresses.contains(net)) {
                continue;
            }
            match self.port_of(net) {
                Some(index) => {
                    self.ports[index].addresses.push(*net);
                    change.is_changed = true;
                }
                None => change.outside_subnets.push(*net),
            }
        }
        change
    }

    /// The port with the narrowest subnet around this address.
    fn port_of(&self, net: &IpNet) -> Option<usize> {
        let around = self.subnets.iter().filter(|(_, subnet)| subnet.contains(&net.addr()));
        around.max_by_key(|(_, subnet)| subnet.prefix_len()).map(|(index, _)| *index)
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
        let ports = ports.iter().map(port).collect();
        Plan::new(ports, Vec::new(), None, Settings::default(), NeighConfig::default())
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
        assert_eq!(plan.ports[0].addresses, nets(&["10.0.0.1/8", "fd01::1/64", "10.3.0.9/32", "fd01::9/64"]));
        assert_eq!(plan.ports[1].addresses, nets(&["10.2.0.1/24", "10.9.0.1/32", "10.2.0.9/24"]));
    }

    #[test]
    fn a_port_s_mtu_is_what_link_and_port_can_both_have() {
        let mut plan = plan(&[&["10.0.0.1/8"], &["10.2.0.1/24"], &["10.3.0.1/24"]]);
        plan.max_mtus = vec![1774, 1400];
        plan.ports[0].mtu = 9000;
        let mtus: Vec<u32> = plan.port_configs().iter().map(|port| port.mtu).collect();
        assert_eq!(mtus, [1774, 1400, 1500]);
    }

    #[test]
    fn an_address_that_is_gone_comes_back_to_its_port() {
        let mut plan = plan(&[&["10.1.0.1/24"], &["10.2.0.1/24"]]);
        assert!(plan.take_addresses(&nets(&["10.1.0.1/24"])).is_changed);
        assert_eq!(plan.ports[1].addresses, []);
        assert!(plan.take_addresses(&nets(&["10.1.0.1/24", "10.2.0.1/24"])).is_changed);
        assert_eq!(plan.ports[1].addresses, nets(&["10.2.0.1/24"]));
    }
}
