//! As much of traffic control as a guard needs: an ingress qdisc with one BPF filter
//! (include/uapi/linux/pkt_sched.h, include/uapi/linux/pkt_cls.h, net/sched/cls_bpf.c).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nsrouter_linux::netlink::{CREATE_NEW, NESTED, NetlinkSocket, Protocol, attribute, terminated};

const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;

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

/// A route netlink socket of the namespace in which it was opened.
pub(crate) struct Control {
    socket: NetlinkSocket,
}

impl Control {
    pub(crate) fn open() -> io::Result<Control> {
        Ok(Control { socket: NetlinkSocket::open(Protocol::Route)? })
    }

    /// Has a program, which drops what it sees, see all that comes in by an interface.
    pub(crate) fn drop_on_ingress(&self, ifindex: u32, program: &OwnedFd) -> io::Result<()> {
        self.ask(
            RTM_NEWQDISC,
            ifindex,
            [INGRESS_HANDLE, INGRESS, 0],
            &attribute(TCA_KIND, &terminated("ingress")),
        )?;
        let number = u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?;
        let options = [
            attribute(TCA_BPF_FD, &number.to_ne_bytes()),
            attribute(TCA_BPF_NAME, &terminated("nsrouter_guard")),
            attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes()),
        ];
        let filter =
            [attribute(TCA_KIND, &terminated("bpf")), attribute(TCA_OPTIONS | NESTED, &options.concat())]
                .concat();
        self.ask(RTM_NEWTFILTER, ifindex, [0, INGRESS_HANDLE, FIRST_OF_ALL], &filter)
    }

    /// Sends one message with a struct tcmsg, whose handle, parent and info these are, and waits for its
    /// acknowledgement.
    fn ask(&self, kind: u16, ifindex: u32, tcmsg: [u32; 3], attributes: &[u8]) -> io::Result<()> {
        // A family, padding, and the interface come before the three words.
        let mut body = vec![0; 4];
        body.extend(ifindex.to_ne_bytes());
        tcmsg.iter().for_each(|word| body.extend(word.to_ne_bytes()));
        body.extend(attributes);
        self.socket.ask(kind, CREATE_NEW, &body).map(drop)
    }
}
