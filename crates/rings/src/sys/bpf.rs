//! The few bpf(2) calls that a hand-assembled program needs (include/uapi/linux/bpf.h, kernel/bpf/syscall.c).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_INGRESS: u32 = 46;

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

    /// `exit`.
    pub(crate) const fn exit() -> Self {
        Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 }
    }
}

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

/// The part of union bpf_attr that BPF_LINK_CREATE reads for TCX.
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

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size` bytes of a live structure whose inner pointers the callers keep
    // alive over the call; both commands return a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    let fd = libc::c_int::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a classifier program for tc or TCX.
pub(crate) fn load_classifier(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    prog_name[..14].copy_from_slice(b"nsrouter_guard");
    let attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_SCHED_CLS,
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
        expected_attach_type: BPF_TCX_INGRESS,
    };
    bpf(BPF_PROG_LOAD, &attributes)
}

/// Attaches a classifier to an interface's TCX ingress hook; it is detached when the descriptor closes.
pub(crate) fn link_tcx_ingress(program: &OwnedFd, ifindex: u32) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        prog_fd: u32::try_from(program.as_raw_fd()).unwrap_or(u32::MAX),
        target_ifindex: ifindex,
        attach_type: BPF_TCX_INGRESS,
        flags: 0,
        relative_fd: 0,
        pad: 0,
        expected_revision: 0,
    };
    bpf(BPF_LINK_CREATE, &attributes)
}
