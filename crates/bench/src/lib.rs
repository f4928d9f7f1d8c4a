//! Measuring and reporting: forwarding modes compared on one machine, in one run, so that the difference can be believed.
//!
//! A [`plan::Plan`] names modes and scenarios and orders their cells. [`run::run`] measures them one by one: each cell
//! starts the real binary as a user would ([`cell`]), with a lab of its own that nothing outlives, and inside that lab the
//! binary's `bench-agent` makes the traffic ([`agent`], [`traffic`]). [`stats`] turns samples into medians, intervals and
//! ratios, [`report`] into a table, [`output`] into files.
//!
//! This crate knows no other crate of the workspace: what it measures is a program, whose path it is given.

#![forbid(unsafe_code)]

pub mod agent;
pub mod baseline;
pub mod cell;
pub mod environment;
mod histogram;
pub mod host;
mod html;
mod latency;
mod markdown;
mod meter;
mod mode;
pub mod output;
pub mod place;
pub mod plan;
mod plot;
pub mod report;
mod routes;
pub mod run;
mod scenario;
mod script;
pub mod setting;
pub mod speed;
pub mod stats;
pub mod table;
pub mod traffic;
mod warnings;
