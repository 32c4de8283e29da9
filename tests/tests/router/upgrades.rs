//! Connections that become another protocol's.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use tests::{Home, home::HTTP, is_long};
use tokio_tungstenite::tungstenite::Message;

use crate::{Backends, answers_once, field, home_of, raw, raw_backend, read_head};

/// A backend that changes to whatever it is asked for, and echoes then.
fn changes(home: &Home) -> SocketAddr {
    raw_backend(home, |mut stream| {
        let head = read_head(&mut stream).expect("a head");
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value).unwrap_or_default().to_owned()
        };
        let (upgrade, options) = (field("upgrade"), field("connection"));
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: {options}\r\nUpgrade: {upgrade}\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes());
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(&buffer[..count]);
        }
    })
}

fn ask(stream: &mut TcpStream, fields: &str) {
    let head = format!("GET /exec HTTP/1.1\r\nHost: app.home.example\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
}

#[test]
fn any_protocol_that_is_neither_http_nor_tls_may_be_changed_to() {
    let home = home_of("", changes);
    let _router = home.start("router");
    for protocol in ["SPDY/3.1", "websocket", "tcp"] {
        let mut stream = raw(&home, 21);
        ask(&mut stream, &format!("Connection: Upgrade, X-Hop\r\nUpgrade: {protocol}\r\nX-Hop: 1\r\n"));
        let head = read_head(&mut stream).expect("a head").to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{protocol}\n{head}");
        assert!(head.contains(&format!("upgrade: {}\r\n", protocol.to_lowercase())), "{protocol}\n{head}");
        assert!(head.contains("connection: upgrade\r\n"), "{protocol}\n{head}");
        for said in ["\0\x01not HTTP", "GET / HTTP/1.1\n\n"] {
            stream.write_all(said.as_bytes()).expect("sent");
            let mut echo = vec![0; said.len()];
            stream.read_exact(&mut echo).expect("an echo");
            assert_eq!(echo, said.as_bytes(), "{protocol}");
        }
    }
}

#[test]
fn http_and_tls_are_not_changed_to_and_the_request_is_served_as_it_is() {
    let backends = Backends::new();
    let home = home_of("", |home| backends.start(home, "web"));
    let _router = home.start("router");
    for fields in [
        vec!["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
        vec!["Connection: Upgrade", "Upgrade: TLS/1.2"],
        vec!["Connection: Upgrade", "Upgrade: websocket, HTTP/2.0"],
        vec!["Upgrade: websocket"],
        vec!["Connection: Upgrade"],
    ] {
        let flags: Vec<&str> = fields.iter().flat_map(|field| ["-H", field]).collect();
        let answer = home.curl(21, &[&["-i", "http://app.home.example/"], &*flags].concat());
        assert!(answer.starts_with("HTTP/1.1 200"), "{fields:?}\n{answer}");
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(field(&answer, &format!("/headers/{name}")), "", "{fields:?}\n{answer}");
        }
    }
}

#[test]
fn a_backend_that_changes_the_protocol_unasked_is_answered_for_with_502() {
    let home = home_of("", |home| {
        answers_once(home, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nsmuggled")
    });
    let router = home.start("router");
    for version in ["--http1.1", "--http2"] {
        let answer = home.curl(21, &[version, "-i", "https://app.home.example/"]);
        let first = answer.lines().next().unwrap_or_default();
        assert!(first.contains(" 502") && !answer.contains("smuggled"), "{answer}\n{}", router.log());
    }
}

#[test]
fn a_backend_may_decline_to_change() {
    let home = home_of("", |home| answers_once(home, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"));
    let _router = home.start("router");
    let mut stream = raw(&home, 21);
    for _ in 0..2 {
        ask(&mut stream, "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n");
        let head = read_head(&mut stream).expect("a head");
        assert!(head.starts_with("HTTP/1.1 403"), "{head}");
        let mut body = [0; 2];
        stream.read_exact(&mut body).expect("the body");
        assert_eq!(&body, b"no");
    }
}

/// In the long form, for longer than every limit that the router or pingora knows.
#[test]
fn a_websocket_may_be_silent() {
    let idle = Duration::from_secs(if is_long() { 310 } else { 1 });
    let backends = Backends::new();
    let home = home_of("", |home| backends.start(home, "web"));
    let _router = home.start("router");
    backends.0.block_on(async {
        let stream = tokio::net::TcpStream::connect(home.socket(21, HTTP)).await.expect("open");
        let (mut socket, _) = tokio_tungstenite::client_async("ws://app.home.example/", stream).await.expect("a 101");
        for _ in 0..2 {
            socket.send(Message::text("hello")).await.expect("sent");
            assert_eq!(socket.next().await.expect("open").expect("a message"), Message::text("hello"));
            tokio::time::sleep(idle).await;
        }
    });
}
