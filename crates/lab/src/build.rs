//! Building a lab, step by step. Each thing is on record before it exists, so whatever happens between
//! two lines here, clean-up finds it.

use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use nsrouter_linux::netns::Netns;
use nsrouter_linux::netns::names::{self, NETNS_DIR, NameTarget};
use nsrouter_linux::{silence, sysctl};

use crate::clean::{self, Removed};
use crate::lab::{Forwarder, Lab, MakeTap, Node, Options, RouterNs, TapEnd};
use crate::netlink::{Netlink, VethEnd};
use crate::process::ProcessId;
use crate::state::{self, Lock, NodeState, Place, PortInfo, State, VERSION};
use crate::topology::{Endpoint, Link, Mac, Role, Topology, is_name};
use crate::{Error, Stop, offloads, pointer, settings, wait};

/// The lab whose namespaces are called as its nodes.
pub(crate) const DEFAULT_LAB: &str = "default";

/// How long links may take to come up; they take a few milliseconds.
const LINKS_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a running lab of the same name may take to go when it is replaced.
pub(crate) const REPLACE_PATIENCE: Duration = Duration::from_secs(3);

pub(crate) fn build(
    topology: &Topology,
    options: &Options,
    mut make_tap: Option<&mut MakeTap<'_>>,
) -> Result<Lab, Error> {
    state::check_name(&options.name)?;
    topology.validate()?;
    let mut lab = Lab {
        nodes: Vec::with_capacity(topology.nodes.len()),
        forwarder: options.forwarder,
        replaced: Vec::new(),
        // Nothing is ours before the claim: dropped until then, it must touch nothing.
        is_down: true,
        state: State { taps: make_tap.is_some(), ..plan(topology, options)? },
    };
    claim(&mut lab, options)?;
    // From here on an early return drops the lab, and that takes down what there is.
    lab.is_down = false;
    make_namespaces(&mut lab, &options.stop)?;
    for link in &topology.links {
        options.stop.check()?;
        match &mut make_tap {
            Some(make) if lab.state.is_tap(link) => make_tap_link(&lab, link, *make)?,
            Some(_) | None => make_link(&lab, link, options.link_queues)?,
        }
    }
    for index in 0..lab.nodes.len() {
        options.stop.check()?;
        let ports = configure(&lab, index, options.host_offloads)?;
        lab.nodes[index].ports.clone_from(&ports);
        lab.state.nodes[index].ports = ports;
    }
    for node in &lab.nodes {
        options.stop.check()?;
        await_links(&lab, node)?;
    }
    lab.state.ready = true;
    lab.state.write()?;
    Ok(lab)
}

/// What is going to be made, as a record.
fn plan(topology: &Topology, options: &Options) -> Result<State, Error> {
    if options.router_ns != RouterNs::Node && topology.routers().count() > 1 {
        return Err(Error::Usage("--router-ns is for a topology with one router".to_owned()));
    }
    let namespace = |name: &str, role: Role| match (&options.router_ns, role) {
        (RouterNs::Host, Role::Router) => None,
        (RouterNs::Named(name), Role::Router) => Some(name.clone()),
        (RouterNs::Node, Role::Router) | (_, Role::Host) if options.name == DEFAULT_LAB => {
            Some(name.to_owned())
        }
        (RouterNs::Node, Role::Router) | (_, Role::Host) => Some(format!("{}-{name}", options.name)),
    };
    let nodes: Vec<NodeState> = topology
        .nodes
        .iter()
        .map(|node| NodeState {
            name: node.name.clone(),
            role: node.role,
            namespace: namespace(&node.name, node.role),
            inode: None,
            ports: Vec::new(),
        })
        .collect();
    for (index, node) in nodes.iter().enumerate() {
        if let Some(name) = &node.namespace {
            if !is_name(name, 255) {
                return Err(Error::Usage(format!("`{name}` is no name for a network namespace")));
            }
            if nodes[..index].iter().any(|other| other.namespace.as_ref() == Some(name)) {
                return Err(Error::Usage(format!("two nodes would share the network namespace `{name}`")));
            }
        }
    }
    let id = sysctl::read("kernel/random/uuid")?;
    Ok(State {
        version: VERSION,
        id,
        name: options.name.clone(),
        mode: options.mode.clone(),
        backend: options.backend.clone(),
        private: pointer::is_inside(),
        taps: false,
        ready: false,
        owner: ProcessId::current().map_err(Error::step("tell this process apart from others"))?,
        topology: topology.clone(),
        nodes,
        sysctls: Vec::new(),
        routes: Vec::new(),
    })
}

