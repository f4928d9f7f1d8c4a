//! Where lab and engine meet: a backend is chosen, and the lab's links become the engine's ports.

pub(crate) mod choice;
pub(crate) mod engines;
pub(crate) mod fit;
pub(crate) mod forwarder;
pub(crate) mod ports;
pub(crate) mod socket;
