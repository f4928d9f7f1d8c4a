//! Selecting one of several labs.

use super::paths::DEFAULT_LAB;
use super::registry::{RecordPlace, RecordedLab};
use crate::error::Error;

/// Selects a lab: by its name, by the PID of the process that keeps it, by both, or by neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabSelector<'a> {
    /// The name of the lab.
    pub name: Option<&'a str>,
    /// The PID as in [`LabInfo::pid`](super::LabInfo::pid).
    pub pid: Option<i32>,
}

impl<'a> LabSelector<'a> {
    /// The lab of that name, if one is given.
    pub fn named(name: Option<&'a str>) -> Self {
        Self { name, pid: None }
    }
}

/// The running lab that is selected. Without a name or a PID: the lab `default`, or the only one that runs.
/// Labs that the caller may enter take precedence, and among them those whose names everybody sees.
///
/// # Errors
/// [`Error::NoLab`], [`Error::NoLabs`], [`Error::WhichLab`].
pub(crate) fn choose(mut labs: Vec<RecordedLab>, selector: LabSelector<'_>) -> Result<RecordPlace, Error> {
    let dead = labs.iter().any(|lab| !lab.running && selector.name.is_none_or(|name| lab.name == name));
    labs.retain(|lab| {
        lab.running
            && selector.name.is_none_or(|name| lab.name == name)
            && selector.pid.is_none_or(|pid| lab.pid() == pid)
    });
    if labs.iter().any(RecordedLab::may_be_entered) {
        labs.retain(RecordedLab::may_be_entered);
    }
    if selector == LabSelector::default() && labs.iter().any(|lab| lab.name == DEFAULT_LAB) {
        labs.retain(|lab| lab.name == DEFAULT_LAB);
    }
    // Names that everybody sees take precedence over those of private labs.
    if let Some(here) = labs.iter().position(|lab| !lab.is_private())
        && labs.iter().all(|lab| lab.name == labs[here].name)
    {
        return Ok(labs.swap_remove(here).place);
    }
    match (labs.len(), selector) {
        (1, _) => Ok(labs.remove(0).place),
        (0, _) if dead && selector.pid.is_none() => {
            Err(Error::DeadLab(selector.name.unwrap_or_default().to_owned()))
        }
        (0, LabSelector { pid: Some(pid), .. }) => Err(Error::NoLabOf(pid)),
        (0, LabSelector { name: Some(name), .. }) => Err(Error::NoLab(name.to_owned())),
        (0, _) => Err(Error::NoLabs),
        (_, _) => Err(Error::WhichLab(labs.iter().map(describe).collect::<Vec<_>>().join(", "))),
    }
}

fn describe(lab: &RecordedLab) -> String {
    let private = if lab.is_private() { "private, " } else { "" };
    format!("{} ({private}process {})", lab.name, lab.pid())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::process::ProcessId;
    use crate::records::pointer::Pointer;

    fn private_lab(name: &str, running: bool) -> RecordedLab {
        let process = ProcessId::current().unwrap();
        let pointer = Pointer {
            name: name.to_owned(),
            supervisor: process.clone(),
            init: process,
            path: std::path::PathBuf::new(),
        };
        RecordedLab { name: name.to_owned(), running, place: RecordPlace::Private(pointer) }
    }

    fn named(name: &str) -> LabSelector<'_> {
        LabSelector::named(Some(name))
    }

    #[test]
    fn without_a_name_the_default_lab_or_the_only_one() {
        let name = |place: Result<RecordPlace, Error>| match place.unwrap() {
            RecordPlace::Private(pointer) => pointer.name,
            RecordPlace::Here(state) => state.name,
        };
        let any = LabSelector::default();
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
        if let RecordPlace::Private(pointer) = &mut other.place {
            pointer.supervisor.pid += 1;
        }
        let labs = vec![private_lab("a", true), other];
        let own = ProcessId::current().unwrap().pid;
        for pid in [own, own + 1] {
            let chosen = choose(labs.clone(), LabSelector { name: Some("a"), pid: Some(pid) }).unwrap();
            assert!(matches!(chosen, RecordPlace::Private(pointer) if pointer.supervisor.pid == pid));
        }
        let nobody = LabSelector { name: None, pid: Some(own + 2) };
        assert!(matches!(choose(labs, nobody), Err(Error::NoLabOf(_))));
    }
}
