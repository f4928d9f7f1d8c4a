//! The lab under test: its nodes, and which of them are neighbours or pairs of hosts.

use std::net::IpAddr;

use anyhow::Context;
use nsrouter_lab::records::{NodeState, State};
use nsrouter_lab::topology::Role;
use nsrouter_linux::netns::Netns;

/// Hosts after it that each host sends large packets, traces and transfers to: in a large lab all pairs would
/// take minutes, and the kernel's limits on ICMP errors (icmp_ratelimit, icmp_msgs_per_sec) would be met.
const NEAR: usize = 3;

/// A node of the lab, ready to run things in.
pub(super) struct Node<'a> {
    pub(super) record: &'a NodeState,
    pub(super) namespace: Netns,
}

impl Node<'_> {
    pub(super) fn name(&self) -> &str {
        &self.record.name
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.record.ports.iter().flat_map(|port| port.addresses.iter().map(|net| net.addr()))
    }
}

/// A running lab, its namespaces open.
pub(super) struct Lab<'a> {
    pub(super) state: &'a State,
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) between: Option<[String; 2]>,
}

/// A host, another one, and an address of the other one's.
pub(super) struct Pair<'a> {
    pub(super) from: &'a Node<'a>,
    pub(super) to: &'a Node<'a>,
    pub(super) address: IpAddr,
    /// Whether more than a ping is sent on this path.
    pub(super) is_near: bool,
}

/// Two nodes on one link, in one family.
pub(super) struct Neighbours<'a> {
    pub(super) host: &'a Node<'a>,
    pub(super) host_address: IpAddr,
    pub(super) router: &'a Node<'a>,
    pub(super) router_address: IpAddr,
}

impl<'a> Lab<'a> {
    /// Opens the namespace of every node. `between` are the only two nodes to test, where there are two.
    pub(super) fn of(state: &'a State, between: Option<[String; 2]>) -> anyhow::Result<Self> {
        let nodes = state.nodes.iter().map(|record| {
            let namespace = match &record.namespace {
                Some(name) => Netns::named(name),
                None => Netns::current(),
            };
            let namespace = namespace.with_context(|| {
                format!("cannot open the namespace of {}; run as the user who started the lab", record.name)
            })?;
            Ok(Node { record, namespace })
        });
        Ok(Lab { state, nodes: nodes.collect::<anyhow::Result<_>>()?, between })
    }

    /// Whether the path between two nodes is to be tested.
    fn is_asked_for(&self, one: &Node<'_>, two: &Node<'_>) -> bool {
        self.between
            .as_ref()
            .is_none_or(|[a, b]| [[a.as_str(), b], [b.as_str(), a]].contains(&[one.name(), two.name()]))
    }

    /// Every host and router on one link, in the families that both have there.
    pub(super) fn neighbours(&self) -> Vec<Neighbours<'_>> {
        let node = |name: &str| self.nodes.iter().find(|node| node.name() == name);
        let mut found = Vec::new();
        for link in &self.state.topology.links {
            for (host_end, router_end) in [(&link.a, &link.b), (&link.b, &link.a)] {
                let (Some(host), Some(router)) = (node(&host_end.node), node(&router_end.node)) else {
                    continue;
                };
                let roles = (host.record.role, router.record.role);
                if roles != (Role::Host, Role::Router) || !self.is_asked_for(host, router) {
                    continue;
                }
                for net in &host_end.addresses {
                    let on_link = router_end.addresses.iter().find(|other| net.contains(&other.addr()));
                    if let Some(other) = on_link {
                        found.push(Neighbours {
                            host,
                            host_address: net.addr(),
                            router,
                            router_address: other.addr(),
                        });
                    }
                }
            }
        }
        found
    }

    /// Addresses of routers on a host's links.
    pub(super) fn first_routers(&self, host: &Node<'_>) -> Vec<IpAddr> {
        let links =
            self.state.topology.links.iter().flat_map(|link| [(&link.a, &link.b), (&link.b, &link.a)]);
        let ends = links.filter(|(own, _)| own.node == host.name()).map(|(_, other)| other);
        ends.flat_map(|end| end.addresses.iter().map(|net| net.addr())).collect()
    }

    /// Every ordered pair of hosts, with each address of the second whose family the first has too.
    pub(super) fn pairs(&self) -> Vec<Pair<'_>> {
        let hosts: Vec<&Node<'_>> = self.nodes.iter().filter(|node| node.record.role == Role::Host).collect();
        let mut found = Vec::new();
        for (first, &from) in hosts.iter().enumerate() {
            for (second, &to) in hosts.iter().enumerate().filter(|(second, _)| *second != first) {
                if !self.is_asked_for(from, to) {
                    continue;
                }
                // Behind the last host comes the first.
                let distance = (second + hosts.len() - first) % hosts.len();
                let is_near = self.between.is_some() || distance <= NEAR;
                let reachable = |to: &IpAddr| from.addresses().any(|own| own.is_ipv4() == to.is_ipv4());
                let addresses = to.addresses().filter(reachable);
                found.extend(addresses.map(|address| Pair { from, to, address, is_near }));
            }
        }
        found
    }

    /// Every address of every router.
    pub(super) fn router_addresses(&self) -> Vec<IpAddr> {
        let routers = self.nodes.iter().filter(|node| node.record.role == Role::Router);
        routers.flat_map(Node::addresses).collect()
    }
}
