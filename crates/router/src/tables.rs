//! The read-only view that workers use: ports, neighbours and settings as of one moment, and the forwarding table,
//! whose changes show in every snapshot at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrayvec::ArrayVec;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::ipv6;

use crate::config::{PortConfig, Route, Settings, TablesError};
use crate::drop::DropReason;
use crate::fib::Fib;
use crate::neigh::NeighbourMap;
use crate::routes::RouteTable;
use crate::targets::Targets;
pub(crate) use crate::targets::{NO_MTU, Target, Way};
use crate::types::NextHop;

/// The least MTU that IPv4 works with (RFC 791 section 3.2).
pub(crate) const MIN_MTU_BYTES: u32 = 68;
/// The least MTU that IPv6 works with (RFC 8200 section 5).
pub(crate) const MIN_IPV6_MTU_BYTES: u32 = 1280;
/// No IP packet is larger.
const MAX_MTU_BYTES: u32 = 65_535;

/// Frames whose look-ups are collected at once: a burst.
const WARMED: usize = 64;

/// One port, ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: usize,
    pub(crate) up: bool,
    /// The MTU is large enough for IPv6.
    pub(crate) has_ipv6: bool,
    pub(crate) v4: Vec<Ipv4Net>,
    /// Without the link-local address; none where the port is without IPv6.
    pub(crate) v6: Vec<Ipv6Net>,
    /// Subnets that come back when the MTU is large enough for IPv6 again.
    pub(crate) v6_off: Vec<Ipv6Net>,
    pub(crate) link_local: Ipv6Addr,
    /// The groups that we have joined, without all nodes (ff02::1); in order, each once.
    pub(crate) groups6: Box<[Ipv6Addr]>,
}

pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const SITE_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2);

impl Port {
    fn new(id: PortId, config: &PortConfig) -> Port {
        // What is outside of IP's bounds would be a link that no packet of a length field's range can fill.
        let mtu = config.mtu.clamp(MIN_MTU_BYTES, MAX_MTU_BYTES);
        let mut port = Port {
            id,
            mac: config.mac,
            mtu: usize::try_from(mtu).unwrap_or(0),
            up: config.up,
            has_ipv6: mtu >= MIN_IPV6_MTU_BYTES,
            v4: Vec::new(),
            v6: Vec::new(),
            v6_off: Vec::new(),
            link_local: link_local(config.mac),
            groups6: Box::default(),
        };
        for address in &config.addresses {
            match address {
                IpNet::V4(net) => port.v4.push(*net),
                IpNet::V6(net) if net.addr().is_unicast_link_local() => port.link_local = net.addr(),
                IpNet::V6(net) if port.has_ipv6 => port.v6.push(*net),
                IpNet::V6(net) => port.v6_off.push(*net),
            }
        }
        port.groups6 = port.groups();
        port
    }

    /// All routers, and the solicited-node groups of our addresses, those for every router of a subnet among them (RFC 4291
    /// section 2.8).
    fn groups(&self) -> Box<[Ipv6Addr]> {
        if !self.has_ipv6 {
            return Box::default();
        }
        let anycast = self.v6.iter().filter(|net| net.prefix_len() < 127).map(Ipv6Net::network);
        let addresses = self.v6.iter().map(Ipv6Net::addr).chain(anycast);
        // Linux `addrconf_join_anycast` joins for fe80::/64 as for any subnet.
        let of_link = [self.link_local, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)];
        let solicited = addresses.chain(of_link).map(ipv6::solicited_node);
        let mut groups: Vec<Ipv6Addr> = solicited.chain([ALL_ROUTERS, SITE_ROUTERS]).collect();
        groups.sort_unstable();
        groups.dedup();
        groups.into()
    }

    /// Whether the port carries packets of the address's family now.
    pub(crate) fn is_up_for(&self, addr: IpAddr) -> bool {
        self.up && (addr.is_ipv4() || self.has_ipv6)
    }

    /// Whether the IPv6 address is one of this port's own, the link-local one included.
    pub(crate) fn has6(&self, address: Ipv6Addr) -> bool {
        self.has_ipv6 && address == self.link_local || self.v6.iter().any(|net| net.addr() == address)
    }

    /// Whether the address is the subnet-router anycast address of one of the port's subnets (RFC 4291 section 2.6.1).
    pub(crate) fn has_anycast6(&self, address: Ipv6Addr) -> bool {
        self.v6.iter().any(|net| net.prefix_len() < 127 && net.network() == address)
    }

    /// Whether we are a member of the group on this port.
    pub(crate) fn is_member6(&self, group: Ipv6Addr) -> bool {
        group == ALL_NODES || self.groups6.contains(&group)
    }
}