/// Makes sure that nothing is in the way, and puts the plan on record.
fn claim(lab: &mut Lab, options: &Options) -> Result<(), Error> {
    let _lock = Lock::take()?;
    let name = &options.name;
    if let Some(former) = former(name, options.replace)? {
        if former.is_running() {
            if !options.replace || former.owner == lab.state.owner {
                return Err(Error::Running { name: name.clone(), pid: former.owner.pid });
            }
            let removed = clean::end(&former);
            lab.replaced.push(in_full(removed, name)?);
        } else {
            // The new record would take the place of the old one, and with it what is still to be done.
            lab.replaced.push(in_full(clean::remove(&former), name)?);
        }
    }
    let mut foreign = Removed::default();
    for namespace in lab.state.nodes.iter().filter_map(|node| node.namespace.as_ref()) {
        clear_namespace(namespace, options.replace, &mut foreign)?;
    }
    let host_links: Vec<&str> = host_links(&lab.state).map(|end| end.ifname.as_str()).collect();
    if !host_links.is_empty() {
        let netlink = Netlink::open()?;
        for ifname in host_links {
            clear_link(&netlink, ifname, options.replace, &mut foreign)?;
        }
        if lab.forwarder == Forwarder::Userspace {
            check_silence()?;
        }
    }
    if foreign != Removed::default() {
        lab.replaced.push(foreign);
    }
    let dir = lab.state.dir();
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&dir).map_err(Error::file("make", &dir))?;
    lab.state.write()
}

/// The record of that name. One that makes no sense goes where `replace` says so.
fn former(name: &str, replace: bool) -> Result<Option<State>, Error> {
    match State::read(name) {
        Err(Error::Record { .. }) if replace => clean::forget(name).map(|()| None),
        result => result,
    }
}

/// A lab's removal, if nothing of the lab is left.
fn in_full(removed: Removed, name: &str) -> Result<Removed, Error> {
    match removed.problems.first() {
        None => Ok(removed),
        Some(problem) => Err(Error::Replace { name: name.to_owned(), problem: problem.clone() }),
    }
}

/// The link ends that come to be where nsrouter was started.
pub(crate) fn host_links(state: &State) -> impl Iterator<Item = &Endpoint> {
    state
        .nodes
        .iter()
        .filter(|node| node.namespace.is_none())
        .flat_map(|node| state.topology.endpoints(&node.name))
        .filter(|(_, link)| !state.is_tap(link))
        .map(|(end, _)| end)
}

