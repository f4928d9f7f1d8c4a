//! Removing what a lab created, and only that.
//!
//! The record tells what may exist; each item is examined before it is removed. A namespace belongs to the
//! lab if it has the recorded inode number *and* the lab's mark on its `lo`, because inode numbers are
//! reused. A link belongs to the lab if its alias is the mark.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nsrouter_linux::netns::Netns;
use nsrouter_linux::netns::names::{self, NameTarget};
use serde::Serialize;

use crate::error::Error;
use crate::netlink::Netlink;
use crate::process::{EndedProcess, ProcessId, end_all_in, is_any_in};
use crate::records::{Pointer, State, dir_of, owner_of_any};
use crate::settings::host as host_settings;

/// The time between SIGTERM and SIGKILL for processes inside the namespaces.
const PROCESS_PATIENCE: Duration = Duration::from_millis(150);

/// How long a running lab may take to end when it is told to.
const LAB_PATIENCE: Duration = Duration::from_secs(3);

/// What the removal of a lab removed, left and could not remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The name of the lab; empty for items that were in the way and belonged to no lab.
    pub lab: String,
    /// Whether the lab was running and was ended first.
    pub was_running: bool,
    /// Whether it was a private lab, all of which the kernel removes.
    pub private: bool,
    /// Whether nothing is known about the lab because its record cannot be read.
    pub is_unreadable: bool,
    /// Processes that were ended because they ran inside its namespaces.
    pub processes: Vec<EndedProcess>,
    /// Namespaces, by name.
    pub namespaces: Vec<String>,
    /// Links in the namespace where nsrouter was started.
    pub links: Vec<String>,
    /// Sysctls of the namespace where nsrouter was started that were restored: paths below `/proc/sys/`.
    pub sysctls: Vec<String>,
    /// Default routes from router advertisements that were restored.
    pub routes: Vec<String>,
    /// Items that have a recorded name but do not belong to the lab, and so were left: sentences.
    pub left: Vec<String>,
    /// Items that could not be removed: sentences.
    pub problems: Vec<String>,
}

impl Removed {
    /// Nothing yet, of the lab of that name.
    pub(super) fn of(lab: &str) -> Self {
        Self { lab: lab.to_owned(), ..Self::default() }
    }

    /// Notes an error as a problem.
    pub(super) fn note<T, E: std::fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problems.push(error.to_string())).ok()
    }
}

/// Removes an invalid record, with its folder; not that of a lab that runs, which may belong to another
/// version.
pub(crate) fn forget(name: &str) -> Result<(), Error> {
    let dir = dir_of(name);
    if let Some(owner) = owner_of_any(&dir).filter(ProcessId::is_alive) {
        return Err(Error::Running { name: name.to_owned(), pid: owner.pid });
    }
    fs::remove_dir_all(&dir).map_err(Error::file("remove", &dir))
}

/// Ends a running lab, which takes itself down, and removes what it left.
pub(crate) fn end(state: &State) -> Removed {
    let named: Vec<&String> = state.nodes.iter().filter_map(|node| node.namespace.as_ref()).collect();
    let links: Vec<&String> = state.host_ends().map(|end| &end.ifname).collect();
    let mut removed = Removed { was_running: true, ..Removed::of(&state.name) };
    if let Err(error) = state.owner.end(LAB_PATIENCE) {
        let problem = format!("cannot end process {} of lab {}: {error}", state.owner.pid, state.name);
        removed.problems.push(problem);
        return removed;
    }
    if let Some(Some(left)) = removed.note(State::read(&state.name))
        && left.id == state.id
    {
        removed = Removed { was_running: true, ..remove(&left) };
    }
    // What it took down itself counts as removed.
    removed.namespaces = named
        .into_iter()
        .filter(|name| matches!(names::look_up(name), Ok(NameTarget::Nothing)))
        .cloned()
        .collect();
    removed.links = links.into_iter().cloned().collect();
    removed
}

/// Ends a private lab: the kernel removes all of it with its PID 1. Its pointer is removed.
pub(crate) fn end_private(pointer: &Pointer, running: bool) -> Removed {
    let mut removed = Removed { was_running: running, private: true, ..Removed::of(&pointer.name) };
    for process in [&pointer.supervisor, &pointer.init] {
        if let Err(error) = process.end(LAB_PATIENCE) {
            removed.problems.push(format!("cannot end process {}: {error}", process.pid));
            return removed;
        }
    }
    removed.note(unless_missing(fs::remove_file(&pointer.path), &pointer.path));
    removed
}

/// Removes everything that is on the record of a lab and still belongs to it, then the record. Where
/// something could not be examined, removed or restored, the record stays, for a second clean-up to finish.
pub(crate) fn remove(state: &State) -> Removed {
    let mut removed = Removed::of(&state.name);
    remove_links(state, &mut removed);
    let named = own_names(state, &mut removed);
    end_processes(state, &mut removed);
    for name in named {
        let result = names::remove(&name);
        if removed.note(result.map_err(Error::step(format!("remove network namespace {name}")))).is_some() {
            removed.namespaces.push(name);
        }
    }
    restore(state, &mut removed);
    if !removed.problems.is_empty() {
        return removed;
    }
    let dir = state.dir();
    removed.note(unless_missing(fs::remove_dir_all(&dir), &dir));
    removed
}

