//! What many routes have in common, kept once (as Linux keeps `fib_info`): what they do, their MTU, and the
//! next hops that this comes to now.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::config::{Route, RouteKind};
use crate::nexthop::{Adjacency, NO_MTU};
use crate::port::{MIN_IPV6_MTU_BYTES, MIN_MTU_BYTES};

/// What a route comes to with the ports and routes of the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolution {
    /// `None` when no next hop can be used now.
    pub(super) adjacency: Option<Adjacency>,
    /// A gateway that does not resolve: it is on no link, whether up or down.
    pub(super) unresolved: Option<IpAddr>,
    /// Whether other routes had to be looked up.
    pub(super) recursive: bool,
}

/// What one or many routes do.
#[derive(Debug)]
pub(super) struct RouteInfo {
    pub(super) kind: RouteKind,
    /// The largest packet that these routes let pass, in bytes; [`NO_MTU`] where they say nothing.
    pub(super) mtu: u16,
    pub(super) resolution: Resolution,
    /// Routes that share this.
    routes: usize,
}

/// Everything that declared routes do, by number.
#[derive(Debug, Default)]
pub(super) struct RouteInfos {
    infos: Vec<RouteInfo>,
    numbers: HashMap<(RouteKind, u16), u32>,
    unused: Vec<u32>,
    /// Those with a gateway on no link of the router, so that other routes decide where it is.
    recursive: HashSet<u32>,
}

/// What a route does, and its MTU. Linux, too, takes no IPv6 route's MTU for less than the least
/// (`ip6_forward`).
fn key(route: &Route) -> (RouteKind, u16) {
    let least = if route.prefix.addr().is_ipv6() { MIN_IPV6_MTU_BYTES } else { MIN_MTU_BYTES };
    let mtu = route.mtu.map_or(NO_MTU, |mtu| u16::try_from(mtu.max(least)).unwrap_or(NO_MTU));
    (route.kind.clone(), mtu)
}

impl RouteInfos {
    pub(super) fn get(&self, number: u32) -> Option<&RouteInfo> {
        self.infos.get(usize::try_from(number).ok()?)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut RouteInfo> {
        self.infos.get_mut(usize::try_from(number).ok()?)
    }

    /// The number of what this route does, if any route does it.
    pub(super) fn number(&self, route: &Route) -> Option<u32> {
        self.numbers.get(&key(route)).copied()
    }

    /// Every number in use.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.numbers.values().copied().collect()
    }

    /// What the routes do that are declared.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &RouteKind> {
        self.numbers.keys().map(|(kind, _)| kind)
    }

    /// The numbers of those that other routes decide about.
    pub(super) fn recursive(&self) -> impl Iterator<Item = u32> {
        self.recursive.iter().copied()
    }

    /// A gateway of what this number stands for that does not resolve.
    pub(super) fn unresolved(&self, number: u32) -> Option<IpAddr> {
        self.get(number)?.resolution.unresolved
    }

    /// One route more does what this number stands for.
    pub(super) fn share(&mut self, number: u32) {
        if let Some(info) = self.get_mut(number) {
            info.routes += 1;
        }
    }

    /// Adds what a route does that no other route did before; nothing when there is no number left.
    pub(super) fn add(&mut self, route: &Route, resolution: Resolution) -> Option<u32> {
        let key = key(route);
        let is_recursive = resolution.recursive;
        let info = RouteInfo { kind: key.0.clone(), mtu: key.1, resolution, routes: 1 };
        let number = match self.unused.pop() {
            Some(number) => {
                *self.get_mut(number)? = info;
                number
            }
            None => {
                let number = u32::try_from(self.infos.len()).ok()?;
                self.infos.push(info);
                number
            }
        };
        if is_recursive {
            self.recursive.insert(number);
        }
        self.numbers.insert(key, number);
        Some(number)
    }

    /// One route fewer does what this number stands for.
    pub(super) fn release(&mut self, number: u32) {
        let Some(info) = self.get_mut(number) else { return };
        info.routes -= 1;
        if info.routes == 0 {
            let key = (info.kind.clone(), info.mtu);
            self.numbers.remove(&key);
            self.recursive.remove(&number);
            self.unused.push(number);
        }
    }

    /// Notes what a number comes to now; false when that is what it came to before.
    pub(super) fn resolve(&mut self, number: u32, resolution: Resolution) -> bool {
        let Some(info) = self.get_mut(number) else { return false };
        if info.resolution == resolution {
            return false;
        }
        let is_recursive = resolution.recursive;
        info.resolution = resolution;
        if is_recursive {
            self.recursive.insert(number);
        } else {
            self.recursive.remove(&number);
        }
        true
    }
}
