//! The signals that end a lab, also while it is being built, and a benchmark.

use std::io;
use std::task::Poll;
use std::thread;

use anyhow::Context;
use nix::sys::signal::Signal;
use nsrouter_lab::{Stop, enter};
use tokio::runtime::Runtime;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::oneshot;

/// The signals that end what runs until it is told to stop.
pub(crate) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Begins to listen: from now on they end the process no longer.
    pub(crate) fn new() -> anyhow::Result<Signals> {
        // Under nohup(1) it stays ignored.
        let ignored = enter::ignores_hangup().then_some(Signal::SIGHUP);
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT]
            .into_iter()
            .filter(|signal| Some(*signal) != ignored)
            .map(|signal| Ok((signal, unix::signal(SignalKind::from_raw(signal as i32))?)))
            .collect::<io::Result<_>>()
            .map(Signals)
            .context("cannot handle signals")
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The result of `work`, or the signal that arrived before it.
    pub(crate) async fn before<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::select! {
            signal = self.next() => Err(signal),
            result = work => Ok(result),
        }
    }
}

/// Does `work` on a thread of its own, and asks it to stop when a signal arrives; then its result is returned
/// beside the signal.
pub(crate) fn unless_signalled<T: Send>(
    runtime: &Runtime,
    signals: &mut Signals,
    stop: &Stop,
    work: impl FnOnce() -> T + Send,
) -> Result<T, (Signal, T)> {
    thread::scope(|scope| {
        let (done, is_done) = oneshot::channel::<()>();
        let worker = scope.spawn(move || {
            let result = work();
            drop(done);
            result
        });
        let signal = runtime.block_on(signals.before(is_done)).err();
        if signal.is_some() {
            stop.ask();
        }
        let result = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match signal {
            Some(signal) => Err((signal, result)),
            None => Ok(result),
        }
    })
}
