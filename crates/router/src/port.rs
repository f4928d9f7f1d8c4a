//! A port ready for use: its addresses, its groups, and whether its link is up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;
use nsrouter_wire::ipv6;

use crate::config::{PortConfig, TablesError};

/// The least MTU that IPv4 works with (RFC 791 section 3.2).
pub(crate) const MIN_MTU_BYTES: u32 = 68;
/// The least MTU that IPv6 works with (RFC 8200 section 5).
pub(crate) const MIN_IPV6_MTU_BYTES: u32 = 1280;
/// No IP packet is larger.
const MAX_MTU_BYTES: u32 = 65_535;

/// A link port of the router: its addresses, its multicast groups, its MTU, and whether its link is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub(crate) id: PortId,
    /// Tells the ports apart that a slot has had: each has a number of its own.
    pub(crate) generation: u32,
    pub(crate) mac: MacAddr,
    /// In bytes.
    pub(crate) mtu: usize,
    pub(crate) up: bool,
    /// Whether the MTU is large enough for IPv6.
    pub(crate) has_ipv6: bool,
    pub(crate) v4: Vec<Ipv4Net>,
    /// Without the link-local address; empty while the port has no IPv6.
    pub(crate) v6: Vec<Ipv6Net>,
    /// IPv6 subnets that come back once the MTU is large enough for IPv6 again.
    pub(crate) v6_off: Vec<Ipv6Net>,
    pub(crate) link_local: Ipv6Addr,
    /// The IPv6 groups that the port has joined, without all nodes (ff02::1); sorted, each once.
    pub(crate) groups6: Box<[Ipv6Addr]>,
}

impl Port {
    /// The port of slot `id`. An MTU outside of IP's bounds counts as the nearest that IP can work with: that
    /// is how a link may be, whatever a configuration would be refused for.
    pub(crate) fn new(id: PortId, generation: u32, config: &PortConfig) -> Port {
        let mtu = config.mtu.clamp(MIN_MTU_BYTES, MAX_MTU_BYTES);
        let mut port = Port {
            id,
            generation,
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

    /// The slot that the port is in.
    pub fn id(&self) -> PortId {
        self.id
    }

    /// The port's own MAC address.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// The largest IP packet in bytes, link-layer header excluded.
    pub fn mtu_bytes(&self) -> u32 {
        u32::try_from(self.mtu).unwrap_or(MAX_MTU_BYTES)
    }

    /// Whether the link is up.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The port's addresses with their subnets, IPv4 first, without the link-local one.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().copied().map(IpNet::V4);
        v4.chain(self.v6.iter().copied().map(IpNet::V6))
    }

    /// All routers, and the solicited-node groups of the port's addresses, the subnet-router anycast
    /// addresses among them (RFC 4291 section 2.8).
    fn groups(&self) -> Box<[Ipv6Addr]> {
        if !self.has_ipv6 {
            return Box::default();
        }
        let addresses = self.v6.iter().map(Ipv6Net::addr).chain(self.anycast6());
        // Linux `addrconf_join_anycast` joins for fe80::/64 as for any subnet.
        let of_link = [self.link_local, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)];
        let solicited = addresses.chain(of_link).map(ipv6::solicited_node);
        let mut groups: Vec<Ipv6Addr> =
            solicited.chain([ipv6::ALL_ROUTERS, ipv6::ALL_SITE_ROUTERS]).collect();
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

    /// The subnet-router anycast addresses of the port's subnets (RFC 4291 section 2.6.1): a /127 link and a /128
    /// address have none (RFC 6164).
    pub(crate) fn anycast6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.v6.iter().filter(|net| net.prefix_len() < 127).map(Ipv6Net::network)
    }

    /// Whether the address is the subnet-router anycast address of one of the port's subnets.
    pub(crate) fn has_anycast6(&self, address: Ipv6Addr) -> bool {
        self.anycast6().any(|anycast| anycast == address)
    }

    /// The broadcast addresses of the port's subnets: a /31 link and a /32 address have none (RFC 3021).
    pub(crate) fn broadcasts4(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.v4.iter().filter(|net| net.prefix_len() < 31).map(Ipv4Net::broadcast)
    }

    /// Whether we are a member of the group on this port.
    pub(crate) fn is_member6(&self, group: Ipv6Addr) -> bool {
        group == ipv6::ALL_NODES || self.groups6.contains(&group)
    }
}

/// The ports by slot; a slot may be empty. Clones share the ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ports(Arc<[Option<Port>]>);

impl Ports {
    /// The ports in the slots from 0 on, as at the start.
    pub(crate) fn new(configs: &[PortConfig]) -> Ports {
        Ports((0..).zip(configs).map(|(id, config)| Some(Port::new(PortId(id), 0, config))).collect())
    }

    /// The same ports but for one slot, which is made if it is not there.
    #[must_use]
    pub(crate) fn with(&self, slot: PortId, port: Option<Port>) -> Ports {
        let mut slots = self.0.to_vec();
        if slots.len() <= slot.index() {
            slots.resize(slot.index() + 1, None);
        }
        slots[slot.index()] = port;
        Ports(slots.into())
    }

    /// The port in that slot; `None` for an empty slot, and for one that is not there.
    #[inline]
    pub(crate) fn get(&self, slot: PortId) -> Option<&Port> {
        self.0.get(slot.index())?.as_ref()
    }

    /// The ports that are there, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Port> + Clone {
        self.0.iter().flatten()
    }

    /// Whether both are one and the same.
    pub(crate) fn is(&self, other: &Ports) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the port that was in this slot before is not there any more: the slot is empty, or has another
    /// port.
    pub(crate) fn has_lost(&self, before: &Ports, slot: PortId) -> bool {
        let generation = |ports: &Ports| ports.get(slot).map(|port| port.generation);
        before.get(slot).is_some() && generation(before) != generation(self)
    }
}

/// Slots that can be numbered, [`PortId::HOST`] excluded.
pub(crate) const MAX_SLOTS: usize = u16::MAX as usize - 1;

/// Whether there are numbers for so many ports.
pub(crate) fn check_number(ports: usize) -> Result<(), TablesError> {
    if ports <= MAX_SLOTS { Ok(()) } else { Err(TablesError::TooManyPorts(ports)) }
}

/// Whether the ports are ones that a router can be configured with.
pub(crate) fn check_ports(ports: &[PortConfig]) -> Result<(), TablesError> {
    check_number(ports.len())?;
    for port in ports {
        let has_v6 = port.addresses.iter().any(|address| matches!(address, IpNet::V6(_)));
        let least = if has_v6 { MIN_IPV6_MTU_BYTES } else { MIN_MTU_BYTES };
        if !(least..=MAX_MTU_BYTES).contains(&port.mtu) {
            return Err(TablesError::Mtu { name: port.name.clone(), mtu: port.mtu });
        }
    }
    Ok(())
}

/// The link-local address of a station with this MAC address: fe80::/64 and the modified EUI-64 (RFC 4291
/// appendix A).
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
