//! Ending a process in an orderly way: tell everyone, wait for those who asked to be waited for, then go.
//!
//! [`Shutdown`] is a value that is handed down. Whoever loops selects on [`Shutdown::triggered`]; whoever
//! has work that must not be cut in the middle holds a [`Guard`]; the process waits in
//! [`Shutdown::drained`], with a deadline, because a stuck peer must not keep a daemon from stopping.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The environment variable that holds the number of an inherited descriptor: the reading end of a pipe
/// whose writing end only the starter has. End of file there means that the starter is gone, however it died.
pub const PARENT_PIPE_ENV: &str = "HFS_PARENT_PIPE";

/// The order to stop. Cheap to clone; all clones are one order.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    guards: TaskTracker,
}

/// Delays the end of the process while it lives, up to the deadline of [`Shutdown::drained`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once guards nothing"]
pub struct Guard(#[allow(dead_code, reason = "held for its drop")] TaskTrackerToken);

/// The deadline passed and this many guards were still held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped with {guards} pieces of work still unfinished after {deadline:?}")]
pub struct Undrained {
    /// How many guards were held when patience ended.
    pub guards: usize,
    /// How long was waited.
    pub deadline: Duration,
}

impl Shutdown {
    /// An order that only [`Self::trigger`] gives.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An order that SIGTERM or SIGINT gives, and the end of the starter if it asked for that
    /// (see [`PARENT_PIPE_ENV`]). A second signal ends the process on the spot.
    ///
    /// # Errors
    /// When the handlers can't be installed. Must be called inside a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let told = shutdown.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!("stopping on {name}");
            told.trigger();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // 128 + SIGINT: what a shell expects of a process that was interrupted.
            std::process::exit(130);
        });
        shutdown.watch_parent_pipe();
        Ok(shutdown)
    }

    fn watch_parent_pipe(&self) {
        let Some(fd) = std::env::var(PARENT_PIPE_ENV).ok().and_then(|v| v.parse::<RawFd>().ok())
        else {
            return;
        };
        // Processes that this one starts must not hold the pipe; a refusal here only means that the
        // number names no descriptor, and then there is nothing to watch.
        // SAFETY: the starter passed this descriptor on for us alone; nothing else in this process owns it.
        let pipe = unsafe { OwnedFd::from_raw_fd(fd) };
        if rustix::io::fcntl_setfd(&pipe, rustix::io::FdFlags::CLOEXEC).is_err() {
            std::mem::forget(pipe);
            return;
        }
        let told = self.clone();
        let watch = move || {
            let mut byte = [0_u8; 1];
            while let Ok(1..) | Err(rustix::io::Errno::INTR) = rustix::io::read(&pipe, &mut byte) {}
            tracing::info!("stopping: the process that started this one is gone");
            told.trigger();
        };
        // A thread of its own: the read blocks for as long as the starter lives.
        if let Err(e) = std::thread::Builder::new().name("parent".into()).spawn(watch) {
            tracing::warn!("can't watch the process that started this one: {e}");
        }
    }

    /// Gives the order. Giving it again changes nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether the order was given.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits for the order. Cancel-safe.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Waits for the order, for tasks that can't borrow.
    pub async fn triggered_owned(self) {
        self.token.cancelled_owned().await;
    }

    /// The bare token, for libraries that take one.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Asks to be waited for until the guard is dropped.
    pub fn guard(&self) -> Guard {
        Guard(self.guards.token())
    }

    /// Runs a task that is waited for at the end.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.guards.spawn(task)
    }

    /// Waits until every guard is gone, at most `deadline`. Call it after the order was given.
    ///
    /// # Errors
    /// [`Undrained`] when the deadline passes first.
    pub async fn drained(&self, deadline: Duration) -> Result<(), Undrained> {
        self.guards.close();
        tokio::time::timeout(deadline, self.guards.wait())
            .await
            .map_err(|_| Undrained { guards: self.guards.len(), deadline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guard_delays_the_end_and_the_deadline_ends_the_delay() {
        let shutdown = Shutdown::new();
        let guard = shutdown.guard();
        shutdown.clone().trigger();
        assert!(shutdown.is_triggered());
        shutdown.triggered().await;
        let late = shutdown.drained(Duration::from_millis(1)).await;
        assert_eq!(late.map_err(|u| u.guards), Err(1));
        drop(guard);
        assert_eq!(shutdown.drained(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_spawned_task_is_waited_for() {
        let shutdown = Shutdown::new();
        let told = shutdown.clone();
        let task = shutdown.spawn(async move {
            told.triggered().await;
            7
        });
        shutdown.trigger();
        assert_eq!(shutdown.drained(Duration::from_secs(5)).await, Ok(()));
        assert_eq!(task.await.ok(), Some(7));
    }
}
