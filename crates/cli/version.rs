//! Which nsrouter this is.

/// The number of the release.
pub(crate) const NUMBER: &str = env!("CARGO_PKG_VERSION");
/// What it was built for, as rustc names it.
pub(crate) const TARGET: &str = env!("NSROUTER_TARGET");
/// The commit that it was built from, where that is known.
pub(crate) const COMMIT: Option<&str> =
    if env!("NSROUTER_COMMIT").is_empty() { None } else { Some(env!("NSROUTER_COMMIT")) };
/// All of it, as `--version` says it.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("NSROUTER_BUILD"), ")");
