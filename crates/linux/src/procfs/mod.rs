//! Files below `/proc`: reading them whole, and parsing the ones that nsrouter needs.
//!
//! The parsers take text, so that callers decide which file it comes from and when. They skip what they do
//! not understand: another kernel version adds fields and lines, and none of that is an error.

pub mod cpu;
pub mod fields;
pub mod net_dev;
pub mod process;
pub mod snmp;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The size of the first read, and of the step by which the buffer grows, in bytes.
const CHUNK_BYTES: usize = 1 << 14;

/// Opens `/proc/net/NAME` of the calling thread's network namespace. The file stays with that namespace,
/// whichever thread reads it later.
///
/// # Errors
/// As for [`File::open`]: NotFound where the kernel lacks the protocol, as with `snmp6` where IPv6 is
/// disabled.
pub fn open_net(name: &str) -> io::Result<File> {
    File::open(net_path(name))
}

/// The path of `/proc/net/NAME` for the calling thread; `/proc/net` itself is that of the main thread.
pub fn net_path(name: &str) -> String {
    format!("/proc/thread-self/net/{name}")
}

/// Reads a file of `/proc` from its beginning, which makes the kernel generate the contents anew; the file's
/// own position does not matter and does not change.
///
/// # Errors
/// As for read(2); InvalidData where the contents are not UTF-8.
pub fn read_from_start(file: &File) -> io::Result<String> {
    let mut text = Vec::new();
    let mut len = 0;
    loop {
        if len == text.len() {
            text.resize(len + CHUNK_BYTES, 0);
        }
        let read = file.read_at(&mut text[len..], len as u64)?;
        if read == 0 {
            text.truncate(len);
            return String::from_utf8(text)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        }
        len += read;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    #[test]
    fn a_file_is_read_whole_and_again() {
        let mut file = tempfile::tempfile().unwrap();
        let long = "line\n".repeat(CHUNK_BYTES);
        file.write_all(long.as_bytes()).unwrap();
        assert_eq!(read_from_start(&file).unwrap(), long);
        file.seek(SeekFrom::Start(7)).unwrap();
        assert_eq!(read_from_start(&file).unwrap().len(), long.len(), "wherever the position is");
        assert_eq!(file.stream_position().unwrap(), 7);
        file.write_all(&[0xff]).unwrap();
        assert_eq!(read_from_start(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_own_namespace_has_its_tables() {
        assert!(read_from_start(&open_net("dev").unwrap()).unwrap().contains("lo:"));
        assert_eq!(open_net("no-such-table").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
