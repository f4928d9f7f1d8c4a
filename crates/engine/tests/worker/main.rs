//! The engine between memory rings: no kernel, no privileges, every counter accounted for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod forwarding;
mod ports;
mod testbed;
