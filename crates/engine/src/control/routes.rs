//! The routes of the kernel's main table, followed change by change.

use std::collections::BTreeMap;
use std::future::pending;

use ipnet::IpNet;
use nsrouter_router::{InsertMode, Origin, Rib, Route, TablesError};
use tokio::task::JoinHandle;

use crate::netlink::event::RouteChange;
use crate::netlink::monitor::Answer;
use crate::netlink::route::KernelRoute;
use crate::netlink::socket::ListError;

/// Changes that may wait for the whole table. More make the answer worthless, and it is asked for again.
const MEANWHILE: usize = 1 << 17;
/// Routes that are named one by one where they are not taken over; of more only the number is told.
const NAMED: usize = 16;

/// The kernel's routes, or why they could not be read.
pub(super) type Routed = Result<Answer<KernelRoute>, ListError>;

/// The forwarding table, and how it follows the kernel's.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) table: Rib,
    /// When the whole of the kernel's table is to be asked for, in nanoseconds of the engine's clock.
    due_ns: Option<u64>,
    /// When the first route ends that was given a lifetime.
    expiry_ns: Option<u64>,
    /// The question, while the answer comes.
    asked: Option<JoinHandle<Routed>>,
    /// Changes since the list was requested, oldest first; nothing where some were lost.
    meanwhile: Option<Vec<RouteChange>>,
    unsupported: Unsupported,
    changed: bool,
}

/// Routes that are not taken over, or not as a whole.
#[derive(Debug, Default)]
struct Unsupported {
    named: BTreeMap<(IpNet, u32, (u32, u8)), String>,
    more: usize,
    changed: bool,
}

impl Unsupported {
    fn add(&mut self, learned: &KernelRoute) {
        let Some(sentence) = &learned.unsupported else { return self.remove(learned) };
        self.changed = true;
        if self.named.len() < NAMED || self.named.contains_key(&learned.key()) {
            self.named.insert(learned.key(), sentence.clone());
        } else {
            self.more += 1;
        }
    }

    fn remove(&mut self, learned: &KernelRoute) {
        if self.named.remove(&learned.key()).is_some() {
            self.changed = true;
        } else if learned.unsupported.is_some() && self.more > 0 {
            self.more -= 1;
            self.changed = true;
        }
    }
}

impl Routes {
    pub(super) fn new(table: Rib) -> Routes {
        Routes {
            table,
            due_ns: None,
            expiry_ns: None,
            asked: None,
            meanwhile: None,
            unsupported: Unsupported::default(),
            changed: false,
        }
    }

    /// The whole table is asked for at this time, or earlier if that was said before.
    pub(super) fn ask_at(&mut self, due_ns: u64) {
        self.due_ns.get_or_insert(due_ns);
    }

    /// The kernel's routes mean other ports from now on: an answer under way is worthless, and the whole
    /// table is asked for.
    pub(super) fn start_again(&mut self, now_ns: u64) {
        self.asked.take().inspect(JoinHandle::abort);
        self.meanwhile = None;
        self.ask_at(now_ns);
    }

    /// Some of what the kernel told was lost.
    pub(super) fn lost(&mut self) {
        self.meanwhile = None;
    }

