//! What carries the userspace router's frames: choosing it, seeing beforehand whether it can be had, and opening ports.

use std::collections::HashMap;
use std::io;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use nsrouter_engine::userspace::{FarLink, OpenPort, QueuePair};
use nsrouter_engine::{MacAddr, Port, PortId};
use nsrouter_lab::{PortInfo, TapEnd, Topology};
use nsrouter_linux::netns::Netns;
use nsrouter_rings::port::{Interface, Receive, Transmit};
use nsrouter_rings::tap::{TapRx, TapTx};
use nsrouter_rings::{guard, packet, probe, tap, xdp};

use crate::dataplane::parallel;
use crate::output::failure::Cannot;

/// How the userspace router's frames enter and leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// packet or xdp, whichever is possible; nsrouter says which and why.
    Auto,
    /// AF_PACKET rings on the router's veth ends: whole super-frames, any user.
    Packet,
    /// The hosts' interfaces are TAP devices whose other ends the router holds; no veths.
    Tap,
    /// AF_XDP sockets on the router's veth ends; the hosts send complete frames no larger than the MTU.
    Xdp,
}

/// A backend that works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Which; never `Auto`.
    pub(crate) backend: Backend,
    /// Why, where it was for us to choose.
    pub(crate) why: Option<String>,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Backend::Auto => "auto",
            Backend::Packet => "packet",
            Backend::Tap => "tap",
            Backend::Xdp => "xdp",
        }
    }

    /// The nice value that its workers have where none is asked for. Many small packets are lost where a worker waits its turn
    /// behind the programs that receive them; super-frames come in larger bursts, and faster, where it does.
    pub(crate) fn nice(self) -> Option<i32> {
        match self {
            Backend::Xdp => Some(-20),
            Backend::Auto | Backend::Packet | Backend::Tap => None,
        }
    }
}

/// `lo` in every new network namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LO: u32 = 1;

/// What a try in a throw-away namespace came to.
struct Tries {
    packet: Result<(), String>,
    tap: Result<(), String>,
    xdp: Result<(), String>,
}

fn try_all() -> Tries {
    let text = |error: &dyn std::error::Error| error.to_string();
    Tries {
        packet: probe::packet_ring(LO).map_err(|error| text(&error)),
        tap: probe::tap().map_err(|error| format!("no TAP device can be made: {error}")),
        xdp: probe::bpf()
            .map_err(|error| format!("bpf(2) loads no program: {error}"))
            .and_then(|()| probe::xdp_socket(LO).map_err(|error| format!("no AF_XDP socket: {error}"))),
    }
}

/// Settles on a backend, before anything is built.
///
/// # Errors
/// [`Cannot`] where this machine or user cannot have it.
pub(crate) fn choose(wanted: Backend) -> anyhow::Result<Choice> {
    let tries = Netns::create()
        .and_then(|ns| ns.run(try_all))
        .context("cannot make a network namespace to try the backends in")?;
    Ok(settle(wanted, &tries)?)
}

fn settle(wanted: Backend, tries: &Tries) -> Result<Choice, Cannot> {
    let refuse = |name: &str, why: &String, hint: &str| Cannot {
        what: format!("the {name} backend cannot work here: {why}"),
        hint: hint.to_owned(),
    };
    match (wanted, &tries.packet, &tries.tap, &tries.xdp) {
        (Backend::Auto, Ok(()), _, _) => {
            let why = "it carries whole super-frames, which xdp cannot";
            Ok(Choice { backend: Backend::Packet, why: Some(why.to_owned()) })
        }
        (Backend::Auto, Err(why), _, Ok(())) => {
            Ok(Choice { backend: Backend::Xdp, why: Some(format!("packet cannot work here: {why}")) })
        }
        (Backend::Auto | Backend::Packet, Err(why), _, _) => Err(refuse(
            "packet",
            why,
            "`nsrouter doctor` tells what is missing; --mode kernel needs none of it",
        )),
        (Backend::Tap, _, Err(why), _) => Err(refuse(
            "tap",
            why,
            "it takes /dev/net/tun (modprobe tun), readable by you; or use --backend packet",
        )),
        (Backend::Xdp, _, _, Err(why)) => Err(refuse(
            "xdp",
            why,
            "it takes root over the machine (CAP_BPF) and a kernel with CONFIG_XDP_SOCKETS; or use --backend packet",
        )),
        (Backend::Packet | Backend::Tap | Backend::Xdp, ..) => Ok(Choice { backend: wanted, why: None }),
    }
}

/// The router's end of a TAP link: its queues, and what watches the host's interface.
type TapEnds = (Vec<(TapRx, TapTx)>, FarLink);

/// The router's ends of TAP links, opened while the lab is built.
pub(crate) struct Taps {
    /// Queues of each, one a worker.
    queues: usize,
    /// By router and port.
    ends: HashMap<(String, String), TapEnds>,
}

impl Taps {
    /// None yet, each with a queue for every worker.
    pub(crate) fn new(workers: usize) -> Taps {
        Taps { queues: workers, ends: HashMap::new() }
    }

