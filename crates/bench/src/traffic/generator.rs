//! The generator of TCP and plain UDP: iperf3, iperf 2 or the built-in one, as far as they are installed.

use std::fmt;

use super::programs::ProgramError;
use super::programs::iperf::{self, IperfError};
use super::programs::iperf3::{self, Iperf3Error};
use crate::plan::TrafficChoice;

/// A generator that this machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Generator {
    /// iperf3.
    Iperf3 {
        /// Name and version, as the program prints them.
        version: String,
    },
    /// iperf 2.
    Iperf {
        /// Name and version, as the program prints them.
        version: String,
    },
    /// The built-in generator.
    Builtin,
}

/// The generator that was asked for is not available.
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
    /// The generator that a choice comes to on this machine.
    ///
    /// # Errors
    /// iperf3 or iperf was asked for by name and is not installed, or cannot be started.
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