    /// When to ask next. While an answer is awaited nothing is asked.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.due_ns.into_iter().chain(self.expiry_ns).min().filter(|_| self.asked.is_none())
    }

    /// Asks for the whole table when it is time to.
    pub(super) fn ask_if_due<F>(&mut self, now_ns: u64, question: impl FnOnce() -> F)
    where
        F: Future<Output = Routed> + Send + 'static,
    {
        if self.due_ns().is_some_and(|due| due <= now_ns) {
            (self.due_ns, self.expiry_ns) = (None, None);
            self.meanwhile = Some(Vec::new());
            self.asked = Some(tokio::spawn(question()));
        }
    }

    /// The answer, or nothing if the question came to a sudden end; never where nothing was asked.
    pub(super) async fn asked(&mut self) -> Option<Routed> {
        let Some(asked) = &mut self.asked else { return pending().await };
        asked.await.ok()
    }

    /// Makes a change, or keeps it until the whole table is there that was asked for. What comes before it is
    /// asked for is in the answer. `later` is when to ask for the whole table if the change does not fit to
    /// what is known.
    pub(super) fn take(
        &mut self,
        change: RouteChange,
        now_ns: u64,
        later_ns: u64,
    ) -> Result<(), TablesError> {
        if self.asked.is_some() {
            match &mut self.meanwhile {
                Some(meanwhile) if meanwhile.len() < MEANWHILE => meanwhile.push(change),
                Some(_) | None => {
                    self.meanwhile = None;
                    self.ask_at(later_ns);
                }
            }
            return Ok(());
        }
        if self.due_ns.is_none() && !self.apply(&change, now_ns)? {
            self.ask_at(later_ns);
        }
        Ok(())
    }

    /// Makes the learned routes those of the answer, and then what was told meanwhile. Of an answer that may
    /// lack something only what it has counts. Returns what did not fit.
    pub(super) fn take_all(&mut self, answer: Option<&Answer<KernelRoute>>, now_ns: u64) -> Vec<TablesError> {
        self.asked = None;
        self.changed = true;
        let mut errors = Vec::new();
        if let Some(Answer { found, is_whole }) = answer {
            self.unsupported = Unsupported { changed: true, ..Unsupported::default() };
            let routes: Vec<Route> =
                found.iter().filter(|learned| learned.is_main()).filter_map(KernelRoute::route).collect();
            let table = &mut self.table;
            let each = routes.iter().map(|route| table.insert(Origin::Learned, InsertMode::Append, route));
            errors.extend(each.filter_map(Result::err));
            if *is_whole {
                errors.extend(self.table.retain(Origin::Learned, &routes).err());
            }
            for learned in found {
                self.unsupported.add(learned);
                self.expect_end(learned, now_ns);
            }
        }
        for change in self.meanwhile.take().into_iter().flatten() {
            errors.extend(self.apply(&change, now_ns).err());
        }
        errors
    }

    /// Whether something changed since last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Sentences on routes that are not taken over, if they changed since the last call.
    pub(super) fn take_unsupported(&mut self) -> Option<Vec<String>> {
        if !std::mem::take(&mut self.unsupported.changed) {
            return None;
        }
        let more = self.unsupported.more;
        let more = (more > 0).then(|| format!("{more} more routes are not taken over"));
        Some(self.unsupported.named.values().cloned().chain(more).collect())
    }

    /// An IPv6 route with a lifetime is used no longer than that, but the kernel removes it some time later
    /// (`fib6_age`).
    fn expect_end(&mut self, learned: &KernelRoute, now_ns: u64) {
        /// The kernel's clock need not have ticked yet.
        const MARGIN_NS: u64 = 20_000_000;
        if let Some(lifetime_ns) = learned.lifetime_ns {
            let end = now_ns.saturating_add(lifetime_ns).saturating_add(MARGIN_NS);
            self.expiry_ns = Some(self.expiry_ns.map_or(end, |first| first.min(end)));
        }
    }

    /// Makes a change; false when it does not fit to what is known.
    fn apply(&mut self, change: &RouteChange, now_ns: u64) -> Result<bool, TablesError> {
        self.changed = true;
        match change {
            RouteChange::Insert(placement, learned) => {
                self.unsupported.add(learned);
                self.expect_end(learned, now_ns);
                match (learned.route().filter(|_| learned.is_main()), placement) {
                    (Some(route), placement) => {
                        self.table.insert(Origin::Learned, *placement, &route).map(|()| true)
                    }
                    // The first route with this prefix and metric gave way to one that is not ours.
                    (None, InsertMode::Replace) if learned.is_main() => {
                        let removed =
                            self.table.remove_first(Origin::Learned, learned.prefix, learned.metric);
                        removed.map(|_| true)
                    }
                    (None, InsertMode::Replace | InsertMode::Prepend | InsertMode::Append) => Ok(true),
                }
            }
            RouteChange::Remove(learned) => {
                self.unsupported.remove(learned);
                match learned.route().filter(|_| learned.is_main()) {
                    Some(route) => self.table.remove(Origin::Learned, &route),
                    None => Ok(true),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
