//! Creating the links of a lab: veth pairs, and TAP devices where the router holds the other end.

use std::os::fd::AsFd;

use crate::error::Error;
use crate::lab::Lab;
use crate::netlink::{Netlink, VethEnd};
use crate::options::{MakeTap, TapEnd};
use crate::topology::{Link, Role};

/// Creates a veth pair. An end that belongs in the namespace where nsrouter was started is created beside the
/// other one, marked there, and then moved: no link of the lab is ever unmarked among the machine's own.
pub(super) fn make_veth_link(lab: &Lab, link: &Link, queues: u32) -> Result<(), Error> {
    let is_host = |index: usize| lab.state.nodes[index].namespace.is_none();
    let (mut a, mut b) = (&link.a, &link.b);
    if is_host(lab.state.index_of(&a.node)?) {
        (a, b) = (b, a);
    }
    let (a_index, b_index) = (lab.state.index_of(&a.node)?, lab.state.index_of(&b.node)?);
    let (b_ns, b_is_host) = (lab.nodes[b_index].ns.as_fd(), is_host(b_index));
    let work = || -> Result<(), Error> {
        let netlink = Netlink::open()?;
        netlink.add_veth(
            VethEnd { ifname: &a.ifname, mac: a.mac, mtu: link.mtu, queues, ns: None },
            VethEnd {
                ifname: &b.ifname,
                mac: b.mac,
                mtu: link.mtu,
                queues,
                ns: (!b_is_host).then_some(b_ns),
            },
        )?;
        if b_is_host {
            let index = netlink.the_link(&b.ifname)?.index;
            netlink.mark(index, &lab.state.mark())?;
            netlink.move_to(index, b_ns)?;
        }
        Ok(())
    };
    lab.nodes[a_index].ns.run(work).map_err(Error::step(format!("enter {}", a.node)))?
}

/// Has `make` create the TAP device of a link in its host, and gives it the MAC address and MTU of the
/// topology.
pub(super) fn make_tap_link(lab: &Lab, link: &Link, make: &mut MakeTap<'_>) -> Result<(), Error> {
    let (host, router) = match lab.state.node(&link.a.node)?.role {
        Role::Host => (&link.a, &link.b),
        Role::Router => (&link.b, &link.a),
    };
    let tap = TapEnd { ifname: &host.ifname, router: &router.node, port: &router.ifname };
    let work = || -> Result<(), Error> {
        make(tap).map_err(Error::step(format!("create the TAP device {}", host.ifname)))?;
        let netlink = Netlink::open()?;
        netlink.set_tap(netlink.the_link(&host.ifname)?.index, host.mac, link.mtu)
    };
    lab.nodes[lab.state.index_of(&host.node)?]
        .ns
        .run(work)
        .map_err(Error::step(format!("enter {}", host.node)))?
}
