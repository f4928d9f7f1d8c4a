//! The control socket: one line of JSON asks, one line answers.
//!
//! ```text
//! -> {"request":"status"}
//! <- {"mode":"userspace","ports":[...],...}
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use crate::status::{RouteList, Status};

/// A request to a running lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// The engine's counters and state.
    Status,
    /// The router's routes; null in kernel mode.
    Routes,
}

/// The control socket failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Binding the socket.
    #[error("cannot make the control socket {path}: {source}")]
    Bind {
        /// The socket's path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Connecting to a lab's socket.
    #[error("no lab answers on {path} (is it still running? `nsrouter clean` removes a dead one): {source}")]
    Connect {
        /// The socket's path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Asking, or reading the answer.
    #[error("the lab on {path} did not answer: {source}")]
    Exchange {
        /// The socket's path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// How long a question and its answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a request, at most.
const REQUEST_BYTES: u64 = 4096;
/// Connections at once. Past that the oldest is closed: a client that sends its request has its answer long
/// before.
const CONNECTIONS: usize = 32;

/// Binds the control socket at `path`; a stale one there is replaced. Only this user may connect, whatever
/// the umask.
///
/// # Errors
/// [`ControlError::Bind`].
pub fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    // The lab's folder is this lab's alone, so what lies there is a leftover.
    let _ = fs::remove_file(path);
    let bind = || -> io::Result<UnixListener> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // The file comes to be with the mode that the socket has (unix_bind_bsd), so it is never open to
        // others.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        // And a umask that leaves nothing to its owner takes nothing away.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listen(&socket, Backlog::MAXCONN)?;
        UnixListener::from_std(socket.into())
    };
    bind().map_err(|source| ControlError::Bind { path: path.display().to_string(), source })
}

/// Answers requests until the future is dropped, each connection beside the others.
pub async fn serve<F: Future<Output = Option<RouteList>>>(
    listener: UnixListener,
    status: impl Fn() -> Status,
    routes: impl Fn() -> F,
) -> Infallible {
    let mut connections = FuturesUnordered::new();
    // Dropping one closes its connection; oldest first.
    let mut closers: VecDeque<oneshot::Sender<Infallible>> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(()) = connections.next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, say: others may go away meanwhile.
            let mut pause = pin!(tokio::time::sleep(Duration::from_millis(50)));
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    Some(()) = connections.next() => {}
                }
            }
            continue;
        };
        closers.retain(|closer| !closer.is_closed());
        while closers.len() >= CONNECTIONS {
            closers.pop_front();
        }
        let (closer, closed) = oneshot::channel();
        closers.push_back(closer);
        let (status, routes) = (&status, &routes);
        connections.push(async move {
            tokio::select! {
                // What goes wrong with one is its client's to know.
                _ = tokio::time::timeout(TIMEOUT, answer(stream, status, routes)) => {}
                _ = closed => {}
            }
        });
    }
}

async fn answer<F: Future<Output = Option<RouteList>>>(
    stream: UnixStream,
    status: &impl Fn() -> Status,
    routes: &impl Fn() -> F,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(REQUEST_BYTES)).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(Request::Status) => serde_json::to_string(&status())?,
        Ok(Request::Routes) => serde_json::to_string(&routes().await)?,
        Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
    };
    writer.write_all(reply.as_bytes()).await?;
    writer.write_all(b"\n").await
}

/// Asks the lab whose control socket is at `path` for its status.
///
/// # Errors
/// [`ControlError::Connect`] and [`ControlError::Exchange`].
pub fn ask_status(path: &Path) -> Result<Status, ControlError> {
    ask(path, Request::Status)
}

/// Asks it for its routes, which it has in userspace mode.
///
/// # Errors
/// [`ControlError::Connect`] and [`ControlError::Exchange`].
pub fn ask_routes(path: &Path) -> Result<Option<RouteList>, ControlError> {
    ask(path, Request::Routes)
}

fn ask<T: DeserializeOwned>(path: &Path, request: Request) -> Result<T, ControlError> {
    use std::io::{BufRead, Write};
    let name = || path.display().to_string();
    let mut stream = std::os::unix::net::UnixStream::connect(path)
        .map_err(|source| ControlError::Connect { path: name(), source })?;
    let mut exchange = || -> io::Result<T> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut request = serde_json::to_string(&request)?;
        request.push('\n');
        stream.write_all(request.as_bytes())?;
        let mut line = String::new();
        std::io::BufReader::new(&stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    exchange().map_err(|source| ControlError::Exchange { path: name(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// Serves on a thread of its own until the test program ends.
    fn server(path: &Path) {
        let path = path.to_owned();
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = bind(&path).unwrap();
                ready.send(()).unwrap();
                serve(listener, || Status { mode: "test".to_owned(), ..Status::default() }, async || None)
                    .await
            })
        });
        is_ready.recv().unwrap();
    }

    #[test]
    fn silent_clients_keep_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        server(&path);
        let mut silent: Vec<UnixStream> = Vec::new();
        let begin = Instant::now();
        for _ in 0..3 * CONNECTIONS {
            silent.push(UnixStream::connect(&path).unwrap());
            assert_eq!(ask_status(&path).unwrap().mode, "test");
        }
        assert!(begin.elapsed() < TIMEOUT, "{:?}", begin.elapsed());
        // The oldest were closed for those that came later.
        silent[0].set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_eq!(silent[0].read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_request_without_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        server(&path);
        let mut client = UnixStream::connect(&path).unwrap();
        // It may be closed while this is sent.
        let _ = client.write_all(&[b'x'; 100_000]);
        let mut told = String::new();
        let _ = client.read_to_string(&mut told);
        assert!(told.is_empty() || told.contains("error"), "{told}");
        assert_eq!(ask_status(&path).unwrap().mode, "test");
    }
}
