//! Packets from programs of the router's own host: routed like others, but they begin here, so the TTL stays.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow::Continue;

use crate::drop::DropReason;
use crate::nexthop::{Adjacency, NextHopEntry};
use crate::verdict::{Step, drop, refuse};

/// Groups and local addresses do not leave the host this way.
pub(crate) fn check_destination4(destination: Ipv4Addr) -> Step {
    match destination {
        group if group.is_multicast() => drop(DropReason::HostMulticast),
        all if all.is_broadcast() => drop(DropReason::Broadcast),
        own if own.is_loopback() || own.is_unspecified() => drop(DropReason::MartianDestination),
        _ => Continue(()),
    }
}

/// Groups, link-local and local addresses do not leave the host this way.
pub(crate) fn check_destination6(destination: Ipv6Addr) -> Step {
    match destination {
        group if group.is_multicast() => drop(DropReason::HostMulticast),
        near if near.is_unicast_link_local() => drop(DropReason::LinkLocalDestination),
        own if own.is_loopback() || own.is_unspecified() => drop(DropReason::MartianDestination),
        _ => Continue(()),
    }
}

/// Whether the route leads out by a link.
pub(crate) fn check_route(target: &NextHopEntry) -> Step {
    match target.adjacency {
        // The host keeps what is for itself, so this is a stray.
        Adjacency::Local => drop(DropReason::MartianDestination),
        Adjacency::Broadcast => drop(DropReason::Broadcast),
        Adjacency::Reject(reason) => refuse(reason),
        Adjacency::OnLink(_) | Adjacency::Via(..) | Adjacency::Group(_) => Continue(()),
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
