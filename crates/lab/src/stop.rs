//! A request to stop, for operations that take a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// A request to stop, shared by all its copies. Building a lab checks it between two steps, and takes down
/// what it has built.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Requests the stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Checks whether to go on; call it between two steps.
    ///
    /// # Errors
    /// [`Error::Stopped`] once a stop was requested.
    pub fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }
}
