//! What frames begin with: the preamble of a connection, request and response headers, and the
//! frames that carry no call.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::error::{ErrorKind, RemoteError};
use crate::hadoop::frame;
use crate::proto::hadoop::common::rpc_request_header_proto::OperationProto;
use crate::proto::hadoop::common::rpc_response_header_proto::{RpcErrorCodeProto, RpcStatusProto};
use crate::proto::hadoop::common::{
    IpcConnectionContextProto, RequestHeaderProto, RpcKindProto, RpcRequestHeaderProto,
    RpcResponseHeaderProto, RpcSaslProto, UserInformationProto,
};

/// The four bytes every connection begins with.
pub const MAGIC: [u8; 4] = *b"hrpc";

/// The version of the protocol.
pub const RPC_VERSION: u8 = 9;

/// Bytes of the preamble: magic, version, service class, authentication.
pub const PREAMBLE_BYTES: usize = 7;

/// The authentication byte of a client that will not negotiate.
pub const AUTH_NONE: u8 = 0;

/// The authentication byte of a client that begins with SASL.
pub const AUTH_SASL: u8 = 0xDF;

/// The call id of the frame that says who calls.
pub const CONTEXT_CALL_ID: i32 = -3;

/// The call id of a ping, which has no answer.
pub const PING_CALL_ID: i32 = -4;

/// The call id of SASL negotiation.
pub const SASL_CALL_ID: i32 = -33;

/// The call id of an answer to something that was no call.
pub const INVALID_CALL_ID: i32 = -2;

/// The retry count of what is not a call.
pub const INVALID_RETRY_COUNT: i32 = -1;

/// Bytes of a client's id.
pub const CLIENT_ID_BYTES: usize = 16;

/// The version of every protocol served here.
pub const PROTOCOL_VERSION: u64 = 1;

/// The name of the protocol between file clients and the namenode.
pub const CLIENT_PROTOCOL: &str = "org.apache.hadoop.hdfs.protocol.ClientProtocol";

/// The name of the protocol between file clients and a datanode's IPC port.
pub const CLIENT_DATANODE_PROTOCOL: &str = "org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol";

/// Which call an answer belongs to.
#[derive(Debug, Clone)]
pub struct CallKey {
    /// The number the client gave it.
    pub call_id: i32,
    /// The client's id as it came; the answer must repeat it.
    pub client_id: Bytes,
    /// How often the client has sent this call before.
    pub retry_count: i32,
}

/// The 7 bytes a client without authentication sends first.
#[must_use]
pub const fn preamble() -> [u8; PREAMBLE_BYTES] {
    [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], RPC_VERSION, 0, AUTH_NONE]
}

fn put_request_header(out: &mut BytesMut, call_id: i32, client_id: &[u8], retry_count: i32) {
    frame::put_delimited(
        out,
        &RpcRequestHeaderProto {
            rpc_kind: Some(RpcKindProto::RpcProtocolBuffer as i32),
            rpc_op: Some(OperationProto::RpcFinalPacket as i32),
            call_id,
            client_id: Bytes::copy_from_slice(client_id),
            retry_count: Some(retry_count),
            ..RpcRequestHeaderProto::default()
        },
    );
}

/// Appends the frame that says who calls which protocol. `real_user` is who impersonates `user`.
pub fn put_context(
    out: &mut BytesMut,
    client_id: &[u8; CLIENT_ID_BYTES],
    user: &str,
    real_user: Option<&str>,
    protocol: &str,
) {
    let begun = frame::begin(out);
    put_request_header(out, CONTEXT_CALL_ID, client_id, INVALID_RETRY_COUNT);
    frame::put_delimited(
        out,
        &IpcConnectionContextProto {
            user_info: Some(UserInformationProto {
                effective_user: Some(user.to_owned()),
                real_user: real_user.map(str::to_owned),
            }),
            protocol: Some(protocol.to_owned()),
        },
    );
    frame::end(out, begun);
}

/// Appends a ping.
pub fn put_ping(out: &mut BytesMut, client_id: &[u8; CLIENT_ID_BYTES]) {
    let begun = frame::begin(out);
    put_request_header(out, PING_CALL_ID, client_id, INVALID_RETRY_COUNT);
    frame::end(out, begun);
}

/// Appends a call.
pub fn put_call(
    out: &mut BytesMut,
    (call_id, retry_count): (i32, i32),
    client_id: &[u8; CLIENT_ID_BYTES],
    protocol: &str,
    method: &str,
    request: &impl Message,
) {
    let begun = frame::begin(out);
    put_request_header(out, call_id, client_id, retry_count);
    frame::put_delimited(
        out,
        &RequestHeaderProto {
            method_name: method.to_owned(),
            declaring_class_protocol_name: protocol.to_owned(),
            client_protocol_version: PROTOCOL_VERSION,
        },
    );
    frame::put_delimited(out, request);
    frame::end(out, begun);
}

fn response_header(key: &CallKey, status: RpcStatusProto) -> RpcResponseHeaderProto {
    RpcResponseHeaderProto {
        call_id: key.call_id as u32,
        status: status as i32,
        server_ipc_version_num: Some(u32::from(RPC_VERSION)),
        client_id: Some(key.client_id.clone()),
        retry_count: Some(key.retry_count),
        ..RpcResponseHeaderProto::default()
    }
}

