//! Helpers for Prometheus metrics: a registry per daemon, made at the start and only read afterwards.
//!
//! ```
//! use hfs_daemon::metrics::{self, Registry};
//! let mut registry = metrics::registry("namenode");
//! let creates = metrics::counter(&mut registry, "creates", "Files created");
//! creates.inc();
//! assert!(metrics::encode(&registry).contains("hfs_namenode_creates_total 1"));
//! ```

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::histogram::exponential_buckets;
pub use prometheus_client::registry::Registry;

/// A registry whose names begin with `hfs_<role>_` and which already says how the process itself fares.
#[must_use]
pub fn registry(role: &str) -> Registry {
    let mut registry = Registry::with_prefix(format!("hfs_{role}"));
    registry.register_collector(Box::new(ProcessCollector));
    registry
}

/// Registers a counter. `_total` is appended to its name, as Prometheus wants it.
pub fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// Registers a gauge.
pub fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge: Gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Registers a histogram of seconds from 50 µs to about 13 minutes, each bucket four times the one before.
pub fn latency(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(0.000_05, 4.0, 13));
    registry.register(name, help, histogram.clone());
    histogram
}

/// Notes a duration in a histogram made by [`latency`].
pub fn observe(histogram: &Histogram, took: Duration) {
    histogram.observe(took.as_secs_f64());
}

/// Registers a gauge whose value is asked for at every scrape, so that nothing has to keep it up to date.
pub fn gauge_fn<F>(registry: &mut Registry, name: &'static str, help: &'static str, value: F)
where
    F: Fn() -> i64 + Send + Sync + 'static,
{
    registry.register_collector(Box::new(GaugeFn { name, help, value: Box::new(value) }));
}

/// Registers gauges, by name and help, whose values are found together at every scrape: for values that
/// come out of one look under a lock. `values` gives one for each, in their order; gauges it has none for are
/// left out.
pub fn gauges_fn<F>(registry: &mut Registry, gauges: Vec<(&'static str, &'static str)>, values: F)
where
    F: Fn() -> Vec<i64> + Send + Sync + 'static,
{
    registry.register_collector(Box::new(GaugesFn { gauges, values: Box::new(values) }));
}

/// Everything in the registry, in OpenMetrics text.
#[must_use]
pub fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String can't fail; a metric that refuses to encode ends the text early.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}

struct GaugeFn {
    name: &'static str,
    help: &'static str,
    value: Box<dyn Fn() -> i64 + Send + Sync>,
}

impl fmt::Debug for GaugeFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GaugeFn").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for GaugeFn {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode_gauge(&mut encoder, self.name, self.help, (self.value)())
    }
}

struct GaugesFn {
    gauges: Vec<(&'static str, &'static str)>,
    values: Box<dyn Fn() -> Vec<i64> + Send + Sync>,
}

impl fmt::Debug for GaugesFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GaugesFn").field("gauges", &self.gauges).finish_non_exhaustive()
    }
}

impl Collector for GaugesFn {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (&(name, help), value) in self.gauges.iter().zip((self.values)()) {
            encode_gauge(&mut encoder, name, help, value)?;
        }
        Ok(())
    }
}

/// What the system says about this process, read at every scrape.
#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = resident_bytes() {
            encode_gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let open = i64::try_from(entries.count()).unwrap_or(i64::MAX);
            encode_gauge(&mut encoder, "process_open_fds", "Open file descriptors", open)?;
        }
        Ok(())
    }
}

fn encode_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: i64,
) -> fmt::Result {
    let gauge: Gauge = Gauge::default();
    gauge.set(value);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

/// The process's resident memory, where the system tells (Linux).
#[must_use]
pub fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_prefix_the_values_and_the_process() {
        let mut registry = registry("datanode");
        counter(&mut registry, "reads", "Reads served").inc_by(2);
        gauge(&mut registry, "replicas", "Replicas held").set(-1);
        gauge_fn(&mut registry, "asked", "Asked at the scrape", || 42);
        gauges_fn(&mut registry, vec![("first", "One"), ("second", "Other")], || vec![1, 2]);
        observe(&latency(&mut registry, "sync_seconds", "fsync"), Duration::from_millis(3));
        let text = encode(&registry);
        for line in [
            "hfs_datanode_reads_total 2",
            "hfs_datanode_replicas -1",
            "hfs_datanode_asked 42",
            "hfs_datanode_first 1",
            "hfs_datanode_second 2",
            "hfs_datanode_sync_seconds_count 1",
            "hfs_datanode_process_resident_memory_bytes",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }
}
