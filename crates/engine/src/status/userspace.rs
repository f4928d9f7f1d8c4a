//! The status of a userspace engine, from the state that its threads share.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use nsrouter_router::{Counters, DropReason, PortCounters, Tables};
use nsrouter_wire::frame::PortId;

use crate::shared::{PortEntry, Shared, lock};
use crate::status::{Events, HostPort, NeighbourStatus, PortStatus, Status, Totals, WorkerStatus};

/// Facts about an engine that do not change while it runs.
#[derive(Debug)]
pub(crate) struct Description {
    /// Name of the backend under the ports.
    pub(crate) backend: String,
    pub(crate) host: HostPort,
    /// The host port's MTU, where there is one.
    pub(crate) host_mtu: u32,
    /// The CPUs that the workers are pinned to, in turn.
    pub(crate) cpus: Vec<usize>,
}

impl Description {
    /// The CPU that a worker is pinned to, if any.
    pub(crate) fn cpu_of(&self, worker: usize) -> Option<usize> {
        self.cpus.get(worker % self.cpus.len().max(1)).copied()
    }
}

/// The engine's state and counters.
pub(crate) fn status(description: &Description, shared: &Shared) -> Status {
    let counters = shared.counters();
    let tables = shared.tables.load();
    let entries = shared.ports();
    let host_port = description.host.available.then(|| PortStatus {
        name: description.host.interface.clone(),
        up: true,
        mtu: description.host_mtu,
        addresses: entries.keys().flat_map(|slot| addresses(&tables, *slot)).collect(),
        ..counted(&counters.host)
    });
    Status {
        mode: "userspace".to_owned(),
        backend: description.backend.clone(),
        workers: workers(description, shared),
        guard: guards(&entries),
        host_port: description.host.clone(),
        ports: ports(&entries, &tables, &counters),
        host_ports: host_port.into_iter().collect(),
        routes: Some(shared.prefixes.load(Ordering::Relaxed)),
        totals: totals(&counters),
        drops: DropReason::ALL
            .iter()
            .map(|reason| (reason.name().to_owned(), counters.drops(*reason)))
            .filter(|(_, frames)| *frames > 0)
            .collect(),
        events: events(&counters, shared.neighbours_evicted.load(Ordering::Relaxed)),
        neighbours: neighbours(&entries, shared),
        warnings: shared.warnings(),
    }
}

/// The ports, in the order of their slots.
pub(crate) fn ports(
    entries: &BTreeMap<PortId, PortEntry>,
    tables: &Tables,
    counters: &Counters,
) -> Vec<PortStatus> {
    let row = |(slot, entry): (&PortId, &PortEntry)| PortStatus {
        name: entry.name.clone(),
        up: tables.port(*slot).is_some_and(|port| port.is_up()) && entry.has_carrier,
        mac: entry.mac.to_string(),
        mtu: tables.port(*slot).map_or(0, |port| port.mtu_bytes()),
        addresses: addresses(tables, *slot).collect(),
        ..counted(&counters.port(*slot))
    };
    entries.iter().map(row).collect()
}

fn addresses(tables: &Tables, slot: PortId) -> impl Iterator<Item = String> {
    tables.port(slot).into_iter().flat_map(|port| port.addresses()).map(|net| net.to_string())
}

/// How the ports' frames are kept from the kernel.
fn guards(ports: &BTreeMap<PortId, PortEntry>) -> String {
    let mut guards = ports.values().filter_map(|entry| entry.guard.as_ref());
    match guards.clone().find_map(|guard| guard.as_ref().err()) {
        Some(reason) => format!("sysctl ({reason})"),
        None => match guards.next() {
            Some(guard) => guard.clone().unwrap_or_default().to_owned(),
            None => "not needed".to_owned(),
        },
    }
}

fn workers(description: &Description, shared: &Shared) -> Vec<WorkerStatus> {
    let workers = shared.workers.iter().zip(0..);
    workers
        .map(|(worker, number)| WorkerStatus {
            received: lock(&worker.counters).received,
            cpu: description.cpu_of(number),
            ended: worker.has_ended() && !shared.is_stopping(),
        })
        .collect()
}

fn neighbours(ports: &BTreeMap<PortId, PortEntry>, shared: &Shared) -> Vec<NeighbourStatus> {
    let list = lock(&shared.neighbours);
    let named = list.iter().filter_map(|entry| Some((ports.get(&entry.port)?, entry)));
    named
        .map(|(port, entry)| NeighbourStatus {
            port: port.name.clone(),
            address: entry.addr.to_string(),
            mac: entry.mac.map(|mac| mac.to_string()),
            state: entry.state.to_owned(),
        })
        .collect()
}

/// A port's row as far as its counters fill it.
fn counted(count: &PortCounters) -> PortStatus {
    PortStatus {
        rx_frames: count.rx_frames,
        rx_bytes: count.rx_bytes,
        rx_lost: count.rx_lost,
        tx_frames: count.tx_frames,
        tx_bytes: count.tx_bytes,
        tx_dropped: count.tx_dropped,
        ..PortStatus::default()
    }
}

fn events(counters: &Counters, neighbours_evicted: u64) -> Events {
    Events {
        icmp_errors: counters.icmp_errors,
        icmp_rate_limited: counters.icmp_rate_limited,
        originate_no_buffer: counters.originate_no_buffer,
        neighbours_evicted,
        lookups: counters.lookups,
    }
}

fn totals(counters: &Counters) -> Totals {
    Totals {
        received: counters.received,
        originated: counters.originated,
        sent: counters.sent,
        to_host: counters.to_host,
        consumed: counters.consumed,
        held: counters.held,
        dropped: counters.dropped_total(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Sets every counter to a number of its own, and looks for each under its name.
    #[test]
    fn every_counter_of_the_router_is_in_the_status() {
        let (mut router, mut port) = (Counters::default(), PortCounters::default());
        for (value, counter) in (100..).zip(&Counters::TABLE) {
            *counter.value_mut(&mut router) = value;
        }
        for (value, counter) in (200..).zip(&PortCounters::TABLE) {
            *counter.value_mut(&mut port) = value;
        }
        let totals = serde_json::to_value(totals(&router)).unwrap();
        let events = serde_json::to_value(events(&router, 7)).unwrap();
        for counter in &Counters::TABLE {
            let shown = [&totals, &events].into_iter().find_map(|object| object.get(counter.name));
            assert_eq!(shown, Some(&counter.value(&router).into()), "{}", counter.name);
        }
        let row = serde_json::to_value(counted(&port)).unwrap();
        for counter in &PortCounters::TABLE {
            assert_eq!(row[counter.name], counter.value(&port), "{}", counter.name);
        }
    }
}
