//! Starting a userspace engine: ports are dealt out to the workers, then the control thread and the workers
//! begin.

use std::io;
use std::sync::Arc;

use nsrouter_router::{Limits, NeighConfig, Settings};
use nsrouter_wire::frame::PortId;

use crate::command::{self, NewPort};
use crate::control::Control;
use crate::control::plan::Plan;
use crate::netlink::far_link::FarLink;
use crate::open_port::OpenPort;
use crate::port::PortHandle;
use crate::report;
use crate::request;
use crate::shared::{PortEntry, Shared};
use crate::status::HostPort;
use crate::status::userspace::Description;
use crate::userspace::Userspace;
use crate::userspace::config::{UserspaceConfig, UserspaceError};
use crate::userspace::worker::{Worker, WorkerParts, seed};
use crate::waker::Waker;

/// How long a frame may be pending for a MAC address beyond the time that its resolution takes to fail:
/// whatever becomes of the control thread, no frame stays for good.
const PENDING_MARGIN_MS: u64 = 2000;

/// Reports that forwarding has ended when the control thread ends, however it ends.
struct ExitGuard(Arc<Shared>);

impl Drop for ExitGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.warn("the control thread panicked".to_owned());
        }
        self.0.set_ended();
    }
}

impl Userspace {
    /// Starts workers and control thread in the network namespace of the calling thread (threads inherit it).
    ///
    /// # Errors
    /// [`UserspaceError`], one variant a step; what was started is stopped again.
    pub fn start(config: UserspaceConfig) -> Result<Userspace, UserspaceError> {
        let workers = worker_count(&config.ports)?;
        let settings = Settings { host_port: config.host.is_ok(), ..config.settings };
        let host_ifindex = config.host.as_ref().ok().map(|host| host.ifindex);
        let mut plan = Plan::new(config.routes, host_ifindex, settings, config.neighbours.clone());
        for (slot, open) in (0..).map(PortId).zip(&config.ports) {
            plan.insert(slot, open.port.clone(), open.max_mtu());
        }
        let mut table = plan.route_table()?;
        let shared = Arc::new(Shared::new(table.tables(), table.prefixes(), config.ports.len(), workers));
        let (requests_sender, requests) = request::channel();
        let mut engine = Userspace {
            description: Description {
                backend: config.backend,
                host: match &config.host {
                    Ok(host) => {
                        HostPort { available: true, interface: host.name.clone(), reason: String::new() }
                    }
                    Err(reason) => {
                        HostPort { available: false, interface: String::new(), reason: reason.clone() }
                    }
                },
                host_mtu: config.host.as_ref().map_or(0, |host| host.mtu),
                cpus: config.cpus.clone(),
            },
            shared: Arc::clone(&shared),
            requests: requests_sender,
            control: Waker::new().map_err(UserspaceError::Waker)?,
            workers: Vec::new(),
            threads: Vec::new(),
        };
        let mut far_links = Vec::new();
        let mut links = Vec::new();
        for (slot, open) in (0..).map(PortId).zip(config.ports) {
            let handle = PortHandle { slot, generation: 0 };
            shared.set_port(PortEntry::new(handle, &open));
            let OpenPort { port, queues, guard, far_link } = open;
            if let Some(Ok(guard)) = guard {
                shared.keep_guard(handle, guard);
            }
            far_links.extend(far_link.map(|link| (handle, link)));
            links.push((handle, port.name, queues.into_iter()));
        }
        let (mut host_rx, mut host_txs) = match config.host {
            Ok(host) => (Some((host.name, host.rx)), host.txs.into_iter()),
            Err(_) => (None, Vec::new().into_iter()),
        };
        let (report_sender, report_receiver) = report::channel();
        let mut parts = Vec::new();
        let mut handles = Vec::new();
        let limits = Limits::new(seed());
        for number in 0..workers {
            let waker = Waker::new().map_err(UserspaceError::Waker)?;
            engine.workers.push(waker.clone());
            let (handle, commands) = command::channel(waker.clone());
            handles.push(handle);
            let worker = Worker::new(WorkerParts {
                number,
                ports: links
                    .iter_mut()
                    .filter_map(|(handle, name, queues)| {
                        Some(NewPort { handle: *handle, name: name.clone(), queues: queues.next()? })
                    })
                    .collect(),
                host_rx: host_rx.take(),
                host_tx: host_txs.next(),
                spin: config.spin,
                cpu: engine.description.cpu_of(number),
                nice: config.nice,
                limits: limits.clone(),
                shared: Arc::clone(&shared),
                commands,
                waker,
                reports: report_sender.clone(),
                control: engine.control.clone(),
                pending_age_ns: pending_age_ns(&config.neighbours),
            });
            parts.push(worker.map_err(UserspaceError::Waker)?);
        }
        let control =
            Control::new(plan, shared, report_receiver, engine.control.clone(), handles, table, requests);
        engine.start_control(control, far_links)?;
        for (worker, number) in parts.into_iter().zip(0..) {
            engine.spawn(&format!("nsr-worker-{number}"), move || worker.run())?;
        }
        Ok(engine)
    }

    /// Starts the control thread, and waits until it watches the links.
    fn start_control(
        &mut self,
        control: Control,
        far_links: Vec<(PortHandle, FarLink)>,
    ) -> Result<(), UserspaceError> {
        let (ready_tx, ready_rx) = crossbeam_channel::bounded(1);
        let exit_guard = ExitGuard(Arc::clone(&self.shared));
        self.spawn("nsr-control", move || {
            let _exit_guard = exit_guard;
            control.run(far_links, |outcome| {
                // The receiver waits for exactly this.
                let _ = ready_tx.send(outcome);
            });
        })?;
        let ended = |_| Err(io::Error::other("its thread ended at once"));
        ready_rx.recv().unwrap_or_else(ended).map_err(UserspaceError::Control)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), UserspaceError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|source| UserspaceError::Thread { name: name.to_owned(), source })?;
        self.threads.push(thread);
        Ok(())
    }
}

/// As many workers as each port has pairs of queues.
fn worker_count(ports: &[OpenPort]) -> Result<usize, UserspaceError> {
    let workers = ports.first().map_or(1, |open| open.queues.len());
    if workers == 0 || ports.iter().any(|open| open.queues.len() != workers) {
        return Err(UserspaceError::Queues { queues: ports.iter().map(|open| open.queues.len()).collect() });
    }
    Ok(workers)
}

/// How long a frame may be pending for a MAC address, in nanoseconds.
fn pending_age_ns(neighbours: &NeighConfig) -> u64 {
    let fails_after_ms = neighbours.retransmit_ms.saturating_mul(u64::from(neighbours.multicast_probes));
    fails_after_ms.saturating_add(PENDING_MARGIN_MS).saturating_mul(1_000_000)
}
