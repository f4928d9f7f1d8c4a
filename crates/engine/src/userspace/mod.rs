//! Userspace mode: workers that forward every packet through the userspace router, and the control thread beside them.
//!
//! | file | contents |
//! |---|---|
//! | `config` | open ports, routes and settings that an engine starts with |
//! | `start` | puts workers and control thread together, and starts them |
//! | `worker` | a forwarding thread: rounds, publishing, sleep |
//! | `rx` | a worker's receive queues, and the epoll instance that it sleeps on |
//! | `datapath` | a burst's way: receive, forward, send |
//! | `egress` | verdict to ring: transmit queues, segmentation, refusals |
//! | `pending` | frames that wait for a neighbour's MAC address |
//! | `originate` | frames and reports that the router originates |
//! | `resolution` | which unknown neighbours a worker asks the control thread for |
//! | `spin` | how an idle worker waits |

mod config;
mod datapath;
mod egress;
mod originate;
mod pending;
mod resolution;
mod rx;
mod spin;
mod start;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use nsrouter_rings::guard::Guard;
use nsrouter_router::Counters;
use tokio::sync::oneshot;

pub use crate::netlink::far_link::FarLink;
use crate::shared::{Shared, lock};
use crate::status::routes::route_list;
use crate::status::userspace::{Description, status};
use crate::status::{RouteList, Status};
pub use crate::userspace::config::{OpenHost, OpenPort, UserspaceConfig, UserspaceError};
pub use crate::userspace::spin::Spin;
use crate::waker::Waker;

/// The userspace router, running.
#[derive(Debug)]
pub struct Userspace {
    description: Description,
    shared: Arc<Shared>,
    /// Wakes the control thread.
    control: Waker,
    /// Wake the workers.
    workers: Vec<Waker>,
    threads: Vec<JoinHandle<()>>,
    /// Detached once the threads have ended.
    guards: Vec<Guard>,
}

impl Userspace {
    /// Whether a thread of the engine has ended, so that forwarding cannot go on: the warnings of the status say why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended()
    }

    /// The counters of all workers together, as they published them last: at most a few milliseconds ago,
    /// and exact when nothing moves.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// The routes, as the control thread has them; only those of the ports' own subnets where it has ended.
    pub fn routes(&self) -> impl Future<Output = RouteList> + use<> {
        let (answer, answered) = oneshot::channel();
        lock(&self.shared.route_requests).push(answer);
        self.control.wake();
        let names: Vec<String> = self.description.ports.iter().map(|port| port.name.clone()).collect();
        let ports = self.status().ports;
        async move { route_list(&ports, &answered.await.unwrap_or_default(), &names) }
    }

    /// The engine's state and counters.
    #[must_use]
    pub fn status(&self) -> Status {
        status(&self.description, &self.shared)
    }

    /// Stops every thread, closes every port and returns the last status, its counters exact.
    pub fn stop(mut self) -> Status {
        self.stop_threads();
        self.status()
    }

    fn stop_threads(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.control.wake();
        self.workers.iter().for_each(Waker::wake);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.warn("a thread of the engine panicked".to_owned());
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
