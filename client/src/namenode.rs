//! Calls on the namenode: one logical connection that follows the active namenode and survives
//! its restart.
//!
//! A call keeps its call id and its client id through every try, also over new connections, so
//! that a namenode that has performed it already answers from its retry cache instead of performing it twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use hfs_protocol::error::{ErrorKind as RemoteKind, RemoteError};
use hfs_protocol::hadoop::client::{RpcClient, RpcError};
use hfs_protocol::hadoop::header::CLIENT_PROTOCOL;
use parking_lot::Mutex;
use prost::Message;

use crate::config::ClientConfig;
use crate::dial;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Budget;

/// How long calls wait for safe mode to end. Shorter than the budget for a lost connection,
/// because an administrator may have entered safe mode to stay.
const SAFE_MODE_BUDGET: Duration = Duration::from_secs(10);

/// The namenodes of one file system.
pub(crate) struct Namenode {
    addresses: Vec<String>,
    config: Arc<ClientConfig>,
    client_id: [u8; 16],
    next_call_id: AtomicI32,
    /// The connection in use and which address it goes to. Never held across an await.
    current: Mutex<Current>,
    /// Held while dialling, so that many calls that lost the connection dial once.
    dialling: tokio::sync::Mutex<()>,
}

struct Current {
    index: usize,
    connection: Option<RpcClient>,
    /// Whether any connection ever worked: decides which budget an unreachable namenode gets.
    ever_connected: bool,
}

/// What one try came to, if not an answer.
enum Failure {
    /// Final: give it to the caller.
    Final(Error),
    /// The connection or this namenode is no good: take the next one.
    Connection(String),
    /// This namenode is not the active one.
    Standby(String),
    /// The same namenode, a little later.
    Later(RemoteError),
}

impl Namenode {
    pub(crate) fn new(addresses: Vec<String>, config: Arc<ClientConfig>) -> Self {
        Self {
            addresses,
            config,
            client_id: *uuid::Uuid::new_v4().as_bytes(),
            next_call_id: AtomicI32::new(0),
            current: Mutex::new(Current { index: 0, connection: None, ever_connected: false }),
            dialling: tokio::sync::Mutex::new(()),
        }
    }

    /// The addresses as a person would write them.
    pub(crate) fn names(&self) -> String {
        self.addresses.join(" or ")
    }

    /// Makes one call. Tries again within the budgets when the connection breaks, the namenode
    /// asks for it, is in safe mode or is not active.
    pub(crate) async fn call<Req: Message, Resp: Message + Default>(
        &self,
        method: &str,
        request: &Req,
    ) -> Result<Resp> {
        let started = Instant::now();
        let call_id = self.next_call_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let first = if self.current.lock().ever_connected {
            self.config.retry_budget
        } else {
            self.config.connect_budget
        };
        let mut lost = Budget::new(first);
        let mut later = Budget::new(self.config.retry_budget);
        let mut safe_mode = Budget::new(SAFE_MODE_BUDGET);
        let mut retry_count = 0;
        loop {
            let failure = match self.attempt(method, request, call_id, retry_count).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let elapsed = started.elapsed();
            let wait = match &failure {
                Failure::Final(error) => return Err(error.clone()),
                Failure::Connection(_) | Failure::Standby(_) => lost.wait(elapsed),
                Failure::Later(error) if error.kind == RemoteKind::SafeMode => {
                    safe_mode.wait(elapsed)
                }
                Failure::Later(_) => later.wait(elapsed),
            };
            let Some(wait) = wait else { return Err(self.given_up(failure, elapsed)) };
            tracing::debug!(method, call_id, retry_count, "call is tried again in {wait:?}");
            tokio::time::sleep(wait).await;
            retry_count += 1;
        }
    }

    async fn attempt<Req: Message, Resp: Message + Default>(
        &self,
        method: &str,
        request: &Req,
        call_id: i32,
        retry_count: i32,
    ) -> Result<Resp, Failure> {
        let connection = self.connection().await?;
        match connection.call_with_id(method, request, call_id, retry_count).await {
            Ok(response) => Ok(response),
            Err(RpcError::Remote(error)) => Err(match error.kind {
                RemoteKind::Standby => {
                    self.drop_connection();
                    Failure::Standby(error.message)
                }
                RemoteKind::Retriable | RemoteKind::SafeMode => Failure::Later(error),
                _ => Failure::Final(error.into()),
            }),
            Err(error) => {
                self.drop_connection();
                Err(Failure::Connection(error.to_string()))
            }
        }
    }

    /// The connection in use, or a new one to the next namenode that takes it.
    async fn connection(&self) -> Result<RpcClient, Failure> {
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        let _dialling = self.dialling.lock().await;
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        let index = self.current.lock().index;
        let address = &self.addresses[index % self.addresses.len()];
        let dialled = dial::rpc(address, CLIENT_PROTOCOL, Some(self.client_id), &self.config).await;
        let mut current = self.current.lock();
        match dialled {
            Ok(connection) => {
                current.connection = Some(connection.clone());
                current.ever_connected = true;
                Ok(connection)
            }
            Err(cause) => {
                current.index = (index + 1) % self.addresses.len();
                Err(Failure::Connection(cause.to_string()))
            }
        }
    }

    fn live(&self) -> Option<RpcClient> {
        self.current.lock().connection.clone().filter(|connection| !connection.is_closed())
    }

    /// Gives up the connection in use, so that the next call dials the next namenode. Calls that
    /// are waiting on it still get their answers.
    fn drop_connection(&self) {
        let mut current = self.current.lock();
        if current.connection.take().is_some() {
            current.index = (current.index + 1) % self.addresses.len();
        }
    }

    fn given_up(&self, failure: Failure, elapsed: Duration) -> Error {
        let names = self.names();
        let seconds = elapsed.as_secs_f32();
        match failure {
            Failure::Final(error) => error,
            Failure::Later(error) => error.into(),
            Failure::Connection(cause) => Error::new(
                ErrorKind::Unreachable,
                format!(
                    "the namenode {names} can't be reached ({cause}; tried for {seconds:.1} s): \
                     check that it is running and that the address is right (--fs, HFS_FS or \
                     fs.defaultFS)"
                ),
            ),
            Failure::Standby(cause) => Error::new(
                ErrorKind::Unreachable,
                format!(
                    "no namenode of {names} is active ({cause}; tried for {seconds:.1} s): check \
                     the state of the namenodes"
                ),
            ),
        }
    }
}
