//! Many ports, scans and stopped processes: nothing is starved, nothing waits for ever.

use libtest_mimic::Trial;

use crate::common::Case;

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}
