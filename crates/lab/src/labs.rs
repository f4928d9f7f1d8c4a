//! Every lab that the caller can see, as a list for people: what `nsrouter ls` shows, and how one of several is chosen.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;

use crate::pointer::Pointer;
use crate::state::{self, Found, Place, STATE_DIR, State};
use crate::{Error, build};

/// One lab of the list.
#[derive(Clone, Debug)]
pub struct LabInfo {
    /// The lab's name.
    pub name: String,
    /// What forwards, as the record says it: `kernel` or `userspace`. `None` where the record cannot be read.
    pub mode: Option<String>,
    /// What carries the userspace router's frames; `None` in kernel mode, and where the record cannot be read.
    pub backend: Option<String>,
    /// Whether it is in namespaces of nsrouter's own.
    pub private: bool,
    /// The process to be signalled, in the caller's PID namespace where it has a number there.
    pub pid: i32,
    /// The user whose lab it is.
    pub owner: Uid,
    /// For how long it has been up; `None` for a dead one.
    pub age: Option<Duration>,
    /// Whether the process that keeps it is alive. A dead lab's remains go with `nsrouter clean`.
    pub is_running: bool,
}

/// All labs on record that the caller can see, by name: those whose names everybody sees, then the caller's private ones.
///
/// # Errors
/// Where the folders of records cannot be read.
pub fn labs() -> Result<Vec<LabInfo>, Error> {
    Ok(state::list()?.iter().map(info).collect())
}

fn info(lab: &Found) -> LabInfo {
    let (record, process, file) = match &lab.place {
        Place::Here(state) => (Some((**state).clone()), &state.owner, state.dir()),
        Place::Private(pointer) => (record_inside(pointer), &pointer.supervisor, pointer.path.clone()),
    };
    LabInfo {
        name: lab.name.clone(),
        mode: record.as_ref().map(|state| state.mode.clone()),
        backend: record.and_then(|state| state.backend),
        private: matches!(lab.place, Place::Private(_)),
        pid: process.pid,
        owner: fs::metadata(&file).map_or_else(|_| Uid::current(), |meta| Uid::from_raw(meta.uid())),
        age: lab.running.then(|| process.age()).flatten(),
        is_running: lab.running,
    }
}

/// The record of a private lab, seen from outside through its PID 1.
fn record_inside(pointer: &Pointer) -> Option<State> {
    let root = PathBuf::from(format!("/proc/{}/root", pointer.init.pid));
    let folder = root.join(Path::new(STATE_DIR).strip_prefix("/").ok()?).join(&pointer.name);
    State::read_from(&folder).ok()
}

/// Which lab is meant: by its name, by the number of the process that keeps it, by both, or by neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Which<'a> {
    /// The lab's name.
    pub name: Option<&'a str>,
    /// The process as [`LabInfo::pid`] has it.
    pub pid: Option<i32>,
}

impl<'a> Which<'a> {
    /// The lab of that name, where one was said.
    pub fn named(name: Option<&'a str>) -> Self {
        Self { name, pid: None }
    }
}

/// The running lab that is meant. Without a name or a process: the lab `default`, or the only one that runs. Of labs that fit alike,
/// those that the caller may enter come first, and among them those whose names everybody sees.
///
/// # Errors
/// [`Error::NoLab`], [`Error::NoLabs`], [`Error::WhichLab`].
pub(crate) fn choose(mut labs: Vec<Found>, which: Which<'_>) -> Result<Place, Error> {
    let dead = labs.iter().any(|lab| !lab.running && which.name.is_none_or(|name| lab.name == name));
    labs.retain(|lab| {
        lab.running
            && which.name.is_none_or(|name| lab.name == name)
            && which.pid.is_none_or(|pid| pid_of(lab) == pid)
    });
    if labs.iter().any(may_enter) {
        labs.retain(may_enter);
    }
    if which == Which::default() && labs.iter().any(|lab| lab.name == build::DEFAULT_LAB) {
        labs.retain(|lab| lab.name == build::DEFAULT_LAB);
    }
    // One whose names everybody sees comes before private ones of the same name.
    if let Some(here) = labs.iter().position(|lab| matches!(lab.place, Place::Here(_)))
        && labs.iter().all(|lab| lab.name == labs[here].name)
    {
        return Ok(labs.swap_remove(here).place);
    }
    match (labs.len(), which) {
        (1, _) => Ok(labs.remove(0).place),
        (0, _) if dead && which.pid.is_none() => {
            Err(Error::DeadLab(which.name.unwrap_or_default().to_owned()))
        }
        (0, Which { pid: Some(pid), .. }) => Err(Error::NoLabOf(pid)),
        (0, Which { name: Some(name), .. }) => Err(Error::NoLab(name.to_owned())),
        (0, _) => Err(Error::NoLabs),
        (_, _) => Err(Error::WhichLab(labs.iter().map(describe).collect::<Vec<_>>().join(", "))),
    }
}

