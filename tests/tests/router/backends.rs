//! What backends do, and what of it clients see.

use futures::{SinkExt, StreamExt};
use tests::{
    Home, eventually,
    home::{HTTP, classes, ingress, service_with},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{Backends, answers_once, field};

/// A home whose `app.home.example` is served by one backend.
fn home(app_protocol: &str, start: impl Fn(&Home) -> std::net::SocketAddr) -> Home {
    let home = Home::new();
    let web = start(&home);
    home.apply(
        "app.yaml",
        &[classes(), service_with("web", app_protocol, &[web]), ingress("app", "app.home.example", "web")].concat(),
    );
    home
}

/// An upgrade at the LAN's door, and an echo through it.
fn echo(backends: &Backends, home: &Home) {
    backends.0.block_on(async {
        let stream = tokio::net::TcpStream::connect(home.socket(21, HTTP)).await.expect("open");
        let (mut socket, _) = tokio_tungstenite::client_async("ws://app.home.example/", stream).await.expect("a 101");
        socket.send(Message::text("hello")).await.expect("sent");
        assert_eq!(socket.next().await.expect("open").expect("a message"), Message::text("hello"));
    });
}

#[test]
fn a_backend_behind_tls_is_reached_whoever_signed_its_certificate() {
    let backends = Backends::new();
    let home = home("https", |home| backends.start_tls(home, "web"));
    let _router = home.start("router");
    let answer = home.curl(21, &["http://app.home.example/"]);
    assert_eq!((field(&answer, "/backend"), field(&answer, "/version")), ("web".into(), "HTTP/2.0".into()), "{answer}");
    assert_eq!(field(&answer, "/host"), "app.home.example", "{answer}");
    echo(&backends, &home);
}

#[test]
fn a_websocket_to_a_backend_that_speaks_http_2_begins_as_http_1() {
    let backends = Backends::new();
    let home = home("kubernetes.io/h2c", |home| backends.start(home, "web"));
    let _router = home.start("router");
    echo(&backends, &home);
}

#[test]
fn what_a_backend_says_of_its_own_connection_stays_there() {
    let home = home("", |home| {
        answers_once(
            home,
            "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nKeep-Alive: timeout=5\r\n\
             Upgrade: h2,h2c\r\nAlt-Svc: h3=\":443\"\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let _router = home.start("router");
    let answer = home.curl(21, &["-i", "http://app.home.example/"]).to_lowercase();
    assert!(answer.contains("x-end: 2") && answer.ends_with("\r\nok"), "{answer}");
    for gone in ["x-hop", "keep-alive: timeout", "upgrade", "alt-svc", "connection: close"] {
        assert!(!answer.contains(gone), "{gone}\n{answer}");
    }
}

#[test]
fn a_backend_that_breaks_off_after_100_continue_is_answered_for_with_502() {
    let home = home("", |home| answers_once(home, "HTTP/1.1 100 Continue\r\n\r\n"));
    let router = home.start("router");
    let answer = home.curl(21, &["-i", "-H", "Expect: 100-continue", "-d", "x", "http://app.home.example/"]);
    let last = answer.rsplit("HTTP/1.1 ").next().unwrap_or_default();
    assert!(last.starts_with("502") && last.contains("the backend's answer breaks off"), "{answer}\n{}", router.log());
    assert!(last.to_lowercase().contains("connection: close"), "{answer}");
    eventually("its line", || if router.log().contains("\"status\":502") { Ok(()) } else { Err(router.log()) });
}
