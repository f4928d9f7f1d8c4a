//! The options of `nsrouter --mode` and `nsrouter up`, and what they ask for; contradictions are usage
//! errors.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nsrouter_engine::userspace::Spin;
use nsrouter_lab::{Error, Forwarder, LabOptions, RouterNs, Stop};
use nsrouter_linux::affinity::CpuList;
use nsrouter_rings::BACKENDS;

use crate::dataplane::choice;
use crate::dataplane::forwarder::{Dataplane, Threads};
use crate::options::backend::{self, AUTO, BackendOption};
use crate::options::cpus;
use crate::options::mode::Mode;
use crate::options::settings::{self, Setting};

/// The options of `nsrouter --mode`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What forwards between the hosts.
    #[arg(short, long, value_enum, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
    /// How the userspace router receives and sends frames.
    #[arg(short, long, value_name = "BACKEND", value_parser = backend::parser(), default_value = AUTO)]
    backend: BackendOption,
    /// Disable checksum and segmentation offloads on the hosts; backends that lose offload metadata, as xdp
    /// does, always disable them.
    #[arg(long)]
    no_host_offloads: bool,
    /// The lab's name; namespaces of a lab other than `default` are called LAB-NODE.
    #[arg(short, long, value_name = "LAB", default_value = "default")]
    pub(super) name: String,
    /// Build the network that this TOML file describes instead of the built-in one.
    #[arg(short, long, value_name = "FILE")]
    pub(super) topology: Option<PathBuf>,
    /// The router's network namespace; `host` is the one that nsrouter was started in.
    #[arg(long, value_name = "NAME|host")]
    router_ns: Option<String>,
    /// Keep names and processes in private namespaces, so that nothing can clash or be left behind.
    #[arg(short, long)]
    pub(super) private: bool,
    /// First remove namespaces and links that have the same names, whoever made them.
    #[arg(long)]
    pub(super) replace: bool,
    /// Take the lab down after this time (30s, 5m, 1h).
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) time: Option<Duration>,
    #[arg(long, value_name = "NAME=VALUE", help = settings::HELP, value_parser = settings::parse)]
    set: Vec<Setting>,
    /// How long an idle worker of the userspace router busy-polls before it sleeps: `never`, `always`, a time
    /// like 50us, or `adaptive`: short naps while frames come in quick succession, a brief busy-poll after a
    /// frame that came alone. [default: adaptive]
    #[arg(long, value_name = "SPIN", value_parser = parse_spin)]
    spin: Option<Spin>,
    /// Worker threads of the userspace router, with flows spread over them. [default: 1, or one for each CPU
    /// of --cpus]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Option<u16>,
    /// Pin the workers to these CPUs, the first worker to the first CPU and so on: 0,1 or 0-3.
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuList>,
    #[arg(long, value_name = "NICE", help = nice_help(), allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-20..=19))]
    nice: Option<i32>,
    /// Print errors only.
    #[arg(long, short, conflicts_with = "json")]
    pub(super) quiet: bool,
    /// Print the final counters as JSON.
    #[arg(short, long)]
    pub(super) json: bool,
    /// Return when the lab is ready, and leave it running in the background until `nsrouter down`.
    #[arg(short, long, conflicts_with = "command")]
    pub(super) detach: bool,
    /// Command to run while the lab is up. When it ends the lab is taken down, and nsrouter exits with its
    /// exit code.
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// The help of `--nice`, with each backend's default.
fn nice_help() -> String {
    let defaults =
        BACKENDS.iter().filter_map(|backend| Some(format!("{} with {}", backend.nice?, backend.name)));
    format!(
        "The workers' nice value, -20 to 19. A negative one gives them priority over other programs on the same CPUs: shorter \
         queues in the router, less TCP throughput [default: {}, else none]",
        defaults.collect::<Vec<_>>().join(", ")
    )
}

fn parse_spin(text: &str) -> Result<Spin, String> {
    match text {
        "never" => Ok(Spin::Never),
        "always" => Ok(Spin::Always),
        "adaptive" => Ok(Spin::Adaptive),
        time => humantime::parse_duration(time)
            .map(Spin::For)
            .map_err(|_| "write never, always, adaptive or a time like 50us".to_owned()),
    }
}

impl Args {
    /// The userspace router that is asked for, its backend tried; `None` in kernel mode.
    ///
    /// # Errors
    /// A usage error for options that have no meaning in kernel mode, or a CPU that is not available.
    pub(super) fn dataplane(&self) -> anyhow::Result<Option<Dataplane>> {
        match self.mode.unwrap_or(Mode::Kernel) {
            Mode::Kernel => self.refuse_userspace_options().map(|()| None),
            Mode::Userspace => {
                let cpus = self.cpus.as_ref().map(|list| list.0.clone()).unwrap_or_default();
                cpus::check(&cpus)?;
                let choice = choice::choose(self.backend)?;
                let threads = Threads {
                    workers: self.workers.map_or(cpus.len().max(1), usize::from),
                    cpus,
                    nice: self.nice.or(choice.backend.nice),
                    spin: self.spin.unwrap_or_default(),
                };
                Ok(Some(Dataplane { choice, threads, set: self.set.clone() }))
            }
        }
    }

    fn refuse_userspace_options(&self) -> anyhow::Result<()> {
        let has_cpus = self.cpus.as_ref().is_some_and(|list| !list.0.is_empty());
        let sentence = if !self.set.is_empty() {
            "--set is for the userspace router; set the kernel's with `nsrouter exec router -- sysctl -w ...`"
        } else if self.workers.is_some() || has_cpus || self.nice.is_some() || self.spin.is_some() {
            "--workers, --cpus, --nice and --spin are for the userspace router; the kernel has no worker threads"
        } else if matches!(self.backend, BackendOption::Named(_)) {
            "--backend is for the userspace router; leave it out, or use --mode userspace"
        } else {
            return Ok(());
        };
        Err(Error::Usage(sentence.to_owned()).into())
    }

    /// The lab's options, for this dataplane.
    pub(super) fn lab_options(&self, dataplane: Option<&Dataplane>) -> anyhow::Result<LabOptions> {
        let backend = dataplane.map(|dataplane| dataplane.choice.backend);
        let link_queues = match dataplane {
            Some(Dataplane { choice, threads, .. }) if choice.backend.interface_queues => {
                u32::try_from(threads.workers)?
            }
            _ => 1,
        };
        Ok(LabOptions {
            name: self.name.clone(),
            router_ns: match self.router_ns.as_deref() {
                None => RouterNs::Node,
                Some("host") => RouterNs::Host,
                Some(name) => RouterNs::Named(name.to_owned()),
            },
            replace: self.replace,
            forwarder: if dataplane.is_some() { Forwarder::Userspace } else { Forwarder::Kernel },
            mode: self.mode.unwrap_or(Mode::Kernel).name().to_owned(),
            backend: backend.map(|backend| backend.name.to_owned()),
            host_offloads: !self.no_host_offloads && backend.is_none_or(|backend| !backend.complete_frames),
            link_queues,
            stop: Stop::default(),
        })
    }
}
