//! Adding and removing ports while the engine runs.
//!
//! A port is added in this order: it is opened, each worker takes over its queues, the tables have it. It is
//! removed in the opposite order: the tables have it no longer, each worker lets go of it, its sockets are
//! closed. So a worker never has tables with a port whose queues it lacks, and a slot's next port never meets
//! a frame of the last one.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nsrouter_rings::port::QueuePair;

use crate::command::{Command, NewPort};
use crate::control::Control;
use crate::control::slots::{AddAnswer, Adding, Opened, Removal, RemoveAnswer, Removing, Stage};
use crate::netlink::far_link::FarLink;
use crate::open_port::OpenPort;
use crate::port::PortHandle;
use crate::report::{PortOutcome, PortReport};
use crate::request::{OpenFn, PortError, Request, RouteExcerpt};
use crate::shared::PortEntry;

/// Routes that are listed on request: more than anybody reads, and no burden to the control thread.
const ROUTES_LISTED: usize = 10_000;

impl Control {
    /// Carries out a request. Its answer is lost where the requester has gone.
    pub(super) fn handle_request(&mut self, request: Request) {
        match request {
            Request::Routes(answer) => {
                let all = || self.routes.table.routes();
                let routes = all().take(ROUTES_LISTED).collect();
                let _ = answer.send(RouteExcerpt { routes, total: all().count() });
            }
            Request::AddPort(open, answer) => self.open_port(open, answer),
            Request::RemovePort(handle, answer) => self.remove_port(handle, answer),
        }
    }

    /// Begins to open a port, on a thread of its own.
    fn open_port(&mut self, open: OpenFn, answer: AddAnswer) {
        let (slots, advertised) = (&self.slots, &self.plan.settings.advertise);
        // Router advertisements are configured by slot, for the port that was there at the start.
        let is_taken = |slot| slots.is_taken(slot) || advertised.iter().any(|entry| entry.port == slot);
        match self.routes.table.free_slot(is_taken) {
            Ok(slot) => {
                let handle = self.slots.open(slot, answer);
                self.openings.spawn_blocking(move || {
                    let opened = catch_unwind(AssertUnwindSafe(|| open(slot)));
                    (handle, opened.unwrap_or_else(|_| Err("the thread that opens it panicked".into())))
                });
            }
            Err(error) => _ = answer.send(Err(PortError::Slot(error))),
        }
    }

    /// Has every worker take over its queues of a port that was opened.
    pub(super) fn port_opened(&mut self, (handle, opened): Opened) {
        let Some(Stage::Opening(answer)) = self.slots.take(handle) else { return };
        let workers = self.workers.len();
        let open = opened.map_err(PortError::Open).and_then(|open| match open.queues.len() {
            queues if queues == workers => Ok(open),
            queues => Err(PortError::Queues { name: open.port.name, queues, workers }),
        });
        let open = match open {
            Ok(open) => open,
            Err(error) => {
                self.slots.free(handle);
                let _ = answer.send(Err(error));
                return;
            }
        };
        let max_mtu = open.max_mtu();
        let entry = PortEntry::new(handle, &open);
        let OpenPort { port, queues, guard, far_link } = open;
        if let Some(Ok(guard)) = guard {
            self.shared.keep_guard(handle, guard);
        }
        for (worker, queues) in queues.into_iter().enumerate() {
            let name = port.name.clone();
            self.workers.command(worker, Command::AddPort(Box::new(NewPort { handle, name, queues })));
        }
        let (waiting, added) = ((0..workers).collect(), BTreeSet::new());
        let adding = Adding { answer, port, entry, max_mtu, far_link, waiting, added, error: None };
        self.slots.put(handle, Stage::Adding(Box::new(adding)));
    }

    /// Removes a port from the tables, and then from the workers.
    fn remove_port(&mut self, handle: PortHandle, answer: RemoveAnswer) {
        let far_link = match self.slots.stage(handle) {
            Some(Stage::Active { far_link }) => far_link.take(),
            Some(Stage::Empty | Stage::Opening(_) | Stage::Adding(_) | Stage::Removing(_)) | None => {
                let _ = answer.send(Err(PortError::NoSuchPort(handle)));
                return;
            }
        };
        far_link.inspect(|task| task.abort());
        self.plan.remove(handle.slot);
        self.static_neighbours.retain(|next_hop, _| next_hop.port != handle.slot);
        if let Err(error) = self.routes.table.remove_port(handle.slot) {
            self.warn_of_tables(&error);
        }
        self.shared.clear_port(handle.slot);
        self.publish_port_set();
        self.let_go(handle, (0..self.workers.len()).collect(), Removal::Requested(answer));
    }

