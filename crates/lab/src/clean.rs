//! Removing what a lab made, and that only.
//!
//! The record says what may be there; each thing is looked at before it goes. A namespace is ours if it
//! has the inode number on record *and* our mark on its `lo`, for numbers recur. A link is ours if it has
//! our mark as its alias.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::time::Duration;

use nsrouter_linux::netns::Netns;
use nsrouter_linux::netns::names::{self, NameTarget};
use serde::Serialize;

use crate::netlink::Netlink;
use crate::process::{self, Ended, ProcessId};
use crate::state::{self, Found, Lock, Place, Pointer, State};
use crate::{Error, build, labs, settings};

/// How long processes inside the namespaces have between SIGTERM and SIGKILL.
const PROCESS_PATIENCE: Duration = Duration::from_millis(150);

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The lab; empty for what was in the way and no lab's.
    pub lab: String,
    /// Whether the lab was running and was ended first.
    pub was_running: bool,
    /// Whether it was a private lab, of which the kernel removes everything.
    pub private: bool,
    /// Whether nothing is known about the lab, as its record cannot be read.
    pub is_unreadable: bool,
    /// Processes ended because they ran inside its namespaces.
    pub processes: Vec<Ended>,
    /// Namespaces, by name.
    pub namespaces: Vec<String>,
    /// Links of the namespace in which nsrouter was started.
    pub links: Vec<String>,
    /// Sysctls of the namespace in which nsrouter was started that were written back, below `/proc/sys/`.
    pub sysctls: Vec<String>,
    /// Default routes learned from router advertisements that were put back.
    pub routes: Vec<String>,
    /// What was left because it is not ours, though it has a name that is on record: sentences.
    pub left: Vec<String>,
    /// What could not be removed: sentences.
    pub problems: Vec<String>,
}

impl Removed {
    fn note<T, E: std::fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problems.push(error.to_string())).ok()
    }
}

/// What `nsrouter clean` cleans.
#[derive(Clone, Debug, Default)]
pub struct What {
    /// Only the lab of that name.
    pub name: Option<String>,
    /// Only the lab that this process keeps, as [`crate::LabInfo::pid`] has it.
    pub pid: Option<i32>,
    /// Running labs too; they are ended first.
    pub all: bool,
}

/// What is to be done about a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// It is not asked for, or runs and is not to be ended.
    Leave,
    /// It is dead: its leftovers go.
    Remove,
    /// It runs: it is ended, and what it leaves goes.
    End,
}

fn decide(what: &What, name: &str, pid: i32, running: bool) -> Decision {
    let is_meant = what.name.as_deref().is_none_or(|wanted| wanted == name)
        && what.pid.is_none_or(|wanted| wanted == pid);
    match (is_meant, running, what.all) {
        (false, _, _) | (true, true, false) => Decision::Leave,
        (true, false, _) => Decision::Remove,
        (true, true, true) => Decision::End,
    }
}

/// Removes what dead labs left, and with `all` running labs of this user too; one entry a lab.
///
/// # Errors
/// Where the records cannot be read. What fails for a single thing is in [`Removed::problems`].
pub fn clean(what: &What) -> Result<Vec<Removed>, Error> {
    let decision = |lab: &Found| decide(what, &lab.name, labs::pid_of(lab), lab.running);
    // The lock is for those who have records here: another user's are none of the caller's business.
    let is_work = |lab: &Found| {
        matches!(lab.place, Place::Here(_)) && labs::may_enter(lab) && decision(lab) != Decision::Leave
    };
    let (labs, unread) = state::list_all()?;
    let is_locked =
        labs.iter().any(is_work) || unread.iter().any(|(name, _)| labs::is_own_folder(&state::dir_of(name)));
    // Someone else may have started a lab over the leftovers, or be doing so: look again, locked.
    let _lock = if is_locked { Some(Lock::take()?) } else { None };
    let (labs, unread) = state::list_all()?;
    let mut removed: Vec<Removed> =
        unread.into_iter().filter_map(|(name, error)| clean_unread(what, &name, &error)).collect();
    for lab in labs {
        let decision = decision(&lab);
        if !labs::may_enter(&lab) {
            if decision != Decision::Leave && what.name.is_some() {
                let problems = vec![format!("lab {} is another user's", lab.name)];
                removed.push(Removed {
                    lab: lab.name,
                    was_running: lab.running,
                    problems,
                    ..Removed::default()
                });
            }
            continue;
        }
        match (decision, lab.place) {
            (Decision::Leave, _) => {}
            (Decision::Remove, Place::Here(state)) => removed.push(remove(&state)),
            (Decision::End, Place::Here(state)) => removed.push(end(&state)),
            (Decision::Remove | Decision::End, Place::Private(pointer)) => {
                removed.push(end_private(&pointer, lab.running));
            }
        }
    }
    Ok(removed)
}

