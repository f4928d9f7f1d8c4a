//! CPU affinity: CPU lists, the CPUs that the calling thread may use, and pinning it to some of them.

use std::io;
use std::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The largest range that a CPU list may contain, so that a typing error cannot exhaust memory.
const LONGEST_RANGE: usize = 4096;

/// CPU numbers in the order given, as read from text like `0,1` or `0-3,8` (the kernel's
/// `Cpus_allowed_list`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

/// Why CPUs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AffinityError {
    /// An entry of a CPU list that is not a number.
    #[error("`{0}` is not a CPU number; write 0,1 or 0-3")]
    Number(String),
    /// A range of a CPU list that runs backwards or is too long.
    #[error("`{0}` is not a valid range of CPUs")]
    Range(String),
    /// A CPU that is offline, absent, or excluded by the affinity mask or cpuset of this process.
    #[error("CPU {cpu} is not available to this process; it may use {}", join(available))]
    Unavailable {
        /// The first such CPU.
        cpu: usize,
        /// The CPUs that are available.
        available: Vec<usize>,
    },
    /// sched_getaffinity(2) failed.
    #[error("cannot read the CPU affinity of this thread: {0}")]
    Get(#[source] io::Error),
    /// sched_setaffinity(2) failed.
    #[error("cannot pin this thread to CPU {}: {source}", join(cpus))]
    Set {
        /// The CPUs asked for.
        cpus: Vec<usize>,
        /// EINVAL where none of them is available.
        source: io::Error,
    },
}

fn join(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

impl FromStr for CpuList {
    type Err = AffinityError;

    fn from_str(text: &str) -> Result<Self, AffinityError> {
        let number =
            |text: &str| text.trim().parse::<usize>().map_err(|_| AffinityError::Number(text.to_owned()));
        let mut cpus = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                None => cpus.push(number(part)?),
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last || last - first >= LONGEST_RANGE {
                        return Err(AffinityError::Range(part.to_owned()));
                    }
                    cpus.extend(first..=last);
                }
            }
        }
        Ok(Self(cpus))
    }
}

/// The CPUs that the calling thread may use, in ascending order.
///
/// # Errors
/// [`AffinityError::Get`].
pub fn available() -> Result<Vec<usize>, AffinityError> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|errno| AffinityError::Get(errno.into()))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Checks that the calling thread may use each of `cpus`.
///
/// # Errors
/// [`AffinityError::Unavailable`], [`AffinityError::Get`].
pub fn check(cpus: &[usize]) -> Result<(), AffinityError> {
    let available = available()?;
    match cpus.iter().find(|cpu| !available.contains(cpu)) {
        None => Ok(()),
        Some(&cpu) => Err(AffinityError::Unavailable { cpu, available }),
    }
}

/// Pins the calling thread, and every thread and process that it starts from now on, to `cpus`.
///
/// CPUs that are not available are ignored as long as one of them is (sched_setaffinity(2)); see [`check`].
///
/// # Errors
/// [`AffinityError::Set`].
pub fn pin(cpus: &[usize]) -> Result<(), AffinityError> {
    let mut set = CpuSet::new();
    cpus.iter()
        .try_for_each(|&cpu| set.set(cpu))
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|errno| AffinityError::Set { cpus: cpus.to_vec(), source: errno.into() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_and_ranges_are_read() {
        for (text, cpus) in
            [("0", vec![0]), ("1,0", vec![1, 0]), ("0-2,7", vec![0, 1, 2, 7]), ("3, 4-4", vec![3, 4])]
        {
            assert_eq!(text.parse::<CpuList>().unwrap(), CpuList(cpus));
        }
        for text in ["", "a", "1-", "3-1", "0-9999999", "-1", "0,,1"] {
            assert!(text.parse::<CpuList>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_absent_cpu_is_named_with_those_that_there_are() {
        assert!(check(&[]).is_ok());
        let available = available().unwrap();
        assert!(check(&available).is_ok());
        let error = check(&[available[0], 4095]).unwrap_err().to_string();
        let list = join(&available);
        assert_eq!(error, format!("CPU 4095 is not available to this process; it may use {list}"));
        assert!(matches!(pin(&[4095]), Err(AffinityError::Set { .. })));
    }

    #[test]
    fn a_thread_is_pinned_and_no_other_is() {
        let before = available().unwrap();
        let first = before[0];
        let inside = std::thread::spawn(move || {
            pin(&[first]).unwrap();
            available().unwrap()
        });
        assert_eq!(inside.join().unwrap(), [first]);
        assert_eq!(available().unwrap(), before);
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error(text in "[0-9,\\- a]{0,20}|.{0,20}") {
            let _ = text.parse::<CpuList>();
        }
    }
}
