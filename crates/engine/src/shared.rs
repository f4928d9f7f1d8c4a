//! State that the threads of one engine share.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | tables, ports, prefixes, neighbours | control thread | workers (tables), status |
//! | counters | each worker its own | status |
//! | warnings | all | status |
//! | stop flag | whoever stops the engine | all |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use nsrouter_rings::guard::Guard;
use nsrouter_router::{Counters, NeighbourEntry, Tables};
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

use crate::clock::Clock;
use crate::open_port::OpenPort;
use crate::port::PortHandle;
use crate::warnings::Warnings;

/// The state that one worker publishes.
#[derive(Debug)]
pub(crate) struct WorkerState {
    /// Its counters as it published them last.
    pub(crate) counters: Mutex<Counters>,
    /// It forwards no more.
    has_ended: AtomicBool,
}

/// A link port in the list of ports.
#[derive(Clone, Debug)]
pub(crate) struct PortEntry {
    pub(crate) handle: PortHandle,
    pub(crate) name: String,
    pub(crate) mac: MacAddr,
    /// Whether its link has a carrier.
    pub(crate) has_carrier: bool,
    /// What keeps its frames from the kernel's input path, or why nothing does; `None` where none takes that
    /// path.
    pub(crate) guard: Option<Result<&'static str, String>>,
}

impl PortEntry {
    /// The entry of a port that was opened.
    pub(crate) fn new(handle: PortHandle, open: &OpenPort) -> PortEntry {
        let guard = open.guard.as_ref();
        PortEntry {
            handle,
            name: open.port.name.clone(),
            mac: open.port.mac,
            has_carrier: true,
            guard: guard.map(|guard| guard.as_ref().map(Guard::name).map_err(String::clone)),
        }
    }
}

/// State that the threads of one engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) tables: ArcSwap<Tables>,
    /// Prefixes in the forwarding table.
    pub(crate) prefixes: AtomicUsize,
    pub(crate) stop: AtomicBool,
    pub(crate) neighbours: Mutex<Vec<NeighbourEntry>>,
    /// Neighbours that the table had no room for.
    pub(crate) neighbours_evicted: AtomicU64,
    /// By worker number.
    pub(crate) workers: Vec<WorkerState>,
    warnings: Mutex<Warnings>,
    /// Parts of the kernel's configuration that the router cannot take over, at present.
    unsupported: Mutex<Vec<String>>,
    /// The link ports, by slot.
    ports: Mutex<BTreeMap<PortId, PortEntry>>,
    /// The ports' guards.
    guards: Mutex<Vec<(PortHandle, Guard)>>,
    ended: AtomicBool,
}

/// Locks, whether or not a thread panicked while it held the lock: what is shared is whole between any two
/// statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// State of an engine with so many ports at the start and so many workers, before any of its threads
    /// runs.
    pub(crate) fn new(tables: Tables, prefixes: usize, ports: usize, workers: usize) -> Shared {
        let worker =
            || WorkerState { counters: Mutex::new(Counters::new(ports)), has_ended: AtomicBool::new(false) };
        Shared {
            clock: Clock::new(),
            tables: ArcSwap::from_pointee(tables),
            prefixes: AtomicUsize::new(prefixes),
            stop: AtomicBool::new(false),
            neighbours: Mutex::default(),
            neighbours_evicted: AtomicU64::new(0),
            workers: (0..workers).map(|_| worker()).collect(),
            warnings: Mutex::default(),
            unsupported: Mutex::default(),
            ports: Mutex::default(),
            guards: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// Whether the engine is being stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Records a warning for the status and the log.
    pub(crate) fn warn(&self, text: String) {
        self.warn_of(&text.clone(), text);
    }

    /// The same for a warning whose text varies, with an address that a host may choose, say: one entry a
    /// kind, with a count.
    pub(crate) fn warn_of(&self, kind: &str, text: String) {
        if lock(&self.warnings).note(kind, text.clone(), Instant::now()) {
            tracing::warn!("{text}");
        }
    }

    /// The list of ports, by slot.
    pub(crate) fn ports(&self) -> BTreeMap<PortId, PortEntry> {
        lock(&self.ports).clone()
    }

    /// Puts a port into the list.
    pub(crate) fn set_port(&self, entry: PortEntry) {
        lock(&self.ports).insert(entry.handle.slot, entry);
    }

    /// Takes the port of a slot out of the list.
    pub(crate) fn clear_port(&self, slot: PortId) {
        lock(&self.ports).remove(&slot);
    }

    /// Records whether a port's link has a carrier.
    pub(crate) fn set_carrier(&self, port: PortId, has_carrier: bool) {
        if let Some(port) = lock(&self.ports).get_mut(&port) {
            port.has_carrier = has_carrier;
        }
    }

    /// Keeps a port's guard attached while a worker may have the port.
    pub(crate) fn keep_guard(&self, port: PortHandle, guard: Guard) {
        lock(&self.guards).push((port, guard));
    }

    /// Detaches the guard of a port that no worker has.
    pub(crate) fn drop_guard(&self, port: PortHandle) {
        lock(&self.guards).retain(|(of, _)| *of != port);
    }

    /// Detaches every guard, once no worker runs.
    pub(crate) fn drop_guards(&self) {
        lock(&self.guards).clear();
    }

    /// What the router cannot take over at present, and then its warnings.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut all = lock(&self.unsupported).clone();
        all.extend(lock(&self.warnings).list());
        all
    }

    /// Replaces the list of what the router cannot take over of the kernel's configuration, one sentence
    /// each.
    pub(crate) fn set_unsupported(&self, unsupported: Vec<String>) {
        let mut before = lock(&self.unsupported);
        for sentence in unsupported.iter().filter(|sentence| !before.contains(sentence)) {
            tracing::warn!("{sentence}");
        }
        *before = unsupported;
    }

    /// The counters of all workers together, as they published them last.
    pub(crate) fn counters(&self) -> Counters {
        let mut all = Counters::default();
        for worker in &self.workers {
            all.add(&lock(&worker.counters));
        }
        all
    }

    /// A worker forwards no more; without the last of them forwarding has ended.
    pub(crate) fn worker_ended(&self, number: usize) {
        self.workers[number].has_ended.store(true, Ordering::SeqCst);
        if self.workers.iter().all(WorkerState::has_ended) {
            self.set_ended();
        }
    }

    /// Forwarding has ended.
    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether forwarding has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl WorkerState {
    /// Whether it forwards no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }
}
