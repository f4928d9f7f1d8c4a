//! The hot loop: bursts in, the router's verdicts, bursts out.
//!
//! A round takes the commands, then the current tables, reads the clock once, and forwards one burst of every
//! port. It makes no allocation, takes no lock but that of an ICMP error's limit, and does not wait on anybody. Only
//! a worker that finds nothing to do publishes its counters and sleeps, on all its descriptors at once.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use arrayvec::ArrayVec;
use crossbeam_channel::{Receiver, Sender};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::prctl::set_timerslack;
use nix::unistd::Pid;
use nsrouter_rings::port::{BURST_FRAMES, Burst, Receive, Transmit};
use nsrouter_router::{
    Config as RouterConfig, Counters, DropReason, Limits, NextHop, Router, Tables, Time, Verdict,
};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;
use rustix::process::setpriority_process;

use crate::Port;
use crate::userspace::egress::Egress;
use crate::userspace::hold::HoldPool;
use crate::userspace::originate::{Destination, Outbox, Reports};
use crate::userspace::spin::{Pause, Spin, Spinner};
use crate::userspace::wake::Bell;
use crate::userspace::{Halves, Shared};

/// Events of each kind that may wait for the control plane.
pub(crate) const EVENTS: usize = 1024;
/// Commands that may wait for a worker.
const COMMANDS: usize = 1024;
/// Rounds after which a busy worker publishes its counters.
const PUBLISH_ROUNDS: u32 = 1024;
/// Rounds after which a busy worker also looks where a look costs a system call.
const LOOK_ROUNDS: u32 = 16;
/// Failures in a row after which a port is no longer asked for frames.
const PORT_FAILURES: u32 = 16;
/// What epoll(7) calls the worker's bell by; its receive queues have their indices.
const BELL: u64 = u64::MAX;

/// What the control plane asks of a worker.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Send this frame, made by the neighbour state machine.
    Transmit(PortId, Vec<u8>),
    /// The ports or their addresses are others in the tables.
    PortsChanged,
    /// The next hop has a MAC address now: what waits for it may go.
    Release(NextHop),
    /// The next hop was given up for this reason: what waits for it has failed.
    Fail(NextHop, DropReason),
}

/// The control plane's side of a worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) commands: Sender<Command>,
    pub(crate) bell: Bell,
}

/// What a worker is made of.
pub(crate) struct WorkerParts {
    pub(crate) number: usize,
    pub(crate) ports: Vec<(Port, Halves)>,
    /// The host port's name and its receive half, which one worker has.
    pub(crate) host_receive: Option<(String, Box<dyn Receive>)>,
    pub(crate) host_transmit: Option<Box<dyn Transmit>>,
    pub(crate) spin: Spin,
    /// The processor that it stays on.
    pub(crate) cpu: Option<usize>,
    /// Its nice value, where it is not the process's.
    pub(crate) nice: Option<i32>,
    /// The limits of ICMP errors, which all workers share.
    pub(crate) limits: Limits,
    pub(crate) shared: Arc<Shared>,
    pub(crate) bell: Bell,
    pub(crate) reports: Reports,
    pub(crate) control: Bell,
    /// How long a frame may wait for a MAC address, in nanoseconds.
    pub(crate) hold_age_ns: u64,
}

/// A port that frames come in by.
struct Inlet {
    port: PortId,
    name: String,
    ring: Box<dyn Receive>,
    /// A look may find something: it just did, or epoll(7) says so. Only asked where looks are not free.
    signalled: bool,
    /// Failures in a row; at [`PORT_FAILURES`] the port is left alone.
    failures: u32,
}

impl Inlet {
    fn is_alive(&self) -> bool {
        self.failures < PORT_FAILURES
    }
}

/// One forwarding thread.
pub(crate) struct Worker {
    number: usize,
    inlets: Vec<Inlet>,
    /// Every inlet and the bell, registered once: a sleep costs one system call however many they are.
    sleeper: Epoll,
    /// What the sleeper woke for; room for all.
    woken: Vec<EpollEvent>,
    path: Path,
    commands: Receiver<Command>,
    bell: Bell,
    shared: Arc<Shared>,
    spin: Spin,
    cpu: Option<usize>,
    nice: Option<i32>,
    rounds: u32,
    /// The inlet that the next round begins with: after a sleep that which ended it, so that an answer by another port is met
    /// in the same round; in a stream each in turn, so that none always gets the last room on the way out.
    begin: usize,
}

/// What a frame goes through between its arrival and its departure.
struct Path {
    router: Router,
    egress: Egress,
    hold: HoldPool,
    outbox: Outbox,
}