/// A namespace of that name is in the way: whose is it, and may it go?
fn clear_namespace(namespace: &str, replace: bool, foreign: &mut Removed) -> Result<(), Error> {
    let step = || Error::step(format!("look at network namespace {namespace}"));
    let found = names::look_up(namespace).map_err(step())?;
    if found == NameTarget::Nothing {
        return Ok(());
    }
    let here = state::list()?.into_iter().filter_map(|lab| match lab.place {
        Place::Here(state) => Some(state),
        Place::Private(_) => None,
    });
    for other in here {
        if other.nodes.iter().any(|node| node.namespace.as_deref() == Some(namespace)) {
            if other.is_running() {
                return Err(Error::NamespaceOfLab { namespace: namespace.to_owned(), lab: other.name });
            }
            // A dead lab's: its leftovers go as a whole, so that none of them is orphaned.
            in_full(clean::remove(&other), &other.name)?;
            if names::look_up(namespace).map_err(step())? == NameTarget::Nothing {
                return Ok(());
            }
        }
    }
    match found {
        NameTarget::Link(target) if !replace => {
            return Err(Error::NamespaceLink { path: names::path_of(namespace), target });
        }
        NameTarget::Empty | NameTarget::Namespace(_) if !replace => {
            return Err(Error::NamespaceClash(namespace.to_owned()));
        }
        NameTarget::Nothing | NameTarget::Link(_) | NameTarget::Empty | NameTarget::Namespace(_) => {}
    }
    names::remove(namespace).map_err(Error::step(format!("remove network namespace {namespace}")))?;
    foreign.namespaces.push(namespace.to_owned());
    Ok(())
}

/// A link of that name is in the way.
fn clear_link(netlink: &Netlink, ifname: &str, replace: bool, foreign: &mut Removed) -> Result<(), Error> {
    let Some(link) = netlink.link(ifname)? else { return Ok(()) };
    if !replace {
        return Err(Error::LinkClash(ifname.to_owned()));
    }
    netlink.delete(link.index)?;
    foreign.links.push(ifname.to_owned());
    Ok(())
}

/// A port is silenced by strict reverse-path filtering, which `all` can only make looser: the larger of
/// the two values counts, and 2 is the loose one (IN_DEV_RPFILTER in include/linux/inetdevice.h).
fn check_silence() -> Result<(), Error> {
    if silence::is_possible()? {
        return Ok(());
    }
    Err(Error::Cannot {
        what: "a userspace router cannot be in this network namespace: net.ipv4.conf.all.rp_filter is 2, so \
               the kernel would answer beside it"
            .to_owned(),
        hint: "set that sysctl to 0 or 1, or leave out `--router-ns host`".to_owned(),
    })
}

/// Makes the namespaces, marks them inside, records them, and only then names them.
fn make_namespaces(lab: &mut Lab, stop: &Stop) -> Result<(), Error> {
    let mark = lab.state.mark();
    for node in &mut lab.state.nodes {
        stop.check()?;
        let name = &node.name;
        let silent = !owns_addresses(lab.forwarder, node.role);
        let ns = if node.namespace.is_some() {
            let ns = Netns::create().map_err(Error::step(format!("make network namespace {name}")))?;
            let prepare = || -> Result<(), Error> {
                settings::normalise(silent)?;
                if node.role == Role::Host {
                    settings::shorten_reassembly();
                }
                let netlink = Netlink::open()?;
                netlink.mark_and_up(netlink.the_link("lo")?.index, &mark)
            };
            ns.run(prepare).map_err(Error::step(format!("enter {name}")))??;
            ns
        } else {
            Netns::current().map_err(Error::step("open this network namespace"))?
        };
        node.inode = Some(ns.inode());
        lab.nodes.push(Node { name: name.clone(), role: node.role, ns, ports: Vec::new() });
    }
    lab.state.write()?;
    names::prepare_dir().map_err(Error::file("prepare", NETNS_DIR))?;
    for (node, known) in lab.nodes.iter_mut().zip(&lab.state.nodes) {
        if let Some(name) = &known.namespace {
            node.ns.set_name(name).map_err(Error::step(format!("name network namespace {name}")))?;
        }
    }
    Ok(())
}

