//! The place of one replica in memory: its state, who writes it, and who waits for it to change.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hfs_protocol::ids::BlockId;
use parking_lot::{Condvar, MappedMutexGuard, Mutex, MutexGuard};

use super::error::StoreError;
use super::layout::ReplicaFiles;
use super::replica::Replica;
use super::volume::Volume;

/// How long a recovery waits for the thread of the old writer to leave. That thread's sockets are
/// shut first, so only a stuck disk keeps it.
pub const WRITER_STOP_DEADLINE: Duration = Duration::from_secs(20);

/// A replica and the volume its files lie on.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its state.
    pub replica: Replica,
    /// Where its files are.
    pub volume: Arc<Volume>,
}

impl Held {
    /// The replica's files as its state says.
    ///
    /// # Errors
    /// Before the first registration.
    pub fn files(&self, block: BlockId) -> Result<ReplicaFiles, StoreError> {
        self.volume.files(self.replica.place(), block, self.replica.stamp())
    }
}

/// A block's place in the store. Transitions happen under its lock, disk work included, so two
/// operations on one block never meet and operations on different blocks never wait for each other.
#[derive(Debug)]
pub struct Slot {
    block: BlockId,
    state: Mutex<SlotState>,
    /// Told when bytes are acked, a writer leaves or the state changes.
    changed: Condvar,
}

/// What a slot holds.
#[derive(Debug, Default)]
pub struct SlotState {
    /// `None` before creation and after deletion.
    pub held: Option<Held>,
    /// The one writer. While it is here no other transition than its own happens.
    pub writer: Option<Arc<WriterControl>>,
    /// True once the store has forgotten the slot: who still has it in hand must ask for the
    /// block's new one.
    pub forgotten: bool,
}

/// The handle by which a writer is stopped from outside.
#[derive(Debug, Default)]
pub struct WriterControl {
    stopped: AtomicBool,
    /// Shut to wake the writer's threads out of whatever they wait for.
    sockets: Mutex<Vec<TcpStream>>,
}

impl WriterControl {
    /// Adds a socket that the writer may wait on. If the writer was stopped already, the socket is
    /// shut at once.
    pub fn add_socket(&self, socket: TcpStream) {
        let mut sockets = self.sockets.lock();
        if self.is_stopped() {
            shut(&socket);
        }
        sockets.push(socket);
    }

    /// True once a recovery or a deletion wants the replica.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Tells the writer to leave, and wakes it.
    pub fn stop(&self) {
        let sockets = self.sockets.lock();
        self.stopped.store(true, Ordering::Release);
        sockets.iter().for_each(shut);
    }
}

fn shut(socket: &TcpStream) {
    // It may be closed already: then nobody waits on it.
    let _ = socket.shutdown(Shutdown::Both);
}

impl Slot {
    /// An empty slot.
    #[must_use]
    pub fn new(block: BlockId) -> Self {
        Self { block, state: Mutex::new(SlotState::default()), changed: Condvar::new() }
    }

    /// A slot that holds a replica found at start.
    #[must_use]
    pub fn holding(block: BlockId, held: Held) -> Self {
        let state = SlotState { held: Some(held), writer: None, forgotten: false };
        Self { block, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> BlockId {
        self.block
    }

    /// Locks the slot whatever it holds.
    pub fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }

    /// Locks the slot if nobody else has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, SlotState>> {
        self.state.try_lock()
    }

    /// Locks the slot, which must hold a replica.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn held(&self) -> Result<MappedMutexGuard<'_, Held>, StoreError> {
        MutexGuard::try_map(self.state.lock(), |state| state.held.as_mut())
            .map_err(|_| StoreError::NotFound(self.block))
    }

    /// Locks the slot once nobody writes it: a writer that is there is stopped and waited for.
    ///
    /// # Errors
    /// [`StoreError::WriterBusy`] if it does not leave in time.
    pub fn lock_without_writer(&self) -> Result<MutexGuard<'_, SlotState>, StoreError> {
        let deadline = Instant::now() + WRITER_STOP_DEADLINE;
        let mut state = self.state.lock();
        while let Some(writer) = &state.writer {
            writer.stop();
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                let seconds = WRITER_STOP_DEADLINE.as_secs();
                return Err(StoreError::WriterBusy(self.block, seconds));
            }
        }
        Ok(state)
    }

    /// Locks the slot for its writer.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if `writer` was stopped or is the writer no more.
    pub fn lock_as_writer(
        &self,
        writer: &Arc<WriterControl>,
    ) -> Result<MutexGuard<'_, SlotState>, StoreError> {
        let state = self.state.lock();
        let attached = state.writer.as_ref().is_some_and(|current| Arc::ptr_eq(current, writer));
        if !attached || writer.is_stopped() {
            return Err(StoreError::Fenced(self.block));
        }
        Ok(state)
    }

    /// The writer leaves. Nothing happens if it was not the writer.
    pub fn detach(&self, writer: &Arc<WriterControl>) {
        let mut state = self.state.lock();
        if state.writer.as_ref().is_some_and(|current| Arc::ptr_eq(current, writer)) {
            state.writer = None;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Takes note that the pipeline acknowledged the bytes before `end`.
    pub fn acknowledge(&self, end: u64) {
        if let Some(Held { replica: Replica::Rbw(rbw), .. }) = &mut self.state.lock().held {
            rbw.acknowledge(end);
        }
        self.changed.notify_all();
    }

    /// Wakes whoever waits for this replica to change.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until `length` bytes are visible, at most `patience`; answers how many are.
    ///
    /// # Errors
    /// If there is no replica, or one that is not read from.
    pub fn wait_visible(&self, length: u64, patience: Duration) -> Result<u64, StoreError> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock();
        loop {
            let held = state.held.as_ref().ok_or(StoreError::NotFound(self.block))?;
            let visible = held.replica.visible().ok_or(StoreError::State {
                block: self.block,
                state: held.replica.state_name(),
                verb: "read",
            })?;
            let can_grow = state.writer.is_some();
            if visible >= length || !can_grow {
                return Ok(visible);
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Ok(visible);
            }
        }
    }
}