    /// Has these workers let go of a port that is not in the tables.
    fn let_go(&mut self, handle: PortHandle, workers: BTreeSet<usize>, answer: Removal) {
        for worker in &workers {
            self.workers.command(*worker, Command::RemovePort(handle));
        }
        self.slots.put(handle, Stage::Removing(Removing { waiting: workers, answer }));
    }

    /// Takes in the workers' answers about ports, and carries on with those for which all are in.
    pub(super) fn follow_port_reports(&mut self) {
        let reports: Vec<PortReport> = self.reports.ports.try_iter().collect();
        for PortReport { worker, handle, outcome } in reports {
            match (self.slots.stage(handle), outcome) {
                (Some(Stage::Adding(adding)), PortOutcome::Added) => {
                    adding.waiting.remove(&worker);
                    adding.added.insert(worker);
                }
                (Some(Stage::Adding(adding)), PortOutcome::Refused(source, queues)) => {
                    adding.waiting.remove(&worker);
                    let name = adding.port.name.clone();
                    adding.error.get_or_insert(PortError::Wait { worker, name, source });
                    close(queues);
                }
                (Some(Stage::Removing(removing)), PortOutcome::Removed(queues)) => {
                    removing.waiting.remove(&worker);
                    close(queues);
                }
                // An answer that is not expected any more: the worker has ended since.
                (_, PortOutcome::Refused(_, queues) | PortOutcome::Removed(queues)) => close(queues),
                (_, PortOutcome::Added) => {}
            }
        }
        let shared = &self.shared;
        for handle in self.slots.stop_waiting_for(|worker| shared.workers[worker].has_ended()) {
            match self.slots.take(handle) {
                Some(Stage::Adding(adding)) => self.finish_adding(handle, *adding),
                Some(Stage::Removing(removing)) => self.finish_removing(handle, removing),
                Some(Stage::Empty | Stage::Opening(_) | Stage::Active { .. }) | None => {}
            }
        }
    }

    /// Puts a port into the tables whose queues every worker has; or has the workers let go of it again.
    fn finish_adding(&mut self, handle: PortHandle, adding: Adding) {
        let Adding { answer, port, entry, max_mtu, far_link, added, error, .. } = adding;
        if let Some(error) = error {
            return self.let_go(handle, added, Removal::Failed(answer, error));
        }
        self.slots.put(handle, Stage::Active { far_link: None });
        let config = self.plan.insert(handle.slot, port, max_mtu);
        if let Err(error) = self.routes.table.add_port(handle.slot, &config) {
            self.warn_of_tables(&error);
        }
        if let Some(link) = far_link {
            self.watch_far_link(handle, link);
        }
        self.shared.set_port(entry);
        self.publish_port_set();
        let _ = answer.send(Ok(handle));
    }

    /// Frees the slot of a port that every worker has let go of.
    fn finish_removing(&mut self, handle: PortHandle, removing: Removing) {
        // All reports about the port are in the channels by now: read them while the slot has no other port.
        self.read_reports(usize::MAX, usize::MAX);
        self.slots.free(handle);
        self.shared.drop_guard(handle);
        match removing.answer {
            Removal::Requested(answer) => _ = answer.send(Ok(())),
            Removal::Failed(answer, error) => _ = answer.send(Err(error)),
        }
    }

    /// Begins to watch the other end of a port's link.
    pub(super) fn watch_far_link(&mut self, handle: PortHandle, link: FarLink) {
        let task = tokio::spawn(link.report(handle, self.far_states_sender.clone()));
        if let Some(Stage::Active { far_link }) = self.slots.stage(handle) {
            *far_link = Some(task.abort_handle());
        }
    }

    /// Publishes tables with other ports than before. The kernel's routes and neighbours are read again, as
    /// they mean other ports now.
    fn publish_port_set(&mut self) {
        self.publish_with_ports();
        self.has_new_interfaces = true;
        self.routes.start_again(self.shared.clock.now_ns());
        self.schedule_all_lists(0);
    }
}

/// Closes a worker's queues of a port, which takes as long as RCU grace periods do.
fn close(queues: QueuePair) {
    tokio::task::spawn_blocking(move || drop(queues));
}
