//! Why an agent has no samples.

use std::io;
use std::net::IpAddr;

use crate::testbed::TestbedError;
use crate::testbed::counters::CounterError;
use crate::testbed::routes::RoutesError;
use crate::testbed::script::ScriptError;
use crate::traffic::{GeneratorError, Iperf3Error, IperfError, PingError, TrafficError};

/// Why a scenario was not measured.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The lab is not what a benchmark needs.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// Another forwarder did not forward.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The routes were not loaded.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// The server's host did not answer an echo in time.
    #[error("{target} answers no echo from the client's host: nothing is forwarded")]
    NoPath {
        /// The address that was asked.
        target: IpAddr,
    },
    /// The generator that was asked for is not available.
    #[error(transparent)]
    Choice(#[from] GeneratorError),
    /// The scenario's rate is a share of a rate that was not given.
    #[error("the scenario's rate is a share of a rate that is not known")]
    NoRate,
    /// The built-in generator.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// iperf3.
    #[error(transparent)]
    Iperf3(#[from] Iperf3Error),
    /// iperf 2.
    #[error(transparent)]
    Iperf(#[from] IperfError),
    /// ping.
    #[error(transparent)]
    Ping(#[from] PingError),
    /// The built-in echo's raw socket.
    #[error("echo")]
    Echo(#[source] io::Error),
    /// Too few replies for a latency to mean anything.
    #[error("of {sent} echo requests only {answered} were answered")]
    Lossy {
        /// Requests.
        sent: u32,
        /// Requests that were answered.
        answered: u32,
    },
    /// The kernel's counters.
    #[error(transparent)]
    Counters(#[from] CounterError),
}
