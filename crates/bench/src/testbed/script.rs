//! Any other forwarder: a program started in the router's namespace, in a kernel lab whose kernel does not forward.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::agent::AgentError;
use crate::plan::Family;
use crate::testbed::{Host, Lab, Port};

/// How long a forwarder may take until it forwards: DPDK's take seconds.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// Its exit code where it cannot work on this machine: the mode is skipped, and its last words say why.
pub(crate) const CANNOT: i32 = 3;
/// How much of what it says is kept, in bytes.
const KEPT_OUTPUT: usize = 400;

/// A running forwarder; ended with all of its process group when this is dropped.
pub(crate) struct Script {
    path: PathBuf,
    child: Child,
    said: Option<JoinHandle<String>>,
}

impl Script {
    /// Switches the kernel's forwarding off in the router and starts the program there.
    pub(crate) fn start(lab: &Lab, path: &Path, host_offloads: bool) -> Result<Script, AgentError> {
        let failed = |source: io::Error| AgentError::ScriptStart { path: path.into(), source };
        let environment = environment(lab, host_offloads)?;
        lab.router.run(|| {
            let off = |sysctl| fs::write(format!("/proc/sys/net/{sysctl}"), "0").map_err(failed);
            ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].into_iter().try_for_each(off)
        })?;
        // `exec` goes into the namespace with the /sys that belongs to it, and becomes the program.
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args(["exec", &lab.router.name, "--"])
            .arg(fs::canonicalize(path).map_err(failed)?)
            .envs(environment)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // What a thread starts runs where the thread does.
        let mut child = lab.router.run(|| command.spawn().map_err(failed))?;
        let said = child.stderr.take().map(|stderr| thread::spawn(move || last_words(stderr)));
        Ok(Script { path: path.into(), child, said })
    }

    pub(crate) fn pid(&self) -> i32 {
        // Process ids are below 2^22.
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// An error where it has ended.
    pub(crate) fn check(&mut self) -> Result<(), AgentError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                // What it started may hold the pipe open still.
                let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
                let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
                let path = self.path.clone();
                if status.code() == Some(CANNOT) {
                    return Err(AgentError::ScriptCannot { path, said });
                }
                Err(AgentError::ScriptEnded { path, status, said })
            }
            Err(source) => Err(AgentError::ScriptStart { path: self.path.clone(), source }),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.pid());
        // Errors mean that nobody is left in it.
        let _ = killpg(group, Signal::SIGTERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// What a script is told; tools/peers/README.md is the reference.
fn environment(lab: &Lab, host_offloads: bool) -> Result<Vec<(String, String)>, AgentError> {
    let mut variables = vec![
        ("NSROUTER_ROUTER_NETNS".to_owned(), name_of(&lab.router)),
        ("NSROUTER_HOST_OFFLOADS".into(), if host_offloads { "on" } else { "off" }.into()),
    ];
    for (number, host) in [(1, &lab.client), (2, &lab.server)] {
        let mut tell =
            |what: &str, value: String| variables.push((format!("NSROUTER_{what}_{number}"), value));
        let port = lab.port_towards(host)?;
        tell_port(&mut tell, "PORT", port);
        tell("MTU", port.mtu.to_string());
        tell_port(&mut tell, "PEER", host.port()?);
        tell("PEER_NETNS", name_of(host));
    }
    Ok(variables)
}

fn tell_port(tell: &mut impl FnMut(&str, String), what: &str, port: &Port) {
    tell(what, port.ifname.clone());
    let mac: Vec<String> = port.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    tell(&format!("{what}_MAC"), mac.join(":"));
    for (family, name) in [(Family::V4, "IP4"), (Family::V6, "IP6")] {
        if let Some((address, len)) = port.address(family) {
            tell(&format!("{what}_{name}"), address.to_string());
            tell(&format!("{what}_{name}_PREFIX"), len.to_string());
        }
    }
}

/// The namespace's name, as `ip -n` takes it.
fn name_of(host: &Host) -> String {
    host.netns.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The last line that says something, and what came before it as far as there is room.
fn last_words(mut from: impl Read) -> String {
    let mut text = Vec::new();
    // What had been said before the error is kept.
    let _ = from.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut kept = String::new();
    for line in lines.iter().rev() {
        if kept.len() + line.len() > KEPT_OUTPUT && !kept.is_empty() {
            break;
        }
        kept = if kept.is_empty() { (*line).to_owned() } else { format!("{line}; {kept}") };
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_last() {
        assert_eq!(last_words(&b"one\n\n two \n"[..]), "one; two");
        let long = format!("{}\nend", "x".repeat(KEPT_OUTPUT));
        assert_eq!(last_words(long.as_bytes()), "end");
        assert_eq!(last_words(&b""[..]), "");
    }
}
