//! `--mode`: the kernel or the userspace router.

use clap::ValueEnum;

/// What forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The kernel, with ip_forward switched on.
    Kernel,
    /// nsrouter's userspace router.
    Userspace,
}

impl Mode {
    /// The word for it, here and in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Kernel => "kernel",
            Mode::Userspace => "userspace",
        }
    }
}
