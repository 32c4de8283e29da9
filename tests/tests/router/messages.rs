//! How requests and answers are framed on their way: lengths, chunks, nothing at all, and what nobody can be sure of.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use tests::Home;

use crate::{Backends, answers_once, home_of, raw, raw_backend, read_all, read_head};

/// A request of HTTP/1 that is the last of its connection, and everything that comes back.
fn ask(home: &Home, request: &str) -> String {
    let mut stream = raw(home, 21);
    stream.write_all(request.as_bytes()).expect("sent");
    read_all(&mut stream)
}

fn get(home: &Home, version: &str) -> String {
    let connection = if version == "HTTP/1.1" { "Connection: close\r\n" } else { "" };
    ask(home, &format!("GET / {version}\r\nHost: app.home.example\r\n{connection}\r\n"))
}

#[test]
fn one_that_speaks_http_1_0_is_sent_no_chunks_whatever_the_backend_speaks() {
    for app_protocol in ["", "kubernetes.io/h2c"] {
        let backends = Backends::new();
        let home = home_of(app_protocol, |home| backends.start(home, "web"));
        let _router = home.start("router");
        let answer = ask(&home, "GET /events/2 HTTP/1.0\r\nHost: app.home.example\r\nConnection: keep-alive\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.starts_with("HTTP/1.1 200"), "{app_protocol}\n{answer}");
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{app_protocol}\n{answer}");
        assert_eq!(body, "data: 0\n\ndata: 1\n\n", "{app_protocol}\n{answer}");
    }
}

#[test]
fn answers_without_a_body_have_none_and_keep_the_connection() {
    for (answer, length) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", None),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ] {
        let home = home_of("", |home| answers_once(home, answer));
        let _router = home.start("router");
        let mut stream = raw(&home, 21);
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("sent");
            let head = read_head(&mut stream).expect("a head").to_lowercase();
            assert!(head.starts_with(&answer[..12].to_lowercase()), "{answer}\n{head}");
            assert!(!head.contains("transfer-encoding"), "{answer}\n{head}");
            if let Some(length) = length {
                assert!(head.contains(&format!("content-length: {length}\r\n")), "{head}");
            }
        }
        for version in ["--http1.1", "--http2"] {
            let said = home.curl(21, &[version, "-w", "%{size_download} %{exitcode}", "https://app.home.example/"]);
            assert_eq!(said, "0 0", "{version} {answer}");
        }
    }
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let backends = Backends::new();
    for app_protocol in ["", "kubernetes.io/h2c"] {
        let home = home_of(app_protocol, |home| backends.start(home, "web"));
        let _router = home.start("router");
        let mut stream = raw(&home, 21);
        for _ in 0..2 {
            stream.write_all(b"HEAD /zeros/1000 HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("sent");
            let head = read_head(&mut stream).expect("a head").to_lowercase();
            let is_whole = head.starts_with("http/1.1 200") && head.contains("content-length: 1000\r\n");
            assert!(is_whole, "{app_protocol}\n{head}");
        }
        let said = home.curl(21, &["--http2", "-I", "-w", "%{exitcode}", "https://app.home.example/zeros/1000"]);
        assert!(said.contains("content-length: 1000") && said.ends_with("\n0"), "{said}");
    }
}

#[test]
fn a_part_that_is_asked_for_is_what_comes() {
    let home = home_of("", |home| {
        raw_backend(home, |mut stream| {
            let head = read_head(&mut stream).expect("a head").to_lowercase();
            let is_part = head.contains("range: bytes=2-4\r\n") && head.contains("if-range: \"a\"\r\n");
            let answer = if is_part {
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/9\r\nETag: \"a\"\r\nContent-Length: 3\r\n\r\ncde"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdefghi"
            };
            let _ = stream.write_all(answer.as_bytes());
        })
    });
    let _router = home.start("router");
    let fields = ["-i", "-H", "Range: bytes=2-4", "-H", "If-Range: \"a\"", "https://app.home.example/"];
    for version in ["--http1.1", "--http2"] {
        let answer = home.curl(21, &[&[version][..], &fields].concat());
        assert!(answer.contains(" 206") && answer.to_lowercase().contains("content-range: bytes 2-4/9"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ncde"), "{answer}");
    }
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Refused,
    /// In the one reading that RFC 9112 (sections 2.2, 5.1, 5.2 and 6.3) gives it.
    Relayed,
    /// The same, and what comes after it belongs to nobody.
    RelayedAlone,
}

#[test]
fn an_answer_is_relayed_in_one_reading_or_not_at_all_and_nothing_of_it_reaches_the_next_request() {
    for (answer, fate) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nokokok", Fate::Refused),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 5\r\n\r\nokokok", Fate::Refused),
        ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Fate::Refused),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok", Fate::Refused),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\nok", Fate::Refused),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n", Fate::Refused),
        ("HTTP/1.1 200 OK\r\nX\0: 1\r\nContent-Length: 2\r\n\r\nok", Fate::Refused),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Fate::Refused,
        ),
        ("HTTP/1.1 200 OK\r\nX: 1\r\n  2\r\nContent-Length: 2\r\n\r\nok", Fate::Relayed),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Fate::Relayed,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Fate::Relayed,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", Fate::Relayed),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", Fate::Relayed),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
            Fate::RelayedAlone,
        ),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\nsmuggled", Fate::RelayedAlone),
    ] {
        let home = home_of("", |home| {
            raw_backend(home, move |mut stream: TcpStream| {
                read_head(&mut stream);
                let _ = stream.write_all(answer.as_bytes());
                while read_head(&mut stream).is_some() {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nreused");
                }
            })
        });
        let router = home.start("router");
        for version in ["HTTP/1.1", "HTTP/1.0", "HTTP/1.1"] {
            let said = get(&home, version);
            let told = || format!("{answer:?}\n{said}\n{}", router.log());
            let head = said.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
            let framings = head.matches("content-length").count() + head.matches("transfer-encoding").count();
            assert!(framings <= 1, "{}", told());
            assert!(!said.contains("smuggled"), "{}", told());
            assert!(fate == Fate::Relayed || !said.contains("reused"), "{}", told());
            assert_eq!(head.contains(" 502 "), fate == Fate::Refused, "{}", told());
        }
    }
}

