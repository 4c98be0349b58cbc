//! The server's side of a connection as a pure state machine: bytes in, calls and answers out.
//!
//! ```text
//!            "GET "                 SASL: NEGOTIATE -> SUCCESS
//!  Preamble --------> closed       +--------------------------+
//!   |    \                         v                          |
//!   |     auth 0xDF --------> Negotiation ---- context ---> Open -- call, ping --+
//!   |     auth 0 -----------> Context -------- context ---> Open <---------------+
//!   |
//!   +- other magic: closed without a word
//!   +- other version or authentication: FATAL, closed
//!
//!  any state: a frame out of its order, too long or undecodable: FATAL, closed
//! ```
//!
//! A client may send preamble, context and first call in one segment, so nothing is waited for or
//! sent in between.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::delimited;
use crate::hadoop::frame;
use crate::hadoop::header::{
    self, AUTH_NONE, AUTH_SASL, CLIENT_ID_BYTES, CONTEXT_CALL_ID, CallKey, INVALID_CALL_ID,
    INVALID_RETRY_COUNT, MAGIC, PING_CALL_ID, PREAMBLE_BYTES, RPC_VERSION, SASL_CALL_ID,
};
use crate::proto::hadoop::common::rpc_request_header_proto::OperationProto;
use crate::proto::hadoop::common::rpc_response_header_proto::RpcErrorCodeProto;
use crate::proto::hadoop::common::rpc_sasl_proto::SaslState;
use crate::proto::hadoop::common::{
    IpcConnectionContextProto, RequestHeaderProto, RpcKindProto, RpcRequestHeaderProto,
    RpcSaslProto,
};

/// What a browser is told that asks the RPC port for a page.
pub const HTTP_ANSWER: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-type: text/plain\r\n\
    Connection: close\r\n\r\nThis port speaks Hadoop RPC, not HTTP. \
    The namenode's web address shows its pages and metrics.\r\n";

/// The class of the errors that end a connection.
const SERVER_EXCEPTION: &str = "org.apache.hadoop.ipc.RpcServerException";

/// The longest name of a user or protocol that is accepted, bytes.
const MAX_NAME_BYTES: usize = 1024;

/// Who calls, as the connection's context says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user the calls are made as.
    pub user: Arc<str>,
    /// Who impersonates that user, where someone does.
    pub real_user: Option<Arc<str>>,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// What the answer must repeat.
    pub key: CallKey,
    /// The client's id; of a client whose id has not 16 bytes, one that is unique to its
    /// connection.
    pub client_id: [u8; CLIENT_ID_BYTES],
    /// The protocol's Java name.
    pub protocol: String,
    /// The protocol's version as the client knows it.
    pub protocol_version: u64,
    /// The method's name.
    pub method: String,
    /// The encoded request message.
    pub body: Bytes,
}

/// What came in.
#[derive(Debug, Clone)]
pub enum Event {
    /// The context: who calls from now on.
    Opened(Caller),
    /// A call to answer.
    Call(Call),
    /// A sign of life.
    Ping,
}

/// Why the connection must be closed, once the output has been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preamble,
    Negotiation,
    Context,
    Open,
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct Session {
    state: State,
    max_frame_bytes: usize,
    fallback_client_id: [u8; CLIENT_ID_BYTES],
}

impl Session {
    /// A connection that has just been accepted. `fallback_client_id` stands for the client where
    /// the client names itself with other than 16 bytes; it must be unique to the connection.
    #[must_use]
    pub const fn new(max_frame_bytes: usize, fallback_client_id: [u8; CLIENT_ID_BYTES]) -> Self {
        Self { state: State::Preamble, max_frame_bytes, fallback_client_id }
    }

    /// Whether the context has been received.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Takes the next event from `input`, or `None` when more bytes are needed. What must be
    /// answered without anyone's help is appended to `output`.
    ///
    /// # Errors
    /// [`Refusal`]: send `output`, then close.
    pub fn next(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<Event>, Refusal> {
        if self.state == State::Preamble && !self.preamble(input, output)? {
            return Ok(None);
        }
        loop {
            let frame = match frame::decode(input, self.max_frame_bytes) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(None),
                Err(error) => {
                    let code = RpcErrorCodeProto::FatalInvalidRpcHeader;
                    return Err(refuse(output, &no_call(), code, error.to_string()));
                }
            };
            if let Some(event) = self.frame(frame, output)? {
                return Ok(Some(event));
            }
        }
    }

