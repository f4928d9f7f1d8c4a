//! Measuring and reporting: forwarding modes compared on one machine, in one run, so that the difference can
//! be believed.
//!
//! A [`plan::Plan`] names modes and scenarios and orders their cells. [`run::run`] measures them one by one:
//! each cell starts the real binary as a user would ([`run::cell`]), with a lab of its own that nothing
//! outlives, and inside that lab the binary's `bench-agent` makes the traffic ([`agent`], [`testbed`],
//! [`traffic`]). [`stats`] turns samples into medians, intervals and ratios, [`report`] puts them together,
//! [`export`] writes tables and files.
//!
//! This crate knows no other crate of the workspace: what it measures is a program, whose path it is given.

#![forbid(unsafe_code)]

pub mod agent;
pub mod export;
pub mod metric;
pub mod plan;
pub mod report;
pub mod run;
pub mod stats;
pub mod testbed;
mod text;
pub mod traffic;
mod units;
