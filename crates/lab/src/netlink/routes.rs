//! Routes: static ones, and the IPv6 default routes that router advertisements added.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RoutePreference, RouteProtocol,
};

use super::socket::Netlink;
use crate::error::Error;
use crate::records::SavedRoute;

/// Ticks a second of the times in netlink messages (`USER_HZ`, a constant of the kernel's interface).
const USER_HZ: u32 = 100;

impl Netlink {
    /// Adds a route via a next hop, or onto the link itself.
    pub(crate) fn add_route(&self, to: IpNet, via: Option<IpAddr>, index: u32) -> Result<(), Error> {
        let message = match to {
            IpNet::V4(to) => {
                let route = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(to.addr(), to.prefix_len())
                    .output_interface(index);
                match via {
                    Some(IpAddr::V4(via)) => route.gateway(via).build(),
                    Some(IpAddr::V6(_)) | None => route.build(),
                }
            }
            IpNet::V6(to) => {
                let route = RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(to.addr(), to.prefix_len())
                    .output_interface(index);
                match via {
                    Some(IpAddr::V6(via)) => route.gateway(via).build(),
                    Some(IpAddr::V4(_)) | None => route.build(),
                }
            }
        };
        self.ask(|| format!("add the route to {to}"), self.handle.route().add(message).execute())
    }

    /// The IPv6 default routes that router advertisements added.
    pub(crate) fn advertised_routes(&self) -> Result<Vec<SavedRoute>, Error> {
        let all: Vec<RouteMessage> = self.ask(
            || "list the IPv6 routes".to_owned(),
            self.handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build()).execute().try_collect(),
        )?;
        let names = self.link_names()?;
        Ok(all.iter().filter_map(|message| advertised_route(message, &names)).collect())
    }

    /// Adds such a route again.
    pub(crate) fn restore_route(&self, route: &SavedRoute) -> Result<(), Error> {
        let index = self.the_link(&route.ifname)?.index;
        let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(route.gateway)
            .output_interface(index)
            .table_id(route.table)
            .priority(route.metric)
            .protocol(RouteProtocol::Ra);
        if let Some(seconds) = route.expires_seconds {
            builder = builder.expires(seconds);
        }
        let attributes = &mut builder.get_mut().attributes;
        attributes.push(RouteAttribute::Preference(RoutePreference::from(route.preference)));
        let metrics: Vec<RouteMetric> = route
            .hop_limit
            .map(RouteMetric::Hoplimit)
            .into_iter()
            .chain(route.mtu.map(RouteMetric::Mtu))
            .collect();
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        let message = builder.build();
        self.ask(
            || format!("restore the default route via {}", route.gateway),
            self.handle.route().add(message).execute(),
        )
    }
}

/// The route, if it is a default route that a router advertisement added.
fn advertised_route(message: &RouteMessage, names: &[(u32, String)]) -> Option<SavedRoute> {
    if message.header.protocol != RouteProtocol::Ra || message.header.destination_prefix_length != 0 {
        return None;
    }
    let (mut ifname, mut gateway, mut metric, mut preference) = (None, None, 0, 0);
    let (mut expires_seconds, mut hop_limit, mut mtu) = (None, None, None);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => {
                ifname = names.iter().find(|(known, _)| known == index).map(|(_, name)| name.clone());
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(addr)) => gateway = Some(*addr),
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Preference(value) => preference = u8::from(*value),
            RouteAttribute::CacheInfo(info) => {
                expires_seconds = (info.expires > 0).then_some(info.expires / USER_HZ);
            }
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Hoplimit(value) => hop_limit = Some(*value),
                        RouteMetric::Mtu(value) => mtu = Some(*value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let (ifname, gateway) = (ifname?, gateway?);
    Some(SavedRoute { ifname, gateway, table, metric, preference, expires_seconds, hop_limit, mtu })
}
