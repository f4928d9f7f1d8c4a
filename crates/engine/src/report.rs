//! Reports of the workers to the control thread: two channels, which all workers share.
//!
//! Observations keep traffic alive, so they have a channel of their own. Requests to resolve unknown neighbours, which any
//! host can cause by the hundred thousand, have another.

use crossbeam_channel::{Receiver, Sender};
use nsrouter_router::Event;

/// Events that may wait in each channel.
const CAPACITY: usize = 1024;

/// A worker's end.
#[derive(Clone, Debug)]
pub(crate) struct ReportSender {
    /// Neighbours that showed themselves, and conflicts over the router's own addresses.
    pub(crate) observations: Sender<Event>,
    /// Unknown neighbours that are to be resolved.
    pub(crate) requests: Sender<Event>,
}

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct ReportReceiver {
    /// Neighbours that showed themselves, and conflicts over the router's own addresses: read first.
    pub(crate) observations: Receiver<Event>,
    /// Unknown neighbours that are to be resolved.
    pub(crate) requests: Receiver<Event>,
}

/// Both channels.
pub(crate) fn channel() -> (ReportSender, ReportReceiver) {
    let (observations_tx, observations) = crossbeam_channel::bounded(CAPACITY);
    let (requests_tx, requests) = crossbeam_channel::bounded(CAPACITY);
    let sender = ReportSender { observations: observations_tx, requests: requests_tx };
    (sender, ReportReceiver { observations, requests })
}
