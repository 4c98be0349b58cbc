//! What the data transfer server counts.

use hfs_daemon::metrics::{Counter, Histogram, Registry, counter, latency};

/// Counters of the data transfer server.
#[derive(Debug, Clone)]
pub struct TransferMetrics {
    /// Data bytes sent to readers and to other datanodes.
    pub bytes_read: Counter,
    /// Data bytes received and written.
    pub bytes_written: Counter,
    /// Reads served.
    pub reads: Counter,
    /// Writes that ended with a complete replica.
    pub writes: Counter,
    /// Writes that ended otherwise.
    pub writes_failed: Counter,
    /// Replicas copied to other datanodes.
    pub copies: Counter,
    /// Operations refused because too many ran.
    pub refused: Counter,
    /// Packets or replicas whose checksums did not match.
    pub checksum_errors: Counter,
    /// Connections closed because of what came over them.
    pub garbage: Counter,
    /// How long forced writes took.
    pub sync_seconds: Histogram,
}

impl TransferMetrics {
    /// Registers the counters.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let mut count = |name: &str, help: &str| counter(registry, name, help);
        let (bytes_read, bytes_written) = (
            count("bytes_read", "Data bytes sent to readers and other datanodes"),
            count("bytes_written", "Data bytes received and written"),
        );
        let reads = count("reads", "Reads served");
        let writes = count("writes", "Writes that ended with a complete replica");
        let writes_failed = count("writes_failed", "Writes that ended without a complete replica");
        let copies = count("copies", "Replicas copied to other datanodes");
        let refused = count("transfers_refused", "Operations refused because too many ran");
        let checksum_errors =
            count("checksum_errors", "Packets and replicas whose checksums did not match");
        let garbage = count("garbage", "Connections closed because of what came over them");
        let sync_seconds = latency(registry, "sync_seconds", "Time of forced writes to the disk");
        Self {
            bytes_read,
            bytes_written,
            reads,
            writes,
            writes_failed,
            copies,
            refused,
            checksum_errors,
            garbage,
            sync_seconds,
        }
    }
}
