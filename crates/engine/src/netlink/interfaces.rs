//! The interfaces by which the kernel reaches the router's links, and the router's hops that they stand for.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use nsrouter_router::RouteNextHop;
use nsrouter_wire::frame::PortId;
use rtnetlink::packet_route::link::LinkMessage;

use crate::netlink::link::LinkState;

/// The interfaces by which the kernel reaches the router's links.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interfaces {
    /// The host port's interface index.
    pub(crate) host: Option<u32>,
    /// The slots of the ports that are interfaces, by interface index.
    pub(crate) ports: HashMap<u32, PortId>,
    /// Destinations of the configured routes: the kernel's routes to them only say that they are behind the
    /// host port.
    pub(crate) configured: HashSet<IpNet>,
    /// Names of all interfaces, for warnings.
    pub(crate) names: Arc<Mutex<HashMap<u32, String>>>,
}

impl Interfaces {
    /// Parses a message about a link that exists, or no longer does, and remembers its name.
    pub(crate) fn link(&self, link: &LinkMessage, exists: bool) -> LinkState {
        let state = LinkState::parse(link, exists);
        self.name(state.ifindex, &state.name);
        state
    }

    /// Remembers an interface's name.
    pub(crate) fn name(&self, ifindex: u32, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(ifindex, name.to_owned());
    }

    /// The interface's name, or its number where the name is not known.
    pub(crate) fn name_of(&self, ifindex: u32) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(&ifindex).cloned().unwrap_or_else(|| format!("interface {ifindex}"))
    }

    /// The hop of a route by this interface and gateway, or why there is none. By the host port it needs a
    /// gateway, from which the port follows; by a router port every destination is on the link.
    pub(crate) fn hop(
        &self,
        ifindex: u32,
        via: Option<IpAddr>,
        weight: u16,
    ) -> Result<RouteNextHop, &'static str> {
        if Some(ifindex) == self.host {
            return match via {
                Some(IpAddr::V6(via)) if via.is_unicast_link_local() => {
                    Err("a link-local next hop could be on any port, and the host port does not say on which")
                }
                Some(via) => Ok(RouteNextHop { port: None, via: Some(via), weight }),
                None => Err("the port follows from the next hop's address, and it names none"),
            };
        }
        let port = self.ports.get(&ifindex).copied().ok_or("its interface is no port of the router")?;
        Ok(RouteNextHop { port: Some(port), via, weight })
    }
}
