//! Where lab and engine meet: the ports that a lab made become the ports of an engine.

use std::net::IpAddr;

use anyhow::{Context, anyhow};
use nsrouter_engine::kernel::Kernel;
use nsrouter_engine::status::{RouteList, Status};
use nsrouter_engine::userspace::{OpenHost, Spin, Userspace, UserspaceConfig};
use nsrouter_engine::{Engine, NeighConfig, Route, RouteKind, RouteNextHop, Settings};
use nsrouter_lab::records::PortInfo;
use nsrouter_lab::topology::HOST_PORT;
use nsrouter_lab::{Lab, LabNode, Stop};
use nsrouter_rings::tun;

use crate::dataplane::choice::Choice;
use crate::dataplane::ports::{self, DeviceEnds};
use crate::options::settings::Setting;

/// The threads that forward in userspace mode.
#[derive(Clone, Debug)]
pub(crate) struct Threads {
    /// How many a router has.
    pub(crate) workers: usize,
    /// The processors that they stay on, in turn; empty: wherever they are put.
    pub(crate) cpus: Vec<usize>,
    /// Their nice value, where it is not this process's.
    pub(crate) nice: Option<i32>,
    /// How long an idle one looks for frames before it sleeps.
    pub(crate) spin: Spin,
}

/// The userspace router that is asked for.
pub(crate) struct Dataplane {
    /// Its backend, and why that one.
    pub(crate) choice: Choice,
    /// Its worker threads.
    pub(crate) threads: Threads,
    /// What `--set` changes.
    pub(crate) set: Vec<Setting>,
}

/// The engines of a lab, one a router.
pub(crate) struct Engines(Vec<(String, Engine)>);

impl Engines {
    /// What they tell, as one: with several routers a port's name is `ROUTER/PORT`.
    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        let all = self.0.iter().map(|(name, engine)| Ok((name.clone(), engine.status()?)));
        Ok(merged(all.collect::<anyhow::Result<_>>()?))
    }

    /// The routes of all userspace routers, ports named as in the status; none in kernel mode.
    pub(crate) async fn routes(&self) -> Option<RouteList> {
        let asked: Option<Vec<_>> =
            self.0.iter().map(|(name, engine)| Some((name, engine.routes()?))).collect();
        let mut all = RouteList::default();
        for (name, routes) in asked? {
            let mut list = routes.await;
            if self.0.len() > 1 {
                let ports = list.routes.iter_mut().flat_map(|route| &mut route.hops);
                ports.filter_map(|hop| hop.port.as_mut()).for_each(|port| *port = format!("{name}/{port}"));
                list.routes.iter_mut().for_each(|route| route.router = Some(name.clone()));
            }
            all.routes.extend(list.routes);
            all.total += list.total;
        }
        Some(all)
    }

    /// Whether one has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.iter().any(|(_, engine)| engine.has_ended())
    }

    /// Stops them all.
    pub(crate) fn stop(self) -> anyhow::Result<Status> {
        let all = self.0.into_iter().map(|(name, engine)| Ok((name, engine.stop()?)));
        Ok(merged(all.collect::<anyhow::Result<_>>()?))
    }
}

fn merged(all: Vec<(String, Status)>) -> Status {
    let alone = all.len() == 1;
    all.into_iter()
        .map(|(name, mut status)| {
            if !alone {
                let ports = status.ports.iter_mut().chain(&mut status.host_ports);
                ports.for_each(|port| port.name = format!("{name}/{}", port.name));
                status.neighbours.iter_mut().for_each(|entry| entry.port = format!("{name}/{}", entry.port));
                status.warnings.iter_mut().for_each(|warning| *warning = format!("{name}: {warning}"));
            }
            status
        })
        .reduce(Status::merge)
        .unwrap_or_default()
}

/// Starts forwarding in the lab's routers: by the userspace router, or by the kernel where there is none.
///
/// # Errors
/// What the lab, the rings or the engine could not do; that `stop` was asked for.
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
    // A socket belongs to the namespace of the thread that opens it, so the rings are opened in there.
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
        Err(error) => Err(format!("{error}; so programs in the router have no way into the network")),
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

/// The host port's MTU: what every port takes, but for ports whose MTU is too small for IPv6, which the router's own programs
/// would lose on all. What is too large for such a port is fragmented, or its sender is told.
fn host_mtu(ports: &[PortInfo]) -> u32 {
    const LEAST_FOR_IPV6: u32 = 1280;
    let mtus = || ports.iter().map(|info| info.mtu);
    mtus().filter(|mtu| *mtu >= LEAST_FOR_IPV6).min().or_else(|| mtus().min()).unwrap_or(1500)
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
