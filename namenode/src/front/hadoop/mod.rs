//! Hadoop RPC: `ClientProtocol` for file clients.
//!
//! A call is one small file in [`calls`]: decode, ask the service, encode. [`convert`] turns the
//! service's values into HDFS's messages.

mod calls;
mod convert;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hfs_daemon::metrics::{self, Counter, Family, Histogram, Registry};
use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::hadoop::server::{CallContext, Handler, Reply};
use prost::Message;

use crate::namesystem::RetryKey;
use crate::service::{CallInfo, Seen, Service};

/// The protocol's Java name.
pub const CLIENT_PROTOCOL: &str = "org.apache.hadoop.hdfs.protocol.ClientProtocol";

/// Longest part of a path that an audit line shows, in bytes.
const AUDIT_PATH_BYTES: usize = 4_096;

/// Answers file clients.
pub struct ClientFront {
    service: Arc<Service>,
    metrics: Vec<CallMetrics>,
}

impl fmt::Debug for ClientFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientFront").finish_non_exhaustive()
    }
}

/// What is counted of one method.
#[derive(Clone)]
struct CallMetrics {
    calls: Counter,
    errors: Counter,
    latency: Histogram,
}

impl CallMetrics {
    fn note(&self, began: Instant, ok: bool) {
        self.calls.inc();
        if !ok {
            self.errors.inc();
        }
        metrics::observe(&self.latency, began.elapsed());
    }
}

impl ClientFront {
    /// A front of this service; its metrics go into `registry`.
    pub fn new(service: Arc<Service>, registry: &mut Registry) -> Self {
        let calls = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let errors = Family::<[(&'static str, &'static str); 1], Counter>::default();
        registry.register("rpc_calls", "Calls answered, by method", calls.clone());
        registry.register("rpc_errors", "Calls answered with an error, by method", errors.clone());
        let latency = metrics::latency(
            registry,
            "rpc_seconds",
            "Time from a call's arrival to its answer, all methods",
        );
        let metrics = calls::TABLE
            .iter()
            .map(|entry| CallMetrics {
                calls: calls.get_or_create(&[("method", entry.method)]).clone(),
                errors: errors.get_or_create(&[("method", entry.method)]).clone(),
                latency: latency.clone(),
            })
            .collect();
        Self { service, metrics }
    }

    fn info(&self, context: &CallContext) -> Result<CallInfo, RemoteError> {
        let caller = self.service.caller(&context.user);
        if let Some(real) = &context.real_user
            && *real != context.user
            && !self.service.caller(real).superuser
        {
            return Err(RemoteError::new(
                ErrorKind::AccessDenied,
                format!("User: {real} is not allowed to impersonate {}", context.user),
            ));
        }
        let retry = Some(RetryKey { client_id: context.client_id, call_id: context.call_id });
        Ok(CallInfo { caller, ip: context.client_ip.to_canonical(), retry })
    }
}

impl Handler for ClientFront {
    fn call(&self, context: &CallContext, protocol: &str, method: &str, body: Bytes) -> Reply {
        if protocol != CLIENT_PROTOCOL {
            return Reply::no_such_protocol(protocol);
        }
        let Some(at) = calls::find(method) else {
            return Reply::no_such_method(protocol, method);
        };
        let began = Instant::now();
        let metrics = &self.metrics[at];
        let reply = self.info(context).and_then(|info| {
            let call = Call { service: &self.service, info, method: calls::TABLE[at].method, body };
            (calls::TABLE[at].call)(call)
        });
        match reply {
            Ok(Reply::Now(result)) => {
                metrics.note(began, result.is_ok());
                Reply::Now(result)
            }
            Ok(Reply::Later(future)) => {
                let metrics = metrics.clone();
                Reply::Later(Box::pin(async move {
                    let result = future.await;
                    metrics.note(began, result.is_ok());
                    result
                }))
            }
            Err(error) => {
                metrics.note(began, false);
                Reply::Now(Err(error))
            }
        }
    }
}

/// One call on its way through.
struct Call<'a> {
    service: &'a Arc<Service>,
    info: CallInfo,
    method: &'static str,
    body: Bytes,
}

