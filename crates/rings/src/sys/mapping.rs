//! Memory from mmap(2), given back to the kernel when its owner goes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A readable and writable mapping. It gives access to none of its bytes: its owner decides who may touch
/// which.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process and to no thread, and this type reads and writes nothing in it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes of what `fd` shares with the kernel, from its byte `offset` on.
    pub(crate) fn shared(fd: BorrowedFd<'_>, offset: libc::off_t, bytes: usize) -> io::Result<Mapping> {
        map(libc::MAP_SHARED, fd.as_raw_fd(), offset, bytes)
    }

    /// Maps `bytes` zero bytes of this process's own.
    pub(crate) fn anonymous(bytes: usize) -> io::Result<Mapping> {
        map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0, bytes)
    }

    /// The first byte, which begins a page. [`Mapping::bytes`] bytes from here on are mapped while this value
    /// lives.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Pages are made at once (`MAP_POPULATE`), so that no packet waits for one.
fn map(kind: libc::c_int, fd: libc::c_int, offset: libc::off_t, bytes: usize) -> io::Result<Mapping> {
    let flags = kind | libc::MAP_POPULATE;
    // SAFETY: a fresh mapping at an address of the kernel's choice; its failure is checked.
    let base = unsafe {
        libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset)
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
    Ok(Mapping { base, bytes })
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped, unmapped once. Whatever borrows from it borrows its owner, which
        // is being dropped, so no reference into it is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::unistd::ftruncate;

    use super::*;

    #[test]
    fn memory_is_given_back_with_its_owner() {
        let name = c"nsrouter-mapping-test";
        let file = memfd_create(name, MFdFlags::MFD_CLOEXEC).expect("a file in memory");
        ftruncate(&file, 8192).expect("two pages");
        let is_mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").expect("it is there");
            maps.contains("nsrouter-mapping-test")
        };
        let mapping = Mapping::shared(file.as_fd(), 4096, 4096).expect("a page");
        assert!(is_mapped());
        assert_eq!(mapping.bytes(), 4096);
        drop(mapping);
        assert!(!is_mapped());
    }

    #[test]
    fn an_empty_mapping_is_an_error() {
        assert!(Mapping::anonymous(0).is_err());
    }
}
