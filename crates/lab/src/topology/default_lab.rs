//! The default lab: two hosts, each on a link of its own to one router.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nsrouter_wire::eth::MacAddr;

use super::model::{DEFAULT_MTU_BYTES, Endpoint, Link, Node, Role, Route, Topology, default_of};

impl Topology {
    /// The default lab: `t1` and `t2`, each on a link of its own to `router`.
    pub fn default_lab() -> Self {
        let host = |n: u8| Node {
            name: format!("t{n}"),
            role: Role::Host,
            routes: [v4(n, 2), v6(n, 2)]
                .map(|net| Route { to: default_of(net.addr()), via: net.addr() })
                .to_vec(),
        };
        let link = |n: u8| Link {
            a: Endpoint {
                node: format!("t{n}"),
                ifname: format!("t{n}-eth0"),
                mac: None,
                addresses: vec![v4(n, 1), v6(n, 1)],
            },
            b: Endpoint {
                node: "router".to_owned(),
                ifname: format!("eth-t{n}"),
                mac: Some(MacAddr([0x02, 0x01, 0x02, 0x03, 0x04, n])),
                addresses: vec![v4(n, 2), v6(n, 2)],
            },
            mtu: DEFAULT_MTU_BYTES,
        };
        let router = Node { name: "router".to_owned(), role: Role::Router, routes: Vec::new() };
        Self { nodes: vec![host(1), host(2), router], links: vec![link(1), link(2)] }
    }
}

/// 10.10.25n.host/24.
fn v4(n: u8, host: u8) -> IpNet {
    IpNet::new_assert(Ipv4Addr::new(10, 10, 250 + n, host).into(), 24)
}

/// fd00:25n::host/64.
fn v6(n: u8, host: u8) -> IpNet {
    let addr = Ipv6Addr::new(0xfd00, 0x250 + u16::from(n), 0, 0, 0, 0, 0, u16::from(host));
    IpNet::new_assert(addr.into(), 64)
}
