//! `router` as a process: curl and a WebSocket client in front, small backends behind.

#[path = "router/authorize.rs"]
mod authorize;
#[path = "router/backend_tls.rs"]
mod backend_tls;
#[path = "router/backends.rs"]
mod backends;
#[path = "router/balancing.rs"]
mod balancing;
#[path = "router/bodiless.rs"]
mod bodiless;
#[path = "router/changes.rs"]
mod changes;
#[path = "router/check.rs"]
mod check;
#[path = "router/clients.rs"]
mod clients;
#[path = "router/cors.rs"]
mod cors;
#[path = "router/grpc.rs"]
mod grpc;
#[path = "router/leaving.rs"]
mod leaving;
#[path = "router/loss.rs"]
mod loss;
#[path = "router/messages.rs"]
mod messages;
#[path = "router/mirrors.rs"]
mod mirrors;
#[path = "router/protocols.rs"]
mod protocols;
#[path = "router/retries.rs"]
mod retries;
#[path = "router/routing.rs"]
mod routing;
#[path = "router/streaming.rs"]
mod streaming;
#[path = "router/tls.rs"]
mod tls;
#[path = "router/tries.rs"]
mod tries;
#[path = "router/trust.rs"]
mod trust;
#[path = "router/upgrades.rs"]
mod upgrades;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use hyper::{
    body::Body,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tests::{
    Home,
    backend::Backends,
    certificate,
    home::{classes, ingress, service_with},
    raw::{raw, read_all},
    tls_secret,
};

/// A backend that reads the head of a request, says `answer` whatever it was, and closes.
fn answers_once(home: &Home, answer: &'static str) -> SocketAddr {
    raw_backend(home, |mut stream| {
        read_head(&mut stream);
        // The router may have gone.
        let _ = stream.write_all(answer.as_bytes());
    })
}

/// A backend that does `serve` on each of its connections.
fn raw_backend(home: &Home, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(home.socket(10, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The head of a request, and nothing of what follows; None where it does not come.
fn read_head(stream: &mut (impl Read + ?Sized)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// A home whose `app.home.example` is served by one backend, with a default certificate. `app_protocol` may be empty.
fn home_of(app_protocol: &str, start: impl FnOnce(&Home) -> SocketAddr) -> Home {
    let home = Home::new();
    home.configure("defaultCertificate: default/home-tls");
    let web = start(&home);
    let secret = tls_secret("default", "home-tls", &certificate(&["home.example", "*.home.example"]));
    let service = service_with("web", app_protocol, &[web]);
    home.apply("app.yaml", &[classes(), service, ingress("app", "app.home.example", "web"), secret].concat());
    home
}

/// A client of HTTP/2 at the LAN's door, without TLS.
async fn http2<B>(home: &Home) -> SendRequest<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let stream = tokio::net::TcpStream::connect(home.socket(21, tests::home::HTTP)).await.expect("open");
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// Which backend answered, and with what it was asked; from the body of an answer.
fn field(body: &str, name: &str) -> String {
    let start = body.find('{').unwrap_or(body.len());
    let value: serde_json::Value = serde_json::from_str(&body[start..]).unwrap_or_default();
    match value.pointer(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
