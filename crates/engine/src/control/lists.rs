//! Lists that the kernel keeps, read at the start, after losses and where it tells nothing of changes: links,
//! addresses, static neighbours, rules, routes.

use crate::control::Control;
use crate::control::routes::Routed;
use crate::netlink::event::StaticNeighbour;
use crate::netlink::monitor::{Answer, Monitor};
use crate::netlink::socket::ListError;

/// How long after a list could not be read it is read again, in nanoseconds.
const AGAIN_NS: u64 = 100_000_000;

/// Changes that are followed before a list of the routes is used: those of the time in which it was read.
const CHANGES_MEANWHILE: usize = 16 * 1024;

/// Takes the time out when it has come.
fn take_due(due_ns: &mut Option<u64>, now_ns: u64) -> bool {
    due_ns.take_if(|due| *due <= now_ns).is_some()
}

impl Control {
    /// Reads the lists that are due, except that of the routes, and follows them.
    pub(super) async fn read_lists(&mut self, monitor: &Monitor) {
        let now = self.shared.clock.now_ns();
        if take_due(&mut self.lists_due.links_ns, now) {
            let answer = monitor.links().await;
            self.lists_due.links_ns = self.retry_at("the links", &answer);
            self.take_links(answer);
        }
        if take_due(&mut self.lists_due.addresses_ns, now) {
            self.read_addresses(monitor).await;
        }
        if take_due(&mut self.lists_due.neighbours_ns, now) {
            let answer = monitor.neighbours().await;
            self.lists_due.neighbours_ns = self.retry_at("the neighbours that were set by hand", &answer);
            self.take_neighbours(answer);
        }
        if take_due(&mut self.lists_due.rules_ns, now) {
            let answer = monitor.rules().await;
            self.lists_due.rules_ns = self.retry_at("the rules of policy routing", &answer);
            if let Ok(Answer { found, .. }) = answer {
                self.unsupported_rules = found;
                self.publish_unsupported();
            }
        }
    }

    /// When to read a list again that could not be read as a whole.
    pub(super) fn retry_at<T>(&self, list: &str, answer: &Result<Answer<T>, ListError>) -> Option<u64> {
        match answer {
            Ok(Answer { is_whole: true, .. }) => return None,
            Ok(Answer { is_whole: false, .. }) => {}
            Err(error) => self.shared.warn(format!("{list} could not be read at once: {error}")),
        }
        Some(self.shared.clock.now_ns() + AGAIN_NS)
    }

    /// Takes over the whole of the kernel's main table, or schedules another reading if the answer broke off.
    pub(super) fn take_routes(&mut self, answer: Option<Routed>, monitor: &mut Monitor) {
        // A change that was told while the table was read may be in it or not.
        for _ in 0..CHANGES_MEANWHILE {
            let Some(event) = monitor.try_next() else { break };
            self.handle_event(event, monitor);
        }
        let again = answer.as_ref().is_none_or(|answer| self.retry_at("the routes", answer).is_some());
        let now = self.shared.clock.now_ns();
        let answer = answer.and_then(Result::ok);
        self.routes.take_all(answer.as_ref(), now).iter().for_each(|error| self.warn_of_tables(error));
        if again {
            self.routes.ask_at(now + AGAIN_NS);
        }
    }

    /// Takes over the neighbours that were set by hand.
    fn take_neighbours(&mut self, answer: Result<Answer<StaticNeighbour>, ListError>) {
        let Ok(Answer { found, is_whole }) = answer else { return };
        let is_found = |entry: &StaticNeighbour| {
            found.iter().any(|other| (other.ifindex, other.address) == (entry.ifindex, entry.address))
        };
        let gone: Vec<StaticNeighbour> = self
            .static_neighbours
            .values()
            .filter(|entry| is_whole && !is_found(entry))
            .map(|entry| StaticNeighbour { mac: None, ..entry.clone() })
            .collect();
        found.into_iter().chain(gone).for_each(|entry| self.neighbour_changed(entry));
    }

    /// A neighbour that is set by hand is never resolved, and never changed by what the network says. It is
    /// named with its port's interface, or with the host port where its address says which port is meant.
    pub(super) fn neighbour_changed(&mut self, entry: StaticNeighbour) {
        let Some(next_hop) = self.plan.neighbour(entry.ifindex, entry.address) else { return };
        match entry.mac {
            Some(mac) => {
                self.neighbours.set_permanent(next_hop, mac, &mut self.actions);
                self.static_neighbours.insert(next_hop, entry);
            }
            None if self.static_neighbours.get(&next_hop).is_some_and(|old| old.ifindex == entry.ifindex) => {
                self.static_neighbours.remove(&next_hop);
                self.neighbours.forget(next_hop);
            }
            None => {}
        }
    }
}
