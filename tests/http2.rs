//! The transport over HTTP/2: one connection for many requests, and what it makes of GOAWAY, resets and huge headers.
#![cfg(feature = "emulator")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy.toml allows these in tests, which does not reach the helpers between them"
)]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use entra_reprocess::transport::{
    Answer, Departure, FailureKind, Request, Transport, TransportFailure, TransportOptions,
};
use h2::server::Connection;
use h2::{Reason, server::SendResponse};
use reqwest::{Method, Url};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio_rustls::server::TlsStream;

type H2 = Connection<TlsStream<TcpStream>, &'static [u8]>;

/// What a server does with the n-th request on its m-th connection, both from 1.
#[derive(Clone, Copy)]
enum Behaviour {
    Answer,
    /// It answers, and names another request.
    AnswerAnother,
    /// It answers, and says that it takes no more on this connection.
    AnswerAndGo,
    /// It drops the request and the connection without an answer.
    GoAtOnce,
    /// It says that this stream was never looked at.
    Refuse,
    /// It answers with headers of this many bytes.
    Headers(usize),
}

struct Server {
    origin: Url,
    ca_pem: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn start(behave: impl Fn(usize, usize) -> Behaviour + Send + Sync + 'static) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let server = Self {
            origin: Url::parse(&format!("https://localhost:{port}/")).unwrap(),
            ca_pem: certificate.pem(),
            connections: connections.clone(),
            requests: requests.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let place = connections.fetch_add(1, Ordering::SeqCst) + 1;
                let stream = acceptor.accept(stream).await.expect("the client trusts it");
                let connection = h2::server::Builder::new().handshake(stream).await.expect("ALPN chose it");
                serve(connection, &requests, |count| behave(place, count)).await;
            }
        });
        server
    }

    fn transport(&self) -> Transport {
        let mut bundle = tempfile();
        bundle.1.write_all(self.ca_pem.as_bytes()).unwrap();
        let options = TransportOptions {
            https_only: true,
            concurrency: 8,
            timeout: Duration::from_secs(20),
            proxy: None,
            ca_bundle: Some(bundle.0.clone()),
        };
        let transport = Transport::new(&options, &self.origin).unwrap();
        std::fs::remove_file(bundle.0).unwrap();
        transport
    }

    async fn post(&self, transport: &Transport) -> Result<Answer, TransportFailure> {
        let request = Request {
            method: Method::POST,
            url: self.origin.clone(),
            body: None,
            items: 1,
            client_request_id: uuid::Uuid::new_v4(),
        };
        transport.send(request, &"token".into(), &Departure::default()).await
    }

    fn seen(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

fn tempfile() -> (std::path::PathBuf, std::fs::File) {
    let path = std::env::temp_dir().join(format!("entra-reprocess-{}.pem", uuid::Uuid::new_v4()));
    let file = std::fs::File::create_new(&path).unwrap();
    (path, file)
}

/// One connection to its end.
async fn serve(mut connection: H2, requests: &AtomicUsize, behave: impl Fn(usize) -> Behaviour) {
    let mut count = 0;
    while let Some(Ok((_, respond))) = connection.accept().await {
        count += 1;
        requests.fetch_add(1, Ordering::SeqCst);
        match behave(count) {
            Behaviour::Answer => answer(respond, "x-padding", ""),
            Behaviour::AnswerAnother => {
                answer(respond, "client-request-id", "00000000-1111-4111-8111-000000000000");
            }
            Behaviour::Headers(size) => answer(respond, "x-padding", &"a".repeat(size)),
            Behaviour::AnswerAndGo => {
                answer(respond, "x-padding", "");
                connection.graceful_shutdown();
            }
            Behaviour::Refuse => {
                let mut respond = respond;
                respond.send_reset(Reason::REFUSED_STREAM);
            }
            Behaviour::GoAtOnce => return,
        }
    }
}

fn answer(mut respond: SendResponse<&'static [u8]>, name: &str, value: &str) {
    let head = http::Response::builder().status(202).header(name, value).body(()).unwrap();
    respond.send_response(head, true).unwrap();
}

/// That the request may have been executed is all that is known.
fn assert_in_doubt(result: Result<Answer, TransportFailure>) {
    match result {
        Ok(answer) => panic!("answered with {}", answer.status),
        Err(failure) => {
            assert!(failure.left, "{failure}");
            assert_eq!(failure.kind, FailureKind::Connection, "{failure}");
        }
    }
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let server = Server::start(|_, _| Behaviour::Answer).await;
    let transport = server.transport();
    for _ in 0..20 {
        assert_eq!(server.post(&transport).await.unwrap().status, 202);
    }
    assert_eq!(server.seen(), (1, 20));
}

#[tokio::test]
async fn after_goaway_the_next_request_opens_a_connection() {
    let server = Server::start(|_, _| Behaviour::AnswerAndGo).await;
    let transport = server.transport();
    for _ in 0..5 {
        assert_eq!(server.post(&transport).await.unwrap().status, 202);
    }
    let (connections, requests) = server.seen();
    assert_eq!(requests, 5);
    assert!(connections > 1, "{connections}");
}

#[tokio::test]
async fn a_connection_that_goes_without_an_answer_leaves_doubt_and_is_not_used_again() {
    let server =
        Server::start(|connection, _| if connection == 1 { Behaviour::GoAtOnce } else { Behaviour::Answer })
            .await;
    let transport = server.transport();
    assert_in_doubt(server.post(&transport).await);
    assert_eq!(server.post(&transport).await.unwrap().status, 202);
    // Once each: the transport itself repeats nothing.
    assert_eq!(server.seen(), (2, 2));
}

#[tokio::test]
async fn a_refused_stream_is_not_sent_again_behind_our_back() {
    let server =
        Server::start(|_, count| if count == 1 { Behaviour::Refuse } else { Behaviour::Answer }).await;
    let transport = server.transport();
    assert_in_doubt(server.post(&transport).await);
    assert_eq!(server.post(&transport).await.unwrap().status, 202);
    assert_eq!(server.seen(), (1, 2));
}

/// A stream of HTTP/2 has its own answer, but what stands in between may have mixed them up.
#[tokio::test]
async fn an_answer_that_names_another_request_leaves_doubt_and_ends_the_connection() {
    let server = Server::start(|connection, count| {
        if (connection, count) == (1, 2) { Behaviour::AnswerAnother } else { Behaviour::Answer }
    })
    .await;
    let transport = server.transport();
    assert_eq!(server.post(&transport).await.unwrap().status, 202);
    let failure = server.post(&transport).await.unwrap_err();
    assert!(failure.left && failure.kind == FailureKind::Protocol, "{failure}");
    // The server takes one connection after the other, so the first one has ended.
    assert_eq!(server.post(&transport).await.unwrap().status, 202);
    assert_eq!(server.seen(), (2, 3));
}

#[tokio::test]
async fn headers_are_capped() {
    let server = Server::start(|place, count| {
        Behaviour::Headers(if (place, count) == (1, 1) { 1_000_000 } else { 1_000 })
    })
    .await;
    let transport = server.transport();
    assert_in_doubt(server.post(&transport).await);
    assert_eq!(server.post(&transport).await.unwrap().status, 202);
}
