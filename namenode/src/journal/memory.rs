//! A journal that keeps its entries in memory: for tests of whoever writes to one.

use hfs_protocol::ids::TxId;
use parking_lot::Mutex;

use super::{Durable, Journal, JournalError};

/// Entries in memory; each is durable as soon as it is appended.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Vec<u8>>,
    error: Option<JournalError>,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All entries, the one numbered 1 first.
    #[must_use]
    pub fn entries(&self) -> Vec<Vec<u8>> {
        self.state.lock().entries.clone()
    }

    /// Plays a failed disk: nothing becomes durable any more.
    pub fn poison(&self, reason: &str) {
        let durable = self.durable();
        let error = JournalError::Poisoned { durable, disk_full: false, reason: reason.to_owned() };
        self.state.lock().error = Some(error);
    }

    fn outcome(&self, txid: TxId) -> Result<(), JournalError> {
        let state = self.state.lock();
        if txid.0 <= state.entries.len() as u64 {
            return Ok(());
        }
        Err(state.error.clone().unwrap_or(JournalError::Closed))
    }
}

impl Journal for MemoryJournal {
    fn append(&self, payload: &[u8]) -> Result<TxId, JournalError> {
        let mut state = self.state.lock();
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        if payload.len() > super::segment::MAX_PAYLOAD_BYTES {
            return Err(JournalError::TooLong { bytes: payload.len() });
        }
        state.entries.push(payload.to_vec());
        Ok(TxId(state.entries.len() as u64))
    }

    fn appended(&self) -> TxId {
        TxId(self.state.lock().entries.len() as u64)
    }

    fn durable(&self) -> TxId {
        self.appended()
    }

    fn wait_durable(&self, txid: TxId) -> Result<(), JournalError> {
        self.outcome(txid)
    }

    fn when_durable(&self, txid: TxId) -> Durable {
        let outcome = self.outcome(txid);
        Box::pin(async move { outcome })
    }

    fn poisoned(&self) -> Option<JournalError> {
        self.state.lock().error.clone().filter(|error| *error != JournalError::Closed)
    }

    fn roll(&self) -> Result<TxId, JournalError> {
        let state = self.state.lock();
        match &state.error {
            Some(error) => Err(error.clone()),
            None => Ok(TxId(state.entries.len() as u64 + 1)),
        }
    }

    fn purge(&self, _keep_from: TxId) -> std::io::Result<usize> {
        Ok(0)
    }

    fn close(&self) {
        self.state.lock().error.get_or_insert(JournalError::Closed);
    }
}
