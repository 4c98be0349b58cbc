//! Keeping the lease: a namenode takes files away from a writer it has not heard of for a minute
//! (the soft limit, when somebody else wants the file) or twenty (the hard one).

use std::sync::{Arc, Weak};
use std::time::Duration;

use hfs_protocol::proto::hadoop::hdfs as proto;
use parking_lot::Mutex;

use crate::file_system::Inner;

/// How often the lease is renewed while files are open: half of HDFS's soft limit of 60 s.
pub(crate) const RENEW_INTERVAL: Duration = Duration::from_secs(30);

/// Renews the one lease of a file system while files are open for writing (HDFS `LeaseRenewer`).
#[derive(Default)]
pub(crate) struct LeaseRenewer {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open_files: usize,
    /// Whether the renewing task runs. It ends itself when it finds no file open.
    running: bool,
}

/// Keeps the lease renewed until it is dropped. One for each open file.
pub(crate) struct LeaseGuard {
    state: Arc<Mutex<State>>,
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.state.lock().open_files -= 1;
    }
}

impl LeaseRenewer {
    /// Counts one more open file and sees to it that the lease is renewed.
    pub(crate) fn hold(&self, fs: &Arc<Inner>) -> LeaseGuard {
        let mut state = self.state.lock();
        state.open_files += 1;
        if !state.running {
            state.running = true;
            // Weak, so that a forgotten writer does not keep the file system alive for ever.
            tokio::spawn(renew(Arc::downgrade(fs), self.state.clone()));
        }
        LeaseGuard { state: self.state.clone() }
    }
}

async fn renew(fs: Weak<Inner>, state: Arc<Mutex<State>>) {
    loop {
        tokio::time::sleep(RENEW_INTERVAL).await;
        {
            let mut state = state.lock();
            if state.open_files == 0 {
                state.running = false;
                return;
            }
        }
        let Some(fs) = fs.upgrade() else { return };
        let request = proto::RenewLeaseRequestProto {
            client_name: fs.client_name.clone(),
            namespaces: Vec::new(),
        };
        let renewed: Result<proto::RenewLeaseResponseProto, _> =
            fs.call("renewLease", &request).await;
        if let Err(error) = renewed {
            tracing::warn!(%error, "the lease of this client's open files could not be renewed");
        }
    }
}