static NO_ROUTE: Target = Target { way: Way::Reject(DropReason::NoRoute), prefix_len: 0, mtu: NO_MTU };

/// The snapshot. Cloning is cheap: everything behind it is shared.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(crate) ports: Arc<[Port]>,
    pub(crate) fib: Arc<Fib>,
    /// The forwarding table does not fit the caches that are near.
    pub(crate) is_large: bool,
    pub(crate) targets: Arc<Targets>,
    pub(crate) own4: Arc<[Ipv4Addr]>,
    pub(crate) neighbours: Arc<NeighbourMap>,
    pub(crate) settings: Arc<Settings>,
    /// Says how old the oldest tables are that somebody still reads.
    pub(crate) _generation: Arc<()>,
}

impl Tables {
    /// Builds tables. Routes to the ports' own subnets and addresses are added by themselves.
    ///
    /// # Errors
    /// [`TablesError`] names the port or route that does not fit.
    pub fn new(ports: &[PortConfig], routes: &[Route], settings: Settings) -> Result<Tables, TablesError> {
        let mut table = RouteTable::new(ports, settings)?;
        table.configure(routes)?;
        Ok(table.tables())
    }

    /// The same tables with other neighbours.
    #[must_use]
    pub fn with_neighbours(&self, neighbours: Arc<NeighbourMap>) -> Tables {
        Tables { neighbours, ..self.clone() }
    }

    /// The neighbours of this snapshot.
    pub fn neighbour_map(&self) -> Arc<NeighbourMap> {
        Arc::clone(&self.neighbours)
    }

    /// Whether the port is there and its link is up.
    pub fn port_is_up(&self, port: PortId) -> bool {
        self.port(port).is_some_and(|port| port.up)
    }

    /// Whether the next hop's port is up and carries packets of its family.
    pub(crate) fn is_up_for(&self, next_hop: NextHop) -> bool {
        self.port(next_hop.port).is_some_and(|port| port.is_up_for(next_hop.addr))
    }

    /// The port's MTU in bytes, 0 for a port that is not there.
    pub fn port_mtu(&self, port: PortId) -> u32 {
        self.port(port).map_or(0, |port| u32::try_from(port.mtu).unwrap_or(0))
    }

    /// The port's addresses with their subnets, IPv4 first, without the link-local one; none of a port that is not there.
    pub fn port_addresses(&self, port: PortId) -> Vec<IpNet> {
        let Some(port) = self.port(port) else { return Vec::new() };
        let v4 = port.v4.iter().copied().map(IpNet::V4);
        v4.chain(port.v6.iter().copied().map(IpNet::V6)).collect()
    }

    #[inline]
    pub(crate) fn port(&self, port: PortId) -> Option<&Port> {
        self.ports.get(port.index())
    }

    pub(crate) fn ports(&self) -> &[Port] {
        &self.ports
    }

    #[inline]
    pub(crate) fn neighbours(&self) -> &NeighbourMap {
        &self.neighbours
    }

    #[inline]
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the address is one of ours, on any port: the weak host model, as in Linux.
    #[inline]
    pub(crate) fn is_own4(&self, address: Ipv4Addr) -> bool {
        self.own4.contains(&address)
    }