impl Worker {
    /// Puts a worker together, and registers what it will sleep on.
    ///
    /// # Errors
    /// What epoll(7) said; out of descriptors, say.
    pub(crate) fn new(parts: WorkerParts) -> io::Result<(Worker, WorkerHandle)> {
        let (commands_tx, commands) = crossbeam_channel::bounded(COMMANDS);
        let mut inlets = Vec::new();
        let mut links = Vec::new();
        for ((port, halves), number) in parts.ports.into_iter().zip(0..) {
            inlets.push(Inlet {
                port: PortId(number),
                name: port.name,
                ring: halves.receive,
                signalled: true,
                failures: 0,
            });
            links.push(halves.transmit);
        }
        inlets.extend(parts.host_receive.map(|(name, ring)| Inlet {
            port: PortId::HOST,
            name,
            ring,
            signalled: true,
            failures: 0,
        }));
        let sleeper = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (inlet, index) in inlets.iter().zip(0..) {
            sleeper.add(inlet.ring.fd(), EpollEvent::new(EpollFlags::EPOLLIN, index))?;
        }
        sleeper.add(&parts.bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        let woken = vec![EpollEvent::empty(); inlets.len() + 1];
        // Numbers tell the workers' packet identifications apart; past 65,535 workers they repeat.
        let number = u16::try_from(parts.number).unwrap_or(0);
        let handle = WorkerHandle { commands: commands_tx, bell: parts.bell.clone() };
        let worker = Worker {
            number: parts.number,
            inlets,
            sleeper,
            woken,
            path: Path {
                router: Router::new(number, RouterConfig { ports: links.len(), seed: seed() }, parts.limits),
                hold: HoldPool::new(links.len(), parts.hold_age_ns),
                outbox: Outbox::new(links.len(), parts.reports, parts.control.clone()),
                egress: Egress::new(links, parts.host_transmit),
            },
            commands,
            bell: parts.bell,
            shared: parts.shared,
            spin: parts.spin,
            cpu: parts.cpu,
            nice: parts.nice,
            rounds: 0,
            begin: 0,
        };
        Ok((worker, handle))
    }

    /// Forwards until the engine stops. A worker that panics gives its ports' halves back, and with them its flows to the
    /// other workers.
    pub(crate) fn run(mut self) {
        self.take_place();
        // What is used after a panic are numbers, and the pool of held frames.
        if catch_unwind(AssertUnwindSafe(|| self.forward())).is_err() {
            self.shared.trouble(format!("forwarding worker {} panicked", self.number));
            // Of the burst in hand some frames may count as sent that are not.
            self.path.router.counters_mut().settle(DropReason::WorkerStopped);
        }
        for next_hop in self.path.hold.next_hops() {
            let counters = self.path.router.counters_mut();
            self.path.hold.take(next_hop, |_| counters.unheld(DropReason::WorkerStopped));
        }
        // The last word may wait for a reader.
        while !self.publish() {
            thread::yield_now();
        }
        self.shared.worker_ended(self.number);
        let mut links: Vec<Option<Box<dyn Transmit>>> = self.path.egress.into_links().map(Some).collect();
        let receivers = self.inlets.into_iter().map(|inlet| inlet.ring);
        links.resize_with(links.len().max(receivers.len()), || None);
        close_side_by_side(receivers.map(Some).chain(std::iter::repeat_with(|| None)).zip(links).collect());
    }

    /// Takes its place on a processor.
    fn take_place(&self) {
        if let Some(nice) = self.nice
            && let Err(error) = setpriority_process(None, nice)
        {
            self.shared.trouble(format!("worker {} cannot have the nice value {nice}: {error}", self.number));
        }
        // Naps of tens of microseconds would else last for fifty more (prctl(2)). It cannot fail for a number.
        let _ = set_timerslack(1);
        let Some(cpu) = self.cpu else { return };
        let mut set = CpuSet::new();
        if let Err(error) = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)) {
            self.shared.trouble(format!("worker {} cannot stay on processor {cpu}: {error}", self.number));
        }
    }

    fn forward(&mut self) {
        let mut spinner = Spinner::new(self.spin, self.nice.is_some_and(|nice| nice < 0));
        while !self.shared.stop.load(Ordering::Acquire) {
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
                    self.expect_frames();
                }
                Pause::Nap(time) => {
                    thread::sleep(time);
                    self.expect_frames();
                }
                // Whoever sleeps has published: what is read of it meanwhile has to be exact.
                Pause::Sleep => {
                    if self.publish() {
                        self.sleep(now);
                    }
                }
            }
        }
    }

    /// Nobody tells what came to a worker that did not sleep.
    fn expect_frames(&mut self) {
        self.inlets.iter_mut().for_each(|inlet| inlet.signalled = true);
    }

    /// One round over all ports; false when there was nothing to do.
    fn round(&mut self, now: Time) -> bool {
        let Worker { shared, commands, path, inlets, rounds, begin, .. } = self;
        let mut busy = false;
        // Commands before tables: what a command tells of is in the tables taken after it.
        let asked: ArrayVec<Command, 16> = commands.try_iter().take(16).collect();
        let tables = shared.tables.load();
        path.outbox.begin(PortId::HOST, now.mono_ns);
        for command in asked {
            busy = true;
            path.obey(command, &tables, now);
        }
        *rounds = rounds.wrapping_add(1);
        let look_everywhere = rounds.is_multiple_of(LOOK_ROUNDS);
        let first = *begin % inlets.len().max(1);
        let (last, first) = inlets.split_at_mut(first);
        for inlet in first.iter_mut().chain(last).filter(|inlet| inlet.is_alive()) {
            if inlet.signalled || look_everywhere || inlet.ring.looks_are_free() {
                inlet.signalled = path.forward_burst(inlet, &tables, now, shared);
                busy |= inlet.signalled;
            }
        }
        *begin = begin.wrapping_add(usize::from(busy));
        path.expire_held(now);
        if path.router.next_deadline().is_some_and(|deadline| deadline <= now.mono_ns) {
            path.outbox.begin(PortId::HOST, now.mono_ns);
            path.router.tick(now, &tables, &mut path.outbox);
        }
        path.flush_outbox(now);
        busy
    }

    /// Puts a copy of the counters where others may read it; false where somebody reads at this moment, for whom
    /// the worker does not wait.
    fn publish(&mut self) -> bool {
        self.path.outbox.retry_events();
        let counters = self.path.router.counters_mut();
        for inlet in &mut self.inlets {
            let port = counters.ports.get_mut(inlet.port.index());
            port.unwrap_or(&mut counters.host).rx_lost += inlet.ring.take_lost_frames();
        }
        self.shared.workers[self.number].counters.try_lock().is_ok_and(|mut published| {
            published.clone_from(counters);
            true
        })
    }

    /// Sleeps until a frame, a command or a deadline.
    fn sleep(&mut self, now: Time) {
        self.path.egress.flush(self.path.router.counters_mut());
        let deadline = self.path.router.next_deadline().into_iter().chain(self.path.hold.due_ns()).min();
        let timeout = match deadline {
            None => EpollTimeout::NONE,
            Some(deadline) => {
                let wait_ms = deadline.saturating_sub(now.mono_ns).div_ceil(1_000_000);
                EpollTimeout::try_from(wait_ms).unwrap_or(EpollTimeout::MAX)
            }
        };
        let Ok(count) = self.sleeper.wait(&mut self.woken, timeout) else {
            // Interrupted: everything is looked at once more.
            return self.expect_frames();
        };
        self.inlets.iter_mut().for_each(|inlet| inlet.signalled = false);
        for event in &self.woken[..count] {
            let index = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Some(inlet) = self.inlets.get_mut(index) else {
                self.bell.silence();
                continue;
            };
            self.begin = index;
            inlet.signalled = event.events().contains(EpollFlags::EPOLLIN);
            if event.events().intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP)
                && let Err(error) = inlet.ring.take_error()
            {
                note_failure(&mut inlet.failures, &inlet.name, &error, &self.shared);
            }
            if !inlet.is_alive() {
                // It can fail only where it is not registered, which is what is wanted.
                let _ = self.sleeper.delete(inlet.ring.fd());
            }
        }
    }
}