/// The process to be signalled.
pub(crate) fn pid_of(lab: &Found) -> i32 {
    match &lab.place {
        Place::Here(state) => state.owner.pid,
        Place::Private(pointer) => pointer.supervisor.pid,
    }
}

/// Whether the kernel lets the caller into a lab's namespaces: root may enter every one, others their own.
pub(crate) fn may_enter(lab: &Found) -> bool {
    match &lab.place {
        Place::Private(_) => true,
        Place::Here(state) => is_own_folder(&state.dir()),
    }
}

/// Whether a lab's folder is the caller's, as to root all are.
pub(crate) fn is_own_folder(dir: &Path) -> bool {
    let own = Uid::current();
    own.is_root() || fs::metadata(dir).is_ok_and(|meta| meta.uid() == own.as_raw())
}

fn describe(lab: &Found) -> String {
    let private = if matches!(lab.place, Place::Private(_)) { "private, " } else { "" };
    format!("{} ({private}process {})", lab.name, pid_of(lab))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::process::ProcessId;

    fn private_lab(name: &str, running: bool) -> Found {
        let process = ProcessId::current().unwrap();
        let pointer = Pointer {
            name: name.to_owned(),
            supervisor: process.clone(),
            init: process,
            path: std::path::PathBuf::new(),
        };
        Found { name: name.to_owned(), running, place: Place::Private(pointer) }
    }

    fn named(name: &str) -> Which<'_> {
        Which::named(Some(name))
    }

    #[test]
    fn without_a_name_the_default_lab_or_the_only_one() {
        let name = |place: Result<Place, Error>| match place.unwrap() {
            Place::Private(pointer) => pointer.name,
            Place::Here(state) => state.name,
        };
        let any = Which::default();
        let all = vec![private_lab("a", true), private_lab("default", true), private_lab("b", true)];
        assert_eq!(name(choose(all.clone(), any)), "default");
        assert_eq!(name(choose(all[2..].to_vec(), any)), "b");
        assert_eq!(name(choose(all.clone(), named("a"))), "a");
        assert!(matches!(choose(all, named("c")), Err(Error::NoLab(_))));
        assert!(matches!(choose(Vec::new(), any), Err(Error::NoLabs)));
        assert!(matches!(choose(vec![private_lab("a", false)], any), Err(Error::DeadLab(_))));
        let two = vec![private_lab("a", true), private_lab("a", true)];
        assert!(matches!(choose(two, named("a")), Err(Error::WhichLab(_))));
    }

    #[test]
    fn a_lab_is_told_by_its_process() {
        let mut other = private_lab("a", true);
        if let Place::Private(pointer) = &mut other.place {
            pointer.supervisor.pid += 1;
        }
        let labs = vec![private_lab("a", true), other];
        let own = ProcessId::current().unwrap().pid;
        for pid in [own, own + 1] {
            let chosen = choose(labs.clone(), Which { name: Some("a"), pid: Some(pid) }).unwrap();
            assert!(matches!(chosen, Place::Private(pointer) if pointer.supervisor.pid == pid));
        }
        let nobody = Which { name: None, pid: Some(own + 2) };
        assert!(matches!(choose(labs, nobody), Err(Error::NoLabOf(_))));
    }
}