/// Appends the answer to a call that succeeded. `body` is the encoded response message, without its
/// length; an empty one still has its length byte.
pub fn put_success(out: &mut BytesMut, key: &CallKey, body: &[u8]) {
    out.reserve(body.len() + 64);
    let begun = frame::begin(out);
    frame::put_delimited(out, &response_header(key, RpcStatusProto::Success));
    prost::encode_length_delimiter(body.len(), out).expect("a BytesMut grows as needed");
    out.put_slice(body);
    frame::end(out, begun);
}

/// Appends the answer to a call that failed: a header and nothing else. The connection goes on.
pub fn put_error(out: &mut BytesMut, key: &CallKey, error: &RemoteError) {
    let code = match error.kind {
        ErrorKind::NoSuchMethod => RpcErrorCodeProto::ErrorNoSuchMethod,
        ErrorKind::NoSuchProtocol => RpcErrorCodeProto::ErrorNoSuchProtocol,
        ErrorKind::VersionMismatch => RpcErrorCodeProto::ErrorRpcVersionMismatch,
        _ => RpcErrorCodeProto::ErrorApplication,
    };
    put_failure(out, key, RpcStatusProto::Error, code, error.kind.java_class(), &error.message);
}

/// Appends an answer after which the server closes the connection.
pub fn put_fatal(
    out: &mut BytesMut,
    key: &CallKey,
    code: RpcErrorCodeProto,
    class: &str,
    message: &str,
) {
    put_failure(out, key, RpcStatusProto::Fatal, code, class, message);
}

fn put_failure(
    out: &mut BytesMut,
    key: &CallKey,
    status: RpcStatusProto,
    code: RpcErrorCodeProto,
    class: &str,
    message: &str,
) {
    let begun = frame::begin(out);
    let header = RpcResponseHeaderProto {
        exception_class_name: Some(class.to_owned()),
        error_msg: Some(message.to_owned()),
        error_detail: Some(code as i32),
        ..response_header(key, status)
    };
    frame::put_delimited(out, &header);
    frame::end(out, begun);
}

/// Appends the server's answer to a SASL message.
pub fn put_sasl(out: &mut BytesMut, message: &RpcSaslProto) {
    let key = CallKey {
        call_id: SASL_CALL_ID,
        client_id: Bytes::new(),
        retry_count: INVALID_RETRY_COUNT,
    };
    let begun = frame::begin(out);
    frame::put_delimited(out, &response_header(&key, RpcStatusProto::Success));
    frame::put_delimited(out, message);
    frame::end(out, begun);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::hadoop::common::rpc_sasl_proto::SaslState;
    use crate::proto::hadoop::hdfs::{GetFileInfoRequestProto, GetFileInfoResponseProto};
    use crate::testing::hex;

    const CLIENT_ID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn key() -> CallKey {
        CallKey { call_id: 0, client_id: Bytes::copy_from_slice(&CLIENT_ID), retry_count: 0 }
    }

    #[test]
    fn requests_have_the_known_bytes() {
        assert_eq!(preamble().to_vec(), hex("68727063 09 00 00"));
        let mut out = BytesMut::new();
        put_context(&mut out, &CLIENT_ID, "alice", None, CLIENT_PROTOCOL);
        assert_eq!(
            out,
            hex("00000055 1a 0802100018052210000102030405060708090a0b0c0d0e0f2801 39 \
                 12070a05616c6963651a2e6f72672e6170616368652e6861646f6f702e686466732e70726f746f636f\
                 6c2e436c69656e7450726f746f636f6c")
        );
        out.clear();
        let request = GetFileInfoRequestProto { src: "/x".into() };
        put_call(&mut out, (0, 0), &CLIENT_ID, CLIENT_PROTOCOL, "getFileInfo", &request);
        assert_eq!(
            out,
            hex("00000060 1a 0802100018002210000102030405060708090a0b0c0d0e0f2800 3f \
                 0a0b67657446696c65496e666f122e6f72672e6170616368652e6861646f6f702e686466732e70726f\
                 746f636f6c2e436c69656e7450726f746f636f6c1801 04 0a022f78")
        );
        out.clear();
        put_ping(&mut out, &CLIENT_ID);
        assert_eq!(out, hex("0000001b 1a 0802100018072210000102030405060708090a0b0c0d0e0f2801"));
    }

    #[test]
    fn answers_have_the_known_bytes() {
        let mut out = BytesMut::new();
        put_success(&mut out, &key(), &GetFileInfoResponseProto { fs: None }.encode_to_vec());
        assert_eq!(out, hex("0000001c 1a 0800100018093a10000102030405060708090a0b0c0d0e0f4000 00"));
        out.clear();
        put_error(&mut out, &key(), &RemoteError::new(ErrorKind::NotFound, "no /x"));
        assert_eq!(
            out,
            hex("00000043 42 080010011809221d6a6176612e696f2e46696c654e6f74466f756e64457863657074\
                 696f6e2a056e6f202f7830013a10000102030405060708090a0b0c0d0e0f4000")
        );
        out.clear();
        let success = RpcSaslProto { state: SaslState::Success as i32, ..RpcSaslProto::default() };
        put_sasl(&mut out, &success);
        assert_eq!(out, hex("00000012 0e 08dfffffff0f100018093a004001 02 1000"));
    }
}
