//! Frames that carry other packets, or more than 64 KiB: tunnels, BIG TCP, segments for the router itself.

use libtest_mimic::Trial;

use crate::common::Case;

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}
