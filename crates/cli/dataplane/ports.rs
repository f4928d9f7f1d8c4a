//! The lab's links become the engine's ports: a backend opens them, in the namespaces where they are.

use std::collections::HashMap;
use std::io;

use anyhow::anyhow;
use nsrouter_engine::userspace::{FarLink, OpenPort};
use nsrouter_engine::{Port, PortId};
use nsrouter_lab::TapEnd;
use nsrouter_lab::records::PortInfo;
use nsrouter_lab::topology::Topology;
use nsrouter_rings::backend::{Backend, OpenDevice, Queues};
use nsrouter_rings::guard::{self, Guard};
use nsrouter_rings::port::Interface;

/// The router's ends of links whose other ends a backend made ([`Backend::open_device`]), from the time when
/// the lab is built.
pub(crate) struct DeviceEnds {
    /// Queues of each, one a worker.
    queues: usize,
    /// By router and port: the queues, and a watch on the host's interface.
    ends: HashMap<(String, String), (Queues, FarLink)>,
}

impl DeviceEnds {
    /// None yet, each with a queue for every worker.
    pub(crate) fn new(workers: usize) -> DeviceEnds {
        DeviceEnds { queues: workers, ends: HashMap::new() }
    }

    /// Makes the device of one link; called in the host's namespace.
    pub(crate) fn make(&mut self, open: OpenDevice, topology: &Topology, end: TapEnd<'_>) -> io::Result<()> {
        let number = topology
            .endpoints(end.router)
            .position(|(port, _)| port.ifname == end.port)
            .and_then(|number| u16::try_from(number).ok())
            .ok_or(io::ErrorKind::NotFound)?;
        let queues = open(end.ifname, PortId(number), self.queues).map_err(io::Error::other)?;
        let far_link = FarLink::watch(end.ifname)?;
        self.ends.insert((end.router.to_owned(), end.port.to_owned()), (queues, far_link));
        Ok(())
    }
}

/// Opens the ports of a router for so many workers, in the network namespace of the calling thread.
pub(crate) fn open(
    backend: &Backend,
    router: &str,
    infos: &[PortInfo],
    workers: usize,
    devices: &mut DeviceEnds,
) -> anyhow::Result<Vec<OpenPort>> {
    let numbered = || infos.iter().zip(0..).filter(|(info, _)| info.ifindex != 0);
    let interfaces: Vec<Interface> = numbered()
        .map(|(info, number)| Interface { ifindex: info.ifindex, port: PortId(number), mtu: info.mtu })
        .collect();
    let mut opened = (backend.open)(&interfaces, workers).map_err(anyhow::Error::from_boxed)?.into_iter();
    let mut guards = Guards::attach(backend, &interfaces);
    infos
        .iter()
        .map(|info| {
            let port = port(info);
            if info.ifindex != 0 {
                let queues = opened.next().ok_or_else(|| anyhow!("port {} was not opened", info.ifname))?;
                return Ok(OpenPort { port, queues, guard: guards.next(), far_link: None });
            }
            let end = devices.ends.remove(&(router.to_owned(), info.ifname.clone()));
            let (queues, far_link) = end.ok_or_else(|| anyhow!("port {} has no TAP device", info.ifname))?;
            Ok(OpenPort { port, queues, guard: None, far_link: Some(far_link) })
        })
        .collect()
}

/// The guards of interfaces, in their order.
enum Guards {
    /// The backend needs none.
    Unneeded,
    Attached(std::vec::IntoIter<Guard>),
    /// Why there are none.
    Failed(String),
}

impl Guards {
    fn attach(backend: &Backend, interfaces: &[Interface]) -> Guards {
        if !backend.needs_guard {
            return Guards::Unneeded;
        }
        let indexes: Vec<u32> = interfaces.iter().map(|interface| interface.ifindex).collect();
        match guard::attach(&indexes) {
            Ok(guards) => Guards::Attached(guards.into_iter()),
            Err(error) => Guards::Failed(format!("no program at the ingress hook: {error}")),
        }
    }

    /// The guard of the next interface, or why it has none; `None` where it needs none.
    fn next(&mut self) -> Option<Result<Guard, String>> {
        match self {
            Guards::Unneeded => None,
            Guards::Attached(guards) => guards.next().map(Ok),
            Guards::Failed(why) => Some(Err(why.clone())),
        }
    }
}

/// A port of the lab as the engine's.
pub(crate) fn port(info: &PortInfo) -> Port {
    Port {
        name: info.ifname.clone(),
        ifindex: info.ifindex,
        mac: info.mac,
        mtu: info.mtu,
        addresses: info.addresses.clone(),
        up: true,
    }
}
