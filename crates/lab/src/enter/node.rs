//! A command inside a node, as `ip netns exec` runs it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nsrouter_linux::netns::Netns;

use super::{command as shell, mounts, names};
use crate::error::Error;
use crate::records::{NodeState, State};

/// Replaces the process with `command` inside a node, as `ip netns exec` does: with the node's network, a
/// `/sys` that shows it, and the files of `/etc/netns/NAMESPACE` in place of those in `/etc`. Programs there
/// find every node by name through /etc/hosts, and have the name of the node as their host name.
/// `environment` is added to that of the command. Returns only on failure.
pub fn exec(state: &State, node: &str, command: &[OsString], environment: &[(&str, String)]) -> Error {
    let entered = state.node(node).and_then(|node| enter(state, node));
    if let Err(error) = entered {
        return error;
    }
    let Some((program, arguments)) = command.split_first() else {
        return Error::Usage("no command to run".to_owned());
    };
    let failed = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
        .exec();
    Error::Command { sentence: shell::sentence(program, &failed), code: shell::code(&failed) }
}

/// Moves the calling thread, which is the only one of the process, into the node.
fn enter(state: &State, node: &NodeState) -> Result<(), Error> {
    let step = || Error::step(format!("enter {}", node.name));
    let ns = match &node.namespace {
        Some(name) => Netns::named(name),
        // The router is in the namespace where nsrouter was started, and so is the process that keeps the
        // lab.
        None => Netns::open(Path::new(&format!("/proc/{}/ns/net", state.owner.pid))),
    };
    setns(&ns.map_err(step())?, CloneFlags::CLONE_NEWNET).map_err(io::Error::from).map_err(step())?;
    unshare_mounts().map_err(step())?;
    if let Some(name) = &node.namespace {
        // In a user namespace it may be refused; then /sys shows other links, and everything else works.
        if let Err(error) = mounts::mount_sys(true) {
            tracing::debug!("no /sys of {}: {error}", node.name);
        }
        bind_etc(name);
    }
    give_names(state, node);
    // A router that is the machine itself keeps the host name of the machine.
    if node.namespace.is_some()
        && let Err(error) = names::set_host_name(&node.name)
    {
        tracing::debug!("no host name of {}: {error}", node.name);
    }
    Ok(())
}

/// From here on mounts in the process are invisible outside; mounts outside are still visible here.
fn unshare_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    Ok(())
}

/// Best effort: without the names of the nodes everything works by address.
fn give_names(state: &State, node: &NodeState) {
    if let Err(error) = names::bind_hosts(state, node) {
        tracing::debug!("the nodes' names are not known in {}: {error}", node.name);
    }
}

/// Mounts the files of /etc/netns/NAME over those in /etc (ip-netns(8)).
fn bind_etc(name: &str) {
    let Ok(entries) = fs::read_dir(Path::new("/etc/netns").join(name)) else { return };
    for entry in entries.filter_map(Result::ok) {
        let place = Path::new("/etc").join(entry.file_name());
        let source = entry.path();
        if let Err(error) = mount(Some(&source), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>) {
            tracing::warn!("cannot mount {} over {}: {error}", source.display(), place.display());
        }
    }
}
