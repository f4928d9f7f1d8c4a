//! `/proc/stat`: how busy the CPUs of the machine are.

use nix::unistd::{SysconfVar, sysconf};

/// Clock ticks a second where the kernel does not say: the value on every architecture that Linux runs on
/// today.
const USUAL_TICKS_PER_SECOND: u64 = 100;

/// Clock ticks a second, the unit of times in `/proc` (`USER_HZ`).
pub fn ticks_per_second() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    ticks.filter(|ticks| *ticks > 0).unwrap_or(USUAL_TICKS_PER_SECOND)
}

/// Clock ticks for which all CPUs together were busy, from the text of `/proc/stat` (proc_stat(5)): user,
/// nice, system, irq and softirq of its first line. Idle and iowait are not busy, and steal is the time of
/// other machines.
pub fn busy_ticks(stat: &str) -> u64 {
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().filter_map(|&at| fields.get(at)).fold(0, |sum, ticks| sum.saturating_add(*ticks))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn busy_is_neither_idle_nor_stolen() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 2000 8 16 4000 0 0\ncpu0 9 9 9 9\n"), 1 + 2 + 4 + 8 + 16);
        assert_eq!(busy_ticks(""), 0);
        assert!(ticks_per_second() > 0);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "cpu( [0-9]{0,21}){0,12}|.{0,40}") {
            busy_ticks(&text);
        }
    }
}