impl Call<'_> {
    /// The request message.
    fn decode<M: Message + Default>(&self) -> Result<M, RemoteError> {
        M::decode(self.body.clone()).map_err(|error| {
            let message = format!("the request of {} can't be decoded: {error}", self.method);
            RemoteError::new(ErrorKind::InvalidArgument, message)
        })
    }

    /// What goes into the audit log with the answer.
    fn audit(&self, src: &str, dst: Option<&str>) -> Audit {
        self.audit_line(true, || (cut(src), dst.map(cut)))
    }

    /// The same for a call that names a block and no path.
    fn audit_block(&self, block: u64) -> Audit {
        self.audit_line(true, || (format!("blk_{block}"), None))
    }

    /// The same for a call that changes nothing.
    fn audit_read(&self, src: &str) -> Audit {
        self.audit_line(false, || (cut(src), None))
    }

    /// Nothing is copied while nobody wants the audit log.
    fn audit_line(&self, change: bool, paths: impl FnOnce() -> (String, Option<String>)) -> Audit {
        if !tracing::enabled!(target: "audit", tracing::Level::INFO) {
            return Audit(None);
        }
        let (src, dst) = paths();
        Audit(Some(AuditLine {
            user: Arc::clone(&self.info.caller.user),
            ip: self.info.ip,
            cmd: self.method,
            src,
            dst,
            change,
        }))
    }

    /// Answers as soon as what was seen is durable: now, if it is.
    fn reply<A, M>(
        &self,
        audit: Audit,
        seen: Seen<A>,
        form: impl FnOnce(A) -> M,
    ) -> Result<Reply, RemoteError>
    where
        M: Message,
    {
        let result = seen.answer.map(|answer| form(answer).encode_to_vec());
        if self.service.is_durable(seen.upto) {
            audit.log(&result);
            return Ok(Reply::Now(result));
        }
        let service = Arc::clone(self.service);
        Ok(Reply::Later(Box::pin(async move {
            let result = service.durable(seen.upto).await.and(result);
            audit.log(&result);
            result
        })))
    }

    /// An answer that changes nothing and tells nothing of the namespace.
    fn answer(&self, message: &impl Message) -> Result<Reply, RemoteError> {
        Ok(Reply::message(message))
    }
}

/// Answers when the future has its answer.
fn later<A, M>(
    audit: Audit,
    answer: impl Future<Output = Result<A, RemoteError>> + Send + 'static,
    form: impl FnOnce(A) -> M + Send + 'static,
) -> Result<Reply, RemoteError>
where
    M: Message,
{
    Ok(Reply::Later(Box::pin(async move {
        let result = answer.await.map(|answer| form(answer).encode_to_vec());
        audit.log(&result);
        result
    })))
}

/// A path as far as an audit line shows it.
fn cut(path: &str) -> String {
    let mut end = path.len().min(AUDIT_PATH_BYTES);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    path[..end].to_owned()
}

/// What the audit log is told of a call; nothing when the log is off.
struct Audit(Option<AuditLine>);

/// One line of the audit log: who did what, and whether it was allowed.
struct AuditLine {
    user: Arc<str>,
    ip: IpAddr,
    cmd: &'static str,
    src: String,
    dst: Option<String>,
    /// Reads that were allowed are logged at the debug level: there are a thousand for each change.
    change: bool,
}

impl Audit {
    fn log(&self, result: &Result<Vec<u8>, RemoteError>) {
        let Some(line) = &self.0 else { return };
        let allowed = !matches!(result, Err(e) if e.kind == ErrorKind::AccessDenied);
        let ok = result.is_ok();
        if line.change || !allowed {
            tracing::info!(target: "audit", "allowed={allowed} ok={ok} {line}");
        } else {
            tracing::debug!(target: "audit", "allowed={allowed} ok={ok} {line}");
        }
    }
}

impl fmt::Display for AuditLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and paths are escaped: a newline in one can't forge a line.
        let Self { user, ip, cmd, src, dst, .. } = self;
        write!(f, "ugi={} ip={ip} cmd={cmd} src={src:?}", user.escape_debug())?;
        match dst {
            Some(dst) => write!(f, " dst={dst:?}"),
            None => Ok(()),
        }
    }
}
