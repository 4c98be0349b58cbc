//! Sending an attempt's log to the jobtracker.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hfs_protocol::proto::worker::worker_message::Message as ToTracker;
use hfs_protocol::proto::worker::{LogData, ReadLog, WorkerMessage};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

/// Bytes in one message.
const CHUNK_BYTES: usize = 64 << 10;

/// Sends what the log holds now, then an end. Waits while the stream is full.
pub(super) async fn send(
    order: ReadLog,
    path: Option<PathBuf>,
    outgoing: mpsc::Sender<WorkerMessage>,
) {
    let ReadLog { request_id, attempt_id, tail_bytes } = order;
    let last = match path {
        Some(path) => match pieces(request_id, &path, tail_bytes, &outgoing).await {
            Ok(()) => LogData { request_id, last: true, ..LogData::default() },
            Err(e) => {
                let error = format!("the log {} can't be read: {e}", path.display());
                LogData { request_id, last: true, error, ..LogData::default() }
            }
        },
        None => {
            let error = format!("'{attempt_id}' is not an attempt");
            LogData { request_id, last: true, error, ..LogData::default() }
        }
    };
    let _ = outgoing.send(WorkerMessage { message: Some(ToTracker::LogData(last)) }).await;
}

async fn pieces(
    request_id: u64,
    path: &Path,
    tail_bytes: u64,
    outgoing: &mpsc::Sender<WorkerMessage>,
) -> std::io::Result<()> {
    let mut file = File::open(path).await?;
    // A log that grows meanwhile is sent up to where it was.
    let mut left = file.metadata().await?.len();
    if tail_bytes > 0 && left > tail_bytes {
        file.seek(SeekFrom::Start(left - tail_bytes)).await?;
        left = tail_bytes;
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let read = file.read(&mut buffer[..want]).await?;
        if read == 0 {
            return Ok(());
        }
        left -= read as u64;
        let data = Bytes::copy_from_slice(&buffer[..read]);
        let data = LogData { request_id, data, ..LogData::default() };
        if outgoing.send(WorkerMessage { message: Some(ToTracker::LogData(data)) }).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
