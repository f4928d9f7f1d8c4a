//! Errors as a user meets them: one clear sentence, a hint where there is a way out, and an exit code.

use std::process::ExitCode;

use nsrouter_bench::text::with_causes;

use crate::output::errln;

/// Exit code: usage error.
pub(crate) const USAGE: u8 = 2;
/// Exit code: failure.
const FAILED: u8 = 1;
/// Exit code: not supported or not permitted here.
pub(crate) const CANNOT: u8 = 3;

/// Something that is not supported or not permitted here, with a hint.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Cannot {
    /// The sentence.
    pub(crate) what: String,
    /// What would help, as an instruction.
    pub(crate) hint: String,
}

/// The text without control characters: names come from files and from the command line.
fn harmless(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Prints the error and says with which code to exit.
pub(crate) fn explain(error: &anyhow::Error) -> ExitCode {
    errln!("nsrouter: {}", harmless(&with_causes(error.as_ref())));
    let lab = error.downcast_ref::<nsrouter_lab::Error>();
    let cannot = error.downcast_ref::<Cannot>();
    let hint = lab.and_then(nsrouter_lab::Error::hint).or_else(|| cannot.map(|cannot| cannot.hint.clone()));
    if let Some(hint) = hint {
        errln!("  hint: {}", harmless(&hint));
    }
    let code = match lab {
        Some(lab) if lab.is_usage() => USAGE,
        Some(lab) if lab.is_cannot() => CANNOT,
        Some(nsrouter_lab::Error::Command { code, .. }) => *code,
        _ if cannot.is_some() => CANNOT,
        _ => FAILED,
    };
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = || io::Error::other("no luck");
        let sentence = |error: &anyhow::Error| with_causes(error.as_ref());
        let quoting = nsrouter_rings::xdp::OpenError::Socket(cause());
        assert_eq!(sentence(&anyhow::Error::new(quoting)).matches("no luck").count(), 1);
        let silent = anyhow::Error::new(cause()).context("cannot try");
        assert_eq!(sentence(&silent), "cannot try: no luck");
    }

    #[test]
    fn a_terminal_is_told_nothing_by_a_name() {
        assert_eq!(harmless("no `\u{1b}[31mX\n`: größer"), "no `\\u{1b}[31mX\\n`: größer");
    }
}
