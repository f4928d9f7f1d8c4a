//! The control plane of the userspace router: one thread that runs the neighbour state machine, watches the
//! links and publishes the tables that the workers read.
//!
//! Tables have this one writer. A table is published before the command that tells of it is sent, and a worker
//! takes its commands before it takes the tables, so it never acts on a command with older tables.

pub mod serve;

mod learn;
pub mod links;
pub(crate) mod monitor;
mod netlink;
mod routes;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, TrySendError};
use nsrouter_router::{Action, Event, Neighbours, NextHop, RouteTable, Tables, TablesError};
use nsrouter_wire::frame::PortId;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::control::links::{FarLink, PortState};
use crate::control::monitor::{Answer, KernelEvent, Monitor, StaticNeighbour};
use crate::control::netlink::QuestionError;
use crate::control::routes::{Routed, Routes};
use crate::userspace::wake::Bell;
use crate::userspace::worker::{Command, WorkerHandle};
use crate::userspace::{Declared, Plan, Shared, UserspaceError};

/// Routes that are told on request: more than anybody reads, and no burden to the control thread.
const ROUTES_TOLD: usize = 10_000;
/// How soon commands are offered again to a worker whose channel was full.
const RETRY: Duration = Duration::from_millis(1);

/// How long after a change of addresses, or after messages were lost, the kernel is asked for what it has, in nanoseconds:
/// such things come in swarms.
const PAUSE_NS: u64 = 10_000_000;

/// How long after a question was not answered it is asked again, in nanoseconds.
const AGAIN_NS: u64 = 100_000_000;

/// Changes of routes that are made before something else has its turn.
const CHANGES_AT_ONCE: usize = 1024;

/// Changes that are looked at before an answer is made use of: those of the time in which it came.
const CHANGES_MEANWHILE: usize = 16 * CHANGES_AT_ONCE;

/// States of ports' other ends that may wait.
const FAR_LINKS: usize = 64;

/// When each list that the kernel keeps is to be asked for, but that of the routes.
#[derive(Debug, Default)]
struct Due {
    links_ns: Option<u64>,
    addresses_ns: Option<u64>,
    neighbours_ns: Option<u64>,
    rules_ns: Option<u64>,
}

impl Due {
    fn next(&self) -> Option<u64> {
        let all = [self.links_ns, self.addresses_ns, self.neighbours_ns, self.rules_ns];
        all.into_iter().flatten().min()
    }
}

/// Takes the time out when it has come.
fn take_due(due_ns: &mut Option<u64>, now_ns: u64) -> bool {
    due_ns.take_if(|due| *due <= now_ns).is_some()
}

/// What was seen of neighbours, and the neighbours that are wanted, as far as one turn takes them in: what comes while a host
/// floods must not keep timers, links and routes waiting.
const SIGHTINGS_A_TURN: usize = 1024;
const QUESTIONS_A_TURN: usize = 256;

/// Commands that wait for workers; past that no questions are taken in, each of which would make more.
const BACKLOG: usize = 4096;

/// What workers report.
#[derive(Debug)]
pub(crate) struct Reported {
    /// What was seen of neighbours and of our own addresses: it keeps traffic alive, so it goes first.
    pub(crate) sightings: Receiver<Event>,
    /// Neighbours that are wanted and not known.
    pub(crate) questions: Receiver<Event>,
}

/// What the control thread owns.
#[derive(Debug)]
pub(crate) struct Control {
    plan: Plan,
    shared: Arc<Shared>,
    events: Reported,
    bell: Bell,
    workers: Vec<WorkerHandle>,
    /// Commands that await room in a worker's channel: (worker, command), oldest first.
    backlog: VecDeque<(usize, Command)>,
    neighbours: Neighbours,
    actions: Vec<Action>,
    tables: Arc<Tables>,
    routes: Routes,
    due: Due,
    /// How the ports' links are, by number, and the host port's.
    states: Vec<PortState>,
    host_state: PortState,
    /// What watches the other ends of those ports that are no interfaces.
    far_links: Vec<(PortId, FarLink)>,
    /// Neighbours that were set by hand, as the kernel has them.
    static_neighbours: HashMap<NextHop, StaticNeighbour>,
    /// What is not taken over of the kernel's routes, and of its rules.
    lacking: [Vec<String>; 2],
}

