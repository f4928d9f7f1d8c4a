//! An error and its causes as one sentence.

use std::error::Error;

/// The error and what caused it, each said once: some errors quote their cause themselves.
pub(crate) fn sentence_of(error: &(dyn Error + 'static)) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !sentence.contains(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = error.source();
    }
    sentence
}

/// The same for an error with context.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    sentence_of(error.as_ref())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = || io::Error::other("no luck");
        let quoting = nsrouter_rings::xdp::OpenError::Socket(cause());
        assert_eq!(sentence(&anyhow::Error::new(quoting)).matches("no luck").count(), 1);
        let silent = anyhow::Error::new(cause()).context("cannot try");
        assert_eq!(sentence(&silent), "cannot try: no luck");
    }
}
