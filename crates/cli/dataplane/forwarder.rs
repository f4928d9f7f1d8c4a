//! Starts forwarding in a lab's routers: the lab's ports become an engine's ports.

use std::net::IpAddr;

use anyhow::{Context, anyhow};
use nsrouter_engine::kernel::Kernel;
use nsrouter_engine::userspace::{OpenHost, Spin, Userspace, UserspaceConfig};
use nsrouter_engine::{Engine, NeighConfig, Route, RouteKind, RouteNextHop, Settings};
use nsrouter_lab::records::PortInfo;
use nsrouter_lab::topology::HOST_PORT;
use nsrouter_lab::{Lab, LabNode, Stop};
use nsrouter_rings::tun;

use crate::dataplane::choice::Choice;
use crate::dataplane::engines::Engines;
use crate::dataplane::ports::{self, DeviceEnds};
use crate::options::settings::Setting;

/// The threads that forward in userspace mode.
#[derive(Clone, Debug)]
pub(crate) struct Threads {
    /// Workers per router.
    pub(crate) workers: usize,
    /// The CPUs that they are pinned to, in turn; none leaves them to the scheduler.
    pub(crate) cpus: Vec<usize>,
    /// Their nice value; `None` keeps this process's.
    pub(crate) nice: Option<i32>,
    /// How long an idle worker busy-polls before it sleeps.
    pub(crate) spin: Spin,
}

/// A userspace router.
pub(crate) struct Dataplane {
    /// Its backend, and the reason for it.
    pub(crate) choice: Choice,
    /// Its worker threads.
    pub(crate) threads: Threads,
    /// The settings that `--set` changes.
    pub(crate) set: Vec<Setting>,
}

/// Starts forwarding in the lab's routers: by the userspace router, or by the kernel where there is none.
///
/// # Errors
/// Those of the lab, the rings and the engine; that `stop` was requested.
pub(crate) fn start(
    lab: &mut Lab,
    dataplane: Option<&Dataplane>,
    mut devices: DeviceEnds,
    stop: &Stop,
) -> anyhow::Result<Engines> {
    if dataplane.is_none() {
        lab.set_forwarding()?;
    }
    let routers: Vec<String> = lab.routers().map(|node| node.name.clone()).collect();
    let mut engines = Vec::new();
    for router in routers {
        stop.check()?;
        let engine = match dataplane {
            None => start_kernel(lab.node(&router)?)?,
            Some(dataplane) => start_userspace(lab, &router, dataplane, &mut devices)?,
        };
        engines.push((router, engine));
    }
    Ok(Engines(engines))
}

fn start_kernel(router: &LabNode) -> anyhow::Result<Engine> {
    let ports = router.ports.iter().map(ports::port).collect();
    let kernel = router.ns.run(|| Kernel::new(ports)).context("cannot enter the router's namespace")??;
    Ok(Engine::Kernel(kernel))
}

fn start_userspace(
    lab: &mut Lab,
    router: &str,
    dataplane: &Dataplane,
    devices: &mut DeviceEnds,
) -> anyhow::Result<Engine> {
    let Dataplane { choice: Choice { backend, .. }, threads, set } = dataplane;
    let node = lab.node(router)?;
    let infos = node.ports.clone();
    // A socket belongs to the namespace of the thread that opens it.
    let (ports, device) = node
        .ns
        .run(|| (ports::open(backend, router, &infos, threads.workers, devices), tun::open(HOST_PORT)))
        .context("cannot enter the router's namespace")?;
    let ports = ports?;
    let host = match device {
        Ok((receive, transmit)) => {
            let mtu = host_mtu(&infos);
            let info = lab.add_host_port(router, mtu)?;
            Ok(OpenHost {
                name: info.ifname,
                ifindex: info.ifindex,
                mtu,
                rx: Box::new(receive),
                txs: (0..threads.workers).map(|_| Box::new(transmit.clone()) as _).collect(),
            })
        }
        Err(error) => Err(format!("{error}; so programs in the router have no access to the network")),
    };
    let node = lab.node(router)?;
    let (mut settings, mut neighbours) = (Settings::default(), NeighConfig::default());
    for setting in set {
        let ports = u16::try_from(ports.len())?;
        setting.apply(&mut settings, &mut neighbours, ports).map_err(|error| anyhow!(error))?;
    }
    let config = UserspaceConfig {
        backend: backend.name.to_owned(),
        ports,
        host,
        routes: routes(lab, router),
        settings,
        neighbours,
        spin: threads.spin,
        cpus: threads.cpus.clone(),
        nice: threads.nice,
    };
    let engine =
        node.ns.run(|| Userspace::start(config)).context("cannot enter the router's namespace")??;
    Ok(Engine::Userspace(Box::new(engine)))
}

/// The host port's MTU: the smallest of the ports that carry IPv6, because below 1280 bytes local programs
/// would lose IPv6 on all of them. A packet too large for a smaller port is fragmented, or answered by an
/// ICMP error.
fn host_mtu(ports: &[PortInfo]) -> u32 {
    const IPV6_MIN_MTU: u32 = 1280;
    let mtus = || ports.iter().map(|info| info.mtu);
    mtus().filter(|mtu| *mtu >= IPV6_MIN_MTU).min().or_else(|| mtus().min()).unwrap_or(1500)
}

/// The router's static routes, as the topology declares them.
fn routes(lab: &Lab, router: &str) -> Vec<Route> {
    let declared = lab.state().topology.node(router).map(|node| node.routes.as_slice()).unwrap_or_default();
    declared
        .iter()
        .map(|route| {
            let via: IpAddr = route.via;
            let hop = RouteNextHop { port: None, via: Some(via), weight: 1 };
            Route { prefix: route.to, kind: RouteKind::Unicast(vec![hop]), metric: 0, mtu: None }
        })
        .collect()
}
