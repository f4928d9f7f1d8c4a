//! Errors as a user meets them: one clear sentence, a hint where there is a way out, and an exit code.

use std::process::ExitCode;

/// Exit code: what was asked for makes no sense.
pub(crate) const USAGE: u8 = 2;
/// Exit code: it failed.
const FAILED: u8 = 1;
/// Exit code: this machine or user cannot.
pub(crate) const CANNOT: u8 = 3;

/// Something that this machine or user cannot do, with the way out.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Cannot {
    /// The sentence.
    pub(crate) what: String,
    /// What would help.
    pub(crate) hint: String,
}

/// Prints the error and says with which code to exit.
pub(crate) fn explain(error: &anyhow::Error) -> ExitCode {
    eprintln!("nsrouter: {error:#}");
    let lab = error.downcast_ref::<nsrouter_lab::Error>();
    let cannot = error.downcast_ref::<Cannot>();
    let hint = lab.and_then(nsrouter_lab::Error::hint).or_else(|| cannot.map(|cannot| cannot.hint.clone()));
    if let Some(hint) = hint {
        eprintln!("  hint: {hint}");
    }
    let code = match lab {
        Some(lab) if lab.is_usage() => USAGE,
        Some(lab) if lab.is_cannot() => CANNOT,
        _ if cannot.is_some() => CANNOT,
        _ => FAILED,
    };
    ExitCode::from(code)
}
