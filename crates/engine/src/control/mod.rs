//! The control plane of the userspace router: one thread that runs the neighbour state machine, watches the
//! links and publishes the tables that the workers read.
//!
//! Tables have this one writer. A table is published before the command that tells of it is sent, and a worker
//! takes its commands before it takes the tables, so it never acts on a command with older tables.

pub mod serve;

pub(crate) mod monitor;
mod routes;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, TrySendError};
use nsrouter_router::{Action, Event, Neighbours, Route, RouteTable, Tables, TablesError};
use nsrouter_wire::frame::PortId;
use tokio::net::unix::pipe;

use crate::control::monitor::{KernelEvent, LinkState, Monitor};
use crate::control::routes::Routes;
use crate::status::NeighbourStatus;
use crate::userspace::wake::Bell;
use crate::userspace::worker::{Command, WorkerHandle};
use crate::userspace::{Plan, Shared, UserspaceError};

/// How soon commands are offered again to a worker whose channel was full.
const RETRY: Duration = Duration::from_millis(1);

/// How long after a change of addresses, or after messages were lost, the kernel is asked for what it has, in nanoseconds:
/// such things come in swarms.
const PAUSE_NS: u64 = 10_000_000;

/// Changes of routes that are made before something else has its turn.
const CHANGES_AT_ONCE: usize = 1024;

/// What the control thread owns.
#[derive(Debug)]
pub(crate) struct Control {
    plan: Plan,
    shared: Arc<Shared>,
    events: Receiver<Event>,
    bell: Bell,
    workers: Vec<WorkerHandle>,
    /// Commands that await room in a worker's channel: (worker, command), oldest first.
    backlog: VecDeque<(usize, Command)>,
    neighbours: Neighbours,
    actions: Vec<Action>,
    tables: Arc<Tables>,
    routes: Routes,
    /// When the host port's addresses are to be asked for.
    addresses_due_ns: Option<u64>,
}

impl Control {
    pub(crate) fn new(
        plan: Plan,
        shared: Arc<Shared>,
        events: Receiver<Event>,
        bell: Bell,
        workers: Vec<WorkerHandle>,
        table: RouteTable,
    ) -> Control {
        let tables = shared.tables.load_full();
        let neighbours = Neighbours::new(plan.neighbours.clone());
        Control {
            plan,
            shared,
            events,
            bell,
            workers,
            backlog: VecDeque::new(),
            neighbours,
            actions: Vec::new(),
            tables,
            routes: Routes::new(table),
            addresses_due_ns: None,
        }
    }

