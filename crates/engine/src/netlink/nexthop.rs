//! Next-hop objects (`ip nexthop`), which routes name instead of hops of their own.

use std::collections::HashMap;
use std::net::IpAddr;

use rtnetlink::packet_core::NlasIterator;

/// A next-hop object (`ip nexthop`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NextHopObject {
    Blackhole,
    /// Out by an interface, through a gateway or directly.
    Hop(u32, Option<IpAddr>),
    /// Others, with their weights.
    Group(Vec<(u32, u16)>),
    /// With an encapsulation, which the router does not do.
    Encapsulated,
}

/// The next-hop objects by number.
pub(crate) type NextHops = HashMap<u32, NextHopObject>;

/// Parses a next-hop object (struct nhmsg and `NHA_...`, include/uapi/linux/nexthop.h): its number, and what
/// it is.
pub(crate) fn parse(payload: &[u8]) -> Option<(u32, NextHopObject)> {
    let (mut id, mut ifindex, mut gateway, mut object) = (None, None, None, None);
    let word = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    for attribute in NlasIterator::new(payload.get(8..)?).filter_map(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            1 => id = word(value),
            2 => {
                // struct nexthop_grp; the kernel counts weights from 0.
                let members = value.chunks_exact(8).filter_map(|member| {
                    let weight = u16::from_le_bytes([member[4], member[5]]);
                    Some((word(member)?, weight.saturating_add(1)))
                });
                object = Some(NextHopObject::Group(members.collect()));
            }
            4 => object = Some(NextHopObject::Blackhole),
            5 => ifindex = word(value),
            6 => {
                gateway = match value.len() {
                    4 => value.first_chunk().map(|bytes| IpAddr::from(*bytes as [u8; 4])),
                    _ => value.first_chunk().map(|bytes| IpAddr::from(*bytes as [u8; 16])),
                }
            }
            7 => object = Some(NextHopObject::Encapsulated),
            _ => {}
        }
    }
    let object = object.or_else(|| Some(NextHopObject::Hop(ifindex?, gateway)))?;
    Some((id?, object))
}

/// A hop of a route of the kernel's.
pub(crate) struct KernelHop {
    pub(crate) ifindex: u32,
    pub(crate) via: Option<IpAddr>,
    pub(crate) weight: u16,
    pub(crate) is_encapsulated: bool,
}

/// The hops of a next-hop object; `None` when one is not known.
pub(crate) fn hops_of(id: u32, weight: u16, objects: &NextHops) -> Option<Vec<KernelHop>> {
    let hop = |ifindex, via, is_encapsulated| vec![KernelHop { ifindex, via, weight, is_encapsulated }];
    match objects.get(&id)? {
        NextHopObject::Blackhole => Some(Vec::new()),
        NextHopObject::Hop(ifindex, via) => Some(hop(*ifindex, *via, false)),
        NextHopObject::Encapsulated => Some(hop(0, None, true)),
        // A group has no groups in it (valid_group_nh(), net/ipv4/nexthop.c).
        NextHopObject::Group(members) => {
            let mut all = Vec::new();
            for (member, weight) in members {
                if let NextHopObject::Group(_) = objects.get(member)? {
                    return None;
                }
                all.extend(hops_of(*member, *weight, objects)?);
            }
            Some(all)
        }
    }
}
