//! Userspace mode: workers that move every packet through our own router, and the control plane beside them.

mod ask;
pub(crate) mod egress;
pub(crate) mod hold;
pub(crate) mod originate;
mod plan;
mod spin;
mod troubles;
pub(crate) mod wake;
pub(crate) mod worker;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use nsrouter_rings::guard::Guard;
use nsrouter_rings::port::{Receive, Transmit};
use nsrouter_router::{
    Counters, DropReason, Hop, Limits, NeighConfig, NeighbourEntry, Origin, PortCounters, Route, RouteKind,
    Settings, Tables, TablesError, Time,
};
use nsrouter_wire::frame::PortId;
use tokio::sync::oneshot;

use crate::Port;
use crate::control::links::FarLink;
use crate::control::{Control, Reported};
use crate::status::{
    Events, HopStatus, HostPort, NeighbourStatus, PortStatus, RouteList, RouteStatus, Status, Totals,
    WorkerStatus,
};
use crate::userspace::originate::Reports;
pub(crate) use crate::userspace::plan::Plan;
pub use crate::userspace::spin::Spin;
use crate::userspace::troubles::Troubles;
use crate::userspace::wake::Bell;
use crate::userspace::worker::{Worker, WorkerParts};

/// The two halves by which one worker uses a port.
pub struct Halves {
    /// How frames enter.
    pub receive: Box<dyn Receive>,
    /// How frames leave.
    pub transmit: Box<dyn Transmit>,
}

/// A link port, open.
pub struct OpenPort {
    /// What it is.
    pub port: Port,
    /// Its halves, one pair a worker; every port has as many.
    pub halves: Vec<Halves>,
    /// What spares the kernel its input path, or why nothing does; `None` where no frame of the port takes that path.
    pub guard: Option<Result<Guard, String>>,
    /// What watches the other end of the link, for a port that is no interface itself.
    pub far_link: Option<FarLink>,
}

/// The host port's two halves.
pub struct OpenHost {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// How packets of the router's own programs enter; the first worker forwards them.
    pub receive: Box<dyn Receive>,
    /// How packets for them leave, one a worker.
    pub transmits: Vec<Box<dyn Transmit>>,
}

/// Everything that the userspace engine starts from.
pub struct Config {
    /// The name of the mechanism under the ports, for the status.
    pub backend: String,
    /// The link ports, in the order of their numbers.
    pub ports: Vec<OpenPort>,
    /// The host port, or why there is none.
    pub host: Result<OpenHost, String>,
    /// Routes beside those of the ports' own subnets.
    pub routes: Vec<Route>,
    /// What can be set of the router.
    pub settings: Settings,
    /// Timers and bounds of the neighbour table.
    pub neighbours: NeighConfig,
    /// How long an idle worker looks for frames before it sleeps.
    pub spin: Spin,
    /// The processors that the workers stay on, worker by worker and from the beginning again; empty: wherever the
    /// scheduler puts them.
    pub cpus: Vec<usize>,
    /// The workers' nice value (setpriority(2)), where it is not to be the process's. Below that, a worker goes before the programs
    /// that share its processor: the router's queues are shorter then, and its bursts smaller.
    pub nice: Option<i32>,
}