impl Path {
    /// Forwards what waits at one port; false when nothing did.
    fn forward_burst(&mut self, inlet: &mut Inlet, tables: &Tables, now: Time, shared: &Shared) -> bool {
        let mut burst = Burst::new();
        match inlet.ring.recv(BURST_FRAMES, &mut burst) {
            Ok(received) => {
                inlet.failures = 0;
                // Their bytes are lost, so they count for none.
                let refused = [
                    (received.truncated_frames, DropReason::RxTruncated),
                    (received.too_big_frames, DropReason::RxTooBig),
                    (received.unsupported_frames, DropReason::RxUnsupported),
                ];
                if refused.iter().any(|(frames, _)| *frames > 0) {
                    let counters = self.router.counters_mut();
                    for (frames, reason) in refused {
                        (0..frames).for_each(|_| counters.received_dropped(inlet.port, 0, reason));
                    }
                } else if burst.is_empty() {
                    return false;
                }
            }
            Err(error) => {
                note_failure(&mut inlet.failures, &inlet.name, &error, shared);
                return false;
            }
        }
        self.outbox.begin(inlet.port, now.mono_ns);
        tables.warm(&burst);
        let mut verdicts: ArrayVec<Option<PortId>, BURST_FRAMES> = ArrayVec::new();
        let mut originated: ArrayVec<usize, BURST_FRAMES> = ArrayVec::new();
        for frame in &mut burst {
            let verdict = self.router.forward(frame, tables, now, &mut self.outbox);
            verdicts.push(match verdict {
                Verdict::Send(port) | Verdict::Reply(port) => Some(port),
                Verdict::ToHost => Some(PortId::HOST),
                Verdict::Hold(next_hop) => {
                    let counters = self.router.counters_mut();
                    if self.outbox.is_refused(next_hop) {
                        counters.unheld(DropReason::NeighbourLimit);
                    } else {
                        keep(&mut self.hold, frame, next_hop, now, counters);
                    }
                    None
                }
                Verdict::Consumed | Verdict::Drop(_) => None,
            });
            originated.push(self.outbox.len());
        }
        if self.outbox.is_empty() {
            self.egress.send_burst(burst, &verdicts, self.router.counters_mut());
            return true;
        }
        // Fragments go where the packet would have gone, among others of its flow; a redirect before the packet that it is
        // about.
        for ((frame, port), originated) in burst.iter_mut().zip(verdicts).zip(originated) {
            self.send_originated(originated, now);
            if let Some(port) = port {
                self.egress.send(port, std::slice::from_mut(frame), self.router.counters_mut());
            }
        }
        self.flush_outbox(now);
        true
    }

