//! Traffic: echo, trace and verified transfers, a raw UDP generator and a TCP generator, all built in, and
//! ping, iperf3 and iperf 2 as clients and servers.
//!
//! Everything here acts in the network namespace of the calling thread. `bench` enters the namespaces of a
//! lab's hosts by [`crate::testbed`], `check` by the crate `nsrouter-lab`.

mod echo;
mod error;
mod generator;
mod icmp;
pub(crate) mod ndr;
pub(crate) mod programs;
pub(crate) mod raw;
pub(crate) mod tcp;
mod trace;
pub(crate) mod udp;
pub mod verified;
pub(crate) mod window;

pub use echo::{EchoOptions, EchoReport, echo};
pub use error::TrafficError;
pub use generator::{Generator, GeneratorError};
pub use programs::ProgramError;
pub use programs::iperf::IperfError;
pub use programs::iperf3::Iperf3Error;
pub use programs::ping::PingError;
pub use trace::{Answer, TraceOptions, trace};
