//! The environment of a run: machine, software and method, as needed to judge or repeat it.

use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

use nsrouter_linux::procfs::fields;
use nsrouter_linux::sysctl;
use serde::Serialize;

use super::utc;
use crate::plan::{Placement, Plan};
use crate::run::{Measurement, Outcome};
use crate::testbed::setting::{Setting, sysctls};
use crate::traffic::{Generator, ndr};

/// Sysctls that influence results, read in the machine's own namespace. A lab's namespaces start from them or
/// from the kernel's defaults.
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

/// The usual names of offloads.
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
    /// Start of the run, in UTC (RFC 3339).
    pub started: String,
    /// The command line.
    pub command: Vec<String>,
    /// nsrouter's version.
    pub nsrouter: String,
    /// The commit that it was built from, where known.
    pub commit: Option<String>,
    /// The target that it was built for, as rustc names it.
    pub target: Option<String>,
    /// Kernel release and build.
    pub kernel: String,
    /// The CPU's model.
    pub cpu: String,
    /// Whether the CPU is a hypervisor's, which other guests may share.
    pub hypervisor: bool,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Frequency governor of the first CPU, where there is one.
    pub governor: Option<String>,
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Load average over one minute before the run.
    pub load_average: Option<f64>,
    /// Sysctls by name.
    pub sysctls: BTreeMap<String, String>,
    /// The generator that was chosen.
    pub traffic: String,
    /// The generator of each scenario: not every generator makes every load.
    pub generators: BTreeMap<String, String>,
    /// The CPUs of hosts, generators and router, in words: the same in every mode.
    pub cpu_placement: String,
    /// The placement that was asked for: `scheduler`, or the CPUs of client, server and router.
    pub placement: Placement,
    /// The hosts' TCP congestion control that was asked for. The machine's is among the sysctls.
    pub congestion: Option<String>,
    /// Offloads of the hosts' links, summed up; [`Self::labs`] has all of them.
    pub offloads: String,
    /// The settings of the labs, by mode.
    pub labs: BTreeMap<String, Setting>,
    /// The method of the search for the no-loss rate.
    pub no_loss_method: String,
    /// Seed of the order of the cells and of the resampling.
    pub seed: u64,
    /// Samples per cell.
    pub rounds: u32,
    /// Measured time of a cell.
    pub seconds: u32,
    /// Time of the same load before that, not counted.
    pub warm_up_seconds: u32,
}

impl Environment {
    /// Reads what the machine reports. Commit and target are left for the binary to fill in.
    pub fn look(plan: &Plan, traffic: &Generator, nsrouter: &str) -> Environment {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let meminfo = read("/proc/meminfo").unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Environment {
            started: utc::rfc3339(SystemTime::now()),
            command: std::env::args().collect(),
            nsrouter: nsrouter.into(),
            commit: None,
            target: None,
            kernel: ["kernel/osrelease", "kernel/version"]
                .into_iter()
                .filter_map(|key| sysctl::read(key).ok())
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
            cpu_placement: "no lab was examined".into(),
            placement: plan.placement,
            congestion: plan.congestion.clone(),
            offloads: "no lab was examined".into(),
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
    /// Version, commit and target of nsrouter, as `--version` prints them.
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

    /// Adds the settings that the agents of a run found in their labs.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        for Measurement { cell, report } in &outcome.measurements {
            self.generators.entry(cell.scenario.to_string()).or_insert_with(|| report.traffic.clone());
            // All labs of a mode are alike, except for the routes that a scenario's name says.
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

/// The hosts' offloads, in words.
fn offloads(labs: &BTreeMap<String, Setting>) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (mode, setting) in labs {
        // Of the hosts only: senders decide what they leave to their links.
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
            "sending host on CPU {client}, receiving host on {server}, a userspace router's single worker or another \
             forwarder on {router}, kernel forwarding in the sender's context, in every mode; in ping and latency-idle the scheduler \
             places all"
        );
    }
    let mut lists: Vec<String> = labs
        .values()
        .map(|setting| {
            if setting.cpus == setting.router_cpus || setting.router_cpus.is_empty() {
                format!("CPUs {} for hosts, generators and router alike", setting.cpus)
            } else {
                format!(
                    "CPUs {} for hosts and generators, {} for the router",
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
        "no loss rate: binary search (RFC 2544 section 26.1) with trials of {} s, to 1/{:.0} of the first trial's rate; a rate passes if \
         one of {} trials loses no frame; where it equals what was offered, the sender was the limit",
        ndr::trial_length(plan.seconds).as_secs_f64(),
        ndr::RESOLUTION.recip(),
        ndr::TRIES
    )
}
