//! A small backend that says what it was asked: HTTP/1.1, HTTP/2 with prior knowledge, WebSocket.
//!
//! | path | answer |
//! |---|---|
//! | `/stream` | a chunk at once, and one more for each that the client sends |
//! | `/slow/MS` | the usual, after that many milliseconds |
//! | `/count` | how many bytes the request's body has |
//! | `/slow-count` | the same, but nothing is read for two seconds |
//! | `/refused` | 413, and nothing of the body is read |
//! | `/events/N` | N events of `text/event-stream`, `data: 0` and on, 10 ms apart |
//! | `/zeros/N` | N bytes, as fast as they are taken |
//! | any other | name, method, path, Host and header fields, as JSON |
//!
//! A request to upgrade to WebSocket is accepted anywhere, and every message echoed. A request of gRPC
//! (`application/grpc`) has its messages echoed as they come, with `grpc-status: 0` as a trailer; at
//! `/unimplemented` it has a status of 12 and nothing else.

use std::{convert::Infallible, future, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{self, HeaderName},
    http::request::Parts,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};
use tokio_tungstenite::{WebSocketStream, tungstenite::handshake::derive_accept_key, tungstenite::protocol::Role};
use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};

use crate::{Authority, Home, certificate};

type Body = BoxBody<Bytes, Infallible>;

/// Backends of one test; they live as long as this.
pub struct Backends(pub Runtime);

impl Default for Backends {
    fn default() -> Self {
        Self::new()
    }
}

impl Backends {
    /// # Panics
    /// When there can be no threads.
    pub fn new() -> Self {
        Self(Runtime::new().expect("a runtime"))
    }

    /// Answers with `name`, on a free port of the home's address `.10`.
    ///
    /// # Panics
    /// When there is none.
    pub fn start(&self, home: &Home, name: &str) -> SocketAddr {
        self.0.block_on(serve(home.socket(10, 0), name)).expect("a free port")
    }

    /// The same behind TLS, with a certificate that nobody knows.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start_tls(&self, home: &Home, name: &str) -> SocketAddr {
        self.start_tls_as(home, name, &certificate(&["nobody.example"]))
    }

    /// The same with a certificate and its key.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start_tls_as(&self, home: &Home, name: &str, identity: &(String, String)) -> SocketAddr {
        self.0.block_on(serve_tls(home.socket(10, 0), name, identity)).expect("a free port")
    }

    /// The same for those alone who show a certificate of `clients`. It answers with its name and theirs, `web for
    /// a.example`, and speaks this protocol (`h2`, `http/1.1`).
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start_asking(
        &self,
        home: &Home,
        name: &str,
        identity: &(String, String),
        clients: &Authority,
        protocol: &str,
    ) -> SocketAddr {
        self.0.block_on(serve_asking(home.socket(10, 0), name, identity, clients, protocol)).expect("a free port")
    }
}

/// Serves in the background for as long as the runtime lives; `name` tells backends apart.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(address: SocketAddr, name: &str) -> io::Result<SocketAddr> {
    let name = name.to_owned();
    accept(address, move |stream| future::ready(Some((name.clone(), stream)))).await
}

/// The same over TLS, HTTP/1.1 and HTTP/2 by ALPN.
///
/// # Errors
/// When the address cannot be bound.
///
/// # Panics
/// When the certificate is none.
pub async fn serve_tls(address: SocketAddr, name: &str, (chain, key): &(String, String)) -> io::Result<SocketAddr> {
    let config = config().with_no_client_auth();
    let mut config = config.with_single_cert(chain_of(chain), key_of(key)).expect("a certificate and its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (acceptor, name) = (TlsAcceptor::from(Arc::new(config)), name.to_owned());
    accept(address, move |stream| {
        let (handshake, name) = (acceptor.accept(stream), name.clone());
        async { Some((name, handshake.await.ok()?)) }
    })
    .await
}

/// As [`Backends::start_asking`] has it.
async fn serve_asking(
    address: SocketAddr,
    name: &str,
    (chain, key): &(String, String),
    clients: &Authority,
    protocol: &str,
) -> io::Result<SocketAddr> {
    let mut anchors = RootCertStore::empty();
    anchors.add_parsable_certificates(chain_of(&clients.certificate));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider).build().expect("an anchor");
    let config = config().with_client_cert_verifier(verifier);
    let mut config = config.with_single_cert(chain_of(chain), key_of(key)).expect("a certificate and its key");
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let (acceptor, name) = (TlsAcceptor::from(Arc::new(config)), name.to_owned());
    accept(address, move |stream| {
        let (handshake, name) = (acceptor.accept(stream), name.clone());
        async move {
            let stream = handshake.await.ok()?;
            let client = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(name_in);
            Some((format!("{name} for {}", client?), stream))
        }
    })
    .await
}

fn config() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    config.expect("versions that ring has")
}

fn chain_of(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("certificates in PEM")
}

fn key_of(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key in PEM")
}

/// The first subjectAltName; empty where there is none.
fn name_in(certificate: &CertificateDer<'_>) -> String {
    let (_, parsed) = parse_x509_certificate(certificate).expect("verified");
    let names = parsed.subject_alternative_name().expect("one at most");
    match names.and_then(|names| names.value.general_names.first()) {
        Some(GeneralName::DNSName(name) | GeneralName::URI(name)) => (*name).to_owned(),
        _ => String::new(),
    }
}

