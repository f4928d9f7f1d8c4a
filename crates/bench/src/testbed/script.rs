//! Any other forwarder: a program started in the router's namespace, in a kernel lab whose kernel does not
//! forward.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use nsrouter_lab::records::PortInfo;
use nsrouter_linux::sysctl::{self, SysctlError};

use super::{Testbed, TestbedError, address};
use crate::plan::Family;
use crate::text::last_words;

/// A forwarder that does not forward.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It could not be started.
    #[error("the forwarder {} could not be started", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// The system call's error.
        source: io::Error,
    },
    /// The kernel's forwarding could not be switched off.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// It ended before it was asked to.
    #[error("the forwarder {} ended by itself, {status}{}", path.display(), if .said.is_empty() { String::new() } else { format!(": {}", .said) })]
    Ended {
        /// The program.
        path: PathBuf,
        /// Its exit status.
        status: ExitStatus,
        /// Its last words.
        said: String,
    },
    /// It cannot work on this machine, by its exit code.
    #[error("{said}")]
    Cannot {
        /// The program.
        path: PathBuf,
        /// Its last words.
        said: String,
    },
    /// A host lacks something that the forwarder must know, or the router cannot be entered.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
}

/// The longest that a forwarder takes until it forwards; DPDK's take seconds.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(20);
/// The longest that it takes to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// Its exit code where it cannot work on this machine: the mode is skipped, with its last words as the
/// reason.
pub(crate) const CANNOT: i32 = 3;
/// The most that is kept of its standard error, in bytes.
const KEPT_OUTPUT: usize = 400;

/// A running forwarder. Dropping this ends it and its process group.
pub(crate) struct Script {
    path: PathBuf,
    child: Child,
    said: Option<JoinHandle<String>>,
}

impl Script {
    /// Switches the kernel's forwarding off in the router and starts the program there.
    pub(crate) fn start(testbed: &Testbed, path: &Path, host_offloads: bool) -> Result<Script, ScriptError> {
        let failed = |source: io::Error| ScriptError::Start { path: path.into(), source };
        let environment = environment(testbed, host_offloads)?;
        testbed.router.run(|| {
            let off = |key| Ok::<_, ScriptError>(sysctl::write(key, "0")?);
            ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"].into_iter().try_for_each(off)
        })?;
        // `exec` enters the namespace, with the /sys that belongs to it, and becomes the program.
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args(["exec", testbed.router.name(), "--"])
            .arg(fs::canonicalize(path).map_err(failed)?)
            .envs(environment)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // A child runs in the namespace of the thread that starts it.
        let mut child = testbed.router.run(|| command.spawn().map_err(failed))?;
        let said = child.stderr.take().map(|stderr| thread::spawn(move || last_words(stderr, KEPT_OUTPUT)));
        Ok(Script { path: path.into(), child, said })
    }

    pub(crate) fn pid(&self) -> i32 {
        // PIDs are below 2^22.
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// An error where it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), ScriptError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                // Its children may still hold the pipe open.
                let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
                let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
                let path = self.path.clone();
                if status.code() == Some(CANNOT) {
                    return Err(ScriptError::Cannot { path, said });
                }
                Err(ScriptError::Ended { path, status, said })
            }
            Err(source) => Err(ScriptError::Start { path: self.path.clone(), source }),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.pid());
        // An error means that the group is empty.
        let _ = killpg(group, Signal::SIGTERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The environment of a script; tools/peers/README.md is the reference.
fn environment(testbed: &Testbed, host_offloads: bool) -> Result<Vec<(String, String)>, ScriptError> {
    let mut variables = vec![
        ("NSROUTER_ROUTER_NETNS".to_owned(), testbed.router.namespace.clone()),
        ("NSROUTER_HOST_OFFLOADS".into(), if host_offloads { "on" } else { "off" }.into()),
    ];
    for (number, host) in [(1, &testbed.client), (2, &testbed.server)] {
        let mut tell =
            |what: &str, value: String| variables.push((format!("NSROUTER_{what}_{number}"), value));
        let port = testbed.port_towards(host)?;
        tell_port(&mut tell, "PORT", port);
        tell("MTU", port.mtu.to_string());
        tell_port(&mut tell, "PEER", host.port()?);
        tell("PEER_NETNS", host.namespace.clone());
    }
    Ok(variables)
}

fn tell_port(tell: &mut impl FnMut(&str, String), what: &str, port: &PortInfo) {
    tell(what, port.ifname.clone());
    tell(&format!("{what}_MAC"), port.mac.to_string());
    for (family, name) in [(Family::V4, "IP4"), (Family::V6, "IP6")] {
        if let Some((address, len)) = address(port, family) {
            tell(&format!("{what}_{name}"), address.to_string());
            tell(&format!("{what}_{name}_PREFIX"), len.to_string());
        }
    }
}
