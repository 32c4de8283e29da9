//! Requests without a body to HTTP/1.1 backends in the clear, which go a way of their own: what differs there from the
//! way of all others would be a surprise.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Mutex, mpsc},
    thread::sleep,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use tests::{Home, PATIENCE};

use crate::{Backends, answers_once, home_of, http2, raw, raw_backend, read_head, tries::gateway_route};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: app.home.example\r\n\r\n";

fn get_2() -> Request<Empty<Bytes>> {
    Request::get("http://app.home.example/").body(Empty::new()).expect("a request")
}

#[test]
fn what_has_not_changed_is_no_error_to_an_http_2_client_whatever_length_it_had() {
    let home =
        home_of("", |home| answers_once(home, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n"));
    let _router = home.start("router");
    Backends::new().0.block_on(async {
        let answer = http2(&home).await.send_request(get_2()).await.expect("an answer");
        assert_eq!(answer.status(), 304);
        assert!(answer.into_body().collect().await.expect("no error").to_bytes().is_empty());
    });
}

#[test]
fn the_time_of_a_route_ends_for_a_client_that_is_slower_than_the_backend() {
    let home = Home::new();
    let web = raw_backend(&home, |mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[0; 64 << 10]).is_ok() {}
    });
    gateway_route(&home, &[web], "", "    timeouts: {request: 500ms}");
    let router = home.start("router");
    let mut stream = raw(&home, 24);
    stream.write_all(GET).expect("sent");
    let (mut count, mut buffer) = (0, vec![0; 32 << 10]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(more) => count += more,
        }
        assert!(count < 50_000_000, "{}", router.log());
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_beginning_of_an_answer_does_not_wait_for_the_rest() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    ] {
        let home = home_of("", |home| {
            raw_backend(home, move |mut stream| {
                read_head(&mut stream);
                let _ = stream.write_all(answer.as_bytes());
                read_head(&mut stream);
            })
        });
        let _router = home.start("router");
        let mut stream = raw(&home, 21);
        stream.write_all(GET).expect("sent");
        assert!(read_head(&mut stream).expect("a head").starts_with("HTTP/1.1 200"));
        Backends::new().0.block_on(async {
            let answer = tokio::time::timeout(PATIENCE, http2(&home).await.send_request(get_2())).await;
            assert_eq!(answer.expect("in time").expect("an answer").status(), 200);
        });
    }
}

#[test]
fn a_part_of_what_has_a_length_does_not_wait_for_the_rest() {
    let home = home_of("", |home| {
        raw_backend(home, move |mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
            read_head(&mut stream);
        })
    });
    let _router = home.start("router");
    let mut stream = raw(&home, 21);
    stream.write_all(GET).expect("sent");
    read_head(&mut stream).expect("a head");
    let mut first = [0; 5];
    stream.read_exact(&mut first).expect("it comes");
}

/// Sends what it was asked as the body of its answer.
fn echo(mut stream: TcpStream) {
    while let Some(head) = read_head(&mut stream) {
        let length = head.len();
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}").as_bytes());
    }
}

#[test]
fn a_target_that_is_all_query_has_a_path_for_the_backend() {
    let home = home_of("", |home| raw_backend(home, echo));
    let _router = home.start("router");
    let mut stream = raw(&home, 21);
    let request = b"GET http://app.home.example?x=1 HTTP/1.1\r\nHost: app.home.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("sent");
    let answer = crate::read_all(&mut stream);
    assert!(answer.contains("\r\n\r\nGET /?x=1 HTTP/1.1\r\n"), "{answer}");
}

#[test]
fn no_rule_makes_a_body_where_there_is_none() {
    for field in ["Content-Length", "Transfer-Encoding"] {
        let home = Home::new();
        let web = raw_backend(&home, echo);
        let value = if field == "Content-Length" { "20" } else { "chunked" };
        let filter = format!(
            "    filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: {field}, value: \
             \"{value}\"}}, {{name: x-a, value: b}}]}}}}]"
        );
        gateway_route(&home, &[web], "", &filter);
        let router = home.start("router");
        let answer = home.curl(24, &["http://app.home.example/"]).to_lowercase();
        assert!(answer.contains("x-a: b"), "{answer}\n{}", router.log());
        assert!(!answer.contains(&field.to_lowercase()), "{answer}");
    }
}

