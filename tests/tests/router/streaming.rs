//! Bodies pass as they come: event by event, and never held in memory, however slow the other side is.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::Request;
use tests::{Home, Program, is_long};

use crate::{Backends, home_of, http2, raw, raw_backend, read_head};

#[test]
fn an_event_is_there_before_the_next_one_is_sent() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = Arc::new(Mutex::new(told));
    let home = home_of("", |home| {
        raw_backend(home, move |mut stream: TcpStream| {
            read_head(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
            for number in 0..3 {
                let _ = stream.write_all(format!("data: {number}\n\n").as_bytes());
                if told.lock().expect("no panic").recv().is_err() {
                    return;
                }
            }
        })
    });
    let _router = home.start("router");

    let mut stream = raw(&home, 21);
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("sent");
    assert!(read_head(&mut stream).expect("a head").starts_with("HTTP/1.1 200"));
    let mut seen = String::new();
    for number in 0..3 {
        while !seen.contains(&format!("data: {number}\n\n")) {
            let mut buffer = [0; 256];
            let count = stream.read(&mut buffer).expect("an event");
            assert!(count > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        go_on.send(()).expect("the backend waits");
    }

    Backends::new().0.block_on(async {
        let request = Request::get("http://app.home.example/events").body(Empty::<Bytes>::new()).expect("a request");
        let mut answer = http2(&home).await.send_request(request).await.expect("an answer").into_body();
        for number in 0..3 {
            let event = answer.frame().await.expect("an event").expect("no error").into_data().expect("an event");
            assert_eq!(event, format!("data: {number}\n\n"));
            go_on.send(()).expect("the backend waits");
        }
        assert!(answer.collect().await.expect("an end").to_bytes().is_empty());
    });
}

/// In bytes.
fn large() -> usize {
    if is_long() { 64 << 20 } else { 24 << 20 }
}

/// What the router may need more while that passes, in KiB.
const MOST: u64 = 10 << 10;

/// Waits until the other side is not read from, and so nothing moves any more.
fn stand_still(router: &Program) {
    let mut before = router.processor_time();
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = router.processor_time();
        if now == before {
            return;
        }
        before = now;
    }
}

/// What the program reads of itself, and has to allocate once, is there afterwards.
fn warm(home: &Home, is_http2: bool, arguments: &[&str]) {
    let version = if is_http2 { "--http2-prior-knowledge" } else { "--http1.1" };
    for _ in 0..3 {
        assert!(!home.curl(21, &[&[version, "-o", "/dev/null", "-w", "%{http_code}"], arguments].concat()).is_empty());
    }
}

#[test]
fn a_large_download_waits_for_a_client_that_is_slow() {
    let backends = Backends::new();
    for app_protocol in ["", "kubernetes.io/h2c"] {
        for is_http2 in [false, true] {
            let home = home_of(app_protocol, |home| backends.start(home, "web"));
            let router = home.start("router");
            warm(&home, is_http2, &["http://app.home.example/zeros/1000000"]);
            router.forget_peak_memory();
            let before = router.memory();
            let path = format!("/zeros/{}", large());
            if is_http2 {
                backends.0.block_on(download_2(&home, &path, &router));
            } else {
                let mut stream = raw(&home, 21);
                let request = format!("GET {path} HTTP/1.1\r\nHost: app.home.example\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).expect("sent");
                read_head(&mut stream);
                stand_still(&router);
                let count = std::io::copy(&mut stream, &mut std::io::sink()).expect("all of it");
                assert_eq!(count, large() as u64);
            }
            let grown = router.peak_memory().saturating_sub(before);
            println!("download, client h2 {is_http2}, backend {app_protocol:?}: {grown} KiB");
            assert!(grown < MOST, "client h2 {is_http2}, backend {app_protocol:?}: {grown} KiB");
        }
    }
}

async fn download_2(home: &Home, path: &str, router: &Program) {
    let request = Request::get(format!("http://app.home.example{path}")).body(Empty::<Bytes>::new());
    let mut sender = http2(home).await;
    let mut answer = sender.send_request(request.expect("a request")).await.expect("an answer").into_body();
    stand_still(router);
    let mut count = 0;
    while let Some(frame) = answer.frame().await {
        count += frame.expect("no error").data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(count, large());
}

#[test]
fn a_large_upload_waits_for_a_backend_that_is_slow() {
    let backends = Backends::new();
    for app_protocol in ["", "kubernetes.io/h2c"] {
        for is_http2 in [false, true] {
            let home = home_of(app_protocol, |home| backends.start(home, "web"));
            let router = home.start("router");
            home.write("small", &"x".repeat(1_000_000));
            let file = format!("@{}", home.path("small").display());
            warm(&home, is_http2, &["--data-binary", &file, "http://app.home.example/count"]);
            router.forget_peak_memory();
            let before = router.memory();
            // It reads nothing for two seconds.
            let path = "/slow-count";
            if is_http2 {
                backends.0.block_on(async {
                    let request = Request::post(format!("http://app.home.example{path}"));
                    let request = request.body(Full::new(Bytes::from(vec![0; large()]))).expect("a request");
                    let answer = http2(&home).await.send_request(request).await.expect("an answer");
                    let body = answer.into_body().collect().await.expect("all of it").to_bytes();
                    assert_eq!(body, format!("{}\n", large()));
                });
            } else {
                let mut stream = raw(&home, 21);
                let request = format!(
                    "POST {path} HTTP/1.1\r\nHost: app.home.example\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    large()
                );
                stream.write_all(request.as_bytes()).expect("sent");
                for _ in 0..64 {
                    stream.write_all(&vec![0; large() / 64]).expect("sent");
                }
                let answer = crate::read_all(&mut stream);
                assert!(answer.ends_with(&format!("{}\n", large())), "{answer}");
            }
            let grown = router.peak_memory().saturating_sub(before);
            println!("upload, client h2 {is_http2}, backend {app_protocol:?}: {grown} KiB");
            assert!(grown < MOST, "client h2 {is_http2}, backend {app_protocol:?}: {grown} KiB");
        }
    }
}