    /// Sends what the router made, until so many frames have gone since the box was emptied.
    fn send_originated(&mut self, until: usize, now: Time) {
        let Path { router, egress, hold, outbox } = self;
        let counters = router.counters_mut();
        outbox.show(until, |frame, destination| match destination {
            Destination::Port(port) => egress.send(port, std::slice::from_mut(frame), counters),
            Destination::Hold(next_hop) => keep(hold, frame, next_hop, now, counters),
            Destination::Nowhere => counters.unheld(DropReason::NeighbourLimit),
        });
    }

    /// Gives up what has waited for a MAC address for too long.
    fn expire_held(&mut self, now: Time) {
        let counters = self.router.counters_mut();
        for _ in 0..self.hold.expire(now.mono_ns) {
            counters.unheld(DropReason::HoldExpired);
        }
    }

    fn flush_outbox(&mut self, now: Time) {
        if !self.outbox.is_empty() {
            self.send_originated(self.outbox.len(), now);
            self.outbox.clear();
        }
    }

    fn obey(&mut self, command: Command, tables: &Tables, now: Time) {
        let Path { router, egress, hold, outbox } = self;
        match command {
            Command::Transmit(port, mut bytes) => {
                let len = bytes.len();
                if let Some(frame) = Frame::new(&mut bytes, 0, len, PortId::HOST, Offload::default()) {
                    let counters = router.counters_mut();
                    counters.originated += 1;
                    counters.count_tx(port, len);
                    egress.send(port, &mut [frame], counters);
                }
            }
            Command::Release(next_hop) => {
                outbox.forget(next_hop);
                hold.take(next_hop, |frame| match router.release(frame, next_hop, tables) {
                    Verdict::Send(port) | Verdict::Reply(port) => {
                        egress.send(port, std::slice::from_mut(frame), router.counters_mut());
                    }
                    Verdict::ToHost | Verdict::Hold(_) | Verdict::Consumed | Verdict::Drop(_) => {}
                })
            }
            Command::PortsChanged => router.ports_changed(),
            Command::Fail(next_hop, reason) => {
                outbox.forget(next_hop);
                hold.take(next_hop, |frame| {
                    router.unreachable(frame, reason, tables, now, outbox);
                });
                self.flush_outbox(now);
            }
        }
    }
}

/// Holds a frame; what finds no room, or is pushed out, is a drop.
fn keep(hold: &mut HoldPool, frame: &Frame<'_>, next_hop: NextHop, now: Time, counters: &mut Counters) {
    let held = hold.hold(frame, next_hop, now.mono_ns);
    for _ in 0..held.evicted + u64::from(!held.kept) {
        counters.unheld(DropReason::HoldOverflow);
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

/// Something that nobody outside can guess, from the standard library's own hash seeds.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one(0)
}

fn note_failure(failures: &mut u32, name: &str, error: &io::Error, shared: &Shared) {
    *failures += 1;
    // The control plane tells of links that go down; what is said here is the port's own end.
    if *failures == PORT_FAILURES {
        shared.trouble(format!("port {name} gives no more frames: {error}"));
    }
}