/// `open` makes of a connection the stream that HTTP is spoken on, and says with what name it is answered.
async fn accept<S, F>(address: SocketAddr, open: impl Fn(TcpStream) -> F + Send + 'static) -> io::Result<SocketAddr>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Option<(String, S)>> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let opening = open(stream);
            tokio::spawn(async move {
                let Some((name, stream)) = opening.await else { return };
                let service = service_fn(|request| answer(name.clone(), request));
                let connection = auto::Builder::new(TokioExecutor::new());
                // Clients come and go.
                let _ = connection.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(bound)
}

pub(crate) async fn answer(name: String, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    // hyper leaves it out of HTTP/1 by itself.
    let has_body = request.method() != Method::HEAD;
    let answer = answer_in_full(name, request).await?;
    Ok(if has_body { answer } else { answer.map(|_| Empty::new().boxed()) })
}

async fn answer_in_full(name: String, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) {
        let accept = derive_accept_key(key.as_bytes());
        return Ok(upgrade(request, &accept));
    }
    let path = request.uri().path().to_owned();
    if request.headers().get(header::CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/grpc")) {
        return Ok(grpc(&path, request.into_body()));
    }
    if let Some(count) = number_in(&path, "/events/") {
        return Ok(events(count));
    }
    if let Some(count) = number_in(&path, "/zeros/") {
        return Ok(zeros(count));
    }
    if let Some(delay) = number_in(&path, "/slow/") {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    Ok(match path.as_str() {
        "/stream" => stream(request.into_body()),
        "/endless" => endless(),
        "/refused" => {
            let mut response = Response::new(full("too long".to_owned()));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
        "/count" | "/slow-count" => {
            if path == "/slow-count" {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            let mut body = request.into_body();
            let mut count = 0;
            while let Some(Ok(frame)) = body.frame().await {
                count += frame.data_ref().map_or(0, Bytes::len);
            }
            Response::new(full(format!("{count}\n")))
        }
        _ => {
            let (head, body) = request.into_parts();
            // The connection of a request that is answered unread is closed, perhaps as the rest of it arrives.
            // How it ends is the client's to see.
            let _ = body.collect().await;
            describe(&name, &head)
        }
    })
}

fn describe(name: &str, request: &Parts) -> Response<Body> {
    let fields: serde_json::Map<String, serde_json::Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let host = request.headers.get(header::HOST).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let host = host.or_else(|| request.uri.authority().map(ToString::to_string));
    let text = serde_json::json!({
        "backend": name,
        "method": request.method.as_str(),
        "path": request.uri.path_and_query().map(ToString::to_string),
        "host": host,
        "version": format!("{:?}", request.version),
        "headers": fields,
    });
    let mut response = Response::new(full(format!("{text:#}\n")));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn number_in(path: &str, prefix: &str) -> Option<u64> {
    path.strip_prefix(prefix)?.parse().ok()
}

fn events(count: u64) -> Response<Body> {
    let events = futures::stream::unfold(0, move |number| async move {
        if number == count {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(format!("data: {number}\n\n")))), number + 1))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(events)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    response
}

fn zeros(count: u64) -> Response<Body> {
    static ZEROS: &[u8] = &[0; 16 << 10];
    let zeros = futures::stream::unfold(count, |left| async move {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        let data = ZEROS.get(..piece).filter(|data| !data.is_empty())?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(data))), left - piece as u64))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(zeros)));
    response.headers_mut().insert(header::CONTENT_LENGTH, count.into());
    response
}

fn grpc(path: &str, body: Incoming) -> Response<Body> {
    let status = |number: u16| HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), number.into())]);
    let mut response = if path == "/unimplemented" {
        let mut response = Response::new(Empty::new().boxed());
        response.headers_mut().extend(status(12));
        response
    } else {
        let messages = futures::stream::unfold(Some(body), move |body| async move {
            let mut body = body?;
            Some(match body.frame().await {
                Some(Ok(frame)) => (Ok::<_, Infallible>(frame), Some(body)),
                _ => (Ok(Frame::trailers(status(0))), None),
            })
        });
        Response::new(BodyExt::boxed(StreamBody::new(messages)))
    };
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/grpc"));
    response
}

/// Shows that neither direction is buffered: each side waits for the other.
fn stream(body: Incoming) -> Response<Body> {
    let chunks = futures::stream::unfold((body, 0), |(mut body, number)| async move {
        if number > 0 {
            body.frame().await?.ok()?;
        }
        let chunk = Bytes::from(format!("chunk {number}\n"));
        Some((Ok::<_, Infallible>(Frame::data(chunk)), (body, number + 1)))
    });
    Response::new(BodyExt::boxed(StreamBody::new(chunks)))
}

/// More than anybody reads.
fn endless() -> Response<Body> {
    let chunks =
        futures::stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; 16 << 10]))));
    Response::new(BodyExt::boxed(StreamBody::new(chunks)))
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed()
}

fn upgrade(request: Request<Incoming>, accept: &str) -> Response<Body> {
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let is_data = message.is_text() || message.is_binary();
            if is_data && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(full(String::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    fields.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    if let Ok(accept) = header::HeaderValue::from_str(accept) {
        fields.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}
