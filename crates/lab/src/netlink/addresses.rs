//! Addresses of interfaces.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};

use super::socket::Netlink;
use crate::error::Error;

impl Netlink {
    /// Adds an address that can be used at once, without duplicate address detection: all nodes of a lab are
    /// known (RFC 4862 section 5.4).
    pub(crate) fn add_address(&self, index: u32, net: IpNet) -> Result<(), Error> {
        let mut request = self.handle.address().add(index, net.addr(), net.prefix_len());
        if net.addr().is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.ask(|| format!("add address {net} to link {index}"), request.execute())
    }

    /// Whether the link has an IPv6 link-local address, and no tentative address.
    pub(crate) fn has_usable_link_local(&self, index: u32) -> Result<bool, Error> {
        let all: Vec<AddressMessage> = self.ask(
            || format!("list the addresses of link {index}"),
            self.handle.address().get().set_link_index_filter(index).execute().try_collect(),
        )?;
        let on_link = |message: &&AddressMessage| {
            message.header.index == index && message.header.family == AddressFamily::Inet6
        };
        let is_link_local = |message: &AddressMessage| {
            message.attributes.iter().any(|attribute| match attribute {
                AddressAttribute::Address(IpAddr::V6(addr)) => addr.is_unicast_link_local(),
                _ => false,
            })
        };
        let is_tentative =
            |message: &AddressMessage| message.header.flags.contains(AddressHeaderFlags::Tentative);
        Ok(all.iter().filter(on_link).any(is_link_local) && !all.iter().filter(on_link).any(is_tentative))
    }
}
