//! The hot loop of a forwarding thread: bursts in, the router's verdicts, bursts out.
//!
//! A round handles the commands, takes the current tables, reads the clock once, and forwards one burst of
//! every queue. It makes no allocation, takes no lock but that of an ICMP error's limit, and waits for no
//! other thread. Only an idle worker publishes its counters and sleeps, on all its descriptors at once.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use arrayvec::ArrayVec;
use crossbeam_channel::{Receiver, Sender};
use nix::sys::epoll::EpollTimeout;
use nix::sys::prctl::set_timerslack;
use nsrouter_linux::affinity;
use nsrouter_rings::limits::is_address_space_limited;
use nsrouter_rings::port::{QueuePair, Receive, Transmit};
use nsrouter_router::{Config as RouterConfig, Counters, DropReason, Limits, Router, Tables, Time};
use nsrouter_wire::frame::PortId;
use rustix::process::setpriority_process;

use crate::command::{Command, NewPort};
use crate::port::PortHandle;
use crate::report::{PortOutcome, PortReport, ReportSender};
use crate::shared::Shared;
use crate::userspace::datapath::Datapath;
use crate::userspace::egress::Egress;
use crate::userspace::originate::Outbox;
use crate::userspace::pending::PendingPool;
use crate::userspace::rx::RxQueues;
use crate::userspace::spin::{Pause, Spin, Spinner};
use crate::waker::Waker;

/// Rounds after which a busy worker publishes its counters.
const PUBLISH_ROUNDS: u32 = 1024;
/// Rounds after which a busy worker also polls the queues where that costs a system call.
const POLL_ROUNDS: u32 = 16;
/// Commands that a round handles, at most.
const COMMANDS_A_ROUND: usize = 16;

/// The parts of a worker.
pub(super) struct WorkerParts {
    pub(super) number: usize,
    /// Its queues of every link port.
    pub(super) ports: Vec<NewPort>,
    /// The host port's name and its receive queue, which one worker has.
    pub(super) host_rx: Option<(String, Box<dyn Receive>)>,
    pub(super) host_tx: Option<Box<dyn Transmit>>,
    pub(super) spin: Spin,
    /// The CPU that it is pinned to.
    pub(super) cpu: Option<usize>,
    /// Its nice value, where that differs from the process's.
    pub(super) nice: Option<i32>,
    /// The limits of ICMP errors, which all workers share.
    pub(super) limits: Limits,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Receiver<Command>,
    /// Ends its sleep.
    pub(super) waker: Waker,
    pub(super) reports: ReportSender,
    /// Wakes the control thread.
    pub(super) control: Waker,
    /// How long a frame may be pending for a MAC address, in nanoseconds.
    pub(super) pending_age_ns: u64,
}

/// One forwarding thread.
pub(super) struct Worker {
    number: usize,
    queues: RxQueues,
    datapath: Datapath,
    commands: Receiver<Command>,
    waker: Waker,
    port_reports: Sender<PortReport>,
    /// Answers to commands about ports, which are sent once the counters that go with them are published.
    unsent_reports: Vec<PortReport>,
    control: Waker,
    shared: Arc<Shared>,
    spin: Spin,
    cpu: Option<usize>,
    nice: Option<i32>,
    rounds: u32,
}

impl Worker {
    /// Puts a worker together, and registers the descriptors that will end its sleep.
    ///
    /// # Errors
    /// The error of epoll(7): out of descriptors, say.
    pub(super) fn new(parts: WorkerParts) -> io::Result<Worker> {
        let mut queues = RxQueues::new(&parts.waker)?;
        // Numbers tell the workers' packet identifications apart; past 65,535 workers they repeat.
        let number = u16::try_from(parts.number).unwrap_or(0);
        let config = RouterConfig { ports: parts.ports.len(), seed: seed() };
        let mut datapath = Datapath {
            router: Router::new(number, config, parts.limits),
            pending: PendingPool::new(parts.pending_age_ns),
            outbox: Outbox::new(parts.reports.clone(), parts.control.clone()),
            egress: Egress::new(),
        };
        for port in parts.ports {
            add_port(&mut queues, &mut datapath, port, true).map_err(|(error, _)| error)?;
        }
        if let Some((name, rx)) = parts.host_rx {
            let handle = PortHandle { slot: PortId::HOST, generation: 0 };
            queues.add(handle, name, rx, true).map_err(|(error, _)| error)?;
        }
        if let Some(tx) = parts.host_tx {
            datapath.egress.add(PortId::HOST, tx);
        }
        Ok(Worker {
            number: parts.number,
            queues,
            datapath,
            commands: parts.commands,
            waker: parts.waker,
            port_reports: parts.reports.ports,
            unsent_reports: Vec::new(),
            control: parts.control,
            shared: parts.shared,
            spin: parts.spin,
            cpu: parts.cpu,
            nice: parts.nice,
            rounds: 0,
        })
    }

