//! Where lab and engine meet: a backend is chosen, and the lab's ports become the engine's.

pub(crate) mod backend;
pub(crate) mod fit;
pub(crate) mod forwarder;
