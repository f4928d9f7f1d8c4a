//! Words of the command line that have a syntax of their own, or that several subcommands take.

pub(crate) mod cpus;
pub(crate) mod misspelt;
pub(crate) mod settings;
pub(crate) mod which;
