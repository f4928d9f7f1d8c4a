//! The log on standard error: warnings that do not end a command. `RUST_LOG` sets its level.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::output::errln;

/// Switches it on; warnings and errors where `RUST_LOG` says nothing. Without colours, so that it is the same
/// on a terminal and in a file.
pub(crate) fn start() {
    let builder = || EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
    let filter = builder().from_env().unwrap_or_else(|error| {
        errln!("nsrouter: RUST_LOG is not understood: {error}");
        builder().parse_lossy("")
    });
    // A subscriber that cannot write would complain on standard error, and panic where that is what is
    // closed.
    let subscriber = tracing_subscriber::fmt().log_internal_errors(false).with_ansi(false).with_target(false);
    let installed = subscriber.with_writer(std::io::stderr).with_env_filter(filter).try_init();
    if let Err(error) = installed {
        errln!("nsrouter: no log: {error}");
    }
}
