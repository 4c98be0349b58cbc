//! The daemon, assembled.

use hfs_daemon::shutdown::Shutdown;

use crate::Config;

/// Runs a datanode until `shutdown`.
///
/// # Errors
/// Whatever keeps it from running, as a sentence for the operator.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    anyhow::ensure!(!config.data_dirs.is_empty(), "no data directory is configured: set data-dirs");
    shutdown.triggered().await;
    Ok(())
}
