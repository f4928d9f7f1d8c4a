//! The routes of the kernel's main table, followed change by change.

use std::future::pending;

use nsrouter_router::{Origin, Placement, Route, RouteTable, TablesError};
use tokio::task::JoinHandle;

use crate::control::monitor::RouteChange;

/// The forwarding table, and how it follows the kernel's.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) table: RouteTable,
    /// When the whole of the kernel's table is to be asked for, in nanoseconds of the engine's clock.
    due_ns: Option<u64>,
    /// The question, while the answer comes.
    asked: Option<JoinHandle<Option<Vec<Route>>>>,
    /// What the kernel told since asking was due, oldest first.
    meanwhile: Vec<RouteChange>,
    changed: bool,
}

impl Routes {
    pub(super) fn new(table: RouteTable) -> Routes {
        Routes { table, due_ns: None, asked: None, meanwhile: Vec::new(), changed: false }
    }

    /// The whole table is asked for at this time, or earlier if that was said before.
    pub(super) fn ask_at(&mut self, due_ns: u64) {
        self.due_ns.get_or_insert(due_ns);
    }

    /// When to ask next. While an answer is awaited nothing is asked.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.due_ns.filter(|_| self.asked.is_none())
    }

    /// Asks for the whole table when it is time to.
    pub(super) fn ask_if_due<F>(&mut self, now_ns: u64, question: impl FnOnce() -> F)
    where
        F: Future<Output = Option<Vec<Route>>> + Send + 'static,
    {
        if self.due_ns().is_some_and(|due| due <= now_ns) {
            self.due_ns = None;
            self.asked = Some(tokio::spawn(question()));
        }
    }

    /// The answer, or nothing if it broke off; never where nothing was asked.
    pub(super) async fn asked(&mut self) -> Option<Vec<Route>> {
        let Some(asked) = &mut self.asked else { return pending().await };
        asked.await.ok().flatten()
    }

    /// Makes a change, or keeps it until the whole table is there that is asked for, so that nothing overtakes what made
    /// asking necessary. `later` is when to ask for the whole table if the change does
    /// not fit to what is known.
    pub(super) fn take(
        &mut self,
        change: RouteChange,
        later: impl FnOnce() -> u64,
    ) -> Result<(), TablesError> {
        if self.asked.is_some() || self.due_ns.is_some() {
            self.meanwhile.push(change);
            return Ok(());
        }
        if !self.apply(&change)? {
            self.ask_at(later());
        }
        Ok(())
    }

    /// Makes the learned routes those of the answer, and then what was told meanwhile. Returns what did not fit.
    pub(super) fn take_all(&mut self, routes: Option<&[Route]>) -> Vec<TablesError> {
        self.asked = None;
        self.changed = true;
        let mut errors = Vec::new();
        if let Some(routes) = routes {
            let table = &mut self.table;
            let each = routes.iter().map(|route| table.insert(Origin::Learned, Placement::Last, route));
            errors.extend(each.filter_map(Result::err));
            errors.extend(self.table.retain(Origin::Learned, routes).err());
        }
        for change in std::mem::take(&mut self.meanwhile) {
            errors.extend(self.apply(&change).err());
        }
        errors
    }

    /// Whether something changed since last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Makes a change; false when it does not fit to what is known.
    fn apply(&mut self, change: &RouteChange) -> Result<bool, TablesError> {
        self.changed = true;
        match change {
            RouteChange::Insert(placement, route) => {
                self.table.insert(Origin::Learned, *placement, route).map(|()| true)
            }
            RouteChange::Remove(route) => self.table.remove(Origin::Learned, route),
            RouteChange::Displace(prefix, metric) => {
                self.table.remove_first(Origin::Learned, *prefix, *metric).map(|_| true)
            }
        }
    }
}
