//! `--backend`: one of the list in rings, or `auto`.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use nsrouter_rings::BACKENDS;
use nsrouter_rings::backend::Backend;

/// The word that leaves the choice to nsrouter.
pub(crate) const AUTO: &str = "auto";

/// The backend that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BackendOption {
    /// The first one that works here, of those that `auto` considers.
    Auto,
    /// This one.
    Named(&'static Backend),
}

/// Reads the option; the list of words and their help come from the backends themselves.
pub(crate) fn parser() -> impl TypedValueParser<Value = BackendOption> {
    let automatic = BACKENDS.iter().filter(|backend| backend.automatic.is_some());
    let names: Vec<&str> = automatic.map(|backend| backend.name).collect();
    let auto = PossibleValue::new(AUTO)
        .help(format!("The first of {} that works here; nsrouter says which and why", names.join(" and ")));
    let named = BACKENDS.iter().map(|backend| PossibleValue::new(backend.name).help(backend.summary));
    PossibleValuesParser::new(std::iter::once(auto).chain(named)).map(|name| of(&name))
}

fn of(name: &str) -> BackendOption {
    let named = BACKENDS.iter().find(|backend| backend.name == name);
    named.map_or(BackendOption::Auto, |backend| BackendOption::Named(backend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_a_word_of_its_own_and_a_sentence() {
        for backend in BACKENDS {
            assert!(matches!(of(backend.name), BackendOption::Named(found) if found.name == backend.name));
            assert_ne!(backend.name, AUTO);
            assert!(
                backend.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
                "{}",
                backend.name
            );
            assert!(!backend.summary.is_empty() && !backend.summary.ends_with('.'), "{}", backend.summary);
            assert!(!backend.facility.is_empty() && !backend.requirements.is_empty(), "{}", backend.name);
        }
        assert!(matches!(of(AUTO), BackendOption::Auto));
    }
}
