//! Settings of the kernel that a lab changes: in the namespaces of its nodes, in the namespace where nsrouter
//! was started, and the offloads of its hosts.

pub(crate) mod host;
pub(crate) mod node;
pub(crate) mod offloads;
