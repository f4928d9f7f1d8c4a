//! A netlink socket, for one thread.

use std::future::Future;
use std::io;

use tokio::runtime::Runtime;

use crate::error::Error;

/// A netlink socket and the runtime that drives it, for one thread.
pub(crate) struct Netlink {
    runtime: Runtime,
    pub(super) handle: rtnetlink::Handle,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread, in which it stays.
    pub(crate) fn open() -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            let (connection, handle, _) = {
                let _inside = runtime.enter();
                rtnetlink::new_connection()?
            };
            runtime.spawn(connection);
            Ok(Self { runtime, handle })
        };
        open().map_err(Error::step("open a netlink socket"))
    }

    /// Drives one request, and returns the kernel's error as an I/O error.
    pub(super) fn drive<T>(
        &self,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> io::Result<T> {
        self.runtime.block_on(request).map_err(|error| match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other),
        })
    }

    /// Drives one request; `step` completes "cannot ...".
    pub(super) fn ask<T>(
        &self,
        step: impl FnOnce() -> String,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, Error> {
        self.drive(request).map_err(|source| Error::Step { step: step(), source })
    }
}
