//! The modes that a command line names, with the backends of this binary.

use nsrouter_bench::plan::{Backend, Mode, ModeError};
use nsrouter_rings::BACKENDS;

/// Reads one mode.
pub(super) fn mode(text: &str) -> Result<Mode, ModeError> {
    let backends =
        BACKENDS.map(|backend| Backend { name: backend.name, complete_frames: backend.complete_frames });
    Mode::parse(text, &backends)
}

/// The modes where none are named: the kernel, and the userspace router over the default backend.
pub(super) fn default() -> Result<Vec<Mode>, ModeError> {
    ["kernel", "userspace"].into_iter().map(mode).collect()
}

/// The modes of the table of aims: the kernel with and without host offloads, and the userspace router over every
/// backend, the default one also with workers that never sleep.
pub(super) fn for_aims() -> Result<Vec<Mode>, ModeError> {
    let mut names: Vec<String> =
        ["kernel", "kernel:no-offload", "userspace", "userspace:spin"].map(Into::into).into();
    names.extend(BACKENDS.iter().skip(1).map(|backend| format!("userspace:{}", backend.name)));
    names.iter().map(|name| mode(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_name_what_the_help_text_does() {
        let names = |modes: Result<Vec<Mode>, ModeError>| -> Vec<String> {
            modes.into_iter().flatten().map(|mode| mode.to_string()).collect()
        };
        assert_eq!(names(default()), ["kernel", "userspace:packet"]);
        let aims = names(for_aims());
        assert_eq!(aims[..4], ["kernel", "kernel:no-offload", "userspace:packet", "userspace:packet:spin"]);
        assert_eq!(aims[4..], ["userspace:tap", "userspace:xdp"]);
    }
}