/// Starting the userspace engine failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserspaceError {
    /// The declared ports and routes do not make tables.
    #[error("the router's tables cannot be built: {0}")]
    Tables(#[from] TablesError),
    /// The ports do not have as many pairs of halves as each other, or none.
    #[error("a worker needs a pair of halves of every port, and the ports have {halves:?}")]
    Halves {
        /// How many each port has.
        halves: Vec<usize>,
    },
    /// A pipe, or the epoll instance that a worker sleeps on.
    #[error("cannot make what a worker sleeps on and is woken by (is the limit of open files reached?): {0}")]
    Bell(#[source] io::Error),
    /// A thread.
    #[error("cannot start the thread {name}: {source}")]
    Thread {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The control plane's runtime or netlink socket.
    #[error("cannot start the control plane: {0}")]
    Control(#[source] io::Error),
}

/// One clock for every thread of the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Nanoseconds since the engine started.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The router's time: monotonic, and milliseconds since midnight UT.
    pub(crate) fn now(&self) -> Time {
        const DAY_MS: u128 = 24 * 60 * 60 * 1000;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let utc_ms = u32::try_from(since_epoch.as_millis() % DAY_MS).unwrap_or(0);
        Time { mono_ns: self.now_ns(), utc_ms }
    }
}

/// What is known of a worker.
#[derive(Debug)]
pub(crate) struct Known {
    /// Its counters as it published them last.
    pub(crate) counters: Mutex<Counters>,
    /// It forwards no more.
    ended: AtomicBool,
}

/// The processor of a worker, if it has one of its own.
fn cpu_of(cpus: &[usize], worker: usize) -> Option<usize> {
    cpus.get(worker % cpus.len().max(1)).copied()
}

/// Declared routes of a router, the first of them.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) routes: Vec<(Origin, Route)>,
    pub(crate) total: usize,
}

/// The subnets of the addresses of a port that is up, as routes.
fn connected(port: &PortStatus) -> impl Iterator<Item = RouteStatus> {
    let prefixes = port.addresses.iter().filter_map(|address| address.parse::<IpNet>().ok());
    prefixes.map(|address| RouteStatus {
        prefix: address.trunc().to_string(),
        kind: "unicast".to_owned(),
        hops: vec![HopStatus { via: None, port: Some(port.name.clone()), weight: 1 }],
        origin: "connected".to_owned(),
        ..RouteStatus::default()
    })
}

fn described(origin: Origin, route: &Route, ports: &[String]) -> RouteStatus {
    let hop = |hop: &Hop| HopStatus {
        via: hop.via.map(|via| via.to_string()),
        port: hop.port.and_then(|port| ports.get(port.index()).cloned()),
        weight: hop.weight.max(1),
    };
    let (kind, hops) = match &route.kind {
        RouteKind::Unicast(hops) => ("unicast", hops.iter().map(hop).collect()),
        RouteKind::Blackhole => ("blackhole", Vec::new()),
        RouteKind::Unreachable => ("unreachable", Vec::new()),
        RouteKind::Prohibit => ("prohibit", Vec::new()),
    };
    let origin = match origin {
        Origin::Configured => "configured",
        Origin::Learned => "learned",
    };
    RouteStatus {
        router: None,
        prefix: route.prefix.to_string(),
        kind: kind.to_owned(),
        hops,
        metric: route.metric,
        mtu: route.mtu,
        origin: origin.to_owned(),
    }
}

/// What the threads of one engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) tables: ArcSwap<Tables>,
    /// Prefixes in the forwarding table.
    pub(crate) routes: AtomicUsize,
    pub(crate) stop: AtomicBool,
    pub(crate) neighbours: Mutex<Vec<NeighbourEntry>>,
    /// Neighbours that the table had no room for.
    pub(crate) neighbours_evicted: AtomicU64,
    /// By number.
    pub(crate) workers: Vec<Known>,
    troubles: Mutex<Troubles>,
    /// Whether the other end of each port's link is up, by number.
    carriers: Vec<AtomicBool>,
    /// What of the kernel's configuration is not taken over, at present.
    lacking: Mutex<Vec<String>>,
    /// Who wants to know the routes: the control thread alone has them.
    pub(crate) route_questions: Mutex<Vec<oneshot::Sender<Declared>>>,
    ended: AtomicBool,
}

/// How long a frame waits for a MAC address whatever becomes of the question, beyond the time that the question takes to fail.
const HOLD_MARGIN_MS: u64 = 2000;

impl Shared {
    /// Remembers what went wrong, for the status and the log.
    pub(crate) fn trouble(&self, what: String) {
        self.trouble_of(&what.clone(), what);
    }

