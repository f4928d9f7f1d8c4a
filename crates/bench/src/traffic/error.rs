//! Why the built-in generator gave no samples.

use std::io;

use crate::testbed::TestbedError;
use crate::testbed::counters::CounterError;

/// Traffic that could not be sent, or did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// A socket of the generator.
    #[error("the built-in generator")]
    Socket(#[source] io::Error),
    /// The load was sent, and nothing of it arrived.
    #[error("nothing of what was sent arrived")]
    NothingArrived,
    /// The frame size holds no datagram of this family. A scenario that was parsed never has one.
    #[error("the scenario's frames hold no datagram")]
    FrameSize,
    /// The kernel's counters.
    #[error(transparent)]
    Counters(#[from] CounterError),
    /// A host lacks an address or an interface, or cannot be entered.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
}
