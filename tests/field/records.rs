//! Labs on machines that are odd, read-only, full or somebody else's; what a killed lab leaves and what clean makes of it.

use libtest_mimic::Trial;

use crate::common::Case;

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}
