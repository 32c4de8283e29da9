//! What is refused is answered by the router, once, and nothing of it reaches a backend.

use std::{
    io::{Read, Write},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::SockRef;
use tests::{
    PATIENCE, eventually,
    frames::{END_HEADERS, END_STREAM, HEADERS, RST_STREAM, request},
    home::HTTP,
    raw::read_all,
    within,
};
use tokio::runtime::Runtime;

use crate::{
    Besieged,
    frames::Http2,
    recorder::{Recorder, after_head, until_seen},
};

/// Each a whole request, or as much of one as is needed to refuse it, and the status that it deserves.
/// router/src/framing/tests/h1.rs has why.
fn hostile() -> Vec<(Vec<u8>, u16)> {
    let lines = [
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1", 400),
        ("Content-Length: 1\r\nContent-Length: 1", 400),
        ("Content-Length: 1\r\nContent-Length: 2", 400),
        ("Content-Length: 1, 1", 400),
        ("Content-Length:", 400),
        ("Content-Length: +1", 400),
        ("Content-Length: 0x1", 400),
        ("Content-Length: 99999999999999999999", 400),
        ("Content_Length: 1", 400),
        ("Content-Length : 1", 400),
        ("Transfer-Encoding: gzip, chunked", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: identity", 400),
        ("Transfer-Encoding: xchunked", 400),
        ("Transfer-Encoding: \x0bchunked", 400),
        ("Transfer-Encoding\t: chunked", 400),
        ("Transfer-Encoding:\r\n chunked", 400),
        ("Transfer_Encoding: chunked", 400),
        (" Transfer-Encoding: chunked", 400),
        ("X: 1\r\n\tfolded", 400),
        ("X: 1\rY: 2", 400),
        ("X: 1\nY: 2", 400),
        ("X: 1\0", 400),
        ("X: \x7f", 400),
        ("X", 400),
        (": 1", 400),
        ("X Y: 1", 400),
        ("Host: app.home.example", 400),
        ("Host: other.home.example", 400),
        ("Connection: close, Content-Length", 400),
        ("Connection: transfer-encoding", 400),
        ("Connection: host", 400),
        ("Expect: 200-ok", 417),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1", 400),
    ];
    let with_line = |line: &str| format!("POST / HTTP/1.1\r\nHost: app.home.example\r\n{line}\r\n\r\n");
    let request_lines = [
        ("GET  / HTTP/1.1", 400),
        ("GET / x HTTP/1.1", 400),
        ("GET\t/\tHTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET /", 400),
        ("get / HTTP/1.1", 400),
        ("G:T / HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/2.0", 505),
        ("CONNECT app.home.example:443 HTTP/1.1", 405),
        ("TRACE / HTTP/1.1", 405),
        ("OPTIONS * HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET http://other.home.example/ HTTP/1.1", 400),
        ("GET /#x HTTP/1.1", 400),
        ("GET /\\x HTTP/1.1", 400),
        ("GET /\0 HTTP/1.1", 400),
        ("POST / HTTP/1.0", 411),
    ];
    let with_host = |line: &str| format!("{line}\r\nHost: app.home.example\r\n\r\n");
    let whole = [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: app.home.example,b.example\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: user@app.home.example\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: app.home.example\n\n".to_owned(), 400),
        ("POST / HTTP/1.0\r\nHost: app.home.example\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 400),
        (format!("GET /{}", "a".repeat(9 << 10)), 414),
        (format!("GET / HTTP/1.1\r\nHost: app.home.example\r\nX: {}", "a".repeat(64 << 10)), 431),
        (with_line(&vec!["X: 1"; 100].join("\r\n")), 431),
    ];
    let lines = lines.iter().map(|(line, status)| (with_line(line), *status));
    let request_lines = request_lines.iter().map(|(line, status)| (with_host(line), *status));
    lines.chain(request_lines).chain(whole).map(|(text, status)| (text.into_bytes(), status)).collect()
}

/// The id that an answer of the router names.
///
/// # Panics
/// When it has none, or is not one that refuses with `status`, says why, and ends the connection.
fn refused(answer: &str, status: u16, what: &str) -> String {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{what}: {answer}");
    let id = answer.split("\r\nx-request-id: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let id = id.unwrap_or_else(|| panic!("{what}: {answer}")).to_owned();
    let page: Vec<&str> = answer.split("\r\n\r\n").nth(1).unwrap_or_default().lines().collect();
    assert!(page.len() == 3 && !page[1].is_empty() && page[2] == format!("request {id}"), "{what}: {answer}");
    id
}

#[test]
fn hostile_requests_are_refused_with_a_reason_and_never_forwarded() {
    let (mut besieged, recorder) = Besieged::before(Recorder::answering);
    let mut ids = Vec::new();
    let hostile = hostile();
    for (bytes, status) in &hostile {
        let mut stream = besieged.connect(1);
        stream.write_all(bytes).expect("sent");
        ids.push(refused(&read_all(&mut stream), *status, &String::from_utf8_lossy(&bytes[..bytes.len().min(200)])));
    }
    assert_eq!(recorder.seen().len(), 0, "{}", recorder.text());

    // As the second one on a connection whose first was good, in one piece with it.
    let good = b"GET /good HTTP/1.1\r\nHost: app.home.example\r\n\r\n";
    for (bytes, status) in &hostile {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        let mut stream = besieged.connect(1);
        stream.write_all(&[good, &**bytes].concat()).expect("sent");
        let answers = read_all(&mut stream);
        let second = answers.strip_prefix("HTTP/1.1 200").and_then(|rest| Some(&rest[rest.find("HTTP/1.1 ")?..]));
        ids.push(refused(second.unwrap_or(&answers), *status, &what));
    }
    let seen = recorder.text();
    assert_eq!((recorder.n_requests(), seen.matches("GET /good ").count()), (hostile.len(), hostile.len()), "{seen}");

    let log = || besieged.router.log();
    eventually("all lines of the access log", || {
        let log = log();
        if log.matches("\"request_id\"").count() >= ids.len() + hostile.len() { Ok(()) } else { Err(log) }
    });
    for id in &ids {
        assert_eq!(log().matches(&**id).count(), 1, "{id}");
    }
    assert!(besieged.router.is_running());
    besieged.assert_unharmed();
}

#[test]
fn what_would_be_another_request_over_http_1_is_refused_over_http_2() {
    let (besieged, recorder) = Besieged::before(Recorder::hanging);
    let address = besieged.home.socket(21, HTTP);
    Runtime::new().expect("a runtime").block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("open");
        let opening = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = opening.await.expect("HTTP/2");
        tokio::spawn(connection);
        for (method, field, expected) in [
            ("get", ("x", "1"), 400),
            ("TRACE", ("x", "1"), 405),
            ("POST", ("content_length", "5"), 400),
            ("POST", ("transfer.encoding", "chunked"), 400),
            ("GET", ("expect", "200-ok"), 417),
        ] {
            let request = Request::builder().method(method).uri("http://app.home.example/").header(field.0, field.1);
            let request = request.body(Empty::new()).expect("a request");
            let answer = sender.send_request(request).await.expect("an answer");
            assert_eq!(answer.status(), expected, "{method} {field:?}");
        }
    });
    assert_eq!(recorder.n_requests(), 0, "{}", recorder.text());
}

#[test]
fn a_path_that_is_none_is_refused_over_http_2() {
    let (besieged, recorder) = Besieged::before(Recorder::hanging);
    for path in ["?x=1", "*", "x"] {
        let mut connection = Http2::h2c(&besieged, &[]);
        connection.send(&request(END_HEADERS | END_STREAM, 1, "GET", path, &[]));
        let (kind, _, _, payload) = loop {
            let frame = connection.receive().expect("an answer");
            if [HEADERS, RST_STREAM].contains(&frame.0) {
                break frame;
            }
        };
        // `:status: 400` is the static table's twelfth (RFC 7541 appendix A); h2 itself knows what is no URI.
        assert!(kind == RST_STREAM || payload.first() == Some(&0x8c), "{path}: {payload:?}");
    }
    assert_eq!(recorder.n_requests(), 0, "{}", recorder.text());
}

#[test]
fn a_body_that_breaks_its_framing_ends_both_connections() {
    let (besieged, recorder) = Besieged::before(Recorder::hanging);
    let head = "POST /chunked HTTP/1.1\r\nHost: app.home.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bodies = [
        "5\r\nhelloGET /smuggled HTTP/1.1\r\n",
        "x\r\n",
        "5;\n\r\nhello\r\n",
        "0\r\nX: 1\n\r\n",
        "ffffffffffffffff\r\n",
    ];
    for (number, body) in bodies.iter().enumerate() {
        let mut stream = besieged.connect(1);
        stream.write_all(head.as_bytes()).expect("sent");
        // The backend has the head, so that it is the body that is refused.
        until_seen(&recorder, "the head", |seen| seen.len() > number);
        stream.write_all(body.as_bytes()).expect("sent");
        let answer = read_all(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{body:?}: {answer}");
        until_seen(&recorder, "the end of the backend's connection", |seen| seen[number].is_closed);
    }
    let seen = recorder.text();
    assert_eq!(recorder.seen().len(), bodies.len(), "each on a connection of its own: {seen}");
    assert!(!seen.contains("smuggled") && !seen.contains("\r\n0\r\n\r\n"), "no body is complete: {seen}");
}

#[test]
fn what_comes_before_the_protocol_has_changed_waits_for_it() {
    let switch = |seen: &[u8]| {
        let early = after_head(seen)?.len();
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        Some(format!("{head}X-Early: {early}\r\n\r\n").into_bytes())
    };
    let (besieged, recorder) = Besieged::before(|home| Recorder::start(home, switch));
    let request = "GET /ws HTTP/1.1\r\nHost: app.home.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let early = "GET /smuggled HTTP/1.1\r\nHost: app.home.example\r\n\r\n";
    let mut stream = besieged.connect(1);
    stream.write_all([request, early].concat().as_bytes()).expect("sent");
    let mut answer = Vec::new();
    while after_head(&answer).is_none() {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("x-early: 0\r\n"), "{answer}");
    // As it came, and not as a request of its own.
    until_seen(&recorder, "the early bytes", |seen| seen[0].received.ends_with(early.as_bytes()));
    assert_eq!(recorder.seen().len(), 1);
}

#[test]
fn what_comes_before_a_refused_change_of_protocol_is_the_next_request() {
    let (besieged, recorder) = Besieged::before(Recorder::answering);
    let request = "GET /ws HTTP/1.1\r\nHost: app.home.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (early, status) in
        [("GET / HTTP/1.1\r\nHost: nothing.home.example\r\nConnection: close\r\n\r\n", "404"), ("\u{1}\u{2}\n", "400")]
    {
        let mut stream = besieged.connect(1);
        stream.write_all([request, early].concat().as_bytes()).expect("sent");
        let answers = read_all(&mut stream);
        let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
        assert_eq!(statuses, ["200", status], "{early:?}: {answers}");
    }
    assert_eq!(recorder.n_requests(), 2, "{}", recorder.text());
}

#[test]
fn one_that_leaves_with_requests_still_to_come_is_noticed_while_the_backend_hangs() {
    let (besieged, recorder) = Besieged::before(Recorder::hanging);
    let request = "GET /hang HTTP/1.1\r\nHost: app.home.example\r\n\r\n";
    for (number, how) in ["closes", "resets"].into_iter().enumerate() {
        let mut stream = besieged.connect(1);
        stream.write_all(request.repeat(2).as_bytes()).expect("sent");
        until_seen(&recorder, "the first request", |seen| seen.len() > number);
        if how == "resets" {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
        }
        drop(stream);
        // One that closes may still read: it has half a minute to take something.
        within(PATIENCE * 2, "the end of the backend's connection", || {
            if recorder.seen()[number].is_closed { Ok(()) } else { Err(how) }
        });
    }
    assert_eq!(recorder.n_requests(), 2, "the second of each was never sent: {}", recorder.text());
}
