//! Which backend the userspace router gets: the one that is asked for, or the first that works, tried before
//! anything is built.

use anyhow::Context;
use nsrouter_bench::text::with_causes;
use nsrouter_linux::netns::{LOOPBACK_IFINDEX, Netns};
use nsrouter_rings::BACKENDS;
use nsrouter_rings::backend::Backend;

use crate::options::backend::BackendOption;
use crate::output::failure::Cannot;

/// A backend that works here.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// The backend.
    pub(crate) backend: &'static Backend,
    /// Why it was chosen, where the user left the choice open.
    pub(crate) reason: Option<String>,
}

/// Chooses a backend, each tried in a network namespace made for that.
///
/// # Errors
/// [`Cannot`] where this machine or user lacks what it takes.
pub(crate) fn choose(wanted: BackendOption) -> anyhow::Result<Choice> {
    let probe = |backend: &Backend| (backend.probe)(LOOPBACK_IFINDEX).map_err(|error| with_causes(&*error));
    let chosen = Netns::create()
        .and_then(|ns| ns.run(|| settle(wanted, probe)))
        .context("cannot make a network namespace to try the backends in")?;
    Ok(chosen?)
}

fn settle(wanted: BackendOption, probe: impl Fn(&Backend) -> Result<(), String>) -> Result<Choice, Cannot> {
    let automatic = match wanted {
        BackendOption::Named(backend) => {
            return match probe(backend) {
                Ok(()) => Ok(Choice { backend, reason: None }),
                Err(why) => Err(refuse(backend, &why)),
            };
        }
        BackendOption::Auto => BACKENDS.into_iter().filter_map(|backend| Some((backend, backend.automatic?))),
    };
    let mut refused: Option<(&Backend, String)> = None;
    for (backend, advantage) in automatic {
        match probe(backend) {
            Ok(()) => {
                let reason = match &refused {
                    Some((first, why)) => format!("{} cannot work here: {why}", first.name),
                    None => advantage.to_owned(),
                };
                return Ok(Choice { backend, reason: Some(reason) });
            }
            Err(why) => refused = refused.or(Some((backend, why))),
        }
    }
    Err(refused
        .map_or_else(|| refuse(BACKENDS[0], "no backend is automatic"), |(first, why)| refuse(first, &why)))
}

/// The error where a backend does not work; the first one of the list is the way out from all others.
fn refuse(backend: &Backend, why: &str) -> Cannot {
    let default = BACKENDS[0].name;
    let otherwise = if backend.name == default {
        "`nsrouter doctor` lists what is missing; --mode kernel needs none of it".to_owned()
    } else {
        format!("or use --backend {default}")
    };
    Cannot {
        what: format!("the {} backend cannot work here: {why}", backend.name),
        hint: format!("it takes {}; {otherwise}", backend.requirements),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settles where only the backends of these names work.
    fn settled(wanted: BackendOption, working: &[&str]) -> Result<Choice, Cannot> {
        settle(wanted, |backend| if working.contains(&backend.name) { Ok(()) } else { Err("no".to_owned()) })
    }

    #[test]
    fn auto_takes_packet_and_else_xdp_and_says_why() {
        for (working, name, reason) in [
            (&["packet", "tap", "xdp"][..], "packet", "GSO packets"),
            (&["packet"], "packet", "GSO packets"),
            (&["tap", "xdp"], "xdp", "packet cannot work here: no"),
        ] {
            let choice = settled(BackendOption::Auto, working).expect("there is one");
            assert_eq!(choice.backend.name, name);
            assert!(choice.reason.is_some_and(|told| told.contains(reason)), "{name}");
        }
        let error = settled(BackendOption::Auto, &["tap"]).expect_err("tap only by name");
        assert!(error.what.contains("the packet backend") && error.hint.contains("doctor"), "{error}");
    }

    #[test]
    fn a_backend_that_is_named_is_taken_or_refused() {
        for backend in BACKENDS {
            let choice = settled(BackendOption::Named(backend), &[backend.name]).expect("it works");
            assert_eq!((choice.backend.name, choice.reason), (backend.name, None));
            let error = settled(BackendOption::Named(backend), &[]).expect_err("it does not");
            assert!(error.what.contains(backend.name), "{error}");
            assert!(error.hint.contains(backend.requirements), "{}", error.hint);
        }
    }
}