#[test]
fn every_backend_is_told_a_host_once_whatever_the_rule_does_with_it() {
    for (edit, expected) in [
        ("remove: [Host]", "app.home.example"),
        ("add: [{name: host, value: other}]", "app.home.example"),
        ("set: [{name: Host, value: other}]", "other"),
    ] {
        let home = Home::new();
        let web = raw_backend(&home, echo);
        let filter = format!("    filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{edit}}}}}]");
        gateway_route(&home, &[web], "", &filter);
        let _router = home.start("router");
        let answer = home.curl(24, &["http://app.home.example/"]);
        assert!(answer.contains(&format!("GET / HTTP/1.1\r\nHost: {expected}\r\n")), "{answer}");
        assert_eq!(answer.to_lowercase().matches("\r\nhost: ").count(), 1, "{answer}");
    }
}

#[test]
fn a_client_that_has_gone_takes_its_request_to_the_backend_with_it() {
    let (gone, told) = mpsc::channel();
    let gone = Mutex::new(gone);
    let home = home_of("", |home| {
        raw_backend(home, move |mut stream| {
            let head = read_head(&mut stream).expect("a head");
            if head.contains("/body") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
            }
            let _ = stream.read(&mut [0]);
            let _ = gone.lock().expect("no panic").send(());
        })
    });
    let _router = home.start("router");
    for path in ["/", "/body"] {
        Backends::new().0.block_on(async {
            let mut sender = http2(&home).await;
            let request = Request::get(format!("http://app.home.example{path}")).body(Empty::<Bytes>::new());
            let answer = sender.send_request(request.expect("a request"));
            let _ = tokio::time::timeout(Duration::from_millis(300), answer).await;
        });
        told.recv_timeout(PATIENCE).expect("the backend sees it");
    }
}

#[test]
fn small_chunks_that_come_together_are_passed_on_together() {
    let home = home_of("", |home| {
        raw_backend(home, move |mut stream| {
            read_head(&mut stream);
            let chunks = format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(500));
            let _ =
                stream.write_all(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes());
        })
    });
    let _router = home.start("router");
    let mut stream = raw(&home, 21);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app.home.example\r\nConnection: close\r\n\r\n").expect("sent");
    let answer = crate::read_all(&mut stream);
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body.matches('x').count(), 500);
    assert!(body.lines().count() < 50, "{body}");
}

#[test]
fn what_a_backend_says_unasked_is_the_answer_to_nothing() {
    const UNASKED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked";
    for (method, answer, more) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", UNASKED),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", UNASKED),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", UNASKED),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 59\r\n\r\n", UNASKED),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 408 Request Timeout\r\n\r\n"),
    ] {
        let (may, go_on) = mpsc::channel::<()>();
        let (said, told) = mpsc::channel();
        let (go_on, said) = (Mutex::new(go_on), Mutex::new(said));
        let home = home_of("", |home| {
            raw_backend(home, move |mut stream| {
                while let Some(head) = read_head(&mut stream) {
                    if head.contains("GET /next") {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
                        continue;
                    }
                    let _ = stream.write_all(answer.as_bytes());
                    let _ = go_on.lock().expect("no panic").recv();
                    let _ = stream.write_all(more.as_bytes());
                    let _ = said.lock().expect("no panic").send(());
                }
            })
        });
        let _router = home.start("router");
        let mut stream = raw(&home, 21);
        stream.write_all(format!("{method} / HTTP/1.1\r\nHost: app.home.example\r\n\r\n").as_bytes()).expect("sent");
        let head = read_head(&mut stream).expect("a head").to_lowercase();
        if head.contains("chunked") {
            let mut body = [0; 12];
            stream.read_exact(&mut body).expect("a body");
        } else if method == "GET" && head.contains("200") {
            stream.read_exact(&mut [0; 2]).expect("a body");
        }
        may.send(()).expect("the backend waits");
        told.recv_timeout(PATIENCE).expect("it is said");
        let next = b"GET /next HTTP/1.1\r\nHost: app.home.example\r\nConnection: close\r\n\r\n";
        stream.write_all(next).expect("sent");
        let said = crate::read_all(&mut stream);
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("\r\n\r\nnext"), "{method} {answer}\n{said}");
    }
}
