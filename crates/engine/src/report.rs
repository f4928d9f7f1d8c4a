//! Reports of the workers to the control thread: three channels, which all workers share.
//!
//! Observations keep traffic alive, so they have a channel of their own. Requests to resolve unknown
//! neighbours, which any host can cause by the hundred thousand, have another. Answers to commands about
//! ports, which must not be lost, have an unbounded one: there are no more of them than such commands.

use std::io;

use crossbeam_channel::{Receiver, Sender};
use nsrouter_rings::port::QueuePair;
use nsrouter_router::Event;
use nsrouter_wire::frame::PortId;

use crate::port::PortHandle;

/// Events that may wait in each bounded channel.
const CAPACITY: usize = 1024;

/// A worker's answer to a command about a port.
#[derive(Debug)]
pub(crate) struct PortReport {
    /// The worker's number.
    pub(crate) worker: usize,
    pub(crate) handle: PortHandle,
    pub(crate) outcome: PortOutcome,
}

/// What a worker did about a port.
#[derive(Debug)]
pub(crate) enum PortOutcome {
    /// It has taken over its queues.
    Added,
    /// It cannot sleep on its receive queue: here are its queues again.
    Refused(io::Error, QueuePair),
    /// It has let go of the port: no frame of its, and no report, refers to the port any more.
    Removed(QueuePair),
}

/// A worker's end.
#[derive(Clone, Debug)]
pub(crate) struct ReportSender {
    /// Neighbours that showed themselves, and conflicts over the router's own addresses.
    pub(crate) observations: Sender<Event>,
    /// Unknown neighbours that are to be resolved.
    pub(crate) requests: Sender<Event>,
    /// Answers to commands about ports.
    pub(crate) ports: Sender<PortReport>,
}

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct ReportReceiver {
    /// Neighbours that showed themselves, and conflicts over the router's own addresses: read first.
    pub(crate) observations: Receiver<Event>,
    /// Unknown neighbours that are to be resolved.
    pub(crate) requests: Receiver<Event>,
    /// Answers to commands about ports.
    pub(crate) ports: Receiver<PortReport>,
}

/// All three channels.
pub(crate) fn channel() -> (ReportSender, ReportReceiver) {
    let (observations_tx, observations) = crossbeam_channel::bounded(CAPACITY);
    let (requests_tx, requests) = crossbeam_channel::bounded(CAPACITY);
    let (ports_tx, ports) = crossbeam_channel::unbounded();
    let sender = ReportSender { observations: observations_tx, requests: requests_tx, ports: ports_tx };
    (sender, ReportReceiver { observations, requests, ports })
}

/// The port that an event is about.
pub(crate) fn port_of(event: &Event) -> PortId {
    match event {
        Event::NeighbourSeen { port, .. } | Event::AddressConflict { port, .. } => *port,
        Event::Unresolved { next_hop, .. } | Event::InUse(next_hop) => next_hop.port,
    }
}
