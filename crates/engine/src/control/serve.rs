//! The control socket: one line of JSON asks, one line answers.
//!
//! ```text
//! -> {"request":"status"}
//! <- {"mode":"userspace","ports":[...],...}
//! ```

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::status::Status;

/// What can be asked of a running lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// The engine's counters and state.
    Status,
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

/// Binds the control socket at `path`; a stale one there is replaced.
///
/// # Errors
/// [`ControlError::Bind`].
pub fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    // The lab's folder is this lab's alone, so what lies there is a leftover.
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path).map_err(|source| ControlError::Bind { path: path.display().to_string(), source })
}

/// Answers requests until the future is dropped.
pub async fn serve(listener: UnixListener, status: impl Fn() -> Status) -> Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say: others may go away meanwhile.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // One at a time: a request is a few hundred bytes from a local program.
        let _ = tokio::time::timeout(TIMEOUT, answer(stream, &status)).await;
    }
}

async fn answer(stream: UnixStream, status: &impl Fn() -> Status) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(REQUEST_BYTES)).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(Request::Status) => serde_json::to_string(&status())?,
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
    use std::io::{BufRead, Write};
    let name = || path.display().to_string();
    let mut stream = std::os::unix::net::UnixStream::connect(path)
        .map_err(|source| ControlError::Connect { path: name(), source })?;
    let mut exchange = || -> io::Result<Status> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut request = serde_json::to_string(&Request::Status)?;
        request.push('\n');
        stream.write_all(request.as_bytes())?;
        let mut line = String::new();
        std::io::BufReader::new(&stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    exchange().map_err(|source| ControlError::Exchange { path: name(), source })
}