    /// Forwards until the engine stops. A worker that panics closes its queues, and with that leaves its
    /// flows to the other workers.
    pub(super) fn run(mut self) {
        self.pin_to_cpu();
        // After a panic only numbers and the pool of pending frames are used.
        if catch_unwind(AssertUnwindSafe(|| self.forward())).is_err() {
            self.shared.warn(format!("forwarding worker {} panicked", self.number));
            // Of the burst in hand some frames may count as sent that are not.
            self.datapath.router.counters_mut().settle(DropReason::WorkerStopped);
        }
        self.datapath.drop_pending();
        // The last publication may wait for a reader.
        while !self.publish() {
            thread::yield_now();
        }
        self.shared.worker_ended(self.number);
        // It may wait for an answer of this worker.
        self.control.wake();
        let mut txs: Vec<Option<Box<dyn Transmit>>> = self.datapath.egress.into_queues().map(Some).collect();
        let rxs: Vec<Box<dyn Receive>> = self.queues.into_rings().collect();
        txs.resize_with(txs.len().max(rxs.len()), || None);
        let rxs = rxs.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        close_side_by_side(rxs.zip(txs).collect());
    }

    /// Takes its priority, its timer resolution and its CPU.
    fn pin_to_cpu(&self) {
        if let Some(nice) = self.nice
            && let Err(error) = setpriority_process(None, nice)
        {
            self.shared.warn(format!("worker {} cannot have the nice value {nice}: {error}", self.number));
        }
        // Naps of tens of microseconds would else last for fifty more (prctl(2)). It cannot fail for a
        // number.
        let _ = set_timerslack(1);
        let Some(cpu) = self.cpu else { return };
        if let Err(error) = affinity::pin(&[cpu]) {
            self.shared.warn(format!("worker {}: {error}", self.number));
        }
    }

    fn forward(&mut self) {
        let mut spinner = Spinner::new(self.spin, self.nice.is_some_and(|nice| nice < 0));
        while !self.shared.is_stopping() {
            let now = self.shared.clock.now();
            if self.round(now) {
                spinner.found(now.mono_ns);
                if self.rounds.is_multiple_of(PUBLISH_ROUNDS) {
                    self.publish();
                }
                continue;
            }
            match spinner.idle(now.mono_ns) {
                Pause::Poll => std::hint::spin_loop(),
                Pause::Yield => {
                    thread::yield_now();
                    spinner.yielded(self.shared.clock.now_ns().saturating_sub(now.mono_ns));
                    self.queues.assume_ready();
                }
                Pause::Nap(time) => {
                    thread::sleep(time);
                    self.queues.assume_ready();
                }
                // A sleeping worker has published: its counters are exact meanwhile.
                Pause::Sleep => {
                    if self.publish() {
                        self.sleep(now);
                    }
                }
            }
        }
    }

    /// One round over all queues; false when there was nothing to do.
    fn round(&mut self, now: Time) -> bool {
        let mut is_busy = false;
        // Commands before tables: the tables taken after a command are at least as new as the command.
        let commands = self.commands.try_iter().take(COMMANDS_A_ROUND);
        let commands: ArrayVec<Command, COMMANDS_A_ROUND> = commands.collect();
        let tables = self.shared.tables.load();
        self.datapath.outbox.begin(PortId::HOST, now.mono_ns);
        for command in commands {
            is_busy = true;
            self.handle_command(command, &tables, now);
        }
        if !self.unsent_reports.is_empty() {
            is_busy = true;
            self.send_port_reports();
        }
        self.rounds = self.rounds.wrapping_add(1);
        let polls_all = self.rounds.is_multiple_of(POLL_ROUNDS);
        for queue in self.queues.in_turn() {
            if queue.is_ready || polls_all || queue.ring.polls_without_syscall() {
                queue.is_ready = self.datapath.forward_burst(queue, &tables, now, &self.shared);
                is_busy |= queue.is_ready;
            }
        }
        if is_busy {
            self.queues.advance();
        }
        self.datapath.tick(&tables, now);
        is_busy
    }

