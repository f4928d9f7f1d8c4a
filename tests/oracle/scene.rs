//! One scene: what is sent, and how the counters move.

use crate::stage::Stage;

/// One thing that a router does.
pub struct Scene {
    /// Its name within the subject.
    pub name: &'static str,
    /// Sends the frames.
    pub act: fn(&mut Stage<'_>),
    /// How the userspace router's counters move: totals, and drop reasons. Markers, and questions to
    /// neighbours with their answers, are beside this.
    pub moved: &'static str,
}
