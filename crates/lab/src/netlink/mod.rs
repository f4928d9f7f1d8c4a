//! Links, addresses and routes, over rtnetlink.

mod addresses;
mod links;
mod routes;
mod socket;

pub(crate) use links::VethEnd;
pub(crate) use socket::Netlink;
