//! What an interrupt (Ctrl-C) does to a transfer: files that are being written are taken back, and
//! nothing further begins.

use std::sync::Arc;

use tokio::sync::watch;

use super::super::shell::{Complaint, Done};

/// The exit code of a program that was interrupted, as a shell sees it (128 + SIGINT).
pub const INTERRUPTED_EXIT: i32 = 130;

/// Knows whether the user has interrupted the verb. Clones share it.
#[derive(Debug, Clone)]
pub struct Stop {
    stopped: watch::Receiver<bool>,
    /// Keeps the channel open after the listening task has ended.
    _sender: Arc<watch::Sender<bool>>,
}

impl Stop {
    /// Listens for interrupts from now on; a second one ends the program at once. Call it on a
    /// runtime.
    #[must_use]
    pub fn on_interrupt() -> Self {
        let (sender, stopped) = watch::channel(false);
        let sender = Arc::new(sender);
        let listening = Arc::clone(&sender);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                listening.send_replace(true);
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(INTERRUPTED_EXIT);
                }
            }
        });
        Self { stopped, _sender: sender }
    }

    /// Whether the user has interrupted the verb.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// The result of `work`, or a complaint as soon as the user interrupts the verb.
    ///
    /// # Errors
    /// As `work`, or the interrupt.
    pub async fn guard<T>(&self, work: impl Future<Output = Done<T>>) -> Done<T> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            Ok(_) = stopped.wait_for(|stopped| *stopped) => {
                Err(Complaint("interrupted; the file being written was taken back".to_owned()))
            }
            done = work => done,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn work_goes_on_until_it_is_stopped() {
        let (sender, stopped) = watch::channel(false);
        let sender = Arc::new(sender);
        let stop = Stop { stopped, _sender: Arc::clone(&sender) };
        assert_eq!(stop.guard(async { Ok(7) }).await, Ok(7));
        let waiting = stop.guard(std::future::pending::<Done<u8>>());
        let (done, ()) = tokio::join!(waiting, async {
            sender.send_replace(true);
        });
        assert!(done.unwrap_err().0.starts_with("interrupted"));
        assert!(stop.is_stopped());
    }
}
