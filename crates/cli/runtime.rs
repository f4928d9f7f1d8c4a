//! The runtime that waits for signals, programs and sockets.

use std::os::unix::net::UnixStream;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

use crate::output::failure::Cannot;

/// Pairs of descriptors that must be free: more than a runtime takes.
const FREE_PAIRS: usize = 6;

/// Refuses where too few descriptors are free for any runtime, this one or those of netlink sockets: tokio
/// panics where it gets none for its signals (`signal::unix::Globals`).
pub(crate) fn can_start() -> Result<(), Cannot> {
    let tried: Result<Vec<_>, _> = (0..FREE_PAIRS).map(|_| UnixStream::pair()).collect();
    tried.map(drop).map_err(|error| Cannot {
        what: format!("too few files may be open in this process: {error}"),
        hint: "raise the limit: ulimit -n 1024".into(),
    })
}

/// Starts it, on this thread.
pub(crate) fn start() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime that waits for signals")
}
