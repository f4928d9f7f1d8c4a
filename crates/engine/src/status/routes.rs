//! Routes of the userspace router in the words of the status.

use std::collections::BTreeMap;

use ipnet::IpNet;
use nsrouter_router::{Origin, Route, RouteKind, RouteNextHop};
use nsrouter_wire::frame::PortId;

use crate::request::RouteExcerpt;
use crate::status::{HopStatus, PortStatus, RouteList, RouteStatus};

/// The subnets of the ports that are up, then the declared routes, with the ports' `names` by slot.
pub(crate) fn route_list(
    ports: &[PortStatus],
    declared: &RouteExcerpt,
    names: &BTreeMap<PortId, String>,
) -> RouteList {
    let connected = ports.iter().filter(|port| port.up).flat_map(connected);
    let mut routes: Vec<RouteStatus> = connected.collect();
    let total = routes.len() + declared.total;
    routes.extend(declared.routes.iter().map(|(origin, route)| described(*origin, route, names)));
    RouteList { routes, total }
}

/// The subnets of a port's addresses, as routes.
fn connected(port: &PortStatus) -> impl Iterator<Item = RouteStatus> {
    let prefixes = port.addresses.iter().filter_map(|address| address.parse::<IpNet>().ok());
    prefixes.map(|address| RouteStatus {
        prefix: address.trunc().to_string(),
        kind: "unicast".to_owned(),
        hops: vec![HopStatus { via: None, port: Some(port.name.clone()), weight: 1 }],
        origin: "connected".to_owned(),
        ..RouteStatus::default()
    })
}

/// A declared route.
fn described(origin: Origin, route: &Route, names: &BTreeMap<PortId, String>) -> RouteStatus {
    let hop = |hop: &RouteNextHop| HopStatus {
        via: hop.via.map(|via| via.to_string()),
        port: hop.port.and_then(|port| names.get(&port).cloned()),
        weight: hop.weight.max(1),
    };
    let (kind, hops) = match &route.kind {
        RouteKind::Unicast(hops) => ("unicast", hops.iter().map(hop).collect()),
        RouteKind::Blackhole => ("blackhole", Vec::new()),
        RouteKind::Unreachable => ("unreachable", Vec::new()),
        RouteKind::Prohibit => ("prohibit", Vec::new()),
    };
    let origin = match origin {
        Origin::Configured => "configured",
        Origin::Learned => "learned",
    };
    RouteStatus {
        router: None,
        prefix: route.prefix.to_string(),
        kind: kind.to_owned(),
        hops,
        metric: route.metric,
        mtu: route.mtu,
        origin: origin.to_owned(),
    }
}
