//! CPU lists of the command line: a CPU that is not available is a usage error.

use nsrouter_lab::Error;
use nsrouter_linux::affinity::{self, AffinityError};

/// Checks that this process may run on each of these CPUs.
///
/// # Errors
/// A usage error that names those on which it may.
pub(crate) fn check(cpus: &[usize]) -> anyhow::Result<()> {
    match affinity::check(cpus) {
        Err(error @ AffinityError::Unavailable { .. }) => Err(Error::Usage(error.to_string()).into()),
        outcome => Ok(outcome?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_is_not_available_is_a_usage_error() {
        assert!(check(&[]).is_ok());
        let error = check(&[4095]).expect_err("no machine has as many");
        assert!(
            matches!(error.downcast_ref(), Some(Error::Usage(text)) if text.contains("CPU 4095")),
            "{error}"
        );
    }
}
