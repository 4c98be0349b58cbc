//! The progress of a transfer: a bar on a terminal once it has taken a moment, else nothing.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Transfers shorter than this show no bar.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// How often the bar is drawn, times a second.
const DRAWN_PER_SECOND: u8 = 8;

/// One bar for all files of a verb. Clones share it.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
    /// Aborts the task that shows the bar, if the transfer ends before.
    _waiting: Option<Arc<AbortOnDrop>>,
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Progress {
    /// A bar that is shown after a moment when standard error is a terminal. Call it on a runtime.
    #[must_use]
    pub fn begin() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        if !std::io::stderr().is_terminal() {
            return Self { bar, _waiting: None };
        }
        let form = "{bytes:>11} of {total_bytes:<11} {wide_bar} {bytes_per_sec:>13} {eta:>4}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let waiting = tokio::spawn(async move {
            tokio::time::sleep(SHOWN_AFTER).await;
            shown.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWN_PER_SECOND));
        });
        Self { bar, _waiting: Some(Arc::new(AbortOnDrop(waiting))) }
    }

    /// The bar of a source whose length nobody knows.
    #[must_use]
    pub fn begin_unknown() -> Self {
        let progress = Self::begin();
        progress.bar.unset_length();
        if let Ok(style) = ProgressStyle::with_template("{bytes:>11} {bytes_per_sec:>13}") {
            progress.bar.set_style(style);
        }
        progress
    }

    /// So many more bytes are to be moved.
    pub fn expect(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    /// So many bytes have been moved.
    pub fn moved(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }

    /// Says something without the bar in its way.
    pub fn suspend(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
