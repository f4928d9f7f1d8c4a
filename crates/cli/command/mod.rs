//! The subcommands, a file or a folder each.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod clean;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod run;
pub(crate) mod shell;
mod signals;
pub(crate) mod status;
