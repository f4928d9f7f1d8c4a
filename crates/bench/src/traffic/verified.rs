//! A TCP transfer whose every byte is compared with what was meant to be sent.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Written and read at a time, in bytes. Not a multiple of any segment size.
const CHUNK_BYTES: usize = 100_003;

/// An endless stream of bytes that both ends can make from its seed (xorshift64*, so that no shift, repetition or swap
/// of segments yields the same bytes).
struct Pattern {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Pattern {
    fn new(seed: u64) -> Pattern {
        // Zero is the one state that the generator never leaves.
        Pattern { state: seed | 1 << 63, word: [0; 8], used: 8 }
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            if self.used == self.word.len() {
                self.state ^= self.state >> 12;
                self.state ^= self.state << 25;
                self.state ^= self.state >> 27;
                self.word = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
                self.used = 0;
            }
            *byte = self.word[self.used];
            self.used += 1;
        }
    }
}

/// FNV-1a over 64 bits: names a stream of bytes in a report.
fn hash(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

const HASH_OF_NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

/// One end of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes that went through this end.
    pub bytes: u64,
    /// Their FNV-1a hash.
    pub hash: u64,
    /// Receiver: offset of the first byte that differs from what was meant.
    pub first_difference: Option<u64>,
    /// From the connection's beginning to its end.
    pub elapsed: Duration,
}

/// Accepts one connection on `listener` and compares what comes with the pattern of `seed`, until the sender closes.
///
/// # Errors
/// When nobody connects or the stream stalls until `deadline` ([`io::ErrorKind::TimedOut`]), or the connection breaks.
pub fn receive(listener: &TcpListener, seed: u64, deadline: Instant) -> io::Result<Transfer> {
    listener.set_nonblocking(true)?;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => await_readable(listener, deadline)?,
            Err(e) => return Err(e),
        }
    };
    stream.set_nonblocking(false)?;
    let start = Instant::now();
    let mut pattern = Pattern::new(seed);
    let (mut buffer, mut expected) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut done =
        Transfer { bytes: 0, hash: HASH_OF_NOTHING, first_difference: None, elapsed: Duration::ZERO };
    loop {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        let len = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(e) if is_retry(&e) => continue,
            Err(e) => return Err(e),
        };
        pattern.fill(&mut expected[..len]);
        if done.first_difference.is_none()
            && let Some(at) = buffer[..len].iter().zip(&expected[..len]).position(|(got, meant)| got != meant)
        {
            done.first_difference = Some(done.bytes + at as u64);
        }
        done.hash = hash(done.hash, &buffer[..len]);
        done.bytes += len as u64;
    }
    done.elapsed = start.elapsed();
    Ok(done)
}

/// Connects to `to` from the calling thread's namespace and sends `bytes` of the pattern of `seed`.
///
/// # Errors
/// When the connection cannot be made, breaks, or stalls until `deadline`.
pub fn send(to: SocketAddr, bytes: u64, seed: u64, deadline: Instant) -> io::Result<Transfer> {
    let mut stream = TcpStream::connect_timeout(&to, time_left(deadline)?)?;
    let start = Instant::now();
    let mut pattern = Pattern::new(seed);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done =
        Transfer { bytes: 0, hash: HASH_OF_NOTHING, first_difference: None, elapsed: Duration::ZERO };
    while done.bytes < bytes {
        let len = usize::try_from(bytes - done.bytes).unwrap_or(usize::MAX).min(buffer.len());
        pattern.fill(&mut buffer[..len]);
        let mut rest = &buffer[..len];
        while !rest.is_empty() {
            stream.set_write_timeout(Some(time_left(deadline)?))?;
            match stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(e) if is_retry(&e) => {}
                Err(e) => return Err(e),
            }
        }
        done.hash = hash(done.hash, &buffer[..len]);
        done.bytes += len as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // The peer closes when it has everything: an end without its having read all would show as a reset here.
    loop {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(e) if is_retry(&e) => {}
            Err(e) => return Err(e),
        }
    }
    done.elapsed = start.elapsed();
    Ok(done)
}

/// A timeout of a socket shows as `WouldBlock`; [`time_left`] then decides whether the deadline has passed.
fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the transfer stalled"));
    }
    Ok(left)
}

fn await_readable(fd: impl AsFd, deadline: Instant) -> io::Result<()> {
    // At least a millisecond, or the last fraction of one would be spun away.
    let left = time_left(deadline)?.max(Duration::from_millis(1));
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::thread;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn the_pattern_does_not_depend_on_how_it_is_cut() {
        let mut whole = vec![0; 10_007];
        Pattern::new(5).fill(&mut whole);
        let (mut pieces, mut pattern) = (vec![0; 10_007], Pattern::new(5));
        for piece in pieces.chunks_mut(13) {
            pattern.fill(piece);
        }
        assert_eq!(whole, pieces);
        let mut other = vec![0; 10_007];
        Pattern::new(6).fill(&mut other);
        assert_ne!(whole, other);
    }

    #[test]
    fn what_arrives_is_what_was_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let sender = thread::spawn(move || send(to, 3_000_001, 77, soon()).unwrap());
        let received = receive(&listener, 77, soon()).unwrap();
        let sent = sender.join().unwrap();
        assert_eq!((received.bytes, received.first_difference), (3_000_001, None));
        assert_eq!((sent.bytes, sent.hash), (received.bytes, received.hash));
    }

    #[test]
    fn a_wrong_byte_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let sender = thread::spawn(move || {
            let mut bytes = vec![0; 250_000];
            Pattern::new(1).fill(&mut bytes);
            bytes[234_567] ^= 0x10;
            TcpStream::connect(to).unwrap().write_all(&bytes).unwrap();
        });
        let received = receive(&listener, 1, soon()).unwrap();
        sender.join().unwrap();
        assert_eq!((received.bytes, received.first_difference), (250_000, Some(234_567)));
    }

    #[test]
    fn nobody_and_silence_end_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shortly = || Instant::now() + Duration::from_millis(50);
        assert_eq!(receive(&listener, 1, shortly()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&listener, 1, shortly()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(silent);
    }
}
