//! Sysctls, the files below `/proc/sys`: read, written, remembered and restored.
//!
//! Keys are paths relative to `/proc/sys`, like `net/ipv4/ip_forward`. Those below `net/` belong to the
//! network namespace of the calling thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A sysctl that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// Reading it failed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Its file.
        path: PathBuf,
        /// NotFound where this kernel, or this interface, has no such sysctl.
        source: io::Error,
    },
    /// Writing it failed.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Its file.
        path: PathBuf,
        /// ReadOnlyFilesystem where `/proc/sys` is mounted read-only, as in many containers.
        source: io::Error,
    },
}

/// The file of a sysctl.
pub fn path_of(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

/// Whether there is such a sysctl, or folder of sysctls.
fn exists(key: &str) -> bool {
    path_of(key).exists()
}

/// The value, without the newline at its end.
///
/// # Errors
/// [`SysctlError::Read`].
pub fn read(key: &str) -> Result<String, SysctlError> {
    let path = path_of(key);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(SysctlError::Read { path, source }),
    }
}

/// Writes a value.
///
/// # Errors
/// [`SysctlError::Write`].
pub fn write(key: &str, value: &str) -> Result<(), SysctlError> {
    let path = path_of(key);
    fs::write(&path, value).map_err(|source| SysctlError::Write { path, source })
}

/// Writes a former value back where the present one differs. Whether it was written: `Ok(false)` also where
/// the sysctl is gone, together with the interface that it belonged to.
///
/// # Errors
/// [`SysctlError`].
pub fn restore(key: &str, value: &str) -> Result<bool, SysctlError> {
    match read(key) {
        Ok(now) if now == value => Ok(false),
        Ok(_) => write(key, value).map(|()| true),
        Err(SysctlError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether this kernel has IPv6 at all (`ipv6.disable=1` on its command line removes the folder).
pub fn has_ipv6() -> bool {
    exists("net/ipv6/conf")
}

/// Whether an interface has IPv6. The kernel removes it, and the interface's folder with it, where the MTU is
/// below 1280 bytes (`IPV6_MIN_MTU` in addrconf_notify() of net/ipv6/addrconf.c).
pub fn interface_has_ipv6(ifname: &str) -> bool {
    exists(&format!("net/ipv6/conf/{ifname}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_read_without_their_newline() {
        assert!(exists("kernel/osrelease"));
        let release = read("kernel/osrelease").unwrap();
        assert!(!release.is_empty() && !release.ends_with('\n'));
        assert!(!restore("kernel/osrelease", &release).unwrap(), "nothing is to be written");
    }

    #[test]
    fn a_missing_sysctl_is_an_error_to_read_and_nothing_to_restore() {
        let error = read("net/no_such_thing").unwrap_err();
        assert!(error.to_string().starts_with("cannot read /proc/sys/net/no_such_thing: "), "{error}");
        assert!(matches!(write("net/no_such_thing", "1"), Err(SysctlError::Write { .. })));
        assert!(!restore("net/no_such_thing", "1").unwrap());
        assert!(!interface_has_ipv6("no-such-link"));
    }
}