    /// The same for what occurs in many words, such as those that a host may choose: one entry a kind, with a count.
    pub(crate) fn trouble_of(&self, kind: &str, what: String) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.note(kind, what.clone(), Instant::now()) {
            tracing::warn!("{what}");
        }
    }

    /// Says whether the other end of a port's link is up.
    pub(crate) fn set_carrier(&self, port: PortId, is_there: bool) {
        if let Some(carrier) = self.carriers.get(port.index()) {
            carrier.store(is_there, Ordering::Relaxed);
        }
    }

    fn has_carrier(&self, port: PortId) -> bool {
        self.carriers.get(port.index()).is_some_and(|carrier| carrier.load(Ordering::Relaxed))
    }

    /// What is not taken over at present, and then what went wrong.
    fn troubles(&self) -> Vec<String> {
        let mut all = self.lacking.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.extend(self.troubles.lock().unwrap_or_else(PoisonError::into_inner).list());
        all
    }

    /// Says what of the kernel's configuration is not taken over, in place of what was said before.
    pub(crate) fn set_lacking(&self, lacking: Vec<String>) {
        let mut before = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        for sentence in lacking.iter().filter(|sentence| !before.contains(sentence)) {
            tracing::warn!("{sentence}");
        }
        *before = lacking;
    }

    /// A worker forwards no more; without the last of them forwarding has ended.
    pub(crate) fn worker_ended(&self, number: usize) {
        self.workers[number].ended.store(true, Ordering::SeqCst);
        if self.workers.iter().all(|worker| worker.ended.load(Ordering::SeqCst)) {
            self.ended.store(true, Ordering::Release);
        }
    }
}

/// Says that forwarding has ended when the control plane ends, however it ends.
#[derive(Debug)]
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.trouble("the control plane panicked".to_owned());
        }
        self.0.ended.store(true, Ordering::Release);
    }
}

/// The userspace router, running.
#[derive(Debug)]
pub struct Userspace {
    plan: Plan,
    backend: String,
    host: HostPort,
    /// The host port's MTU, where there is one.
    host_mtu: u32,
    guard: String,
    shared: Arc<Shared>,
    bells: Vec<Bell>,
    threads: Vec<JoinHandle<()>>,
    /// They go when the threads have ended.
    guards: Vec<Guard>,
    cpus: Vec<usize>,
}