/// A record that cannot be read: it goes where the caller means it, if it is the record that is at fault.
fn clean_unread(what: &What, name: &str, error: &Error) -> Option<Removed> {
    let is_meant = what.name.as_deref().is_none_or(|wanted| wanted == name) && what.pid.is_none();
    if !is_meant || !labs::is_own_folder(&state::dir_of(name)) {
        return None;
    }
    let mut removed = Removed { lab: name.to_owned(), is_unreadable: true, ..Removed::default() };
    match error {
        Error::Record { .. } if what.all || what.name.is_some() => {
            if removed.note(forget(name)).is_some() {
                removed.left.push(format!(
                    "removed its record alone ({error}); what that lab made, if anything of it is left, stays: see \
                     `ip netns`"
                ));
            }
        }
        Error::Record { .. } => removed
            .left
            .push(format!("left its record: {error}; `nsrouter clean --name {name}` removes that")),
        other => removed.problems.push(other.to_string()),
    }
    Some(removed)
}

/// Removes a record that makes no sense, with its folder. Another version's may be that of a lab that runs.
pub(crate) fn forget(name: &str) -> Result<(), Error> {
    let dir = state::dir_of(name);
    if let Some(owner) = state::owner_of_any(&dir).filter(ProcessId::is_alive) {
        return Err(Error::Running { name: name.to_owned(), pid: owner.pid });
    }
    fs::remove_dir_all(&dir).map_err(Error::file("remove", &dir))
}

/// Ends a running lab, which takes itself down, and removes what it could not.
pub(crate) fn end(state: &State) -> Removed {
    let named: Vec<&String> = state.nodes.iter().filter_map(|node| node.namespace.as_ref()).collect();
    let links: Vec<&String> = build::host_links(state).map(|end| &end.ifname).collect();
    let ended = state.owner.end(build::REPLACE_PATIENCE);
    let mut removed = match &ended {
        Ok(()) => match State::read(&state.name) {
            Ok(Some(left)) if left.id == state.id => remove(&left),
            Ok(_) => Removed { lab: state.name.clone(), ..Removed::default() },
            Err(error) => {
                Removed { lab: state.name.clone(), problems: vec![error.to_string()], ..Removed::default() }
            }
        },
        Err(error) => Removed {
            lab: state.name.clone(),
            problems: vec![format!("cannot end process {} of lab {}: {error}", state.owner.pid, state.name)],
            ..Removed::default()
        },
    };
    removed.was_running = true;
    if ended.is_ok() {
        // What it took down by itself went on our account.
        removed.namespaces = named
            .into_iter()
            .filter(|name| matches!(names::look_up(name), Ok(NameTarget::Nothing)))
            .cloned()
            .collect();
        removed.links = links.into_iter().cloned().collect();
    }
    removed
}