/// The result of removing a path, which may be gone already.
fn unless_missing(result: io::Result<()>, path: &Path) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(Error::file("remove", path)),
    }
}

/// Removes the links in the namespace where nsrouter was started; the others are removed with their
/// namespaces.
fn remove_links(state: &State, removed: &mut Removed) {
    if state.host_ends().next().is_none() || !is_in_host_namespace(state, removed) {
        return;
    }
    let Some(netlink) = removed.note(Netlink::open()) else { return };
    for end in state.host_ends() {
        let Some(Some(link)) = removed.note(netlink.link(&end.ifname)) else { continue };
        if link.alias.as_deref() != Some(state.mark().as_str()) {
            removed.left.push(format!("left link {}: nsrouter did not create it", end.ifname));
        } else if removed.note(netlink.delete(link.index)).is_some() {
            removed.links.push(end.ifname.clone());
        }
    }
}

/// Whether the caller is in the namespace where nsrouter was started; true before it was recorded. From
/// another one nothing in it can be removed or restored, which is a problem as long as it exists.
fn is_in_host_namespace(state: &State, removed: &mut Removed) -> bool {
    let recorded = state.nodes.iter().find(|node| node.namespace.is_none()).and_then(|node| node.inode);
    let Some(inode) = recorded else { return true };
    let here = Netns::current().map_err(Error::step("examine this network namespace"));
    let Some(here) = removed.note(here) else { return false };
    if here.inode() == inode {
        return true;
    }
    let lives = is_any_in(inode).map_err(Error::step("look for the network namespace of the lab's router"));
    if removed.note(lives) == Some(true) {
        removed.problems.push(format!(
            "links and settings of lab {} are in another network namespace (net:[{inode}]): clean from there",
            state.name
        ));
    }
    false
}

/// The names on record that still stand for what this lab created.
fn own_names(state: &State, removed: &mut Removed) -> Vec<String> {
    let mut own = Vec::new();
    for node in &state.nodes {
        let Some(name) = &node.namespace else { continue };
        match names::look_up(name) {
            Ok(NameTarget::Nothing) => {}
            // Names are created only after all inode numbers are on record; this one was not completed.
            Ok(NameTarget::Empty) if node.inode.is_some() => own.push(name.clone()),
            Ok(NameTarget::Namespace(inode)) if Some(inode) == node.inode => {
                let marked = Netns::named(name)
                    .map_err(Error::step(format!("open network namespace {name}")))
                    .and_then(|ns| is_marked(&ns, state));
                match removed.note(marked) {
                    Some(true) => own.push(name.clone()),
                    Some(false) => {
                        removed
                            .left
                            .push(format!("left network namespace {name}: it does not have the lab's mark"));
                    }
                    None => {}
                }
            }
            Ok(NameTarget::Link(_) | NameTarget::Empty | NameTarget::Namespace(_)) => {
                removed.left.push(format!("left network namespace {name}: nsrouter did not create it"));
            }
            Err(error) => {
                removed.problems.push(format!("cannot examine network namespace {name}: {error}"));
            }
        }
    }
    own
}

/// Whether the `lo` of a namespace has the mark of this lab.
fn is_marked(ns: &Netns, state: &State) -> Result<bool, Error> {
    let alias_of_lo = || Ok::<_, Error>(Netlink::open()?.link("lo")?.and_then(|lo| lo.alias));
    let alias = ns.run(alias_of_lo).map_err(Error::step("enter a network namespace of the lab"))??;
    Ok(alias == Some(state.mark()))
}

/// Ends the processes in the namespaces of the lab, named or not: somebody may have removed only the name.
fn end_processes(state: &State, removed: &mut Removed) {
    let recorded: HashSet<u64> =
        state.nodes.iter().filter(|node| node.namespace.is_some()).filter_map(|node| node.inode).collect();
    let ended = end_all_in(&recorded, PROCESS_PATIENCE, |ns| is_marked(ns, state).map_err(io::Error::other));
    if let Some(ended) = removed.note(ended.map_err(Error::step("end the processes inside the lab"))) {
        removed.processes = ended;
    }
}

/// Restores the settings and routes of the namespace where nsrouter was started.
fn restore(state: &State, removed: &mut Removed) {
    if (state.sysctls.is_empty() && state.routes.is_empty()) || !is_in_host_namespace(state, removed) {
        return;
    }
    let (written, problems) = host_settings::restore_sysctls(&state.sysctls);
    removed.sysctls = written;
    removed.problems.extend(problems);
    let routes = Netlink::open().and_then(|netlink| host_settings::restore_routes(&netlink, &state.routes));
    if let Some((added, problems)) = removed.note(routes) {
        removed.routes = added;
        removed.problems.extend(problems);
    }
}
