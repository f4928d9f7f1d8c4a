//! Generic netlink: requests to a family of the kernel that is looked up by its name.
//!
//! Source: include/uapi/linux/genetlink.h.

use std::io;

use crate::netlink::{NetlinkSocket, Protocol, attribute, attributes, terminated};

/// struct genlmsghdr.
const HEADER_BYTES: usize = 4;

/// The family that knows the other families, and the request for one of them.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// A socket for requests to one family, in the network namespace of the thread that opened it.
pub(crate) struct Family {
    socket: NetlinkSocket,
    id: u16,
}

impl Family {
    /// Opens a socket and looks up the family; `None` where this kernel does not have it.
    pub(crate) fn open(name: &str) -> io::Result<Option<Self>> {
        let control = Self { socket: NetlinkSocket::open(Protocol::Generic)?, id: GENL_ID_CTRL };
        let request = attribute(CTRL_ATTR_FAMILY_NAME, &terminated(name));
        let answer = match control.ask(CTRL_CMD_GETFAMILY, &request) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            answer => answer?,
        };
        let id = attributes(&answer).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID);
        let id = id.and_then(|(_, id)| id.try_into().ok()).map(u16::from_ne_bytes);
        Ok(id.map(|id| Self { id, ..control }))
    }

    /// Sends one request and waits for its acknowledgement. The attributes of the answer; none where there is
    /// only the acknowledgement.
    pub(crate) fn ask(&self, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        // The command, version 1 of the family, and two reserved bytes.
        let answer = self.socket.ask(self.id, 0, &[&[command, 1, 0, 0], attributes].concat())?;
        Ok(answer.get(HEADER_BYTES..).unwrap_or_default().to_vec())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn families_are_found_by_name() {
        assert!(Family::open("ethtool").unwrap().is_some());
        assert!(Family::open("no_such_family").unwrap().is_none());
    }
}
