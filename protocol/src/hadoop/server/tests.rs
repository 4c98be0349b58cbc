#![allow(clippy::unwrap_used)]
use super::*;
use crate::hadoop::client::{ClientOptions, RpcClient, RpcError};
use crate::hadoop::header::CLIENT_PROTOCOL;
use crate::proto::hadoop::hdfs::{
    GetFileInfoRequestProto, GetFileInfoResponseProto, MkdirsResponseProto,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Answers `mkdirs` at once, `getFileInfo` with an error that repeats the path, `slow` when told.
#[derive(Default)]
struct Fake {
    go: Arc<Notify>,
}

impl Handler for Fake {
    fn call(&self, context: &CallContext, protocol: &str, method: &str, body: Bytes) -> Reply {
        if protocol != CLIENT_PROTOCOL {
            return Reply::no_such_protocol(protocol);
        }
        match method {
            "mkdirs" => Reply::message(&MkdirsResponseProto { result: &*context.user == "alice" }),
            "getFileInfo" => match GetFileInfoRequestProto::decode(body) {
                Ok(request) => Reply::error(ErrorKind::NotFound, format!("no {}", request.src)),
                Err(error) => Reply::error(ErrorKind::InvalidArgument, error.to_string()),
            },
            "slow" => {
                let go = Arc::clone(&self.go);
                Reply::Later(Box::pin(async move {
                    go.notified().await;
                    Ok(MkdirsResponseProto { result: true }.encode_to_vec())
                }))
            }
            "huge" => Reply::Now(Ok(vec![0; 3 << 20])),
            other => Reply::no_such_method(protocol, other),
        }
    }
}

async fn start(limits: ServerLimits) -> (SocketAddr, Arc<Notify>, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(Fake::default());
    let go = Arc::clone(&handler.go);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (handler, limits, stop) = (Arc::clone(&handler), limits.clone(), stop.clone());
            tokio::spawn(serve_connection(stream, handler, limits, stop));
        }
    });
    (address, go, shutdown)
}

async fn client(address: SocketAddr, protocol: &str) -> RpcClient {
    let options = ClientOptions { call_timeout: Duration::from_secs(10), ..Default::default() };
    RpcClient::connect(address, protocol, "alice", options).await.unwrap()
}

fn path(src: &str) -> GetFileInfoRequestProto {
    GetFileInfoRequestProto { src: src.into() }
}

fn remote(error: RpcError) -> RemoteError {
    match error {
        RpcError::Remote(error) => error,
        RpcError::Io(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn calls_and_errors_reach_the_caller() {
    let (address, ..) = start(ServerLimits::default()).await;
    let client = client(address, CLIENT_PROTOCOL).await;
    let made: MkdirsResponseProto = client.call("mkdirs", &path("/a")).await.unwrap();
    assert!(made.result);
    type Info = Result<GetFileInfoResponseProto, RpcError>;
    let missing: Info = client.call("getFileInfo", &path("/x")).await;
    assert_eq!(remote(missing.unwrap_err()), RemoteError::new(ErrorKind::NotFound, "no /x"));
    let unknown: Info = client.call("fly", &path("/x")).await;
    let unknown = remote(unknown.unwrap_err());
    assert_eq!(unknown.kind, ErrorKind::NoSuchMethod);
    assert_eq!(
        unknown.message,
        format!("Unknown method fly called on {CLIENT_PROTOCOL} protocol.")
    );
    let stranger = self::client(address, "com.example.Odd").await;
    let unknown: Info = stranger.call("getFileInfo", &path("/x")).await;
    assert_eq!(remote(unknown.unwrap_err()).kind, ErrorKind::NoSuchProtocol);
    let huge: Result<MkdirsResponseProto, _> = client.call("huge", &path("/")).await;
    assert!(
        matches!(huge, Err(RpcError::Io(error)) if error.to_string().contains("can't be read"))
    );
    let again: Info = client.call("getFileInfo", &path("/y")).await;
    assert_eq!(remote(again.unwrap_err()).message, "no /y");
}

#[tokio::test]
async fn many_calls_are_in_flight_and_answered_out_of_order() {
    let (address, go, _) = start(ServerLimits::default()).await;
    let client = client(address, CLIENT_PROTOCOL).await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.call::<_, MkdirsResponseProto>("slow", &path("/")).await }
    });
    let calls = (0..500).map(|number| {
        let client = client.clone();
        async move {
            let path = path(&format!("/{number}"));
            let answer: Result<GetFileInfoResponseProto, _> =
                client.call("getFileInfo", &path).await;
            assert_eq!(remote(answer.unwrap_err()).message, format!("no /{number}"));
        }
    });
    futures::future::join_all(calls).await;
    assert!(!slow.is_finished());
    go.notify_one();
    assert!(slow.await.unwrap().unwrap().result);
}

#[tokio::test]
async fn calls_in_flight_are_bounded_and_all_answered() {
    let limits = ServerLimits { max_calls_in_flight: 2, ..ServerLimits::default() };
    let (address, go, _) = start(limits).await;
    let client = client(address, CLIENT_PROTOCOL).await;
    let calls: Vec<_> = (0..9)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(
                async move { client.call::<_, MkdirsResponseProto>("slow", &path("/")).await },
            )
        })
        .collect();
    for call in calls {
        while !call.is_finished() {
            go.notify_one();
            tokio::task::yield_now().await;
        }
        assert!(call.await.unwrap().unwrap().result);
    }
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight() {
    let (address, go, shutdown) = start(ServerLimits::default()).await;
    let client = client(address, CLIENT_PROTOCOL).await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.call::<_, MkdirsResponseProto>("slow", &path("/")).await }
    });
    // An answered call proves that the slow one before it has been taken.
    let _: MkdirsResponseProto = client.call("mkdirs", &path("/a")).await.unwrap();
    shutdown.cancel();
    go.notify_one();
    assert!(slow.await.unwrap().unwrap().result);
    while !client.is_closed() {
        tokio::task::yield_now().await;
    }
    let late: Result<MkdirsResponseProto, _> = client.call("mkdirs", &path("/a")).await;
    assert!(matches!(late, Err(RpcError::Io(_))));
}

#[tokio::test]
async fn garbage_and_silence_end_the_connection() {
    let limits =
        ServerLimits { handshake_timeout: Duration::from_millis(50), ..ServerLimits::default() };
    let (address, ..) = start(limits).await;
    for sent in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x00\x01\x02\x03\x04", b"hrpc", b""] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let end = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "the connection of {sent:?} stays open");
        assert_eq!(answer.starts_with(b"HTTP/1.1 404"), sent.starts_with(b"GET "), "{sent:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_one_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let client = client(address, CLIENT_PROTOCOL).await;
    let answer: Result<MkdirsResponseProto, _> = client.call("mkdirs", &path("/a")).await;
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("does not speak Hadoop RPC"), "{error}");
}
