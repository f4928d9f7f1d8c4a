//! The few bpf(2) calls that a hand-assembled program needs (include/uapi/linux/bpf.h, kernel/bpf/syscall.c).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
/// Where an XDP program is attached (include/uapi/linux/if_link.h): in the driver, or behind it with an skb.
pub(crate) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
pub(crate) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// One eBPF instruction (struct bpf_insn).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Instruction {
    /// Operation.
    pub(crate) code: u8,
    /// Destination register in the low four bits, source in the high four.
    pub(crate) registers: u8,
    /// Jump or memory offset.
    pub(crate) offset: i16,
    /// Immediate operand.
    pub(crate) immediate: i32,
}

impl Instruction {
    /// `r0 = immediate`.
    pub(crate) const fn return_value(immediate: i32) -> Self {
        Instruction { code: 0xb7, registers: 0, offset: 0, immediate }
    }

    /// Any instruction, by its fields.
    pub(crate) const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        Instruction { code, registers: destination | source << 4, offset, immediate }
    }

    /// `exit`.
    pub(crate) const fn exit() -> Self {
        Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 }
    }
}

/// A classifier that lets every frame go on (`TC_ACT_OK`).
pub(crate) const PASS: [Instruction; 2] = [Instruction::return_value(0), Instruction::exit()];

/// The part of union bpf_attr that BPF_PROG_LOAD reads; what follows it is taken as zero.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The part of union bpf_attr that BPF_MAP_CREATE reads.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// The part of union bpf_attr that BPF_MAP_UPDATE_ELEM reads.
#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of union bpf_attr that BPF_LINK_CREATE reads for TCX, and for XDP with the last three zero.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    pad: u32,
    expected_revision: u64,
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel reads `size` bytes of a live structure whose inner pointers the callers keep
    // alive over the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    libc::c_int::try_from(rc).ok().filter(|rc| *rc >= 0).ok_or_else(io::Error::last_os_error)
}

/// A command that returns a new descriptor.
fn bpf_fd<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the callers pass commands that return a new descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor as bpf_attr has it.
fn number(fd: &OwnedFd) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

/// A descriptor as an instruction's operand.
pub(crate) fn immediate_fd(fd: &OwnedFd) -> i32 {
    fd.as_raw_fd()
}

/// Makes a map from queue numbers to AF_XDP sockets.
pub(crate) fn create_xsk_map(queues: u32) -> io::Result<OwnedFd> {
    let attributes = MapCreate {
        map_type: BPF_MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: queues,
        map_flags: 0,
    };
    bpf_fd(BPF_MAP_CREATE, &attributes)
}

/// Puts a bound socket into such a map.
pub(crate) fn set_xsk(map: &OwnedFd, queue: u32, socket: &OwnedFd) -> io::Result<()> {
    let value = number(socket);
    let attributes = MapUpdate {
        map_fd: number(map),
        pad: 0,
        key: (&raw const queue) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &attributes).map(drop)
}

/// Loads a classifier program for tc or TCX.
pub(crate) fn load_classifier(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    load(BPF_PROG_TYPE_SCHED_CLS, BPF_TCX_INGRESS, b"nsrouter_guard", instructions)
}

/// Loads an XDP program.
pub(crate) fn load_xdp(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    load(BPF_PROG_TYPE_XDP, BPF_XDP, b"nsrouter_xdp", instructions)
}

fn load(
    prog_type: u32,
    expected_attach_type: u32,
    name: &[u8],
    instructions: &[Instruction],
) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    prog_name[..name.len()].copy_from_slice(name);
    let attributes = ProgLoad {
        prog_type,
        insn_cnt: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        insns: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type,
    };
    bpf_fd(BPF_PROG_LOAD, &attributes)
}

/// Attaches a classifier to an interface's TCX ingress hook; it is detached when the descriptor closes.
pub(crate) fn link_tcx_ingress(program: &OwnedFd, ifindex: u32) -> io::Result<OwnedFd> {
    link(program, ifindex, BPF_TCX_INGRESS, 0)
}

/// Attaches an XDP program to an interface; it is detached when the descriptor closes.
pub(crate) fn link_xdp(program: &OwnedFd, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    link(program, ifindex, BPF_XDP, flags)
}

fn link(program: &OwnedFd, ifindex: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        prog_fd: number(program),
        target_ifindex: ifindex,
        attach_type,
        flags,
        relative_fd: 0,
        pad: 0,
        expected_revision: 0,
    };
    bpf_fd(BPF_LINK_CREATE, &attributes)
}
