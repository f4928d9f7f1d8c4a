//! Where and how a result came about: what someone needs to judge or repeat it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use nsrouter_linux::procfs::fields;
use serde::Serialize;

use crate::plan::{Placement, Plan};
use crate::run::{Measurement, Outcome};
use crate::testbed::setting::{Setting, sysctls};
use crate::traffic::{Generator, ndr};

/// Sysctls that move results. All are of the machine's own namespace; a lab's namespaces start from them or from the kernel's
/// defaults.
const SYSCTLS: [&str; 9] = [
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/core/rmem_default",
    "net/core/netdev_max_backlog",
    "net/core/netdev_budget",
    "net/core/default_qdisc",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
];

/// What people call the offloads.
const SHORT_NAMES: [(&str, &str); 5] = [
    ("tx-checksum-ip-generic", "checksum"),
    ("tx-tcp-segmentation", "TSO"),
    ("tx-udp-segmentation", "USO"),
    ("rx-gro", "GRO"),
    ("rx-lro", "LRO"),
];

/// The machine, the software and the method of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// When it began, UTC, as in RFC 3339.
    pub started: String,
    /// The command line that began it.
    pub command: Vec<String>,
    /// Version of nsrouter.
    pub nsrouter: String,
    /// The commit that it was built from, where that is known.
    pub commit: Option<String>,
    /// The machine that it was built for, as rustc names it.
    pub target: Option<String>,
    /// Kernel release and build.
    pub kernel: String,
    /// The processor's own name, and what it may be a guest of.
    pub cpu: String,
    /// Whether the processor says that it runs under a hypervisor: neighbours may share it.
    pub hypervisor: bool,
    /// Processors that may be used.
    pub cpus: usize,
    /// Frequency governor of the first of them, where there is one.
    pub governor: Option<String>,
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Load average over one minute before the run.
    pub load_average: Option<f64>,
    /// Sysctls by name.
    pub sysctls: BTreeMap<String, String>,
    /// What made the traffic.
    pub traffic: String,
    /// What made it, by scenario: not every generator makes every load.
    pub generators: BTreeMap<String, String>,
    /// Which processors who may use: the same for every mode.
    pub cpu_placement: String,
    /// The same as it was asked for: `scheduler`, or the processors of client, server and router.
    pub placement: Placement,
    /// The hosts' TCP congestion control, where it was not the machine's, which is among the sysctls.
    pub congestion: Option<String>,
    /// Offloads of the hosts' links, summed up; [`Self::labs`] has all of them.
    pub offloads: String,
    /// What the labs were, by mode.
    pub labs: BTreeMap<String, Setting>,
    /// How the highest rate without loss is searched.
    pub no_loss_method: String,
    /// What decides the order of the cells and the resampling.
    pub seed: u64,
    /// Samples asked of every cell.
    pub rounds: u32,
    /// Measured time of a cell.
    pub seconds: u32,
    /// Time before that, not counted.
    pub warm_up_seconds: u32,
}

impl Environment {
    /// Looks around. What cannot be found out is left out.
    /// What only the binary knows of itself, commit and target, is for it to fill in.
    pub fn look(plan: &Plan, traffic: &Generator, nsrouter: &str) -> Environment {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let meminfo = read("/proc/meminfo").unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Environment {
            started: utc(SystemTime::now()),
            command: std::env::args().collect(),
            nsrouter: nsrouter.into(),
            commit: None,
            target: None,
            kernel: ["/proc/sys/kernel/osrelease", "/proc/sys/kernel/version"]
                .into_iter()
                .filter_map(read)
                .collect::<Vec<String>>()
                .join(" "),
            cpu: fields::value(&cpuinfo, "model name").unwrap_or(std::env::consts::ARCH).to_owned(),
            hypervisor: fields::value(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            cpus,
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            memory_bytes: fields::bytes(&meminfo, "MemTotal"),
            load_average: read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
            sysctls: sysctls(&SYSCTLS),
            traffic: traffic.to_string(),
            generators: BTreeMap::new(),
            cpu_placement: "no lab has been looked at".into(),
            placement: plan.placement,
            congestion: plan.congestion.clone(),
            offloads: "no lab has been looked at".into(),
            labs: BTreeMap::new(),
            no_loss_method: no_loss_method(plan),
            seed: plan.seed,
            rounds: plan.rounds,
            seconds: plan.seconds,
            warm_up_seconds: plan.warm_up_seconds,
        }
    }
}

impl Environment {
    /// Version, commit and target of nsrouter, as `--version` says them.
    pub(crate) fn software(&self) -> String {
        let build: Vec<&str> = self.commit.iter().chain(&self.target).map(String::as_str).collect();
        if build.is_empty() {
            self.nsrouter.clone()
        } else {
            format!("{} ({})", self.nsrouter, build.join(", "))
        }
    }

