//! The hot loop of a forwarding thread: bursts in, the router's verdicts, bursts out.
//!
//! A round handles the commands, takes the current tables, reads the clock once, and forwards one burst of every
//! queue. It makes no allocation, takes no lock but that of an ICMP error's limit, and waits for no other thread. Only
//! an idle worker publishes its counters and sleeps, on all its descriptors at once.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use arrayvec::ArrayVec;
use crossbeam_channel::Receiver;
use nix::sys::epoll::EpollTimeout;
use nix::sys::prctl::set_timerslack;
use nsrouter_linux::affinity;
use nsrouter_rings::port::{Receive, Transmit};
use nsrouter_router::{Config as RouterConfig, DropReason, Limits, Router, Time};
use nsrouter_wire::frame::PortId;
use rustix::process::setpriority_process;

use crate::command::Command;
use crate::report::ReportSender;
use crate::shared::Shared;
use crate::userspace::datapath::Datapath;
use crate::userspace::egress::Egress;
use crate::userspace::originate::Outbox;
use crate::userspace::pending::PendingPool;
use crate::userspace::rx::{RxQueue, RxQueues};
use crate::userspace::spin::{Pause, Spin, Spinner};
use crate::waker::Waker;
use nsrouter_rings::port::QueuePair;

/// Rounds after which a busy worker publishes its counters.
const PUBLISH_ROUNDS: u32 = 1024;
/// Rounds after which a busy worker also polls the queues where that costs a system call.
const POLL_ROUNDS: u32 = 16;
/// Commands that a round handles, at most.
const COMMANDS_A_ROUND: usize = 16;

/// The parts of a worker.
pub(super) struct WorkerParts {
    pub(super) number: usize,
    /// Its queues of every link port, by port number, with the ports' names.
    pub(super) ports: Vec<(String, QueuePair)>,
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
        let mut queues = Vec::new();
        let mut links = Vec::new();
        for ((name, pair), port) in parts.ports.into_iter().zip(0..) {
            queues.push(RxQueue::new(PortId(port), name, pair.rx));
            links.push(pair.tx);
        }
        queues.extend(parts.host_rx.map(|(name, ring)| RxQueue::new(PortId::HOST, name, ring)));
        // Numbers tell the workers' packet identifications apart; past 65,535 workers they repeat.
        let number = u16::try_from(parts.number).unwrap_or(0);
        let config = RouterConfig { ports: links.len(), seed: seed() };
        Ok(Worker {
            number: parts.number,
            queues: RxQueues::new(queues, &parts.waker)?,
            datapath: Datapath {
                router: Router::new(number, config, parts.limits),
                pending: PendingPool::new(links.len(), parts.pending_age_ns),
                outbox: Outbox::new(links.len(), parts.reports, parts.control),
                egress: Egress::new(links, parts.host_tx),
            },
            commands: parts.commands,
            waker: parts.waker,
            shared: parts.shared,
            spin: parts.spin,
            cpu: parts.cpu,
            nice: parts.nice,
            rounds: 0,
        })
    }

    /// Forwards until the engine stops. A worker that panics closes its queues, and with that leaves its flows to the other
    /// workers.
    pub(super) fn run(mut self) {
        self.pin_to_cpu();
        // What is used after a panic are numbers, and the pool of pending frames.
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
        let mut links: Vec<Option<Box<dyn Transmit>>> = self.datapath.egress.into_links().map(Some).collect();
        let rings = self.queues.into_rings();
        links.resize_with(links.len().max(rings.len()), || None);
        close_side_by_side(rings.map(Some).chain(std::iter::repeat_with(|| None)).zip(links).collect());
    }

    /// Takes its priority, its timer resolution and its CPU.
    fn pin_to_cpu(&self) {
        if let Some(nice) = self.nice
            && let Err(error) = setpriority_process(None, nice)
        {
            self.shared.warn(format!("worker {} cannot have the nice value {nice}: {error}", self.number));
        }
        // Naps of tens of microseconds would else last for fifty more (prctl(2)). It cannot fail for a number.
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
                Pause::Look => std::hint::spin_loop(),
                Pause::GiveWay => {
                    thread::yield_now();
                    spinner.gave_way(self.shared.clock.now().mono_ns.saturating_sub(now.mono_ns));
                    self.queues.assume_ready();
                }
                Pause::Nap(time) => {
                    thread::sleep(time);
                    self.queues.assume_ready();
                }
                // A sleeping worker has published: its counters are exact for whoever reads them meanwhile.
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
        let Worker { shared, commands, datapath, queues, rounds, .. } = self;
        let mut is_busy = false;
        // Commands before tables: the tables taken after a command are at least as new as the command.
        let asked: ArrayVec<Command, COMMANDS_A_ROUND> = commands.try_iter().take(COMMANDS_A_ROUND).collect();
        let tables = shared.tables.load();
        datapath.outbox.begin(PortId::HOST, now.mono_ns);
        for command in asked {
            is_busy = true;
            datapath.handle_command(command, &tables, now);
        }
        *rounds = rounds.wrapping_add(1);
        let polls_all = rounds.is_multiple_of(POLL_ROUNDS);
        for queue in queues.in_turn() {
            if queue.is_ready || polls_all || queue.ring.polls_without_syscall() {
                queue.is_ready = datapath.forward_burst(queue, &tables, now, shared);
                is_busy |= queue.is_ready;
            }
        }
        if is_busy {
            queues.advance();
        }
        datapath.tick(&tables, now);
        is_busy
    }

    /// Puts a copy of the counters where others may read it; false where somebody reads at this moment, for whom
    /// the worker does not wait.
    fn publish(&mut self) -> bool {
        self.datapath.outbox.retry_events();
        let counters = self.datapath.router.counters_mut();
        for queue in self.queues.iter_mut() {
            let port = counters.ports.get_mut(queue.port.index());
            port.unwrap_or(&mut counters.host).rx_lost += queue.ring.take_lost_frames();
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

/// Threads that close at once.
const CLOSERS: usize = 64;
/// Bytes of their stacks: closing needs little, and address space may be limited (`ulimit -v`).
const CLOSER_STACK_BYTES: usize = 128 << 10;

/// Closes ports side by side: each packet or AF_XDP socket waits for RCU grace periods when it is closed (packet_release,
/// packet_set_ring, xsk_release), and one takes as long for many sockets as for one.
fn close_side_by_side<T: Send>(mut ports: Vec<T>) {
    let share = ports.len().div_ceil(CLOSERS).max(1);
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

/// A number that nobody outside can guess, from the standard library's own hash seeds.
pub(super) fn seed() -> u64 {
    RandomState::new().hash_one(0)
}
