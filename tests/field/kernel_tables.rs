//! Links, addresses, routes and next hops as ip(8) changes them while the router runs.

use libtest_mimic::Trial;

use crate::common::Case;

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}
