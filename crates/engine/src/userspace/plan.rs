//! What the tables are made of, and how it follows what the kernel of the router's namespace is told.

use std::net::IpAddr;

use ipnet::IpNet;
use nsrouter_router::{NeighConfig, NextHop, PortConfig, Route, RouteTable, Settings, TablesError};
use nsrouter_wire::frame::PortId;

use crate::Port;
use crate::control::monitor::Interfaces;

/// Ports, routes and settings: the control plane keeps it to change the tables when one of them changes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) ports: Vec<Port>,
    pub(crate) routes: Vec<Route>,
    /// The host port's interface index, by which the kernel knows the lab.
    pub(crate) host_ifindex: Option<u32>,
    pub(crate) settings: Settings,
    pub(crate) neighbours: NeighConfig,
    /// The largest MTU that each port can have; one that is not named here can have any.
    pub(crate) max_mtus: Vec<u32>,
    /// Which port each subnet belongs to: what it was started with.
    homes: Vec<(usize, IpNet)>,
}

/// What came of a look at the host port's addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// A port's addresses are others now.
    pub(crate) is_changed: bool,
    /// Addresses that belong to no port.
    pub(crate) homeless: Vec<IpNet>,
}

impl Plan {
    pub(crate) fn new(
        ports: Vec<Port>,
        routes: Vec<Route>,
        host_ifindex: Option<u32>,
        settings: Settings,
        neighbours: NeighConfig,
    ) -> Plan {
        let homes = ports.iter().enumerate();
        let homes =
            homes.flat_map(|(index, port)| port.addresses.iter().map(move |net| (index, *net))).collect();
        Plan { ports, routes, host_ifindex, settings, neighbours, max_mtus: Vec::new(), homes }
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
    pub(crate) fn route_table(&self) -> Result<RouteTable, TablesError> {
        let mut table = RouteTable::new(&self.port_configs(), self.settings.clone())?;
        table.configure(&self.routes)?;
        Ok(table)
    }

    /// What the kernel calls the ways out that are ours.
    pub(crate) fn interfaces(&self) -> Interfaces {
        let ports = self.ports.iter().map(|port| port.ifindex).collect();
        let configured = self.routes.iter().map(|route| route.prefix.trunc()).collect();
        Interfaces { host: self.host_ifindex, ports, configured, ..Interfaces::default() }
    }

    /// Which neighbour the kernel means by an interface of the router's and an address.
    pub(crate) fn neighbour(&self, ifindex: u32, addr: IpAddr) -> Option<NextHop> {
        let index = if self.host_ifindex == Some(ifindex) {
            self.home(&IpNet::from(addr))
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

    /// Gives every address of the host port to the port whose subnet it is in, and takes away what is no longer there.
    ///
    /// The order of those that stay is kept and new ones come last, as Linux's own list of a link's IPv4 addresses: the
    /// first of a subnet is the one that the router speaks by.
    pub(crate) fn take_addresses(&mut self, addresses: &[IpNet]) -> Taken {
        let mut taken = Taken::default();
        for port in &mut self.ports {
            let before = port.addresses.len();
            port.addresses.retain(|net| addresses.contains(net));
            taken.is_changed |= port.addresses.len() != before;
        }
        for net in addresses {
            if self.ports.iter().any(|port| port.addresses.contains(net)) {
                continue;
            }
            match self.home(net) {
                Some(index) => {
                    self.ports[index].addresses.push(*net);
                    taken.is_changed = true;
                }
                None => taken.homeless.push(*net),
            }
        }
        taken
    }

    /// The port that had the narrowest subnet around this address.
    fn home(&self, net: &IpNet) -> Option<usize> {
        let around = self.homes.iter().filter(|(_, home)| home.contains(&net.addr()));
        around.max_by_key(|(_, home)| home.prefix_len()).map(|(index, _)| *index)
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
        assert_eq!(plan.take_addresses(&same), Taken::default());
        let more =
            [same.clone(), nets(&["10.2.0.9/24", "10.3.0.9/32", "fd01::9/64", "192.168.0.1/24"])].concat();
        let taken = plan.take_addresses(&more);
        assert_eq!(taken, Taken { is_changed: true, homeless: nets(&["192.168.0.1/24"]) });
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