    fn preamble(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<bool, Refusal> {
        let shown = input.len().min(MAGIC.len());
        if input[..shown] != MAGIC[..shown] {
            if b"GET ".starts_with(&input[..shown]) {
                if shown < MAGIC.len() {
                    return Ok(false);
                }
                output.extend_from_slice(HTTP_ANSWER);
                return Err(Refusal("an HTTP request came to the RPC port".into()));
            }
            return Err(Refusal(format!(
                "the connection begins with {:02x?} instead of \"hrpc\"",
                &input[..shown]
            )));
        }
        if input.len() < PREAMBLE_BYTES {
            return Ok(false);
        }
        let (version, auth) = (input[4], input[6]);
        if version != RPC_VERSION {
            let message = format!(
                "Server IPC version {RPC_VERSION} cannot communicate with client version {version}"
            );
            let class = crate::error::ErrorKind::VersionMismatch.java_class();
            let code = RpcErrorCodeProto::FatalVersionMismatch;
            header::put_fatal(output, &no_call(), code, class, &message);
            return Err(Refusal(message));
        }
        self.state = match auth {
            AUTH_NONE => State::Context,
            AUTH_SASL => State::Negotiation,
            other => {
                let message = format!("authentication {other:#04x} is not served; use SIMPLE");
                let code = RpcErrorCodeProto::FatalUnauthorized;
                return Err(refuse(output, &no_call(), code, message));
            }
        };
        input.advance(PREAMBLE_BYTES);
        Ok(true)
    }

    fn frame(&mut self, mut frame: Bytes, output: &mut BytesMut) -> Result<Option<Event>, Refusal> {
        let invalid = RpcErrorCodeProto::FatalInvalidRpcHeader;
        let header: RpcRequestHeaderProto = match delimited::take(&mut frame) {
            Ok(header) => header,
            Err(error) => {
                let message = format!("the header of a request can't be read: {error}");
                return Err(refuse(output, &no_call(), invalid, message));
            }
        };
        let key = CallKey {
            call_id: header.call_id,
            retry_count: header.retry_count(),
            client_id: header.client_id.clone(),
        };
        if header.rpc_op != Some(OperationProto::RpcFinalPacket as i32) {
            let message = "the header of a request has no operation RPC_FINAL_PACKET".to_owned();
            return Err(refuse(output, &key, invalid, message));
        }
        if header.rpc_kind != Some(RpcKindProto::RpcProtocolBuffer as i32) {
            let message = "only requests of the kind RPC_PROTOCOL_BUFFER are served".to_owned();
            return Err(refuse(output, &key, invalid, message));
        }
        match (header.call_id, self.state) {
            (PING_CALL_ID, State::Open) => Ok(Some(Event::Ping)),
            (SASL_CALL_ID, State::Negotiation) => self.negotiate(&mut frame, &key, output),
            (CONTEXT_CALL_ID, State::Context | State::Negotiation) => {
                self.context(&mut frame, &key, output)
            }
            (0.., State::Open) => self.call(frame, key, output).map(Some),
            (id, state) => {
                let message = format!("a frame with call id {id} came {}", state.moment());
                Err(refuse(output, &key, invalid, message))
            }
        }
    }

    /// A client that holds tokens negotiates even where nothing is to negotiate: it is told at once
    /// that it has succeeded, and goes on as a SIMPLE client.
    fn negotiate(
        &mut self,
        frame: &mut Bytes,
        key: &CallKey,
        output: &mut BytesMut,
    ) -> Result<Option<Event>, Refusal> {
        let message: RpcSaslProto = match delimited::take(frame) {
            Ok(message) => message,
            Err(error) => {
                let message = format!("a SASL message can't be read: {error}");
                let code = RpcErrorCodeProto::FatalDeserializingRequest;
                return Err(refuse(output, key, code, message));
            }
        };
        match SaslState::try_from(message.state) {
            Ok(SaslState::Negotiate) => {
                let state = SaslState::Success as i32;
                header::put_sasl(output, &RpcSaslProto { state, ..RpcSaslProto::default() });
                self.state = State::Context;
                Ok(None)
            }
            // The answer to an advertised SIMPLE: nothing is to be said.
            Ok(SaslState::Initiate)
                if message.auths.first().is_some_and(|auth| auth.method == "SIMPLE") =>
            {
                self.state = State::Context;
                Ok(None)
            }
            _ => {
                let message = "this server authenticates with SIMPLE only".to_owned();
                Err(refuse(output, key, RpcErrorCodeProto::FatalUnauthorized, message))
            }
        }
    }

    fn context(
        &mut self,
        frame: &mut Bytes,
        key: &CallKey,
        output: &mut BytesMut,
    ) -> Result<Option<Event>, Refusal> {
        if self.state == State::Negotiation {
            let message = "the connection's context came before its SASL negotiation".to_owned();
            let code = RpcErrorCodeProto::FatalInvalidRpcHeader;
            return Err(refuse(output, key, code, message));
        }
        let context: IpcConnectionContextProto = match delimited::take(frame) {
            Ok(context) => context,
            Err(error) => {
                let message = format!("the connection's context can't be read: {error}");
                let code = RpcErrorCodeProto::FatalDeserializingRequest;
                return Err(refuse(output, key, code, message));
            }
        };
        let info = context.user_info.unwrap_or_default();
        let name = |name: Option<String>| name.filter(|name| !name.is_empty());
        let (effective, real) = (name(info.effective_user), name(info.real_user));
        let too_long =
            |name: &Option<String>| name.as_ref().is_some_and(|name| name.len() > MAX_NAME_BYTES);
        if too_long(&effective) || too_long(&real) {
            let message = format!("a user's name has at most {MAX_NAME_BYTES} bytes");
            return Err(refuse(output, key, RpcErrorCodeProto::FatalUnauthorized, message));
        }
        let Some(user) = effective.or_else(|| real.clone()) else {
            let message = "the connection's context names no user".to_owned();
            return Err(refuse(output, key, RpcErrorCodeProto::FatalUnauthorized, message));
        };
        self.state = State::Open;
        let real_user = real.filter(|real| *real != user).map(Arc::from);
        Ok(Some(Event::Opened(Caller { user: user.into(), real_user })))
    }

    fn call(
        &self,
        mut frame: Bytes,
        key: CallKey,
        output: &mut BytesMut,
    ) -> Result<Event, Refusal> {
        let parts = delimited::take::<RequestHeaderProto>(&mut frame)
            .and_then(|header| Ok((header, delimited::take_bytes(&mut frame)?)));
        match parts {
            Ok((header, body)) => Ok(Event::Call(Call {
                client_id: key.client_id.as_ref().try_into().unwrap_or(self.fallback_client_id),
                key,
                protocol: header.declaring_class_protocol_name,
                protocol_version: header.client_protocol_version,
                method: header.method_name,
                body,
            })),
            Err(error) => {
                let message = format!("a call can't be read: {error}");
                let code = RpcErrorCodeProto::FatalDeserializingRequest;
                Err(refuse(output, &key, code, message))
            }
        }
    }
}

impl State {
    const fn moment(self) -> &'static str {
        match self {
            Self::Preamble => "before the preamble",
            Self::Negotiation => "before the end of the SASL negotiation",
            Self::Context => "before the connection's context",
            Self::Open => "after the connection's context, where only calls and pings may",
        }
    }
}

fn no_call() -> CallKey {
    CallKey { call_id: INVALID_CALL_ID, client_id: Bytes::new(), retry_count: INVALID_RETRY_COUNT }
}

fn refuse(
    output: &mut BytesMut,
    key: &CallKey,
    code: RpcErrorCodeProto,
    message: String,
) -> Refusal {
    let class = match code {
        RpcErrorCodeProto::FatalUnauthorized => crate::error::ErrorKind::AccessDenied.java_class(),
        _ => SERVER_EXCEPTION,
    };
    header::put_fatal(output, key, code, class, &message);
    Refusal(message)
}

#[cfg(test)]
mod tests;
