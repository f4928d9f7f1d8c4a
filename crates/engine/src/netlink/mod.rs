//! Netlink (rtnetlink(7)): the kernel's links, addresses, routes, neighbours and rules of a network
//! namespace, as typed events and lists.
//!
//! | file | contents |
//! |---|---|
//! | `socket` | sockets: one on which the kernel reports changes, a new one for every list |
//! | `monitor` | watching a namespace, and reading its lists |
//! | `event` | changes, parsed |
//! | `link` | state of a link, and of the port on it |
//! | `interfaces` | the interfaces by which the kernel reaches the router's links |
//! | `nexthop` | next-hop objects |
//! | `route` | routes, parsed into routes of the router |
//! | `rule` | policy routing rules |
//! | `far_link` | the other end of a port's link, in another namespace |

pub(crate) mod event;
pub(crate) mod far_link;
pub(crate) mod interfaces;
pub(crate) mod link;
pub(crate) mod monitor;
mod nexthop;
pub(crate) mod route;
mod rule;
pub(crate) mod socket;