    /// Runs until the engine stops. `ready` is told once the links are watched.
    pub(crate) fn run(mut self, ready: impl FnOnce(Result<(), UserspaceError>)) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return ready(Err(UserspaceError::Control(error))),
        };
        runtime.block_on(async move {
            match self.prepare() {
                Ok((monitor, bell)) => {
                    ready(Ok(()));
                    self.serve(monitor, bell).await;
                }
                Err(error) => ready(Err(UserspaceError::Control(error))),
            }
        });
    }

    fn prepare(&self) -> io::Result<(Monitor, pipe::Receiver)> {
        let bell = pipe::Receiver::from_owned_fd(self.bell.descriptor()?)?;
        Ok((Monitor::new(self.plan.interfaces())?, bell))
    }

    async fn serve(&mut self, mut monitor: Monitor, bell: pipe::Receiver) {
        self.take_links(&monitor).await;
        self.ask_for_all(0);
        while !self.shared.stop.load(Ordering::Acquire) {
            let pause = self.pause();
            tokio::select! {
                _ = bell.readable() => {
                    // Reading through the runtime is what tells it that the pipe is empty again.
                    while bell.try_read(&mut [0; 16]).is_ok() {}
                    self.bell.silence();
                }
                event = monitor.next() => {
                    let mut next = Some(event);
                    for _ in 0..CHANGES_AT_ONCE {
                        let Some(event) = next else { break };
                        if self.take(event) {
                            self.take_links(&monitor).await;
                        }
                        next = monitor.try_next();
                    }
                }
                routes = self.routes.asked() => self.take_routes(routes, &mut monitor),
                () = tokio::time::sleep(pause) => {}
            }
            let now = self.shared.clock.now_ns();
            if self.addresses_due_ns.is_some_and(|due| due <= now) {
                self.take_addresses(&monitor).await;
            }
            self.routes.ask_if_due(now, || monitor.routes());
            self.advance();
        }
    }

    /// How long nothing needs to be done.
    fn pause(&self) -> Duration {
        if !self.backlog.is_empty() {
            return RETRY;
        }
        let now = self.shared.clock.now_ns();
        let deadline = self.neighbours.next_deadline().into_iter();
        let deadline = deadline.chain(self.addresses_due_ns).chain(self.routes.due_ns()).min();
        let wait = deadline.map(|deadline| deadline.saturating_sub(now));
        // tokio's timers count milliseconds; one more so that the deadline has passed.
        wait.map_or(Duration::from_secs(3600), |wait_ns| {
            Duration::from_nanos(wait_ns) + Duration::from_millis(1)
        })
    }

    /// Feeds events and the time to the state machine, publishes, then tells the workers.
    fn advance(&mut self) {
        let now = self.shared.clock.now_ns();
        while let Ok(event) = self.events.try_recv() {
            if let Event::AddressConflict { port, addr, mac } = event {
                let port = self.plan.ports.get(port.index()).map_or("a port", |port| port.name.as_str());
                self.shared.trouble(format!("another station on {port}, {mac}, uses our address {addr}"));
            }
            self.neighbours.event(&event, &self.tables, now, &mut self.actions);
        }
        self.neighbours.tick(&self.tables, now, &mut self.actions);
        self.shared.neighbours_evicted.store(self.neighbours.evicted(), Ordering::Relaxed);
        let map = self.neighbours.map();
        if map.is_some() || self.routes.take_changed() {
            let is_new = map.is_some();
            let map = map.unwrap_or_else(|| self.tables.neighbour_map());
            // New tables tell the routes' memory how far the workers are.
            let tables = self.routes.table.tables().with_neighbours(map);
            self.publish(tables);
            if is_new {
                self.list_neighbours();
            }
        }
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Probe { port, frame } => self.transmit(port, frame),
                Action::Resolved(next_hop) => self.tell_all(&Command::Release(next_hop)),
                Action::Failed(next_hop, reason) => self.tell_all(&Command::Fail(next_hop, reason)),
            }
        }
        self.offer_backlog();
    }

    fn publish(&mut self, tables: Tables) {
        self.shared.routes.store(self.routes.table.prefixes(), Ordering::Relaxed);
        self.tables = Arc::new(tables);
        self.shared.tables.store(Arc::clone(&self.tables));
    }

    /// Has the first worker that still forwards send a frame. A probe that finds no room is sent again by its timer.
    fn transmit(&self, port: PortId, frame: Vec<u8>) {
        let mut command = Command::Transmit(port, frame);
        for worker in &self.workers {
            match worker.commands.try_send(command) {
                Ok(()) | Err(TrySendError::Full(_)) => return worker.bell.ring(),
                Err(TrySendError::Disconnected(back)) => command = back,
            }
        }
    }

    fn tell_all(&mut self, command: &Command) {
        for worker in 0..self.workers.len() {
            self.backlog.push_back((worker, command.clone()));
        }
    }

    fn offer_backlog(&mut self) {
        for _ in 0..self.backlog.len() {
            let Some((worker, command)) = self.backlog.pop_front() else { break };
            let handle = &self.workers[worker];
            match handle.commands.try_send(command) {
                Ok(()) => handle.bell.ring(),
                Err(TrySendError::Full(command)) => self.backlog.push_back((worker, command)),
                // A worker that ended holds nothing any more.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }

    fn list_neighbours(&self) {
        let ports = &self.plan.ports;
        let list = self
            .neighbours
            .list()
            .map(|entry| NeighbourStatus {
                port: ports.get(entry.port.index()).map(|port| port.name.clone()).unwrap_or_default(),
                address: entry.addr.to_string(),
                mac: entry.mac.map(|mac| mac.to_string()),
                state: entry.state.to_string(),
            })
            .collect();
        *self.shared.neighbours.lock().unwrap_or_else(PoisonError::into_inner) = list;
    }

    /// Does what the kernel tells of; true when it lost some of what it had to tell.
    fn take(&mut self, event: KernelEvent) -> bool {
        match event {
            KernelEvent::Link(link) => self.link_changed(link),
            KernelEvent::Addresses => self.ask_for_all(PAUSE_NS),
            KernelEvent::Route(change) => {
                let later = || self.shared.clock.now_ns() + PAUSE_NS;
                if let Err(error) = self.routes.take(change, later) {
                    self.tell_trouble(&error);
                }
            }
            KernelEvent::Lost => {
                self.ask_for_all(PAUSE_NS);
                return true;
            }
        }
        false
    }

    /// Addresses and routes are asked for after this time. Of routes that go with an address or a link the kernel tells
    /// nothing (`fib_sync_down_addr`, `fib_sync_down_dev`).
    fn ask_for_all(&mut self, pause_ns: u64) {
        let due = self.shared.clock.now_ns() + pause_ns;
        self.addresses_due_ns.get_or_insert(due);
        self.routes.ask_at(due);
    }

    fn tell_trouble(&self, error: &TablesError) {
        self.shared.trouble(format!("the forwarding table lacks something: {error}"));
    }

    /// Takes over the host port's addresses, where they have changed.
    async fn take_addresses(&mut self, monitor: &Monitor) {
        self.addresses_due_ns = None;
        let Some(host) = self.plan.host_ifindex else { return };
        match monitor.addresses(host).await {
            Ok(addresses) => {
                let taken = self.plan.take_addresses(&addresses);
                for address in taken.homeless {
                    self.shared.trouble(format!(
                        "{address} is in no subnet that a port was started with, so it is the router's programs' alone"
                    ));
                }
                if taken.is_changed {
                    self.ports_changed();
                }
            }
            Err(error) => self.shared.trouble(format!("the host port's addresses cannot be read: {error}")),
        }
    }

    /// Takes over the whole of the kernel's main table, or asks for it again if the answer broke off.
    fn take_routes(&mut self, routes: Option<Vec<Route>>, monitor: &mut Monitor) {
        // What was told while the table was read may be in it or not.
        while let Some(event) = monitor.try_next() {
            self.take(event);
        }
        self.routes.take_all(routes.as_deref()).iter().for_each(|error| self.tell_trouble(error));
        if routes.is_none() {
            self.routes.ask_at(self.shared.clock.now_ns() + PAUSE_NS);
        }
    }

    async fn take_links(&mut self, monitor: &Monitor) {
        let links = monitor.links().await;
        let gone: Vec<u32> = self
            .plan
            .ports
            .iter()
            .map(|port| port.ifindex)
            .filter(|ifindex| *ifindex != 0 && !links.iter().any(|link| link.ifindex == *ifindex))
            .collect();
        links.into_iter().for_each(|link| self.link_changed(link));
        gone.into_iter().for_each(|ifindex| self.link_changed(LinkState { ifindex, up: false, mtu: None }));
    }

    /// A link that goes down takes its routes out at once; one that comes up brings them back. A new MTU
    /// holds from the next burst on.
    fn link_changed(&mut self, link: LinkState) {
        if self.plan.host_ifindex == Some(link.ifindex) {
            self.ask_for_all(PAUSE_NS);
        }
        let Some(port) = self.plan.ports.iter_mut().find(|port| port.ifindex == link.ifindex) else { return };
        let mtu = link.mtu.unwrap_or(port.mtu);
        if (port.up, port.mtu) == (link.up, mtu) {
            return;
        }
        if port.up != link.up {
            let words = if link.up { "is up again" } else { "went down" };
            self.shared.trouble(format!("port {} {words}", port.name));
        }
        port.up = link.up;
        port.mtu = mtu;
        self.ask_for_all(PAUSE_NS);
        self.ports_changed();
    }

    /// Publishes the ports as they are now, and the routes that follow from them.
    fn ports_changed(&mut self) {
        if let Err(error) = self.routes.table.set_ports(&self.plan.port_configs()) {
            self.tell_trouble(&error);
        }
        let tables = self.routes.table.tables().with_neighbours(self.tables.neighbour_map());
        self.publish(tables);
    }
}