    /// Makes the TAP device of one link; called in the host's namespace.
    pub(crate) fn make(&mut self, topology: &Topology, end: TapEnd<'_>) -> io::Result<()> {
        let number = topology
            .endpoints(end.router)
            .position(|(port, _)| port.ifname == end.port)
            .and_then(|number| u16::try_from(number).ok())
            .ok_or(io::ErrorKind::NotFound)?;
        let queues = tap::open(end.ifname, PortId(number), self.queues).map_err(io::Error::other)?;
        let far_link = FarLink::watch(end.ifname)?;
        self.ends.insert((end.router.to_owned(), end.port.to_owned()), (queues, far_link));
        Ok(())
    }
}

/// Opens the ports of a router for so many workers, in the network namespace of the calling thread. What is no TAP link is a
/// veth.
pub(crate) fn open_ports(
    backend: Backend,
    router: &str,
    infos: &[PortInfo],
    workers: usize,
    taps: &mut Taps,
) -> anyhow::Result<Vec<OpenPort>> {
    if backend == Backend::Xdp {
        return open_xdp(infos, workers);
    }
    let numbered: Vec<(&PortInfo, u16)> =
        infos.iter().zip(0..).filter(|(info, _)| info.ifindex != 0).collect();
    let mut opened = parallel::map(&numbered, |(info, number)| {
        packet::open_queues(info.ifindex, PortId(*number), packet::Settings::default(), workers)
    })
    .into_iter();
    let interfaces: Vec<u32> = numbered.iter().map(|(info, _)| info.ifindex).collect();
    let mut guards = guard::attach(&interfaces)
        .map(Vec::into_iter)
        .map_err(|error| format!("no program at the ingress hook: {error}"));
    infos
        .iter()
        .map(|info| {
            if info.ifindex != 0 {
                let queues = opened.next().transpose()?.unwrap_or_default();
                let guard = guards.as_mut().map(Iterator::next).map_err(|why| why.clone()).transpose();
                return Ok(OpenPort {
                    port: port(info),
                    queues: queues.into_iter().map(queue_pair).collect(),
                    guard,
                    far_link: None,
                });
            }
            let ends = taps.ends.remove(&(router.to_owned(), info.ifname.clone()));
            let (ends, far_link) = ends.ok_or_else(|| anyhow!("port {} has no TAP device", info.ifname))?;
            let queues = ends.into_iter().map(queue_pair).collect();
            Ok(OpenPort { port: port(info), queues, guard: None, far_link: Some(far_link) })
        })
        .collect()
}

fn queue_pair<R: Receive + 'static, T: Transmit + 'static>((rx, tx): (R, T)) -> QueuePair {
    QueuePair { rx: Box::new(rx), tx: Box::new(tx) }
}

fn open_xdp(infos: &[PortInfo], workers: usize) -> anyhow::Result<Vec<OpenPort>> {
    let interface = |(info, number): (&PortInfo, u16)| Interface {
        ifindex: info.ifindex,
        port: PortId(number),
        mtu: info.mtu,
    };
    let interfaces: Vec<Interface> = infos.iter().zip(0..).map(interface).collect();
    // What the router owns is redirected before the kernel sees it, so there is nothing to guard.
    let mut ports: Vec<OpenPort> = infos
        .iter()
        .map(|info| OpenPort { port: port(info), queues: Vec::new(), guard: None, far_link: None })
        .collect();
    for queue in xdp::open(&interfaces, u32::try_from(workers)?, xdp::Settings::default())? {
        for (port, ends) in ports.iter_mut().zip(queue) {
            port.queues.push(queue_pair(ends));
        }
    }
    Ok(ports)
}

/// A port of the lab as the engine's.
pub(crate) fn port(info: &PortInfo) -> Port {
    Port {
        name: info.ifname.clone(),
        ifindex: info.ifindex,
        mac: MacAddr(info.mac.0),
        mtu: info.mtu,
        addresses: info.addresses.clone(),
        up: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(packet: bool, tap: bool, xdp: bool) -> Tries {
        let outcome = |works: bool| if works { Ok(()) } else { Err("no".to_owned()) };
        Tries { packet: outcome(packet), tap: outcome(tap), xdp: outcome(xdp) }
    }

    #[test]
    fn auto_takes_packet_and_else_xdp_and_says_why() {
        for (tries, backend) in [
            (tries(true, true, true), Backend::Packet),
            (tries(true, false, false), Backend::Packet),
            (tries(false, true, true), Backend::Xdp),
        ] {
            let choice = settle(Backend::Auto, &tries).expect("there is one");
            assert_eq!((choice.backend, choice.why.is_some()), (backend, true));
        }
        assert!(settle(Backend::Auto, &tries(false, true, false)).is_err(), "tap only by name");
    }

    #[test]
    fn what_is_asked_for_by_name_is_had_or_refused() {
        for backend in [Backend::Packet, Backend::Tap, Backend::Xdp] {
            let choice = settle(backend, &tries(true, true, true)).expect("it works");
            assert_eq!(choice, Choice { backend, why: None });
            let error = settle(backend, &tries(false, false, false)).expect_err("it does not");
            assert!(error.what.contains(backend.name()) && !error.hint.is_empty(), "{error}");
        }
    }
}
