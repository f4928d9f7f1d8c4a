//! Creating the namespaces of a lab's nodes, and configuring the nodes in them.

use std::net::IpAddr;
use std::time::Duration;

use nsrouter_linux::netns::Netns;
use nsrouter_linux::netns::names::{self, NETNS_DIR};
use nsrouter_linux::{silence, sysctl};
use nsrouter_wire::eth::MacAddr;

use crate::error::Error;
use crate::lab::{Lab, LabNode};
use crate::netlink::Netlink;
use crate::options::Forwarder;
use crate::records::PortInfo;
use crate::settings::{node as node_settings, offloads};
use crate::stop::Stop;
use crate::topology::{Endpoint, Link, Role};
use crate::wait;

/// How long links may take to come up; they take a few milliseconds.
const LINKS_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Creates the namespaces, marks them inside, records them, and only then names them.
pub(super) fn create_namespaces(lab: &mut Lab, stop: &Stop) -> Result<(), Error> {
    let mark = lab.state.mark();
    for node in &mut lab.state.nodes {
        stop.check()?;
        let name = &node.name;
        let ns = if node.namespace.is_some() {
            let ns = Netns::create().map_err(Error::step(format!("create network namespace {name}")))?;
            let silent = !lab.forwarder.is_kernel_owner(node.role);
            ns.run(|| prepare_namespace(node.role, silent, &mark))
                .map_err(Error::step(format!("enter {name}")))??;
            ns
        } else {
            Netns::current().map_err(Error::step("open this network namespace"))?
        };
        node.inode = Some(ns.inode());
        lab.nodes.push(LabNode { name: name.clone(), role: node.role, ns, ports: Vec::new() });
    }
    lab.state.write()?;
    names::prepare_dir().map_err(Error::file("prepare", NETNS_DIR))?;
    for (node, recorded) in lab.nodes.iter().zip(&lab.state.nodes) {
        if let Some(name) = &recorded.namespace {
            node.ns.set_name(name).map_err(Error::step(format!("name network namespace {name}")))?;
        }
    }
    Ok(())
}

/// Sets a new namespace to known values, and marks it at its `lo`.
fn prepare_namespace(role: Role, silent: bool, mark: &str) -> Result<(), Error> {
    node_settings::normalise(silent)?;
    match role {
        Role::Host => node_settings::shorten_reassembly(),
        Role::Router => {}
    }
    let netlink = Netlink::open()?;
    netlink.mark_and_up(netlink.the_link("lo")?.index, mark)
}

/// Configures one node: its settings, addresses and routes.
pub(super) fn configure(lab: &Lab, index: usize, host_offloads: bool) -> Result<Vec<PortInfo>, Error> {
    let node = &lab.nodes[index];
    let kernel_owns = lab.forwarder.is_kernel_owner(node.role);
    let work = || -> Result<Vec<PortInfo>, Error> {
        let netlink = Netlink::open()?;
        let mut ports = Vec::new();
        for (number, (end, link)) in lab.state.topology.endpoints(&node.name).enumerate() {
            if node.role == Role::Router && lab.state.is_tap(link) {
                ports.push(tap_port(lab, end, link, number));
                continue;
            }
            if node.role == Role::Host && !host_offloads {
                offloads::complete_frames(&end.ifname)?;
            } else if node.role == Role::Host && lab.forwarder == Forwarder::Userspace {
                offloads::expressible_frames(&end.ifname);
            }
            ports.push(configure_port(&netlink, end, &lab.state.mark(), kernel_owns)?);
        }
        if kernel_owns {
            add_routes(&netlink, lab, &node.name, &ports)?;
        }
        Ok(ports)
    };
    node.ns.run(work).map_err(Error::step(format!("enter {}", node.name)))?
}

/// Adds the static routes of a node.
fn add_routes(netlink: &Netlink, lab: &Lab, node: &str, ports: &[PortInfo]) -> Result<(), Error> {
    let routes = lab.state.topology.node(node).map(|node| node.routes.as_slice());
    for route in routes.unwrap_or_default() {
        let end = lab.state.topology.interface_to(node, route.via).map(|end| end.ifname.as_str());
        let Some(port) = ports.iter().find(|port| Some(port.ifname.as_str()) == end) else { continue };
        netlink.add_route(route.to, Some(route.via), port.ifindex)?;
    }
    Ok(())
}

/// The router's end of a TAP link: not an interface, but a port with a MAC address of its own.
fn tap_port(lab: &Lab, end: &Endpoint, link: &Link, number: usize) -> PortInfo {
    // Unique to this lab, and locally administered by its first byte (IEEE 802 section 8.2).
    let mut random = lab.state.id.bytes().filter(u8::is_ascii_hexdigit);
    let mut mac = [0x02; 6];
    for byte in &mut mac[1..5] {
        *byte = random.next().unwrap_or_default() ^ random.next().unwrap_or_default().rotate_left(4);
    }
    mac[5] = number.to_le_bytes()[0];
    PortInfo {
        ifname: end.ifname.clone(),
        ifindex: 0,
        mac: end.mac.unwrap_or(MacAddr(mac)),
        mtu: link.mtu,
        addresses: end.addresses.clone(),
    }
}

fn configure_port(
    netlink: &Netlink,
    end: &Endpoint,
    mark: &str,
    kernel_owns: bool,
) -> Result<PortInfo, Error> {
    let wants_ipv6 = end.addresses.iter().any(|net| net.addr().is_ipv6());
    if wants_ipv6 && !sysctl::has_ipv6() && kernel_owns {
        return Err(Error::Cannot {
            what: "this kernel has no IPv6, and the lab has IPv6 addresses".to_owned(),
            hint: "start the machine without ipv6.disable=1, or use --topology with IPv4 addresses only"
                .to_owned(),
        });
    }
    if kernel_owns {
        node_settings::prepare_interface(&end.ifname)?;
    } else {
        silence::silence(&end.ifname)?;
    }
    let link = netlink.the_link(&end.ifname)?;
    netlink.mark_and_up(link.index, mark)?;
    if kernel_owns {
        for net in &end.addresses {
            netlink.add_address(link.index, *net)?;
        }
    }
    Ok(PortInfo {
        ifname: end.ifname.clone(),
        ifindex: link.index,
        mac: link.mac.unwrap_or(MacAddr::ZERO),
        mtu: link.mtu,
        addresses: end.addresses.clone(),
    })
}

/// Waits until the links of a node are operational, and have their link-local addresses. Both ends are up by
/// now, so each has a carrier; the kernel adds the link-local address only then.
pub(super) fn await_links(lab: &Lab, node: &LabNode) -> Result<(), Error> {
    let kernel_owns = lab.forwarder.is_kernel_owner(node.role);
    let work = || -> Result<(), Error> {
        let netlink = Netlink::open()?;
        for port in node.ports.iter().filter(|port| port.ifindex != 0) {
            let wants_link_local =
                kernel_owns && port.addresses.iter().any(|net| matches!(net.addr(), IpAddr::V6(_)));
            wait::until(&format!("link {} coming up", port.ifname), LINKS_UP_TIMEOUT, || {
                let is_up = netlink.the_link(&port.ifname)?.is_operational
                    && (!wants_link_local || netlink.has_usable_link_local(port.ifindex)?);
                Ok(is_up.then_some(()))
            })?;
        }
        Ok(())
    };
    node.ns.run(work).map_err(Error::step(format!("enter {}", node.name)))?
}
