//! The control thread of a userspace engine: runs the neighbour state machine, follows the kernel's
//! configuration and publishes the tables that the workers read. And the control socket, which answers for
//! either mode.
//!
//! The control thread is the tables' one writer. It publishes tables before it sends the command that refers
//! to them, and a worker takes its commands before it takes the tables, so it never carries out a command
//! with older tables.

pub mod serve;

mod links;
mod lists;
pub(crate) mod plan;
mod ports;
mod routes;
mod slots;
mod workers;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nsrouter_router::{Action, Event, Neighbours, NextHop, Rib, Tables, TablesError};
use tokio::net::unix::pipe;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;

use crate::command::{Command, WorkerHandle};
use crate::control::plan::Plan;
use crate::control::routes::Routes;
use crate::control::slots::{Opened, Slots};
use crate::control::workers::Workers;
use crate::netlink::event::{KernelEvent, StaticNeighbour};
use crate::netlink::far_link::FarLink;
use crate::netlink::link::PortState;
use crate::netlink::monitor::Monitor;
use crate::port::PortHandle;
use crate::report::{ReportReceiver, port_of};
use crate::request::Request;
use crate::shared::{Shared, lock};
use crate::waker::Waker;

/// How soon commands are offered again to a worker whose channel was full.
const RETRY: Duration = Duration::from_millis(1);

/// How long after a change of addresses, or after messages were lost, the kernel is asked for its lists, in
/// nanoseconds: such changes come in swarms.
const PAUSE_NS: u64 = 10_000_000;

/// Changes of routes that are made before other work has its turn.
const CHANGES_A_TURN: usize = 1024;

/// States of ports' other ends that may wait.
const FAR_STATES: usize = 64;

/// Observations of neighbours and requests to resolve some that are read in one turn: what comes while a host
/// floods must not keep timers, links and routes waiting.
const OBSERVATIONS_A_TURN: usize = 1024;
const REQUESTS_A_TURN: usize = 256;

/// When each list that the kernel keeps is to be read, except that of the routes.
#[derive(Debug, Default)]
struct ListsDue {
    links_ns: Option<u64>,
    addresses_ns: Option<u64>,
    neighbours_ns: Option<u64>,
    rules_ns: Option<u64>,
}

impl ListsDue {
    fn next(&self) -> Option<u64> {
        let all = [self.links_ns, self.addresses_ns, self.neighbours_ns, self.rules_ns];
        all.into_iter().flatten().min()
    }
}

/// State of the control thread.
#[derive(Debug)]
pub(crate) struct Control {
    plan: Plan,
    shared: Arc<Shared>,
    reports: ReportReceiver,
    /// Ends this thread's sleep.
    waker: Waker,
    workers: Workers,
    neighbours: Neighbours,
    actions: Vec<Action>,
    tables: Arc<Tables>,
    routes: Routes,
    lists_due: ListsDue,
    slots: Slots,
    /// Ports that are being opened.
    openings: JoinSet<Opened>,
    requests: UnboundedReceiver<Request>,
    host_state: PortState,
    /// States of the other ends of those ports that are no interfaces.
    far_states: mpsc::Receiver<(PortHandle, PortState)>,
    far_states_sender: mpsc::Sender<(PortHandle, PortState)>,
    /// The monitor does not know the present ports yet.
    has_new_interfaces: bool,
    /// Neighbours that were set by hand, as the kernel has them.
    static_neighbours: HashMap<NextHop, StaticNeighbour>,
    /// Sentences on routes that the router cannot take over.
    unsupported_routes: Vec<String>,
    /// The same of rules.
    unsupported_rules: Vec<String>,
}

impl Control {
    /// The control thread's state before it runs.
    pub(crate) fn new(
        plan: Plan,
        shared: Arc<Shared>,
        reports: ReportReceiver,
        waker: Waker,
        workers: Vec<WorkerHandle>,
        table: Rib,
        requests: UnboundedReceiver<Request>,
    ) -> Control {
        let (far_states_sender, far_states) = mpsc::channel(FAR_STATES);
        let slots = Slots::active(plan.ports().count());
        let tables = shared.tables.load_full();
        let neighbours = Neighbours::new(plan.neighbours.clone());
        Control {
            plan,
            shared,
            reports,
            waker,
            workers: Workers::new(workers),
            neighbours,
            actions: Vec::new(),
            tables,
            routes: Routes::new(table),
            lists_due: ListsDue::default(),
            slots,
            openings: JoinSet::new(),
            requests,
            host_state: PortState::default(),
            far_states,
            far_states_sender,
            has_new_interfaces: false,
            static_neighbours: HashMap::new(),
            unsupported_routes: Vec::new(),
            unsupported_rules: Vec::new(),
        }
    }