    /// Whether the address is one of ours, on any port; link-local ones too.
    pub(crate) fn is_own6(&self, address: Ipv6Addr) -> bool {
        self.ports.iter().any(|port| port.has6(address))
    }

    /// The port that is up and has a subnet of this broadcast address.
    pub(crate) fn broadcast_port(&self, address: IpAddr) -> Option<PortId> {
        let IpAddr::V4(address) = address else { return None };
        let is_of = |net: &Ipv4Net| net.prefix_len() < 31 && net.broadcast() == address;
        self.ports.iter().find(|port| port.up && port.v4.iter().any(is_of)).map(|port| port.id)
    }

    /// Looks up where the frames of a burst go, to no effect but that what forwarding them will read is near.
    ///
    /// A look-up in a large table waits for memory; several that do not depend on each other wait at the same time. To
    /// be called before the frames are forwarded one by one. Does nothing for a table that is near anyway.
    pub fn warm(&self, frames: &[Frame<'_>]) {
        if !self.is_large {
            return;
        }
        for frames in frames.chunks(WARMED) {
            let mut v6: ArrayVec<u128, WARMED> = ArrayVec::new();
            for frame in frames {
                let data = frame.data();
                match data.get(12..14) {
                    Some([0x08, 0x00]) => {
                        let address = be_bytes(data, 30).map(Ipv4Addr::from_octets);
                        std::hint::black_box(address.and_then(|address| self.fib.lookup4(address)));
                    }
                    Some([0x86, 0xdd]) => v6.extend(be_bytes(data, 38).map(u128::from_be_bytes)),
                    Some(_) | None => {}
                }
            }
            self.fib.lookup6_each(&v6, |value| _ = std::hint::black_box(value));
        }
    }

    #[inline]
    pub(crate) fn route4(&self, destination: Ipv4Addr) -> &Target {
        self.target(self.fib.lookup4(destination))
    }

    #[inline]
    pub(crate) fn route6(&self, destination: Ipv6Addr) -> &Target {
        self.target(self.fib.lookup6(destination))
    }

    #[inline]
    fn target(&self, value: Option<u32>) -> &Target {
        let index = value.and_then(|value| usize::try_from(value).ok());
        index.and_then(|index| self.targets.get(index)).unwrap_or(&NO_ROUTE)
    }
}

/// The `N` bytes from `at` on, where there are as many.
fn be_bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

/// The ports by number.
pub(crate) fn ports(configs: &[PortConfig]) -> Arc<[Port]> {
    (0..).zip(configs).map(|(id, config)| Port::new(PortId(id), config)).collect()
}

/// Whether there are numbers for so many ports.
pub(crate) fn check_number(ports: &[PortConfig]) -> Result<(), TablesError> {
    if ports.len() < usize::from(u16::MAX) { Ok(()) } else { Err(TablesError::TooManyPorts(ports.len())) }
}

/// Whether the ports are ones that a router can be configured with.
pub(crate) fn check_ports(ports: &[PortConfig]) -> Result<(), TablesError> {
    check_number(ports)?;
    for port in ports {
        let has_v6 = port.addresses.iter().any(|address| matches!(address, IpNet::V6(_)));
        let least = if has_v6 { MIN_IPV6_MTU_BYTES } else { MIN_MTU_BYTES };
        if !(least..=MAX_MTU_BYTES).contains(&port.mtu) {
            return Err(TablesError::Mtu { name: port.name.clone(), mtu: port.mtu });
        }
    }
    Ok(())
}

/// The link-local address of a station with this MAC address: fe80::/64 and the modified EUI-64 (RFC 4291 appendix A).
pub const fn link_local(mac: MacAddr) -> Ipv6Addr {
    let m = mac.0;
    Ipv6Addr::from_octets([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        m[0] ^ 0x02,
        m[1],
        m[2],
        0xff,
        0xfe,
        m[3],
        m[4],
        m[5],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_flips_the_universal_bit() {
        assert_eq!(link_local(MacAddr([2, 1, 2, 3, 4, 1])).to_string(), "fe80::1:2ff:fe03:401");
    }
}
