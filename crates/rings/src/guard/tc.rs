//! As much of traffic control as a guard needs: an ingress qdisc with one BPF filter
//! (include/uapi/linux/pkt_sched.h, include/uapi/linux/pkt_cls.h, net/sched/cls_bpf.c).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
/// NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL and NLM_F_CREATE.
const NEW: u16 = 0x001 | 0x004 | 0x200 | 0x400;
const NLMSG_ERROR: u16 = 2;
/// Bytes of struct nlmsghdr.
const HEADER_BYTES: usize = 16;

/// `TC_H_INGRESS`: where the ingress qdisc hangs.
const INGRESS: u32 = 0xffff_fff1;
/// The ingress qdisc's own handle, the parent of its filters.
const INGRESS_HANDLE: u32 = 0xffff_0000;
/// The filter's priority, 1, above the protocol that it is for, all (`ETH_P_ALL` in network byte order).
const FIRST_OF_ALL: u32 = 1 << 16 | 0x0003_u16.to_be() as u32;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
/// The program's return value is what becomes of the frame.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;

/// A route netlink socket of the namespace in which it was opened.
pub(crate) struct Control {
    socket: OwnedFd,
    sequence: u32,
}

impl Control {
    pub(crate) fn open() -> io::Result<Control> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        Ok(Control { socket, sequence: 0 })
    }

    /// Has a program, which drops what it sees, see all that comes in by an interface.
    pub(crate) fn drop_on_ingress(&mut self, ifindex: u32, program: &OwnedFd) -> io::Result<()> {
        self.ask(RTM_NEWQDISC, ifindex, [INGRESS_HANDLE, INGRESS, 0], &attribute(TCA_KIND, b"ingress\0"))?;
        let number = u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?;
        let options = [
            attribute(TCA_BPF_FD, &number.to_ne_bytes()),
            attribute(TCA_BPF_NAME, b"nsrouter_guard\0"),
            attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes()),
        ];
        let filter =
            [attribute(TCA_KIND, b"bpf\0"), attribute(TCA_OPTIONS | NESTED, &options.concat())].concat();
        self.ask(RTM_NEWTFILTER, ifindex, [0, INGRESS_HANDLE, FIRST_OF_ALL], &filter)
    }

    /// Sends one message with a struct tcmsg, whose handle, parent and info these are, and waits for its
    /// acknowledgement.
    fn ask(&mut self, kind: u16, ifindex: u32, tcmsg: [u32; 3], attributes: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        // A family, padding, and the interface come before the three words.
        let mut body = vec![0; 4];
        body.extend(ifindex.to_ne_bytes());
        tcmsg.iter().for_each(|word| body.extend(word.to_ne_bytes()));
        body.extend(attributes);
        let length = u32::try_from(HEADER_BYTES + body.len()).map_err(io::Error::other)?;
        let mut message = Vec::from(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(NEW.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        let fd = self.socket.as_raw_fd();
        send(fd, &message, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let bytes = recv(fd, &mut answer, MsgFlags::empty())?;
        match acknowledgement(&answer[..bytes]) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// An attribute, padded to a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::from(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The number in an `NLMSG_ERROR` message: zero, or an errno below it.
fn acknowledgement(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let error = i32::from_ne_bytes(answer.get(HEADER_BYTES..HEADER_BYTES + 4)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_answers_are_read() {
        assert_eq!(attribute(1, b"bpf\0").len(), 8);
        assert_eq!(attribute(1, b"ingress\0")[..2], 12u16.to_ne_bytes());
        assert_eq!(attribute(6, b"a").len(), 8);
        let mut answer = vec![0; 20];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        answer[16..].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert_eq!(acknowledgement(&answer), Some(-libc::EPERM));
        assert_eq!(acknowledgement(&answer[..19]), None);
    }
}
