//! A TCP transfer of which every byte is verified.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Written and read at a time, in bytes. Not a multiple of any segment size.
const CHUNK_BYTES: usize = 100_003;
/// The period of the pattern, in bytes: a prime, so that swapped or repeated segments are noticed.
const PERIOD_BYTES: usize = 1_048_583;
/// A working path accepts a connection at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// A stream of bytes that both ends make from the same seed.
struct Pattern {
    period: Vec<u8>,
    at: usize,
}

impl Pattern {
    /// Fills one period by xorshift64* (Vigna, An experimental exploration of Marsaglia's xorshift
    /// generators).
    fn new(seed: u64) -> Pattern {
        // Zero is the one state that the generator never leaves.
        let mut state = seed | 1 << 63;
        let mut period = Vec::with_capacity(PERIOD_BYTES + 8);
        while period.len() < PERIOD_BYTES {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            period.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        period.truncate(PERIOD_BYTES);
        Pattern { period, at: 0 }
    }

    /// The next bytes of the stream: `most` of them, or those to the end of the period.
    fn next(&mut self, most: usize) -> &[u8] {
        let start = self.at % PERIOD_BYTES;
        let end = (start + most).min(PERIOD_BYTES);
        self.at = end;
        &self.period[start..end]
    }

    /// Where `bytes` first differ from the stream's next ones.
    fn first_difference(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut compared = 0;
        while compared < bytes.len() {
            let meant = self.next(bytes.len() - compared);
            let got = &bytes[compared..compared + meant.len()];
            if got != meant {
                return got.iter().zip(meant).position(|(got, meant)| got != meant).map(|at| compared + at);
            }
            compared += meant.len();
        }
        None
    }
}

/// One end of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes sent or received.
    pub bytes: u64,
    /// At the receiver: the offset of the first wrong byte.
    pub first_difference: Option<u64>,
    /// From the connection's beginning to its end.
    pub elapsed: Duration,
}

/// Accepts one connection on `listener` and compares the bytes received with the pattern of `seed`, until the
/// sender closes.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where no connection comes within 3 s or the stream stalls until `deadline`;
/// that of the connection.
pub fn receive(listener: &TcpListener, seed: u64, deadline: Instant) -> io::Result<Transfer> {
    let mut pattern = Pattern::new(seed);
    listener.set_nonblocking(true)?;
    let connected_by = deadline.min(Instant::now() + CONNECT_WITHIN);
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => await_readable(listener, connected_by)?,
            Err(e) => return Err(e),
        }
    };
    stream.set_nonblocking(false)?;
    let start = Instant::now();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done = Transfer { bytes: 0, first_difference: None, elapsed: Duration::ZERO };
    loop {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        let len = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(e) if is_retry(&e) => continue,
            Err(e) => return Err(e),
        };
        // After the first difference there is nothing more to compare.
        if done.first_difference.is_none() {
            done.first_difference = pattern.first_difference(&buffer[..len]).map(|at| done.bytes + at as u64);
        }
        done.bytes += len as u64;
    }
    done.elapsed = start.elapsed();
    Ok(done)
}

/// Connects to `to` from the calling thread's namespace and sends `bytes` of the pattern of `seed`.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where the connection is not made within 3 s or stalls until `deadline`; that
/// of the connection.
pub fn send(to: SocketAddr, bytes: u64, seed: u64, deadline: Instant) -> io::Result<Transfer> {
    let mut pattern = Pattern::new(seed);
    let mut stream = TcpStream::connect_timeout(&to, time_left(deadline)?.min(CONNECT_WITHIN))?;
    let start = Instant::now();
    let mut done = Transfer { bytes: 0, first_difference: None, elapsed: Duration::ZERO };
    while done.bytes < bytes {
        let most = usize::try_from(bytes - done.bytes).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let mut rest = pattern.next(most);
        done.bytes += rest.len() as u64;
        while !rest.is_empty() {
            stream.set_write_timeout(Some(time_left(deadline)?))?;
            match stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(e) if is_retry(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // The receiver closes when it has everything; if it ended before, this would be a reset.
    loop {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        match stream.read(&mut [0; 16]) {
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
    // At least a millisecond, or the last fraction of one would be busy-polled.
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

    /// The stream's first bytes.
    fn first(seed: u64, len: usize) -> Vec<u8> {
        let (mut pattern, mut bytes) = (Pattern::new(seed), Vec::new());
        while bytes.len() < len {
            bytes.extend(pattern.next(len - bytes.len()));
        }
        bytes
    }

    #[test]
    fn the_pattern_does_not_depend_on_how_it_is_cut() {
        let whole = first(5, 3 * PERIOD_BYTES + 100);
        let mut pattern = Pattern::new(5);
        assert!(whole.chunks(12_345).all(|piece| pattern.first_difference(piece).is_none()));
        assert_eq!(Pattern::new(6).first_difference(&whole).map(|at| at < 16), Some(true));
        // A segment that is moved or repeated differs.
        assert!(Pattern::new(5).first_difference(&whole[1448..]).is_some());
    }

    #[test]
    fn what_arrives_is_what_was_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let sender = thread::spawn(move || send(to, 3_000_001, 77, soon()).unwrap());
        let received = receive(&listener, 77, soon()).unwrap();
        let sent = sender.join().unwrap();
        assert_eq!((received.bytes, received.first_difference), (3_000_001, None));
        assert_eq!(sent.bytes, received.bytes);
    }

    #[test]
    fn a_wrong_byte_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let sender = thread::spawn(move || {
            let mut bytes = first(1, 250_000);
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
