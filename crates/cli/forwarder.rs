//! Where lab and engine meet: the ports that a lab made become the ports of an engine.

use std::net::IpAddr;

use anyhow::{Context, anyhow};
use nsrouter_engine::kernel::Kernel;
use nsrouter_engine::status::Status;
use nsrouter_engine::userspace::{Config, OpenHost, OpenPort, Spin, Userspace};
use nsrouter_engine::{Engine, Hop, MacAddr, NeighConfig, Port, PortId, Route, RouteKind, Settings};
use nsrouter_lab::{HOST_PORT, Lab, Node, PortInfo};
use nsrouter_rings::{guard, packet, tun};

use crate::run::{Backend, Mode};
use crate::settings::Setting;

/// The engines of a lab, one a router.
pub(crate) struct Engines(Vec<(String, Engine)>);

impl Engines {
    /// What they tell, as one: with several routers a port's name is `ROUTER/PORT`.
    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        let all = self.0.iter().map(|(name, engine)| Ok((name.clone(), engine.status()?)));
        Ok(merged(all.collect::<anyhow::Result<_>>()?))
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
                status.ports.iter_mut().for_each(|port| port.name = format!("{name}/{}", port.name));
                status.neighbours.iter_mut().for_each(|entry| entry.port = format!("{name}/{}", entry.port));
                status.troubles.iter_mut().for_each(|trouble| *trouble = format!("{name}: {trouble}"));
            }
            status
        })
        .reduce(Status::merge)
        .unwrap_or_default()
}

/// Starts forwarding in the lab's routers, in the mode that was asked for.
///
/// # Errors
/// What the lab, the rings or the engine could not do.
pub(crate) fn start(
    lab: &mut Lab,
    mode: Mode,
    backend: Backend,
    set: &[Setting],
    spin: Spin,
) -> anyhow::Result<Engines> {
    if mode == Mode::Kernel {
        lab.set_forwarding()?;
    }
    let routers: Vec<String> = lab.routers().map(|node| node.name.clone()).collect();
    let mut engines = Vec::new();
    for router in routers {
        let engine = match (mode, backend) {
            (Mode::Kernel, _) => start_kernel(lab.node(&router)?)?,
            (Mode::Userspace, Backend::Packet) => start_packet(lab, &router, set, spin)?,
        };
        engines.push((router, engine));
    }
    Ok(Engines(engines))
}

fn start_kernel(router: &Node) -> anyhow::Result<Engine> {
    let ports = router.ports.iter().map(port).collect();
    let kernel = router.ns.run(|| Kernel::new(ports)).context("cannot enter the router's namespace")??;
    Ok(Engine::Kernel(kernel))
}

fn start_packet(lab: &mut Lab, router: &str, set: &[Setting], spin: Spin) -> anyhow::Result<Engine> {
    let node = lab.node(router)?;
    let infos = node.ports.clone();
    // A socket belongs to the namespace of the thread that opens it, so the rings are opened in there.
    let (ports, device) = node
        .ns
        .run(|| (infos.iter().zip(0..).map(open_packet).collect::<Result<Vec<_>, _>>(), tun::open(HOST_PORT)))
        .context("cannot enter the router's namespace")?;
    let ports = ports?;
    let host = match device {
        Ok((receive, transmit)) => {
            let mtu = infos.iter().map(|info| info.mtu).min().unwrap_or(1500);
            let info = lab.add_host_port(router, mtu)?;
            Ok(OpenHost {
                name: info.ifname,
                ifindex: info.ifindex,
                mtu,
                receive: Box::new(receive),
                transmit: Box::new(transmit),
            })
        }
        Err(error) => Err(format!(
            "/dev/net/tun cannot be opened ({error}), so programs in the router have no way into the network"
        )),
    };
    let node = lab.node(router)?;
    let mut settings = Settings::default();
    for setting in set {
        setting.apply(&mut settings, u16::try_from(ports.len())?).map_err(|error| anyhow!(error))?;
    }
    let config = Config {
        backend: "packet".to_owned(),
        ports,
        host,
        routes: routes(lab, router),
        settings,
        neighbours: NeighConfig::default(),
        spin,
    };
    let engine =
        node.ns.run(|| Userspace::start(config)).context("cannot enter the router's namespace")??;
    Ok(Engine::Userspace(Box::new(engine)))
}

fn open_packet((info, number): (&PortInfo, u16)) -> Result<OpenPort, packet::OpenError> {
    let (receive, transmit) = packet::open(info.ifindex, PortId(number), packet::Settings::default())?;
    let guard = guard::attach(info.ifindex).map_err(|error| format!("no TCX program: {error}"));
    Ok(OpenPort { port: port(info), receive: Box::new(receive), transmit: Box::new(transmit), guard })
}

fn port(info: &PortInfo) -> Port {
    Port {
        name: info.ifname.clone(),
        ifindex: info.ifindex,
        mac: MacAddr(info.mac.0),
        mtu: info.mtu,
        addresses: info.addresses.clone(),
        up: true,
    }
}

/// The router's static routes, as the topology declares them.
fn routes(lab: &Lab, router: &str) -> Vec<Route> {
    let declared = lab.state().topology.node(router).map(|node| node.routes.as_slice()).unwrap_or_default();
    declared
        .iter()
        .map(|route| {
            let via: IpAddr = route.via;
            let hop = Hop { port: None, via: Some(via), weight: 1 };
            Route { prefix: route.to, kind: RouteKind::Unicast(vec![hop]), metric: 0 }
        })
        .collect()
}
