//! Userspace mode: workers that forward every packet through the userspace router, and the control thread
//! beside them.
//!
//! | file | contents |
//! |---|---|
//! | `config` | ports, routes and settings that an engine starts with |
//! | `start` | puts workers and control thread together, and starts them |
//! | `worker` | a forwarding thread: rounds, publishing, sleep |
//! | `by_port` | a worker's state by port |
//! | `rx` | a worker's receive queues, and the epoll instance that it sleeps on |
//! | `datapath` | a burst's way: receive, forward, send |
//! | `egress` | verdict to ring: transmit queues, segmentation, refusals |
//! | `pending` | frames that wait for a neighbour's MAC address |
//! | `originate` | frames and reports that the router originates |
//! | `resolution` | which unknown neighbours a worker asks the control thread for |
//! | `spin` | how an idle worker waits |

mod by_port;
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

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use nsrouter_router::Counters;
use nsrouter_wire::frame::PortId;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

pub use crate::netlink::far_link::FarLink;
pub use crate::open_port::{OpenHost, OpenPort};
use crate::port::PortHandle;
pub use crate::request::PortError;
use crate::request::Request;
use crate::shared::Shared;
use crate::status::routes::route_list;
use crate::status::userspace::{Description, ports, status};
use crate::status::{RouteList, Status};
pub use crate::userspace::config::{UserspaceConfig, UserspaceError};
pub use crate::userspace::spin::Spin;
use crate::waker::Waker;

/// The userspace router, running.
#[derive(Debug)]
pub struct Userspace {
    description: Description,
    shared: Arc<Shared>,
    requests: UnboundedSender<Request>,
    /// Wakes the control thread.
    control: Waker,
    /// Wake the workers.
    workers: Vec<Waker>,
    threads: Vec<JoinHandle<()>>,
}

impl Userspace {
    /// Whether a thread of the engine has ended, so that forwarding cannot go on: the warnings of the status
    /// say why.
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
        let answered = self.request(Request::Routes);
        let entries = self.shared.ports();
        let ports = ports(&entries, &self.shared.tables.load(), &Counters::default());
        let names = entries.into_values().map(|entry| (entry.handle.slot, entry.name)).collect();
        async move { route_list(&ports, &answered.await.unwrap_or_default(), &names) }
    }

    /// Adds a port while the engine runs. `open` opens it, with one pair of queues a worker, for the slot
    /// that it is given: the number that its frames come in by. It is called on a thread in the network
    /// namespace that the engine was started in. The port is added whether or not the future is awaited,
    /// unless the engine stops before.
    ///
    /// # Errors
    /// [`PortError`], one variant a step; nothing of the port stays then.
    pub fn add_port<F, E>(&self, open: F) -> impl Future<Output = Result<PortHandle, PortError>> + use<F, E>
    where
        F: FnOnce(PortId) -> Result<OpenPort, E> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let open = Box::new(|slot| open(slot).map_err(Into::into));
        let answered = self.request(|answer| Request::AddPort(open, answer));
        async move { answered.await.unwrap_or(Err(PortError::Stopped)) }
    }

    /// Removes a port while the engine runs: its routes and neighbours go, frames that are pending for its
    /// neighbours are dropped, and its sockets are closed. Another port may have its slot afterwards. What it
    /// counted stays in the totals.
    ///
    /// # Errors
    /// [`PortError::NoSuchPort`] and [`PortError::Stopped`].
    pub fn remove_port(&self, port: PortHandle) -> impl Future<Output = Result<(), PortError>> + use<> {
        let answered = self.request(|answer| Request::RemovePort(port, answer));
        async move { answered.await.unwrap_or(Err(PortError::Stopped)) }
    }

    /// The port with this interface name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<PortHandle> {
        self.shared.ports().into_values().find(|entry| entry.name == name).map(|entry| entry.handle)
    }

    /// Asks the control thread; without an answer where that has ended.
    fn request<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        // Where the control thread has ended, the request is dropped with its sender.
        let _ = self.requests.send(request(answer));
        answered
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
        self.shared.drop_guards();
    }
}

impl Drop for Userspace {
    fn drop(&mut self) {
        self.stop_threads();
    }
}
