//! The fuzzer's bytes as a case: port, pending checksum and GSO from the first bytes, the frame from the rest.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/fuzz/mod.rs"]
pub mod fuzz;

use std::fmt::Write;

use fuzz::case::Case;

/// A case in the words of the files in `tests/data/fuzz`, so that both are read by one parser.
pub fn case(data: &[u8]) -> Option<Case> {
    let ([port, checksum, start, offset, gso, size_high, size_low], frame) = data.split_first_chunk()?;
    let port = [0, 1, 2, u32::from(u16::MAX)][usize::from(port % 4)];
    let mut text = format!("port {port}");
    if checksum & 1 == 1 {
        write!(text, " checksum {start} {offset}").ok()?;
    }
    if let Some(kind) = ["tcp4", "tcp6", "udp"].get(usize::from(gso % 8)) {
        write!(text, " gso {kind} {}", u16::from_be_bytes([*size_high, *size_low])).ok()?;
    }
    text.push('\n');
    for octet in frame {
        write!(text, "{octet:02x} ").ok()?;
    }
    Case::parse(&text)
}