fn node_index(lab: &Lab, name: &str) -> Result<usize, Error> {
    lab.nodes.iter().position(|node| node.name == name).ok_or_else(|| Error::NoNode {
        lab: lab.state.name.clone(),
        node: name.to_owned(),
        nodes: lab.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Makes a veth pair. An end that is to be where nsrouter was started is made beside the other one,
/// marked there, and then moved: no link of ours is ever without its mark among the machine's own.
fn make_link(lab: &Lab, link: &Link, queues: u32) -> Result<(), Error> {
    let is_host = |index: usize| lab.state.nodes[index].namespace.is_none();
    let (mut a, mut b) = (&link.a, &link.b);
    if is_host(node_index(lab, &a.node)?) {
        (a, b) = (b, a);
    }
    let (a_index, b_index) = (node_index(lab, &a.node)?, node_index(lab, &b.node)?);
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

/// Has the TAP device of a link made in its host, and gives it what a veth is made with.
fn make_tap_link(lab: &Lab, link: &Link, make: &mut MakeTap<'_>) -> Result<(), Error> {
    let (host, router) = match lab.state.node(&link.a.node)?.role {
        Role::Host => (&link.a, &link.b),
        Role::Router => (&link.b, &link.a),
    };
    let tap = TapEnd { ifname: &host.ifname, router: &router.node, port: &router.ifname };
    let work = || -> Result<(), Error> {
        make(tap).map_err(Error::step(format!("make the TAP device {}", host.ifname)))?;
        let netlink = Netlink::open()?;
        netlink.set_tap(netlink.the_link(&host.ifname)?.index, host.mac, link.mtu)
    };
    lab.nodes[node_index(lab, &host.node)?]
        .ns
        .run(work)
        .map_err(Error::step(format!("enter {}", host.node)))?
}

/// The router's end of a TAP link: no interface, but a port with an address of its own.
fn tap_port(lab: &Lab, end: &Endpoint, link: &Link, number: usize) -> PortInfo {
    // Unique to this lab, and by its first byte to nobody's hardware.
    let mut random = lab.state.id.bytes().filter(u8::is_ascii_hexdigit);
    let mut mac = [0x02; 6];
    for byte in &mut mac[1..5] {
        *byte = random.next().unwrap_or_default() ^ random.next().unwrap_or_default().rotate_left(4);
    }
    mac[5] = number.to_le_bytes()[0];
    PortInfo {
        ifname: end.ifname.clone(),
        ifindex: 0,
        mac: end.mac.unwrap_or(Mac(mac)),
        mtu: link.mtu,
        addresses: end.addresses.clone(),
    }
}

/// Settings, addresses and routes of one node.
fn configure(lab: &Lab, index: usize, host_offloads: bool) -> Result<Vec<PortInfo>, Error> {
    let node = &lab.nodes[index];
    let kernel_owns = owns_addresses(lab.forwarder, node.role);
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
            let routes = lab.state.topology.node(&node.name).map(|node| node.routes.as_slice());
            for route in routes.unwrap_or_default() {
                let out = lab.state.topology.out_of(&node.name, route.via).map(|end| end.ifname.as_str());
                let port = ports.iter().find(|port| Some(port.ifname.as_str()) == out);
                let Some(port) = port else { continue };
                netlink.add_route(route.to, Some(route.via), port.ifindex)?;
            }
        }
        Ok(ports)
    };
    node.ns.run(work).map_err(Error::step(format!("enter {}", node.name)))?
}

/// Whether the kernel has the addresses of a node's links.
fn owns_addresses(forwarder: Forwarder, role: Role) -> bool {
    match (role, forwarder) {
        (Role::Host, Forwarder::Kernel | Forwarder::Userspace) | (Role::Router, Forwarder::Kernel) => true,
        (Role::Router, Forwarder::Userspace) => false,
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
        settings::prepare_link(&end.ifname)?;
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
        mac: link.mac.unwrap_or(Mac([0; 6])),
        mtu: link.mtu,
        addresses: end.addresses.clone(),
    })
}

/// Both ends are up, so each has a carrier; its own link-local address comes only with that.
fn await_links(lab: &Lab, node: &Node) -> Result<(), Error> {
    let kernel_owns = owns_addresses(lab.forwarder, node.role);
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