    /// Runs until the engine stops. Calls `ready` once the links are watched, or with the error for which
    /// they cannot be. `far_links` are the other ends of those ports that are no interfaces.
    pub(crate) fn run(mut self, far_links: Vec<(PortHandle, FarLink)>, ready: impl FnOnce(io::Result<()>)) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return ready(Err(error)),
        };
        runtime.block_on(async move {
            match self.prepare() {
                Ok((monitor, wakeups)) => {
                    ready(Ok(()));
                    far_links.into_iter().for_each(|(port, link)| self.watch_far_link(port, link));
                    self.serve(monitor, wakeups).await;
                }
                Err(error) => ready(Err(error)),
            }
        });
    }

    fn prepare(&self) -> io::Result<(Monitor, pipe::Receiver)> {
        let wakeups = pipe::Receiver::from_owned_fd(self.waker.try_clone_fd()?)?;
        Ok((Monitor::new(self.plan.interfaces())?, wakeups))
    }

    async fn serve(&mut self, mut monitor: Monitor, wakeups: pipe::Receiver) {
        self.schedule_all_lists(0);
        self.read_lists(&monitor).await;
        while !self.shared.is_stopping() {
            let pause = self.pause();
            tokio::select! {
                _ = wakeups.readable() => {
                    // Reading through the runtime is what tells it that the pipe is empty again.
                    while wakeups.try_read(&mut [0; 16]).is_ok() {}
                    self.waker.clear();
                }
                event = monitor.next() => {
                    let mut next = Some(event);
                    for _ in 0..CHANGES_A_TURN {
                        let Some(event) = next else { break };
                        self.handle_event(event, &mut monitor);
                        next = monitor.try_next();
                    }
                }
                routes = self.routes.asked() => self.take_routes(routes, &mut monitor),
                Some((port, state)) = self.far_states.recv() => if !self.shared.is_stopping() {
                    self.far_link_changed(port, state);
                },
                Some(request) = self.requests.recv() => self.handle_request(request),
                // A task that was never aborted and never panics has a result.
                Some(Ok(opened)) = self.openings.join_next() => self.port_opened(opened),
                () = pass(pause) => {}
            }
            // The workers close their ports now, and the changes that come with that are no news to anybody.
            if self.shared.is_stopping() {
                return;
            }
            if std::mem::take(&mut self.has_new_interfaces) {
                monitor.set_interfaces(self.plan.interfaces());
            }
            self.read_lists(&monitor).await;
            self.routes.ask_if_due(self.shared.clock.now_ns(), || monitor.routes());
            self.advance();
        }
    }

    /// How long nothing needs to be done.
    fn pause(&self) -> Duration {
        let requests_wait = !self.workers.is_congested() && !self.reports.requests.is_empty();
        if !self.reports.observations.is_empty() || !self.reports.ports.is_empty() || requests_wait {
            return Duration::ZERO;
        }
        if self.workers.has_backlog() {
            return RETRY;
        }
        let now = self.shared.clock.now_ns();
        let deadline = self.neighbours.next_deadline().into_iter();
        let deadline = deadline.chain(self.lists_due.next()).chain(self.routes.due_ns()).min();
        let wait = deadline.map(|deadline| deadline.saturating_sub(now));
        // tokio's timers count milliseconds; one more so that the deadline has passed.
        wait.map_or(Duration::from_secs(3600), |wait_ns| {
            Duration::from_nanos(wait_ns) + Duration::from_millis(1)
        })
    }

    /// Feeds reports, up to a bound, and the time to the state machine; publishes; then commands the workers.
    fn advance(&mut self) {
        self.follow_port_reports();
        let requests = if self.workers.is_congested() { 0 } else { REQUESTS_A_TURN };
        self.read_reports(OBSERVATIONS_A_TURN, requests);
        let now = self.shared.clock.now_ns();
        self.neighbours.tick(&self.tables, now, &mut self.actions);
        self.shared.neighbours_evicted.store(self.neighbours.evicted(), Ordering::Relaxed);
        let map = self.neighbours.map();
        if map.is_some() || self.routes.take_changed() {
            if let Some(map) = map {
                self.routes.table.set_neighbours(map);
            }
            // By new tables the FIB's memory learns how far the workers are.
            self.publish();
        }
        if let Some(unsupported) = self.routes.take_unsupported() {
            self.unsupported_routes = unsupported;
            self.publish_unsupported();
        }
        if self.neighbours.take_list_changed() {
            self.publish_neighbours();
        }
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Probe { port, frame } => self.workers.transmit(port, frame),
                Action::Resolved(next_hop) => self.workers.broadcast(|| Command::Release(next_hop)),
                Action::Failed(next_hop, reason) => {
                    self.workers.broadcast(|| Command::Fail(next_hop, reason));
                }
            }
        }
        self.actions = actions;
        self.workers.send_backlog();
    }

    /// Feeds reports that are waiting to the state machine, so many observations and so many requests.
    fn read_reports(&mut self, observations: usize, requests: usize) {
        let now = self.shared.clock.now_ns();
        let ReportReceiver { observations: observed, requests: requested, .. } = &self.reports;
        let observed = observed.try_iter().take(observations.min(observed.len()));
        let requested = requested.try_iter().take(requests.min(requested.len()));
        for event in observed.chain(requested).filter(|event| self.slots.is_active(port_of(event))) {
            if let Event::AddressConflict { port, addr, mac } = event {
                let port = self.plan.port(port).map_or("a port", |planned| planned.port.name.as_str());
                self.shared.warn_of(
                    &format!("address conflict on {port}"),
                    format!("another station on {port}, {mac}, uses our address {addr}"),
                );
            }
            self.neighbours.event(&event, &self.tables, now, &mut self.actions);
        }
    }

    fn publish(&mut self) {
        self.shared.prefixes.store(self.routes.table.prefixes(), Ordering::Relaxed);
        self.tables = Arc::new(self.routes.table.tables());
        self.shared.tables.store(Arc::clone(&self.tables));
    }

    /// Publishes the ports as they are now, and the routes that follow from them.
    fn publish_ports(&mut self) {
        let configs = self.plan.port_configs();
        let configs = configs.iter().map(|(slot, config)| (*slot, config));
        if let Err(error) = self.routes.table.set_ports(configs) {
            self.warn_of_tables(&error);
        }
        self.publish_with_ports();
    }

    /// Publishes tables whose ports, or their addresses, are others than before.
    fn publish_with_ports(&mut self) {
        self.publish();
        self.workers.broadcast(|| Command::PortsChanged);
    }

    fn publish_neighbours(&self) {
        let mut list = lock(&self.shared.neighbours);
        list.clear();
        list.extend(self.neighbours.list());
    }

    fn publish_unsupported(&self) {
        let all = self.unsupported_routes.iter().chain(&self.unsupported_rules);
        self.shared.set_unsupported(all.cloned().collect());
    }

    /// Follows a change of the kernel's configuration.
    fn handle_event(&mut self, event: KernelEvent, monitor: &mut Monitor) {
        let now = self.shared.clock.now_ns();
        let later = now + PAUSE_NS;
        if self.shared.is_stopping() {
            return;
        }
        match event {
            KernelEvent::Link(link) => self.link_changed(&link),
            KernelEvent::Addresses => self.schedule_addresses_and_routes(PAUSE_NS),
            KernelEvent::Route(change) => {
                if let Err(error) = self.routes.take(change, now, later) {
                    self.warn_of_tables(&error);
                }
            }
            KernelEvent::Routes => self.routes.ask_at(later),
            KernelEvent::Neighbour(neighbour) => self.neighbour_changed(neighbour),
            KernelEvent::Rules => _ = self.lists_due.rules_ns.get_or_insert(later),
            KernelEvent::Lost => {
                self.routes.lost();
                if let Err(error) = monitor.renew() {
                    self.shared.warn(format!("the kernel's changes cannot be watched afresh: {error}"));
                }
                self.schedule_all_lists(PAUSE_NS);
            }
        }
    }

    /// Addresses and routes are read after this time. Of routes that go with an address or a link the kernel
    /// tells nothing (`fib_sync_down_addr`, `fib_sync_down_dev`).
    fn schedule_addresses_and_routes(&mut self, pause_ns: u64) {
        let due = self.shared.clock.now_ns() + pause_ns;
        self.lists_due.addresses_ns.get_or_insert(due);
        self.routes.ask_at(due);
    }

    /// Every list of the kernel's is read after this time.
    fn schedule_all_lists(&mut self, pause_ns: u64) {
        let due = self.shared.clock.now_ns() + pause_ns;
        self.lists_due.links_ns.get_or_insert(due);
        self.lists_due.neighbours_ns.get_or_insert(due);
        self.lists_due.rules_ns.get_or_insert(due);
        self.schedule_addresses_and_routes(pause_ns);
    }

    fn warn_of_tables(&self, error: &TablesError) {
        self.shared.warn(format!("the forwarding table lacks something: {error}"));
    }
}

/// Lets this much time pass; none of it still gives the runtime a turn, without which no socket would ever be
/// readable.
async fn pass(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}