/// Ends a private lab: the kernel removes all of it with its PID 1. Leaves no pointer.
pub(crate) fn end_private(pointer: &Pointer, running: bool) -> Removed {
    let mut removed =
        Removed { lab: pointer.name.clone(), was_running: running, private: true, ..Removed::default() };
    for process in [&pointer.supervisor, &pointer.init] {
        if let Err(error) = process.end(build::REPLACE_PATIENCE) {
            removed.problems.push(format!("cannot end process {}: {error}", process.pid));
            return removed;
        }
    }
    match fs::remove_file(&pointer.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            removed.problems.push(format!("cannot remove {}: {error}", pointer.path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    removed
}

/// Removes all that is on a lab's record and still is its own, then the record. What could not be looked at, removed or put
/// back stays on record, for a second clean-up to finish.
pub(crate) fn remove(state: &State) -> Removed {
    let mut removed = Removed { lab: state.name.clone(), ..Removed::default() };
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
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            removed.problems.push(format!("cannot remove {}: {error}", dir.display()));
        }
        Ok(()) | Err(_) => {}
    }
    removed
}

/// Links where nsrouter was started. Those inside namespaces go with them.
fn remove_links(state: &State, removed: &mut Removed) {
    if build::host_links(state).next().is_none() || !is_host_at_hand(state, removed) {
        return;
    }
    let Some(netlink) = removed.note(Netlink::open()) else { return };
    for end in build::host_links(state) {
        let Some(Some(link)) = removed.note(netlink.link(&end.ifname)) else { continue };
        if link.alias.as_deref() != Some(state.mark().as_str()) {
            removed.left.push(format!("left link {}: nsrouter did not make it", end.ifname));
        } else if removed.note(netlink.delete(link.index)).is_some() {
            removed.links.push(end.ifname.clone());
        }
    }
}

/// Whether the caller is in the namespace in which the lab's router was; true before it was recorded. From elsewhere nothing
/// in it can be removed or put back, which is a problem as long as it lives.
fn is_host_at_hand(state: &State, removed: &mut Removed) -> bool {
    let recorded = state.nodes.iter().find(|node| node.namespace.is_none()).and_then(|node| node.inode);
    let Some(inode) = recorded else { return true };
    let here = Netns::current().map_err(Error::step("look at this network namespace"));
    let Some(here) = removed.note(here) else { return false };
    if here.inode() == inode {
        return true;
    }
    let lives =
        process::any_in(inode).map_err(Error::step("look for the network namespace of the lab's router"));
    if removed.note(lives) == Some(true) {
        removed.problems.push(format!(
            "links and settings of lab {} are in another network namespace (net:[{inode}]): clean from there",
            state.name
        ));
    }
    false
}

/// The names on record that still mean what this lab made.
fn own_names(state: &State, removed: &mut Removed) -> Vec<String> {
    let mut own = Vec::new();
    for node in &state.nodes {
        let Some(name) = &node.namespace else { continue };
        match names::look_up(name) {
            Ok(NameTarget::Nothing) => {}
            // Names are made only after all inode numbers are on record; this one was half made.
            Ok(NameTarget::Empty) if node.inode.is_some() => own.push(name.clone()),
            Ok(NameTarget::Namespace(inode)) if Some(inode) == node.inode => {
                let marked = Netns::named(name)
                    .map_err(Error::step(format!("open network namespace {name}")))
                    .and_then(|ns| is_marked(&ns, state));
                match removed.note(marked) {
                    Some(true) => own.push(name.clone()),
                    Some(false) => {
                        removed.left.push(format!("left network namespace {name}: it has not our mark"));
                    }
                    None => {}
                }
            }
            Ok(NameTarget::Link(_) | NameTarget::Empty | NameTarget::Namespace(_)) => {
                removed.left.push(format!("left network namespace {name}: nsrouter did not make it"));
            }
            Err(error) => {
                removed.problems.push(format!("cannot look at network namespace {name}: {error}"));
            }
        }
    }
    own
}

/// Whether the namespace's `lo` has this lab's mark.
fn is_marked(ns: &Netns, state: &State) -> Result<bool, Error> {
    let look = || Ok::<_, Error>(Netlink::open()?.link("lo")?.and_then(|lo| lo.alias));
    let alias = ns.run(look).map_err(Error::step("enter a network namespace of the lab's"))??;
    Ok(alias == Some(state.mark()))
}

/// Ends what runs in the lab's namespaces, named or not: someone may have taken only the name away.
fn end_processes(state: &State, removed: &mut Removed) {
    let recorded: HashSet<u64> =
        state.nodes.iter().filter(|node| node.namespace.is_some()).filter_map(|node| node.inode).collect();
    let ended =
        process::end_all_in(&recorded, PROCESS_PATIENCE, |ns| is_marked(ns, state).map_err(io::Error::other));
    if let Some(ended) = removed.note(ended.map_err(Error::step("end the processes inside the lab"))) {
        removed.processes = ended;
    }
}

/// Settings and routes of the namespace in which nsrouter was started.
fn restore(state: &State, removed: &mut Removed) {
    if (state.sysctls.is_empty() && state.routes.is_empty()) || !is_host_at_hand(state, removed) {
        return;
    }
    let (written, problems) = settings::restore(&state.sysctls);
    removed.sysctls = written;
    removed.problems.extend(problems);
    let routes = Netlink::open().and_then(|netlink| settings::restore_routes(&netlink, &state.routes));
    if let Some((added, problems)) = removed.note(routes) {
        removed.routes = added;
        removed.problems.extend(problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_go_and_the_living_only_when_all_are_meant() {
        let what = |name: Option<&str>, all| What { name: name.map(str::to_owned), pid: None, all };
        let cases = [
            (what(None, false), false, Decision::Remove),
            (what(None, false), true, Decision::Leave),
            (what(None, true), true, Decision::End),
            (what(None, true), false, Decision::Remove),
            (what(Some("lab"), false), false, Decision::Remove),
            (what(Some("lab"), true), true, Decision::End),
            (what(Some("other"), true), true, Decision::Leave),
            (what(Some("other"), true), false, Decision::Leave),
        ];
        for (what, running, decision) in cases {
            assert_eq!(decide(&what, "lab", 7, running), decision, "{what:?}, running: {running}");
            let other = What { pid: Some(8), ..what };
            assert_eq!(decide(&other, "lab", 7, running), Decision::Leave, "of another process");
        }
    }
}