impl Userspace {
    /// Starts workers and control plane in the network namespace of the calling thread (threads inherit it).
    ///
    /// # Errors
    /// [`UserspaceError`], one variant a step; what was started is stopped again.
    pub fn start(mut config: Config) -> Result<Userspace, UserspaceError> {
        let workers = config.ports.first().map_or(1, |open| open.halves.len());
        if workers == 0 || config.ports.iter().any(|open| open.halves.len() != workers) {
            let halves = config.ports.iter().map(|open| open.halves.len()).collect();
            return Err(UserspaceError::Halves { halves });
        }
        let host = match &config.host {
            Ok(host) => HostPort { available: true, interface: host.name.clone(), reason: String::new() },
            Err(reason) => HostPort { available: false, interface: String::new(), reason: reason.clone() },
        };
        let host_mtu = config.host.as_ref().map_or(0, |host| host.mtu);
        let mut guards = config.ports.iter().filter_map(|open| open.guard.as_ref()).peekable();
        let guard = match (guards.peek().is_some(), guards.find_map(|guard| guard.as_ref().err())) {
            (false, _) => "not needed".to_owned(),
            (true, None) => {
                let first = config.ports.iter().find_map(|open| open.guard.as_ref()?.as_ref().ok());
                first.map_or_else(String::new, |guard| guard.name().to_owned())
            }
            (true, Some(reason)) => format!("sysctl ({reason})"),
        };
        let settings = Settings { host_port: config.host.is_ok(), ..config.settings };
        let host_ifindex = config.host.as_ref().ok().map(|host| host.ifindex);
        let ports = config.ports.iter().map(|open| open.port.clone()).collect();
        let mut plan = Plan::new(ports, config.routes, host_ifindex, settings, config.neighbours);
        let most =
            |halves: &[Halves]| halves.iter().map(|half| half.transmit.max_mtu()).min().unwrap_or(u32::MAX);
        plan.max_mtus = config.ports.iter().map(|open| most(&open.halves)).collect();
        let mut table = plan.route_table()?;
        let shared = Arc::new(Shared {
            clock: Clock::new(),
            tables: ArcSwap::from_pointee(table.tables()),
            routes: AtomicUsize::new(table.prefixes()),
            stop: AtomicBool::new(false),
            neighbours: Mutex::default(),
            neighbours_evicted: AtomicU64::new(0),
            workers: (0..workers)
                .map(|_| Known {
                    counters: Mutex::new(Counters::new(plan.ports.len())),
                    ended: AtomicBool::new(false),
                })
                .collect(),
            troubles: Mutex::default(),
            lacking: Mutex::default(),
            route_questions: Mutex::default(),
            carriers: plan.ports.iter().map(|_| AtomicBool::new(true)).collect(),
            ended: AtomicBool::new(false),
        });
        let control_bell = Bell::new().map_err(UserspaceError::Bell)?;
        let (sightings_tx, sightings) = crossbeam_channel::bounded(worker::EVENTS);
        let (questions_tx, questions) = crossbeam_channel::bounded(worker::EVENTS);
        let reports = Reports { sightings: sightings_tx, questions: questions_tx };
        let neighbours = &plan.neighbours;
        let fails_after_ms = neighbours.retransmit_ms.saturating_mul(u64::from(neighbours.multicast_probes));
        let hold_age_ns = fails_after_ms.saturating_add(HOLD_MARGIN_MS).saturating_mul(1_000_000);
        let guards =
            config.ports.iter_mut().filter_map(|open| open.guard.take().and_then(Result::ok)).collect();
        let far_links = (0..)
            .map(PortId)
            .zip(&mut config.ports)
            .filter_map(|(number, open)| Some((number, open.far_link.take()?)))
            .collect();
        let mut links: Vec<_> =
            config.ports.into_iter().map(|open| (open.port, open.halves.into_iter())).collect();
        let (mut host_receive, mut host_transmits) = match config.host {
            Ok(host) => (Some((host.name, host.receive)), host.transmits.into_iter()),
            Err(_) => (None, Vec::new().into_iter()),
        };
        let mut bells = vec![control_bell.clone()];
        let mut started = Vec::new();
        let mut handles = Vec::new();
        let limits = Limits::new(worker::seed());
        for number in 0..workers {
            let bell = Bell::new().map_err(UserspaceError::Bell)?;
            bells.push(bell.clone());
            let (worker, handle) = Worker::new(WorkerParts {
                number,
                ports: links
                    .iter_mut()
                    .filter_map(|(port, halves)| halves.next().map(|halves| (port.clone(), halves)))
                    .collect(),
                host_receive: host_receive.take(),
                host_transmit: host_transmits.next(),
                spin: config.spin,
                cpu: cpu_of(&config.cpus, number),
                nice: config.nice,
                limits: limits.clone(),
                shared: Arc::clone(&shared),
                bell,
                reports: reports.clone(),
                control: control_bell.clone(),
                hold_age_ns,
            })
            .map_err(UserspaceError::Bell)?;
            started.push(worker);
            handles.push(handle);
        }
        let mut engine = Userspace {
            plan: plan.clone(),
            backend: config.backend,
            host,
            host_mtu,
            guard,
            shared: Arc::clone(&shared),
            bells,
            threads: Vec::new(),
            guards,
            cpus: config.cpus,
        };
        let control = Control::new(
            plan,
            shared,
            Reported { sightings, questions },
            control_bell,
            handles,
            table,
            far_links,
        );
        let (ready_tx, ready_rx) = crossbeam_channel::bounded(1);
        let farewell = Farewell(Arc::clone(&engine.shared));
        engine.spawn("nsr-control", move || {
            let _farewell = farewell;
            control.run(|outcome| {
                // The receiver waits for exactly this.
                let _ = ready_tx.send(outcome);
            });
        })?;
        match ready_rx.recv() {
            Ok(outcome) => outcome?,
            Err(_) => return Err(UserspaceError::Control(io::Error::other("its thread ended at once"))),
        }
        for (worker, number) in started.into_iter().zip(0..) {
            engine.spawn(&format!("nsr-worker-{number}"), move || worker.run())?;
        }
        Ok(engine)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), UserspaceError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|source| UserspaceError::Thread { name: name.to_owned(), source })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Whether a thread of the engine has ended, so that forwarding cannot go on: the troubles of the status say why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// The counters of all workers together, as they published them last: at most a few milliseconds ago,
    /// and exact when nothing moves.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut all = Counters::default();
        for worker in &self.shared.workers {
            all.add(&worker.counters.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all
    }

    fn workers(&self) -> Vec<WorkerStatus> {
        let workers = self.shared.workers.iter().zip(0..);
        workers
            .map(|(worker, number)| WorkerStatus {
                received: worker.counters.lock().unwrap_or_else(PoisonError::into_inner).received,
                cpu: cpu_of(&self.cpus, number),
                ended: worker.ended.load(Ordering::Acquire) && !self.shared.stop.load(Ordering::Acquire),
            })
            .collect()
    }

    /// The routes, as the control thread has them; the answer does not come where that has ended.
    pub fn routes(&self) -> impl Future<Output = RouteList> + use<> {
        let (tell, told) = oneshot::channel();
        self.shared.route_questions.lock().unwrap_or_else(PoisonError::into_inner).push(tell);
        // The first one is the control thread's.
        self.bells.iter().take(1).for_each(Bell::ring);
        let names: Vec<String> = self.plan.ports.iter().map(|port| port.name.clone()).collect();
        let own: Vec<RouteStatus> =
            self.status().ports.iter().filter(|port| port.up).flat_map(connected).collect();
        async move {
            let declared = told.await.unwrap_or_default();
            let total = own.len() + declared.total;
            let routes = declared.routes.iter().map(|(origin, route)| described(*origin, route, &names));
            RouteList { routes: own.into_iter().chain(routes).collect(), total }
        }
    }

    /// What the engine tells of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let counters = self.counters();
        let tables = self.shared.tables.load();
        let addresses = |port| tables.port_addresses(port).into_iter().map(|net| net.to_string());
        let numbers = || (0..).take(self.plan.ports.len()).map(PortId);
        let ports = self.plan.ports.iter().zip(numbers()).map(|(port, id)| PortStatus {
            name: port.name.clone(),
            up: tables.port_is_up(id) && self.shared.has_carrier(id),
            mac: port.mac.to_string(),
            mtu: tables.port_mtu(id),
            addresses: addresses(id).collect(),
            ..counted(&counters.port(id))
        });
        let host_port = self.host.available.then(|| PortStatus {
            name: self.host.interface.clone(),
            up: true,
            mtu: self.host_mtu,
            addresses: numbers().flat_map(addresses).collect(),
            ..counted(&counters.host)
        });
        Status {
            mode: "userspace".to_owned(),
            backend: self.backend.clone(),
            workers: self.workers(),
            guard: self.guard.clone(),
            host_port: self.host.clone(),
            ports: ports.collect(),
            host_ports: host_port.into_iter().collect(),
            routes: Some(self.shared.routes.load(Ordering::Relaxed)),
            totals: totals(&counters),
            drops: DropReason::ALL
                .iter()
                .map(|reason| (reason.name().to_owned(), counters.drops(*reason)))
                .filter(|(_, frames)| *frames > 0)
                .collect(),
            events: Events {
                icmp_errors: counters.icmp_errors,
                icmp_rate_limited: counters.icmp_rate_limited,
                originate_no_buffer: counters.originate_no_buffer,
                neighbours_evicted: self.shared.neighbours_evicted.load(Ordering::Relaxed),
                lookups: counters.lookups,
            },
            neighbours: self.neighbours(),
            troubles: self.shared.troubles(),
        }
    }

    fn neighbours(&self) -> Vec<NeighbourStatus> {
        let ports = &self.plan.ports;
        let list = self.shared.neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter()
            .map(|entry| NeighbourStatus {
                port: ports.get(entry.port.index()).map(|port| port.name.clone()).unwrap_or_default(),
                address: entry.addr.to_string(),
                mac: entry.mac.map(|mac| mac.to_string()),
                state: entry.state.to_owned(),
            })
            .collect()
    }

    /// Stops every thread, closes every port and returns the last status, its counters exact.
    pub fn stop(mut self) -> Status {
        self.stop_threads();
        self.status()
    }

    fn stop_threads(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.bells.iter().for_each(Bell::ring);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.trouble("a thread of the engine panicked".to_owned());
            }
        }
        self.guards.clear();
    }
}

impl Drop for Userspace {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

/// A port's row as far as its counters fill it.
fn counted(count: &PortCounters) -> PortStatus {
    PortStatus {
        rx_frames: count.rx_frames,
        rx_bytes: count.rx_bytes,
        rx_lost: count.rx_lost,
        tx_frames: count.tx_frames,
        tx_bytes: count.tx_bytes,
        tx_dropped: count.tx_dropped,
        ..PortStatus::default()
    }
}

fn totals(counters: &Counters) -> Totals {
    Totals {
        received: counters.received,
        originated: counters.originated,
        sent: counters.sent,
        to_host: counters.to_host,
        consumed: counters.consumed,
        held: counters.held,
        dropped: counters.dropped_total(),
    }
}
