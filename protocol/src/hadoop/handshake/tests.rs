#![allow(clippy::unwrap_used)]
use super::*;
use crate::hadoop::header::CLIENT_PROTOCOL;
use crate::proto::hadoop::common::RpcResponseHeaderProto;
use crate::proto::hadoop::hdfs::GetFileInfoRequestProto;
use crate::testing::hex;
use proptest::prelude::*;

const CLIENT_ID: [u8; 16] = [7; 16];

fn session() -> Session {
    Session::new(1 << 20, [9; 16])
}

fn opened() -> BytesMut {
    let mut input = BytesMut::from(&header::preamble()[..]);
    header::put_context(&mut input, &CLIENT_ID, "alice", None, CLIENT_PROTOCOL);
    input
}

fn with_call(mut input: BytesMut) -> BytesMut {
    let request = GetFileInfoRequestProto { src: "/x".into() };
    header::put_call(&mut input, (5, 2), &CLIENT_ID, CLIENT_PROTOCOL, "getFileInfo", &request);
    input
}

fn fatal(output: &mut BytesMut) -> RpcResponseHeaderProto {
    let mut frame = frame::decode(output, 1 << 20).unwrap().unwrap();
    let header = delimited::take(&mut frame).unwrap();
    assert!(frame.is_empty(), "a failure is a header and nothing else");
    header
}

#[test]
fn a_client_may_send_everything_at_once() {
    let mut input = with_call(opened());
    header::put_ping(&mut input, &CLIENT_ID);
    let (mut session, mut output) = (session(), BytesMut::new());
    let caller = Caller { user: "alice".into(), real_user: None };
    assert!(
        matches!(session.next(&mut input, &mut output), Ok(Some(Event::Opened(c))) if c == caller)
    );
    let Ok(Some(Event::Call(call))) = session.next(&mut input, &mut output) else {
        panic!("a call is expected")
    };
    assert_eq!((call.method.as_str(), call.protocol.as_str()), ("getFileInfo", CLIENT_PROTOCOL));
    assert_eq!((call.key.call_id, call.key.retry_count, call.client_id), (5, 2, CLIENT_ID));
    assert_eq!(call.body, hex("0a022f78"));
    assert!(matches!(session.next(&mut input, &mut output), Ok(Some(Event::Ping))));
    assert!(matches!(session.next(&mut input, &mut output), Ok(None)));
    assert!(output.is_empty() && input.is_empty());
}

#[test]
fn a_client_with_tokens_is_told_that_negotiation_succeeded() {
    let mut input = BytesMut::from(&hex("68727063 09 00 df")[..]);
    input.extend_from_slice(&hex("0000000e 0a 08021000184122002801 02 1001"));
    let (mut session, mut output) = (session(), BytesMut::new());
    assert!(session.next(&mut input, &mut output).unwrap().is_none());
    assert_eq!(output, hex("00000012 0e 08dfffffff0f100018093a004001 02 1000"));
    input.extend_from_slice(&opened()[PREAMBLE_BYTES..]);
    assert!(matches!(session.next(&mut input, &mut output), Ok(Some(Event::Opened(_)))));
}

#[test]
fn strangers_are_refused() {
    let refusal = |bytes: &[u8]| {
        let (mut input, mut output) = (BytesMut::from(bytes), BytesMut::new());
        let mut session = session();
        loop {
            match session.next(&mut input, &mut output) {
                Ok(Some(_)) => {}
                Ok(None) => return (None, output),
                Err(Refusal(reason)) => return (Some(reason), output),
            }
        }
    };
    let (reason, output) = refusal(b"GET /jmx HTTP/1.1");
    assert!(reason.unwrap().contains("HTTP") && output.starts_with(b"HTTP/1.1 404"));
    assert_eq!(refusal(b"GE").0, None);
    let (reason, output) = refusal(b"\x16\x03\x01garbage");
    assert!(reason.unwrap().contains("\"hrpc\"") && output.is_empty());
    let (_, mut output) = refusal(b"hrpc\x08\x00\x00");
    let header = fatal(&mut output);
    assert_eq!(header.error_detail(), RpcErrorCodeProto::FatalVersionMismatch);
    assert_eq!(header.exception_class_name(), "org.apache.hadoop.ipc.RPC$VersionMismatch");
    let (_, mut output) = refusal(b"hrpc\x09\x00\x51");
    assert_eq!(fatal(&mut output).error_detail(), RpcErrorCodeProto::FatalUnauthorized);
    let (reason, _) = refusal(b"hrpc\x09\x00\x00\xff\xff\xff\xff");
    assert!(reason.unwrap().contains("4294967295 bytes"));
    let (reason, mut output) = refusal(&with_call(BytesMut::from(&header::preamble()[..])));
    assert!(reason.unwrap().contains("call id 5 came before the connection's context"));
    assert_eq!(fatal(&mut output).error_detail(), RpcErrorCodeProto::FatalInvalidRpcHeader);
    let mut twice = opened();
    twice.extend_from_slice(&opened()[PREAMBLE_BYTES..]);
    assert!(refusal(&twice).0.unwrap().contains("call id -3 came after"));
}

#[test]
fn a_call_that_can_not_be_read_is_fatal_and_named() {
    let mut input = with_call(opened());
    let end = input.len();
    input[end - 5] = 0x7f;
    let (mut session, mut output) = (session(), BytesMut::new());
    session.next(&mut input, &mut output).unwrap();
    let error = session.next(&mut input, &mut output).unwrap_err();
    assert!(error.0.contains("127 bytes was announced, only") || error.0.contains("127 bytes"));
    let header = fatal(&mut output);
    assert_eq!(header.call_id, 5);
    assert_eq!(header.error_detail(), RpcErrorCodeProto::FatalDeserializingRequest);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, open: bool) {
        let mut input = if open { opened() } else { BytesMut::new() };
        input.extend_from_slice(&bytes);
        let (mut session, mut output) = (session(), BytesMut::new());
        while let Ok(Some(_)) = session.next(&mut input, &mut output) {}
    }

    #[test]
    fn bytes_may_arrive_one_by_one(cut in 1usize..50) {
        let whole = with_call(opened());
        let (mut session, mut output, mut input) = (session(), BytesMut::new(), BytesMut::new());
        let mut calls = 0;
        for piece in whole.chunks(cut) {
            input.extend_from_slice(piece);
            while let Some(event) = session.next(&mut input, &mut output).unwrap() {
                calls += usize::from(matches!(event, Event::Call(_)));
            }
        }
        prop_assert_eq!(calls, 1);
        prop_assert!(session.is_open() && output.is_empty());
    }
}
