//! What makes packets: echo, trace and verified transfers of our own, a raw generator, and ping, iperf3 and iperf 2 as real
//! clients and servers.
//!
//! Everything here acts in the network namespace of the thread that calls it. Whoever calls decides where that is:
//! `bench` enters the namespaces of a lab's hosts itself ([`crate::testbed`]), `check` does so through the lab.

mod echo;
mod error;
mod icmp;
pub(crate) mod ndr;
pub(crate) mod programs;
pub(crate) mod raw;
pub(crate) mod tcp;
mod trace;
pub(crate) mod udp;
pub mod verified;
pub(crate) mod window;

use std::fmt;

use crate::plan::TrafficChoice;

pub use echo::{EchoOptions, EchoReport, echo};
pub use error::TrafficError;
pub use programs::ProgramError;
pub use programs::iperf::IperfError;
pub use programs::iperf3::Iperf3Error;
pub use programs::ping::PingError;
use programs::{iperf, iperf3};
pub use trace::{Answer, TraceOptions, trace};

/// The generator that a choice comes to on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Generator {
    /// iperf3.
    Iperf3 {
        /// What it says of itself.
        version: String,
    },
    /// iperf 2.
    Iperf {
        /// What it says of itself.
        version: String,
    },
    /// `builtin`.
    Builtin,
}

/// Why the generator that was asked for cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// iperf3.
    #[error(transparent)]
    Iperf3(#[from] Iperf3Error),
    /// iperf 2.
    #[error(transparent)]
    Iperf(#[from] IperfError),
}

impl Generator {
    /// Looks what there is.
    ///
    /// # Errors
    /// Where iperf3 or iperf was asked for by name and is not there, or cannot be started.
    pub fn choose(choice: TrafficChoice) -> Result<Generator, GeneratorError> {
        match choice {
            TrafficChoice::Builtin => Ok(Generator::Builtin),
            TrafficChoice::Iperf => Ok(Generator::Iperf { version: iperf::version()? }),
            TrafficChoice::Auto | TrafficChoice::Iperf3 => match iperf3::version() {
                Err(Iperf3Error::Program(ProgramError::Missing { .. })) if choice == TrafficChoice::Auto => {
                    Ok(Generator::Builtin)
                }
                version => Ok(Generator::Iperf3 { version: version? }),
            },
        }
    }
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Generator::Iperf3 { version } | Generator::Iperf { version } => f.write_str(version),
            Generator::Builtin => f.write_str("the built-in generator"),
        }
    }
}