#[test]
fn what_a_backend_has_said_before_it_broke_off_is_heard() {
    let home = home_of("", |home| {
        let part = "x".repeat(500);
        answers_once(home, format!("HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n{part}").leak())
    });
    let router = home.start("router");
    for _ in 0..20 {
        let said = get(&home, "HTTP/1.1");
        assert!(said.starts_with("HTTP/1.1 201") && said.ends_with("xxx"), "{said}\n{}", router.log());
    }
}

#[test]
fn a_backend_that_refuses_an_upload_unread_is_heard() {
    let backends = Backends::new();
    let blunt = home_of("", |home| answers_once(home, TOO_LONG));
    let polite = ["", "kubernetes.io/h2c"].map(|spoken| home_of(spoken, |home| backends.start(home, "web")));
    for home in polite.iter().chain([&blunt]) {
        let router = home.start("router");
        home.write("large", &"x".repeat(8 << 20));
        let file = format!("@{}", home.path("large").display());
        for version in ["--http1.1", "--http2"] {
            for expect in ["Expect:", "Expect: 100-continue"] {
                let url = "https://app.home.example/refused";
                let flags = [version, "--data-binary", &file, "-H", expect, "-w", " %{http_code} %{exitcode}", url];
                let said = home.curl(21, &flags);
                assert_eq!(said, "too long 413 0", "{version} {expect}\n{}", router.log());
            }
        }
    }
}

const TOO_LONG: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo long";
/// The beginning of a request that nobody reads to its end.
const ENDLESS: &str = "POST /refused HTTP/1.1\r\nHost: app.home.example\r\nContent-Length: 100000000\r\n\r\n";
static PART: [u8; 1 << 16] = [b'x'; 1 << 16];

#[test]
fn a_client_that_looks_for_its_answer_late_is_not_reset_before() {
    let backends = Backends::new();
    let blunt = home_of("", |home| answers_once(home, TOO_LONG));
    let polite = ["", "kubernetes.io/h2c"].map(|spoken| home_of(spoken, |home| backends.start(home, "web")));
    for home in polite.iter().chain([&blunt]) {
        let router = home.start("router");
        for _ in 0..10 {
            let mut stream = raw(home, 21);
            stream.write_all(ENDLESS.as_bytes()).expect("sent");
            for part in 0..200 {
                stream.write_all(&PART).unwrap_or_else(|error| panic!("part {part}: {error}\n{}", router.log()));
            }
            let said = read_all(&mut stream);
            assert!(said.starts_with("HTTP/1.1 413") && said.ends_with("too long"), "{said}\n{}", router.log());
        }
    }
}

#[test]
fn a_client_that_asks_before_it_sends_is_told_to_go_on_by_the_backend_or_hears_why_not() {
    let expecting = "POST /count HTTP/1.1\r\nHost: app.home.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\
                     Connection: close\r\n\r\n";
    let backends = Backends::new();
    for app_protocol in ["", "kubernetes.io/h2c"] {
        let home = home_of(app_protocol, |home| backends.start(home, "web"));
        let _router = home.start("router");
        let mut stream = raw(&home, 21);
        stream.write_all(expecting.as_bytes()).expect("sent");
        assert!(read_head(&mut stream).expect("a head").starts_with("HTTP/1.1 100"), "{app_protocol}");
        stream.write_all(b"body").expect("sent");
        let answer = read_all(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("4\n"), "{app_protocol}\n{answer}");
    }

    let home = home_of("", |home| {
        answers_once(home, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
    });
    let _router = home.start("router");
    let mut stream = raw(&home, 21);
    stream.write_all(expecting.as_bytes()).expect("sent");
    assert!(read_head(&mut stream).expect("a head").starts_with("HTTP/1.1 417"));
    let mut body = [0; 2];
    stream.read_exact(&mut body).expect("why not");
    assert_eq!(&body, b"no");
}
