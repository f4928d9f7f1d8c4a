//! Programs as clients and servers: started in the calling thread's namespace, and ended by their PID after a
//! timeout.

pub(crate) mod iperf;
pub(crate) mod iperf3;
pub(crate) mod ping;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::net::IpAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::Load;

/// A program that failed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is no such program in `PATH`.
    #[error("{program} is not installed (apt-get install {package})")]
    Missing {
        /// Its name.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// It could not be started, or its output not be read.
    #[error("{program} could not be started")]
    Start {
        /// Its name.
        program: String,
        /// The system call's error.
        source: io::Error,
    },
    /// The server exited, or did not listen in time.
    #[error("the {program} server did not come up: {why}")]
    Server {
        /// Its name.
        program: String,
        /// What was observed.
        why: String,
    },
    /// It did not end in time, and was ended.
    #[error("{program} did not end within {} s", .patience.as_secs())]
    Stalled {
        /// Its name.
        program: String,
        /// The time that it had.
        patience: Duration,
    },
}

/// One run of a generator's client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientRun {
    /// The server's address.
    pub(crate) target: IpAddr,
    /// TCP, or UDP of one size as fast as it goes.
    pub(crate) load: Load,
    /// UDP payload of a datagram, in bytes, where the load is UDP.
    pub(crate) payload_bytes: u16,
    /// Measured time.
    pub(crate) seconds: u32,
    /// Time before that, not counted.
    pub(crate) warm_up_seconds: u32,
}

impl ClientRun {
    /// The longest that the client takes.
    fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds + self.warm_up_seconds) + 10)
    }
}

/// A program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    /// Its name.
    pub(super) name: &'static str,
    /// The Debian package that has it.
    pub(super) package: &'static str,
}

impl Program {
    fn failed(self, source: io::Error) -> ProgramError {
        let program = self.name.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => ProgramError::Missing { program, package: self.package },
            _ => ProgramError::Start { program, source },
        }
    }

    /// Starts it without input; `output` is for standard output and standard error.
    fn spawn(
        self,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
        output: fn() -> Stdio,
    ) -> Result<Child, ProgramError> {
        let mut command = Command::new(self.name);
        command.args(arguments).stdin(Stdio::null()).stdout(output()).stderr(output());
        command.spawn().map_err(|error| self.failed(error))
    }

    /// Its output when called with one argument, such as `--version`.
    pub(super) fn version(self, argument: &str) -> Result<Output, ProgramError> {
        let child = self.spawn([argument], Stdio::piped)?;
        child.wait_with_output().map_err(|error| self.failed(error))
    }

    /// Runs it to its end.
    pub(super) fn run(self, arguments: &[String], patience: Duration) -> Result<Said, ProgramError> {
        let mut child = self.spawn(arguments, Stdio::piped)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (done, text) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut text));
            // After the timeout the result is not awaited any more.
            let _ = done.send(read.map(|_| text));
        });
        let text = text.recv_timeout(patience);
        // It has closed its output, or has had its time. The reading thread ends with the pipe.
        let _ = child.kill();
        let _ = child.wait();
        let output = text
            .map_err(|_| ProgramError::Stalled { program: self.name.to_owned(), patience })?
            .map_err(|error| self.failed(error))?;
        let mut complaint = String::new();
        // Used only where there is no better explanation.
        let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut complaint));
        let complaint = complaint.lines().next().unwrap_or_default().trim().to_owned();
        Ok(Said { output, complaint })
    }
}

/// The output of a program.
#[derive(Debug)]
pub(super) struct Said {
    /// Its standard output.
    pub(super) output: String,
    /// The first line of its standard error.
    pub(super) complaint: String,
}

/// A server that is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts a server and waits until it listens on `port`, or for `patience`.
    pub(super) fn start(
        program: Program,
        arguments: &[&str],
        port: u16,
        is_udp: bool,
        patience: Duration,
    ) -> Result<Server, ProgramError> {
        let mut server = Server { child: program.spawn(arguments, Stdio::null)? };
        let failed = |why| ProgramError::Server { program: program.name.to_owned(), why };
        let deadline = Instant::now() + patience;
        // A connection as a probe would use up the one test of a one-off iperf3. The kernel's table of
        // sockets in this thread's namespace shows whether it listens.
        while !listens(port, is_udp) {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(failed(format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(failed(format!("nobody listens on port {port}")));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a TCP socket listens on `port` in the calling thread's namespace, or a UDP socket is bound to it.
fn listens(port: u16, is_udp: bool) -> bool {
    // States of include/net/tcp_states.h: TCP_LISTEN, and TCP_CLOSE, which is that of an unconnected UDP
    // socket.
    let (tables, state) = if is_udp { (["udp6", "udp"], "07") } else { (["tcp6", "tcp"], "0A") };
    let in_table = |table: String| {
        table.lines().skip(1).any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let local_port = words.next().and_then(|address| address.rsplit(':').next());
            local_port == Some(&format!("{port:04X}")) && words.nth(1) == Some(state)
        })
    };
    tables
        .iter()
        .any(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).is_ok_and(in_table))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHELL: Program = Program { name: "sh", package: "dash" };

    fn shell(script: &str, patience: Duration) -> Result<Said, ProgramError> {
        SHELL.run(&["-c".to_owned(), script.to_owned()], patience)
    }

    #[test]
    fn a_listening_port_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(port, false) && !listens(port, true));
        drop(listener);
        assert!(!listens(port, false));
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(listens(receiver.local_addr().unwrap().port(), true));
    }

    #[test]
    fn what_a_program_says_is_had() {
        let said = shell("echo one; echo two >&2; echo three >&2", Duration::from_secs(10)).unwrap();
        assert_eq!((said.output.as_str(), said.complaint.as_str()), ("one\n", "two"));
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let error = shell("exec sleep 1000", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "sh did not end within 0 s");
    }

    #[test]
    fn a_program_that_is_not_there_and_a_server_that_ends_are_told_apart() {
        let error = Program { name: "no-such-program", package: "none" }.version("-V").unwrap_err();
        assert_eq!(error.to_string(), "no-such-program is not installed (apt-get install none)");
        let error = Server::start(SHELL, &["-c", "exit 3"], 9, false, Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.to_string(), "the sh server did not come up: it ended with exit status: 3");
    }
}
