//! What was removed of a lab, in words.

use nsrouter_lab::clean::Removed;

use crate::output::{errln, outln};

/// Says what was removed, what was left, and what could not be removed.
pub(crate) fn tell(removed: &[Removed]) -> anyhow::Result<()> {
    for lab in removed {
        outln!("{}", describe(lab))?;
        lab.problems.iter().for_each(|sentence| errln!("  {sentence}"));
    }
    Ok(())
}

/// One lab's sentence, a line for each kind of thing that went, and one for each thing that was left.
pub(crate) fn describe(removed: &Removed) -> String {
    let processes: Vec<String> =
        removed.processes.iter().map(|process| format!("{} ({})", process.name, process.pid)).collect();
    let kinds = [
        ("ended processes", &processes),
        ("removed namespaces", &removed.namespaces),
        ("removed links", &removed.links),
        ("restored settings", &removed.sysctls),
        ("restored routes", &removed.routes),
    ];
    let what = match (removed.lab.as_str(), removed.private, removed.was_running) {
        ("", _, _) => "in the way".to_owned(),
        (lab, _, _) if removed.is_unreadable => format!("lab {lab}: its record cannot be read"),
        (lab, true, true) => format!("private lab {lab}: ended, nothing is left of it"),
        (lab, true, false) => format!("private lab {lab}: dead, only its record was left"),
        (lab, false, true) => format!("lab {lab}: ended"),
        (lab, false, false) => format!("lab {lab}: dead"),
    };
    let lines = kinds
        .iter()
        .filter(|(_, things)| !things.is_empty())
        .map(|(did, things)| format!("\n  {did}: {}", things.join(", ")));
    let left = removed.left.iter().map(|sentence| format!("\n  {sentence}"));
    std::iter::once(what).chain(lines).chain(left).collect()
}
