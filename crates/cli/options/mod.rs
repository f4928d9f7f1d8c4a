//! Words of the command line that have a syntax of their own, or that several subcommands take.

pub(crate) mod backend;
pub(crate) mod cpus;
pub(crate) mod misspelt;
pub(crate) mod mode;
pub(crate) mod settings;
pub(crate) mod which;
