//! Who may still read older tables: each snapshot carries a token of its generation, and what readers of a
//! generation may be inside of waits until nobody has that token any more.

use std::collections::VecDeque;
use std::sync::Arc;

/// Generations of tables, and what waits for the readers of each and of all before it.
#[derive(Debug)]
pub(super) struct Generations<T> {
    /// The token of the tables that are taken now.
    token: Arc<()>,
    number: u64,
    /// The tokens of the generations right before, the oldest first.
    waiting: VecDeque<(Arc<()>, T)>,
}

impl<T> Default for Generations<T> {
    fn default() -> Self {
        Generations { token: Arc::default(), number: 1, waiting: VecDeque::new() }
    }
}

impl<T: Default> Generations<T> {
    /// The number of the generation of the tables that were taken last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Begins a generation: its token, for the tables that are taken now. `left` waits for the readers of all
    /// before.
    pub(super) fn begin(&mut self, left: T) -> Arc<()> {
        let before = std::mem::take(&mut self.token);
        self.waiting.push_back((before, left));
        self.number += 1;
        Arc::clone(&self.token)
    }

    /// What waits no more, generation by generation: the oldest first, as a reader of an older generation may
    /// still be inside of anything that was left later.
    pub(super) fn take_unread(&mut self) -> Option<T> {
        // Unique for sure, and whatever its last reader did before letting go is done.
        Arc::get_mut(&mut self.waiting.front_mut()?.0)?;
        self.waiting.pop_front().map(|(_, left)| left)
    }

    /// The oldest generation that somebody may still read, as far as [`Generations::take_unread`] has come.
    pub(super) fn oldest_read(&self) -> u64 {
        self.number - self.waiting.len() as u64
    }

    /// Forgets what waits; who reads which generation is still known.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.iter_mut().for_each(|(_, left)| *left = T::default());
    }
}
