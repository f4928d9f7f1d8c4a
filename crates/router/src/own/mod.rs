//! The router as a host: packets from its own programs, packets that it makes itself, and answers where nobody listens.

pub(crate) mod host;
pub(crate) mod no_listener;
pub(crate) mod originate;
pub(crate) mod source;
