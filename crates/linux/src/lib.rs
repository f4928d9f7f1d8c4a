//! What the Linux kernel reports and accepts, once for all crates: `/proc`, sysctls, ethtool, network
//! namespaces, CPU affinity.
//!
//! Parsers are pure functions over text or bytes, so that they are tested without a kernel; everything else
//! acts on the calling thread and the network namespace that it is in. Nothing here knows about routers or
//! labs, and nothing is unsafe.
//!
//! ```
//! use nsrouter_linux::procfs::{self, net_dev};
//!
//! // The interface counters of the calling thread's namespace. The open file stays with that namespace.
//! let file = procfs::open_net("dev")?;
//! let text = procfs::read_from_start(&file)?;
//! for (name, counters) in net_dev::interfaces(&text) {
//!     println!("{name}: received {}, dropped on transmit {}", counters.rx_packets, counters.tx_dropped);
//! }
//! assert!(net_dev::interfaces(&text).any(|(name, _)| name == "lo"));
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod affinity;
pub mod ethtool;
mod genetlink;
pub mod netlink;
pub mod netns;
pub mod procfs;
pub mod silence;
pub mod sysctl;
pub mod whole_file;

/// Holds the example of the README to what compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