impl Control {
    pub(crate) fn new(
        plan: Plan,
        shared: Arc<Shared>,
        events: Reported,
        bell: Bell,
        workers: Vec<WorkerHandle>,
        table: RouteTable,
        far_links: Vec<(PortId, FarLink)>,
    ) -> Control {
        let ports = plan.ports.len();
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
            due: Due::default(),
            states: vec![PortState::default(); ports],
            host_state: PortState::default(),
            far_links,
            static_neighbours: HashMap::new(),
            lacking: Default::default(),
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
        let (told, mut far) = mpsc::channel(FAR_LINKS);
        for (port, link) in std::mem::take(&mut self.far_links) {
            tokio::spawn(link.tell(port, told.clone()));
        }
        self.ask_for_everything(0);
        self.ask_for_lists(&monitor).await;
        while !self.is_stopping() {
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
                        self.take(event, &mut monitor);
                        next = monitor.try_next();
                    }
                }
                routes = self.routes.asked() => self.take_routes(routes, &mut monitor),
                Some((port, state)) = far.recv() => if !self.is_stopping() {
                    self.port_changed(port, state, false);
                },
                () = pass(pause) => {}
            }
            if self.is_stopping() {
                return;
            }
            self.tell_routes();
            self.ask_for_lists(&monitor).await;
            self.routes.ask_if_due(self.shared.clock.now_ns(), || monitor.routes());
            self.advance();
        }
    }

    /// Whether the engine stops. The workers close their ports then, and what goes with these is no news to anybody.
    fn is_stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Answers who asked for the routes.
    fn tell_routes(&self) {
        let questions =
            std::mem::take(&mut *self.shared.route_questions.lock().unwrap_or_else(PoisonError::into_inner));
        for question in questions {
            let all = || self.routes.table.routes();
            // Whoever asked may have gone.
            let _ =
                question.send(Declared { routes: all().take(ROUTES_TOLD).collect(), total: all().count() });
        }
    }

    /// How long nothing needs to be done.
    fn pause(&self) -> Duration {
        if !self.events.sightings.is_empty() || (self.asks() && !self.events.questions.is_empty()) {
            return Duration::ZERO;
        }
        if !self.backlog.is_empty() {
            return RETRY;
        }
        let now = self.shared.clock.now_ns();
        let deadline = self.neighbours.next_deadline().into_iter();
        let deadline = deadline.chain(self.due.next()).chain(self.routes.due_ns()).min();
        let wait = deadline.map(|deadline| deadline.saturating_sub(now));
        // tokio's timers count milliseconds; one more so that the deadline has passed.
        wait.map_or(Duration::from_secs(3600), |wait_ns| {
            Duration::from_nanos(wait_ns) + Duration::from_millis(1)
        })
    }

    /// Whether questions are taken in now.
    fn asks(&self) -> bool {
        self.backlog.len() < BACKLOG
    }

    /// Feeds events, so many, and the time to the state machine, publishes, then tells the workers.
    fn advance(&mut self) {
        let now = self.shared.clock.now_ns();
        for event in self.events.sightings.try_iter().take(SIGHTINGS_A_TURN) {
            if let Event::AddressConflict { port, addr, mac } = event {
                let port = self.plan.ports.get(port.index()).map_or("a port", |port| port.name.as_str());
                self.shared.trouble_of(
                    &format!("address conflict on {port}"),
                    format!("another station on {port}, {mac}, uses our address {addr}"),
                );
            }
            self.neighbours.event(&event, &self.tables, now, &mut self.actions);
        }
        let questions = if self.asks() { QUESTIONS_A_TURN } else { 0 };
        for event in self.events.questions.try_iter().take(questions) {
            self.neighbours.event(&event, &self.tables, now, &mut self.actions);
        }
        self.neighbours.tick(&self.tables, now, &mut self.actions);
        self.shared.neighbours_evicted.store(self.neighbours.evicted(), Ordering::Relaxed);
        let map = self.neighbours.map();
        if map.is_some() || self.routes.take_changed() {
            let map = map.unwrap_or_else(|| self.tables.neighbour_map());
            // New tables tell the routes' memory how far the workers are.
            let tables = self.routes.table.tables().with_neighbours(map);
            self.publish(tables);
        }
        if let Some(lacking) = self.routes.take_lacking() {
            self.lacking[0] = lacking;
            self.shared.set_lacking(self.lacking.concat());
        }
        if self.neighbours.take_list_changed() {
            self.list_neighbours();
        }
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Probe { port, frame } => self.transmit(port, frame),
                Action::Resolved(next_hop) => self.tell_all(&Command::Release(next_hop)),
                Action::Failed(next_hop, reason) => self.tell_all(&Command::Fail(next_hop, reason)),
            }
        }
        self.actions = actions;
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
        let mut list = self.shared.neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        list.clear();
        list.extend(self.neighbours.list());
    }

    /// Does what the kernel tells of.
    fn take(&mut self, event: KernelEvent, monitor: &mut Monitor) {
        let now = self.shared.clock.now_ns();
        let later = now + PAUSE_NS;
        if self.is_stopping() {
            return;
        }
        match event {
            KernelEvent::Link(link) => self.link_changed(&link),
            KernelEvent::Addresses => self.ask_for_all(PAUSE_NS),
            KernelEvent::Route(change) => {
                if let Err(error) = self.routes.take(change, now, later) {
                    self.tell_trouble(&error);
                }
            }
            KernelEvent::Routes => self.routes.ask_at(later),
            KernelEvent::Neighbour(neighbour) => self.neighbour_changed(neighbour),
            KernelEvent::Rules => _ = self.due.rules_ns.get_or_insert(later),
            KernelEvent::Lost => {
                self.routes.lost();
                if let Err(error) = monitor.renew() {
                    self.shared.trouble(format!("the kernel's changes cannot be watched afresh: {error}"));
                }
                self.ask_for_everything(PAUSE_NS);
            }
        }
    }

    /// Addresses and routes are asked for after this time. Of routes that go with an address or a link the kernel tells
    /// nothing (`fib_sync_down_addr`, `fib_sync_down_dev`).
    fn ask_for_all(&mut self, pause_ns: u64) {
        let due = self.shared.clock.now_ns() + pause_ns;
        self.due.addresses_ns.get_or_insert(due);
        self.routes.ask_at(due);
    }

    /// All that the kernel knows is asked for after this time.
    fn ask_for_everything(&mut self, pause_ns: u64) {
        let due = self.shared.clock.now_ns() + pause_ns;
        self.due.links_ns.get_or_insert(due);
        self.due.neighbours_ns.get_or_insert(due);
        self.due.rules_ns.get_or_insert(due);
        self.ask_for_all(pause_ns);
    }

    fn tell_trouble(&self, error: &TablesError) {
        self.shared.trouble(format!("the forwarding table lacks something: {error}"));
    }

    /// Asks for the lists that are due, but that of the routes, and does what they say.
    async fn ask_for_lists(&mut self, monitor: &Monitor) {
        let now = self.shared.clock.now_ns();
        if take_due(&mut self.due.links_ns, now) {
            let answer = monitor.links().await;
            self.due.links_ns = self.again("the links", &answer);
            self.take_links(answer);
        }
        if take_due(&mut self.due.addresses_ns, now) {
            self.look_at_addresses(monitor).await;
        }
        if take_due(&mut self.due.neighbours_ns, now) {
            let answer = monitor.neighbours().await;
            self.due.neighbours_ns = self.again("the neighbours that were set by hand", &answer);
            self.take_neighbours(answer);
        }
        if take_due(&mut self.due.rules_ns, now) {
            let answer = monitor.rules().await;
            self.due.rules_ns = self.again("the rules of policy routing", &answer);
            if let Ok(Answer { found, .. }) = answer {
                self.lacking[1] = found;
                self.shared.set_lacking(self.lacking.concat());
            }
        }
    }

    /// When to ask again for what was not answered as a whole.
    fn again<T>(&self, what: &str, answer: &Result<Answer<T>, QuestionError>) -> Option<u64> {
        match answer {
            Ok(Answer { is_whole: true, .. }) => return None,
            Ok(Answer { is_whole: false, .. }) => {}
            Err(error) => self.shared.trouble(format!("{what} could not be read at once: {error}")),
        }
        Some(self.shared.clock.now_ns() + AGAIN_NS)
    }

    /// Takes over the whole of the kernel's main table, or asks for it again if the answer broke off.
    fn take_routes(&mut self, answer: Option<Routed>, monitor: &mut Monitor) {
        // What was told while the table was read may be in it or not.
        for _ in 0..CHANGES_MEANWHILE {
            let Some(event) = monitor.try_next() else { break };
            self.take(event, monitor);
        }
        let again = answer.as_ref().is_none_or(|answer| self.again("the routes", answer).is_some());
        let now = self.shared.clock.now_ns();
        let answer = answer.and_then(Result::ok);
        self.routes.take_all(answer.as_ref(), now).iter().for_each(|error| self.tell_trouble(error));
        if again {
            self.routes.ask_at(now + AGAIN_NS);
        }
    }

    /// Takes over the neighbours that were set by hand.
    fn take_neighbours(&mut self, answer: Result<Answer<StaticNeighbour>, QuestionError>) {
        let Ok(Answer { found, is_whole }) = answer else { return };
        let is_found = |entry: &StaticNeighbour| {
            found.iter().any(|other| (other.ifindex, other.address) == (entry.ifindex, entry.address))
        };
        let gone: Vec<StaticNeighbour> = self
            .static_neighbours
            .values()
            .filter(|entry| is_whole && !is_found(entry))
            .map(|entry| StaticNeighbour { mac: None, ..entry.clone() })
            .collect();
        found.into_iter().chain(gone).for_each(|entry| self.neighbour_changed(entry));
    }

    /// A neighbour that is set by hand is never asked for, and never changed by what the network says. It is named with its
    /// port's interface, or with the host port where its address says which port is meant.
    fn neighbour_changed(&mut self, entry: StaticNeighbour) {
        let Some(next_hop) = self.plan.neighbour(entry.ifindex, entry.address) else { return };
        match entry.mac {
            Some(mac) => {
                self.neighbours.set_permanent(next_hop, mac, &mut self.actions);
                self.static_neighbours.insert(next_hop, entry);
            }
            None if self.static_neighbours.get(&next_hop).is_some_and(|old| old.ifindex == entry.ifindex) => {
                self.static_neighbours.remove(&next_hop);
                self.neighbours.forget(next_hop);
            }
            None => {}
        }
    }

    /// Publishes the ports as they are now, and the routes that follow from them.
    fn ports_changed(&mut self) {
        if let Err(error) = self.routes.table.set_ports(&self.plan.port_configs()) {
            self.tell_trouble(&error);
        }
        let tables = self.routes.table.tables().with_neighbours(self.tables.neighbour_map());
        self.publish(tables);
        self.tell_all(&Command::PortsChanged);
    }
}

/// Lets this much time pass; none of it still gives the runtime a turn, without which no socket would ever be readable.
async fn pass(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}