    /// Carries out a command of the control thread.
    fn handle_command(&mut self, command: Command, tables: &Tables, now: Time) {
        match command {
            Command::Transmit(port, mut bytes) => self.datapath.transmit(port, &mut bytes),
            Command::PortsChanged => {
                self.queues.poll_ports_of(tables);
                self.datapath.router.ports_changed();
            }
            Command::Release(next_hop) => self.datapath.release(next_hop, tables),
            Command::Fail(next_hop, reason) => self.datapath.fail(next_hop, reason, tables, now),
            Command::AddPort(port) => {
                let handle = port.handle;
                let outcome = match add_port(&mut self.queues, &mut self.datapath, *port, false) {
                    Ok(()) => PortOutcome::Added,
                    Err((error, queues)) => PortOutcome::Refused(error, queues),
                };
                self.unsent_reports.push(PortReport { worker: self.number, handle, outcome });
            }
            Command::RemovePort(handle) => self.remove_port(handle),
        }
    }

    /// Lets go of a port. Its frames that wait in the receive queue were never received.
    fn remove_port(&mut self, handle: PortHandle) {
        let Some(mut rx) = self.queues.remove(handle) else { return };
        count_lost(self.datapath.router.counters_mut(), handle.slot, &mut *rx);
        if let Some(tx) = self.datapath.remove_port(handle.slot) {
            let outcome = PortOutcome::Removed(QueuePair { rx, tx });
            self.unsent_reports.push(PortReport { worker: self.number, handle, outcome });
        }
    }

    /// Sends the answers to commands about ports, once the counters are published: after a removal they are
    /// the slot's next port's.
    fn send_port_reports(&mut self) {
        if self.publish() {
            // It can fail only where the control thread has ended.
            self.unsent_reports.drain(..).for_each(|report| _ = self.port_reports.send(report));
            self.control.wake();
        }
    }

    /// Puts a copy of the counters where others may read it; false where somebody reads at this moment, for
    /// whom the worker does not wait.
    fn publish(&mut self) -> bool {
        self.datapath.outbox.retry_events();
        let counters = self.datapath.router.counters_mut();
        for queue in self.queues.iter_mut() {
            count_lost(counters, queue.port(), &mut *queue.ring);
        }
        self.shared.workers[self.number].counters.try_lock().is_ok_and(|mut published| {
            published.clone_from(counters);
            true
        })
    }

    /// Sleeps until a frame, a command or a deadline.
    fn sleep(&mut self, now: Time) {
        self.datapath.egress.flush(self.datapath.router.counters_mut());
        let timeout = match self.datapath.next_deadline() {
            None => EpollTimeout::NONE,
            Some(deadline) => {
                let wait_ms = deadline.saturating_sub(now.mono_ns).div_ceil(1_000_000);
                EpollTimeout::try_from(wait_ms).unwrap_or(EpollTimeout::MAX)
            }
        };
        self.queues.sleep(timeout, &self.waker, &self.shared);
    }
}

/// Takes over a worker's queues of a port.
///
/// # Errors
/// The error of epoll(7), with the queues.
fn add_port(
    queues: &mut RxQueues,
    datapath: &mut Datapath,
    port: NewPort,
    is_polled: bool,
) -> Result<(), (io::Error, QueuePair)> {
    let NewPort { handle, name, queues: QueuePair { rx, tx } } = port;
    if let Err((error, rx)) = queues.add(handle, name, rx, is_polled) {
        return Err((error, QueuePair { rx, tx }));
    }
    datapath.add_port(handle.slot, tx);
    Ok(())
}

/// Counts the frames that the kernel had to drop before a port's receive queue.
fn count_lost(counters: &mut Counters, port: PortId, rx: &mut dyn Receive) {
    let port = counters.ports.get_mut(port.index());
    port.unwrap_or(&mut counters.host).rx_lost += rx.take_lost_frames();
}

/// Threads that close at once.
const CLOSERS: usize = 64;
/// Bytes of their stacks: closing needs little.
const CLOSER_STACK_BYTES: usize = 128 << 10;

/// Closes ports side by side: each packet or AF_XDP socket waits for RCU grace periods when it is closed
/// (packet_release, packet_set_ring, xsk_release), and one takes as long for many sockets as for one.
///
/// One by one where address space is limited ([`is_address_space_limited`]).
fn close_side_by_side<T: Send>(mut ports: Vec<T>) {
    let closers = if is_address_space_limited() { 1 } else { CLOSERS };
    let share = ports.len().div_ceil(closers).max(1);
    thread::scope(|scope| {
        while ports.len() > share {
            let some = ports.split_off(ports.len() - share);
            // Where no thread can be had they are closed here.
            let closer = thread::Builder::new().stack_size(CLOSER_STACK_BYTES);
            let _ = closer.spawn_scoped(scope, move || drop(some));
        }
        drop(ports);
    });
}

/// A number that outsiders cannot guess, from the standard library's own hash seeds.
pub(super) fn seed() -> u64 {
    RandomState::new().hash_one(0)
}