    /// The hosts' TCP congestion control: as asked for, or the machine's.
    pub fn congestion_control(&self) -> Option<&str> {
        let of_machine = || self.sysctls.get("net.ipv4.tcp_congestion_control").map(String::as_str);
        self.congestion.as_deref().or_else(of_machine)
    }

    /// Takes over what the labs of a run said of themselves.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        for Measurement { cell, report } in &outcome.measurements {
            self.generators.entry(cell.scenario.to_string()).or_insert_with(|| report.traffic.clone());
            // The rounds of a mode have labs alike; routes that a scenario loads are told by its name.
            if let Some(setting) = &report.setting {
                self.labs.entry(cell.mode.to_string()).or_insert_with(|| setting.clone());
            }
        }
        if !self.labs.is_empty() {
            self.offloads = offloads(&self.labs);
            self.cpu_placement = placement(self.placement, &self.labs);
        }
    }
}

/// Which offloads the hosts have in which modes.
fn offloads(labs: &BTreeMap<String, Setting>) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (mode, setting) in labs {
        // The router's ports are told in full elsewhere: what senders leave to their links is the hosts' affair.
        let of_hosts = || {
            setting.offloads.iter().filter(|(port, _)| !port.starts_with("router ")).flat_map(|(_, on)| on)
        };
        let short: Vec<&str> = SHORT_NAMES
            .iter()
            .filter(|(name, _)| of_hosts().any(|on| on == name))
            .map(|(_, short)| *short)
            .collect();
        let short = if short.is_empty() { "no offloads".into() } else { short.join(", ") };
        match groups.iter_mut().find(|(of, _)| *of == short) {
            Some((_, modes)) => modes.push(mode),
            None => groups.push((short, vec![mode])),
        }
    }
    let groups: Vec<String> =
        groups.iter().map(|(short, modes)| format!("{short} in {}", modes.join(", "))).collect();
    format!("hosts have {}", groups.join("; "))
}

fn placement(placement: Placement, labs: &BTreeMap<String, Setting>) -> String {
    if let Placement::Pinned { client, server, router } = placement {
        return format!(
            "sending host on processor {client}, receiving host on {server}, a userspace router's single worker or another \
             forwarder on {router}, the kernel's forwarding wherever it is called, in every mode; in ping and latency-idle all are \
             placed by the scheduler"
        );
    }
    let mut lists: Vec<String> = labs
        .values()
        .map(|setting| {
            if setting.cpus == setting.router_cpus || setting.router_cpus.is_empty() {
                format!("processors {} for hosts, generators and router alike", setting.cpus)
            } else {
                format!(
                    "processors {} for hosts and generators, {} for the router",
                    setting.cpus, setting.router_cpus
                )
            }
        })
        .collect();
    lists.sort();
    lists.dedup();
    match &lists[..] {
        [same] => format!("{same}, placed by the scheduler in every mode"),
        _ => format!("NOT the same in every mode: {}", lists.join("; ")),
    }
}

fn no_loss_method(plan: &Plan) -> String {
    format!(
        "no loss rate: binary search (RFC 2544 section 26.1) with trials of {} s, to 1/{:.0} of the rate of the first; a rate passes \
         with one of {} trials without a lost frame; where it is what was offered, the sender was the limit",
        ndr::trial_length(plan.seconds).as_secs_f64(),
        ndr::RESOLUTION.recip(),
        ndr::TRIES
    )
}

/// RFC 3339 with seconds: `2026-11-23T20:20:54Z`. Before 1970 is 1970.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day of the Gregorian calendar, from days since 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_known_from_elsewhere() {
        for (seconds, expect) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expect);
        }
    }
}
