//! The router as a host: packets from its own programs and to them, and packets that it makes itself.

pub(crate) mod deliver;
pub(crate) mod host;
pub(crate) mod no_listener;
pub(crate) mod originate;
pub(crate) mod reply;
pub(crate) mod source;
