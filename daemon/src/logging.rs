//! Logs: one line a person can read per event, on standard error.
//!
//! ```text
//! 2026-11-21T08:34:27.123456Z  INFO namenode: safe mode left, 12 of 12 blocks reported datanodes=3
//! ```
//!
//! What the levels mean. `ERROR`: this process can't do its work or is about to end. `WARN`: somebody should
//! look at it within days; the daemon goes on. `INFO`: something an operator would tell a colleague: a start, a
//! node lost, a file system leaving safe mode; never one per request. `DEBUG`: one per request. `TRACE`: one per
//! packet. An error is logged once, where it is handled, not where it passes through.
//!
//! The audit log, one line per change that a client of the namenode asked for (target `audit`), is off and costs
//! nothing until it is asked for: `HFS_LOG=info,audit=info`. With `audit=debug` it has the reads too.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The environment variable with the filter: `debug`, or `info,hfs_namenode::journal=trace`.
pub const FILTER_ENV: &str = "HFS_LOG";

/// What is logged when [`FILTER_ENV`] says nothing.
const DEFAULT_FILTER: &str = "info,audit=off";

/// Starts logging for `role`. A second call in one process changes nothing: tests start many daemons.
///
/// A filter that can't be understood is reported on standard error and the default is used: a daemon must not fail to
/// start because of its log.
pub fn init(role: &'static str) {
    let text = std::env::var(FILTER_ENV).unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let filter = EnvFilter::try_new(&text).unwrap_or_else(|e| {
        eprintln!("{FILTER_ENV}={text:?} is not a log filter ({e}); using {DEFAULT_FILTER}");
        EnvFilter::new(DEFAULT_FILTER)
    });
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(Line { role })
        .finish();
    // Fails only when logging has already started.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The format of a line.
#[derive(Debug)]
struct Line {
    role: &'static str,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let mut text = Text::default();
        event.record(&mut text);
        writeln!(
            writer,
            " {:>5} {}: {}{}",
            event.metadata().level(),
            self.role,
            text.message,
            text.fields
        )
    }
}

/// An event's message and fields, with everything that would break the line escaped: names of files and words
/// of clients end up here, and must not be able to forge a line.
#[derive(Debug, Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            push_escaped(&mut self.message, &format!("{value:?}"));
        } else {
            // Writing to a String can't fail.
            let _ = write!(self.fields, " {}=", field.name());
            push_escaped(&mut self.fields, &format!("{value:?}"));
        }
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(Line { role: "namenode" })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(path = "a\nb", n = 3, "created\n2026 forged");
        });
        let text = String::from_utf8(sink.0.lock().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.ends_with("INFO namenode: created\\n2026 forged path=a\\nb n=3\n"), "{text}");
    }
}
