//! Cleaning: which labs are removed, and whether they are ended first.

pub(crate) mod removal;

use crate::error::Error;
use crate::records::{Lock, RecordPlace, RecordedLab, UnreadableRecord, dir_of, is_own_folder, list_all};

pub use removal::Removed;

/// The labs that [`clean`] removes.
#[derive(Clone, Debug, Default)]
pub struct CleanSelection {
    /// Only the lab of that name.
    pub name: Option<String>,
    /// Only the lab that this process keeps, as in [`LabInfo::pid`](crate::records::LabInfo::pid).
    pub pid: Option<i32>,
    /// Running labs too; they are ended first.
    pub all: bool,
}

/// What clean-up does with a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing: it is not selected, or runs and must not be ended.
    Leave,
    /// It is dead: its leftovers are removed.
    Remove,
    /// It runs: it is ended, and its leftovers are removed.
    End,
}

fn decide(selection: &CleanSelection, name: &str, pid: i32, running: bool) -> Decision {
    let is_selected = selection.name.as_deref().is_none_or(|wanted| wanted == name)
        && selection.pid.is_none_or(|wanted| wanted == pid);
    match (is_selected, running, selection.all) {
        (false, _, _) | (true, true, false) => Decision::Leave,
        (true, false, _) => Decision::Remove,
        (true, true, true) => Decision::End,
    }
}

/// Removes the leftovers of dead labs, and with `all` the running labs of this user too; one entry a lab.
///
/// # Errors
/// Where the records cannot be read. What fails for a single item is in [`Removed::problems`].
pub fn clean(selection: &CleanSelection) -> Result<Vec<Removed>, Error> {
    let decision = |lab: &RecordedLab| decide(selection, &lab.name, lab.pid(), lab.running);
    // The lock is for callers with records here: those of other users are left alone.
    let is_work =
        |lab: &RecordedLab| !lab.is_private() && lab.may_be_entered() && decision(lab) != Decision::Leave;
    let (labs, unreadable) = list_all()?;
    let is_locked = labs.iter().any(is_work) || unreadable.iter().any(is_own);
    // Somebody may have started a lab over the leftovers, or be starting one: look again with the lock held.
    let _lock = if is_locked { Some(Lock::take()?) } else { None };
    let (labs, unreadable) = list_all()?;
    let mut removed: Vec<Removed> =
        unreadable.iter().filter_map(|record| clean_unreadable(selection, record)).collect();
    for lab in labs {
        let decision = decision(&lab);
        if !lab.may_be_entered() {
            if decision != Decision::Leave && selection.name.is_some() {
                let problems = vec![format!("lab {} belongs to another user", lab.name)];
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
            (Decision::Remove, RecordPlace::Here(state)) => removed.push(removal::remove(&state)),
            (Decision::End, RecordPlace::Here(state)) => removed.push(removal::end(&state)),
            (Decision::Remove | Decision::End, RecordPlace::Private(pointer)) => {
                removed.push(removal::end_private(&pointer, lab.running));
            }
        }
    }
    Ok(removed)
}

/// Removes a record that cannot be read, where it is selected and its contents are at fault.
fn clean_unreadable(selection: &CleanSelection, record: &UnreadableRecord) -> Option<Removed> {
    let UnreadableRecord { name, error } = record;
    let is_selected = selection.name.as_ref().is_none_or(|wanted| wanted == name) && selection.pid.is_none();
    if !is_selected || !is_own(record) {
        return None;
    }
    let mut removed = Removed { is_unreadable: true, ..Removed::of(name) };
    if !matches!(error, Error::Record { .. }) {
        removed.problems.push(error.to_string());
    } else if selection.all || selection.name.is_some() {
        if removed.note(removal::forget(name)).is_some() {
            removed.left.push(format!(
                "removed its record and nothing else ({error}); anything that the lab created and left \
                 stays: see `ip netns`"
            ));
        }
    } else {
        removed.left.push(format!("left its record: {error}; `nsrouter clean --name {name}` removes that"));
    }
    Some(removed)
}

/// Whether a record belongs to the caller.
fn is_own(record: &UnreadableRecord) -> bool {
    is_own_folder(&dir_of(&record.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_labs_are_removed_and_running_ones_only_when_all_are_selected() {
        let select =
            |name: Option<&str>, all| CleanSelection { name: name.map(str::to_owned), pid: None, all };
        let cases = [
            (select(None, false), false, Decision::Remove),
            (select(None, false), true, Decision::Leave),
            (select(None, true), true, Decision::End),
            (select(None, true), false, Decision::Remove),
            (select(Some("lab"), false), false, Decision::Remove),
            (select(Some("lab"), true), true, Decision::End),
            (select(Some("other"), true), true, Decision::Leave),
            (select(Some("other"), true), false, Decision::Leave),
        ];
        for (selection, running, decision) in cases {
            assert_eq!(decide(&selection, "lab", 7, running), decision, "{selection:?}, running: {running}");
            let other = CleanSelection { pid: Some(8), ..selection };
            assert_eq!(decide(&other, "lab", 7, running), Decision::Leave, "of another process");
        }
    }
}
