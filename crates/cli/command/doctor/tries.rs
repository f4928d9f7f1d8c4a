//! The facilities that `doctor` tries, in throw-away namespaces, never in the machine's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};
use nsrouter_bench::text::with_causes;
use nsrouter_linux::netns::{LOOPBACK_IFINDEX, Netns};
use nsrouter_linux::sysctl;
use nsrouter_rings::backend::BackendError;
use nsrouter_rings::{BACKENDS, probe};
use serde::{Deserialize, Serialize};

use crate::command::doctor::filter::{Forward, forward_policy};
use crate::command::doctor::programs::{PROGRAMS, Program, find};

/// The outcome of trying something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Try {
    Works,
    Fails(String),
}

impl<T, E: std::error::Error + 'static> From<Result<T, E>> for Try {
    fn from(result: Result<T, E>) -> Try {
        match result {
            Ok(_) => Try::Works,
            Err(error) => Try::Fails(with_causes(&error)),
        }
    }
}

impl Try {
    fn of_backend(outcome: Result<(), BackendError>) -> Try {
        outcome.map_or_else(|error| Try::Fails(with_causes(&*error)), |()| Try::Works)
    }
}

/// What works in a network namespace of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tries {
    /// Writing a setting below /proc/sys.
    pub(super) settings: Try,
    pub(super) veth: Try,
    /// Each backend, by its name.
    pub(super) backends: BTreeMap<String, Try>,
    pub(super) tun: Try,
    pub(super) bpf: Try,
    pub(super) tcx: Try,
    pub(super) receive_buffer_force: Try,
    pub(super) ipv6: Try,
}

/// Everything that was found.
pub(super) struct Seen {
    pub(super) kernel: String,
    pub(super) user: Uid,
    /// What a network namespace made by this user as it is can do.
    pub(super) direct: Result<Tries, String>,
    /// What one inside a new user namespace can do.
    pub(super) rootless: Result<Tries, String>,
    pub(super) rmem_max: Option<u64>,
    pub(super) wmem_max: Option<u64>,
    pub(super) backlog: Option<u64>,
    pub(super) programs: Vec<(&'static Program, bool)>,
    pub(super) forward: Forward,
}

pub(super) fn look() -> Seen {
    let number = |name: &str| sysctl::read(&format!("net/core/{name}")).ok()?.parse().ok();
    let direct = Netns::create().and_then(|ns| ns.run(try_all)).map_err(|error| error.to_string());
    Seen {
        kernel: sysctl::read("kernel/osrelease").unwrap_or_default(),
        user: Uid::effective(),
        direct,
        rootless: rootless().map_err(|error| format!("{error:#}")),
        rmem_max: number("rmem_max"),
        wmem_max: number("wmem_max"),
        backlog: number("netdev_max_backlog"),
        programs: PROGRAMS.iter().map(|program| (program, find(program.name).is_some())).collect(),
        forward: forward_policy(),
    }
}

/// Tries everything in the namespace of the calling thread, which must be a fresh one.
fn try_all() -> Tries {
    Tries {
        settings: fs::write("/proc/sys/net/ipv4/ip_forward", "0").into(),
        veth: veth(),
        backends: BACKENDS
            .iter()
            .map(|backend| (backend.name.to_owned(), Try::of_backend((backend.probe)(LOOPBACK_IFINDEX))))
            .collect(),
        tun: probe::tun().into(),
        bpf: probe::bpf().into(),
        tcx: probe::tcx(LOOPBACK_IFINDEX).into(),
        receive_buffer_force: probe::rcvbuf_force(1 << 23).into(),
        ipv6: fs::metadata("/proc/sys/net/ipv6").into(),
    }
}

/// Makes a veth pair, which goes with its namespace.
fn veth() -> Try {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
        Ok(runtime) => runtime,
        Err(error) => return Try::Fails(error.to_string()),
    };
    runtime.block_on(async {
        let (connection, handle, _) = match rtnetlink::new_connection() {
            Ok(parts) => parts,
            Err(error) => return Try::Fails(format!("netlink: {error}")),
        };
        tokio::spawn(connection);
        handle.link().add(rtnetlink::LinkVeth::new("doctor-a", "doctor-b").build()).execute().await.into()
    })
}

/// Runs this program again, to make a user namespace while it has one thread.
fn rootless() -> anyhow::Result<Tries> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let output = Command::new(program)
        .args(["doctor", "--in-user-namespace"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("cannot start this program again")?;
    let answer: Result<Tries, String> =
        serde_json::from_slice(&output.stdout).with_context(|| format!("no answer ({})", output.status))?;
    answer.map_err(anyhow::Error::msg)
}

pub(super) fn in_user_namespace() -> Result<Tries, String> {
    let (user, group) = (Uid::effective(), Gid::effective());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("unshare: {errno}"))?;
    // user_namespaces(7): without this an ordinary user may not map a group.
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ];
    for (file, text) in maps {
        fs::write(Path::new("/proc/self").join(file), text).map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(try_all())
}
