//! Measuring and reporting: forwarding modes compared on one machine, in one run, so that the difference can
//! be believed.
//!
//! A [`plan::Plan`] names modes and scenarios and orders their cells. [`run::run`] measures the cells one by
//! one: each starts the real binary as a user would ([`run::cell`]), with a private lab that ends with it,
//! and inside that lab the binary's `bench-agent` ([`agent`]) makes the traffic between two hosts
//! ([`testbed`], [`traffic`]). [`stats`] turns samples into medians, intervals and ratios, [`report`] puts
//! them together, [`export`] writes tables and files. [`metric`] has every metric in one table.
//!
//! What it measures is a program whose path it is given: the crate uses `wire`, `lab` and `linux`, and never
//! `router`, `rings` or `engine`, so that the measurement stays independent of what it measures.
//!
//! Samples of two modes, by round, and what they say:
//!
//! ```
//! use nsrouter_bench::metric::{Better, Metric};
//! use nsrouter_bench::stats::{bootstrap_median, bootstrap_ratio};
//!
//! // Five rounds, in Gb/s. The machine slowed down meanwhile, and both modes with it.
//! let kernel = [(0, 16.1), (1, 15.8), (2, 14.2), (3, 13.9), (4, 13.7)];
//! let userspace = [(0, 12.0), (1, 11.9), (2, 10.6), (3, 10.5), (4, 10.2)];
//!
//! let seed = 7;
//! let values: Vec<f64> = userspace.iter().map(|(_, value)| *value).collect();
//! let estimate = bootstrap_median(&values, seed).unwrap();
//! assert_eq!(estimate.median, 10.6);
//!
//! // Rounds are resampled together, so the slowdown is not in the interval of the ratio.
//! let ratio = bootstrap_ratio(&userspace, &kernel, seed).unwrap();
//! assert!(ratio.differs, "three quarters of the kernel's throughput, and significantly so");
//! assert!(ratio.estimate.ci95[0] > 0.74 && ratio.estimate.ci95[1] < 0.77);
//! assert_eq!(Metric::Throughput.better(), Better::More);
//! ```

#![forbid(unsafe_code)]

pub mod agent;
pub mod export;
pub mod metric;
pub mod plan;
pub mod report;
pub mod run;
pub mod stats;
pub mod testbed;
pub mod text;
pub mod traffic;
mod units;

/// Holds the README to what there is.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
