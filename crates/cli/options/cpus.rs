//! Lists of processors on the command line.

use anyhow::Context;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use nsrouter_lab::Error;

/// Numbers of processors, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List(pub(crate) Vec<usize>);

impl List {
    /// Confines this thread, and all threads and processes that come from it, to them.
    ///
    /// # Errors
    /// As [`check`].
    pub(crate) fn confine(&self) -> anyhow::Result<()> {
        check(&self.0)?;
        let mut set = CpuSet::new();
        self.0.iter().try_for_each(|&cpu| set.set(cpu))?;
        sched_setaffinity(Pid::from_raw(0), &set).context("these processors cannot be used")
    }
}

/// The most that a list may name, so that a range cannot fill the memory.
const LIMIT: usize = 4096;

/// Reads a list like `0,1` or `0-3,8`.
pub(crate) fn parse(text: &str) -> Result<List, String> {
    let number = |text: &str| {
        text.trim().parse::<usize>().map_err(|_| format!("`{text}` is no processor; write 0,1 or 0-3"))
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => cpus.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last || last - first >= LIMIT {
                    return Err(format!("`{part}` is no range of processors"));
                }
                cpus.extend(first..=last);
            }
        }
    }
    Ok(List(cpus))
}

/// Sees that this process may run on each of them.
///
/// # Errors
/// A usage error that names those on which it may.
pub(crate) fn check(cpus: &[usize]) -> anyhow::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let allowed =
        sched_getaffinity(Pid::from_raw(0)).context("cannot tell on which processors this may run")?;
    match cpus.iter().find(|cpu| !allowed.is_set(**cpu).unwrap_or(false)) {
        None => Ok(()),
        Some(cpu) => {
            let may: Vec<String> = (0..LIMIT)
                .filter(|cpu| allowed.is_set(*cpu).unwrap_or(false))
                .map(|cpu| cpu.to_string())
                .collect();
            Err(Error::Usage(format!(
                "there is no processor {cpu} for this process; it may use {}",
                may.join(", ")
            ))
            .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read() {
        assert_eq!(parse("0"), Ok(List(vec![0])));
        assert_eq!(parse("1,0"), Ok(List(vec![1, 0])));
        assert_eq!(parse("0-2,7"), Ok(List(vec![0, 1, 2, 7])));
        for text in ["", "a", "1-", "3-1", "0-9999999", "-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_processor_that_is_not_there_is_an_error() {
        assert!(check(&[]).is_ok());
        assert!(check(&[4095]).is_err());
    }
}
