//! What clients may do that browsers do not, and what refusals look like to them.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use tests::{
    Home, certificate, eventually,
    home::{HTTP, app, service},
    tls_secret, within,
};

use crate::{Backends, field, http2, raw, raw_backend, read_all, read_head};

/// A home whose `app.home.example` is served by one backend, with a default certificate.
fn home(backends: &Backends) -> Home {
    let home = Home::new();
    home.configure("defaultCertificate: default/home-tls");
    let web = backends.start(&home, "web");
    let secret = tls_secret("default", "home-tls", &certificate(&["*.home.example"]));
    home.apply("app.yaml", &format!("{}{secret}", app(&[web])));
    home
}

#[test]
fn one_that_closes_its_sending_side_still_gets_its_answer() {
    let backends = Backends::new();
    let home = home(&backends);
    let _router = home.start("router");
    let mut stream = raw(&home, 21);
    stream.write_all(b"GET /slow/300 HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    let answer = read_all(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"web\""), "{answer}");
}

#[test]
fn requests_that_come_before_the_answers_are_answered_in_order() {
    let backends = Backends::new();
    let home = home(&backends);
    let _router = home.start("router");
    let request = |path: &str, last: bool| {
        let close = if last { "Connection: close\r\n" } else { "" };
        format!("GET {path} HTTP/1.1\r\nHost: app.home.example\r\n{close}\r\n")
    };
    // In one piece, and while the first one is under way.
    for at_once in [true, false] {
        let mut stream = raw(&home, 21);
        let (first, second) = (request("/slow/500", false), request("/second", true));
        if at_once {
            stream.write_all((first + &second).as_bytes()).expect("sent");
        } else {
            stream.write_all(first.as_bytes()).expect("sent");
            let open = format!("doorward_connections_open{{address=\"{}\"}} 1", home.socket(21, HTTP));
            eventually("the first one under way", || match home.admin("router", "/metrics") {
                metrics if metrics.contains(&open) => Ok(()),
                other => Err(other),
            });
            stream.write_all(second.as_bytes()).expect("sent");
        }
        let answers = read_all(&mut stream);
        let paths: Vec<usize> = ["\"/slow/500\"", "\"/second\""].iter().filter_map(|path| answers.find(path)).collect();
        assert!(paths.len() == 2 && paths.is_sorted(), "at once: {at_once}\n{answers}");
    }
}

#[test]
fn cookies_that_come_as_several_fields_reach_the_backend_as_one() {
    let backends = Backends::new();
    let home = home(&backends);
    let _router = home.start("router");
    for version in ["--http2", "--http1.1"] {
        let answer = home.curl(21, &[version, "-H", "Cookie: a=1", "-H", "Cookie: b=2", "https://app.home.example/"]);
        assert_eq!(field(&answer, "/headers/cookie"), "a=1; b=2", "{version}\n{answer}");
    }
}

#[test]
fn refusals_are_whole_answers_in_every_version_and_to_head() {
    let backends = Backends::new();
    let home = home(&backends);
    home.apply(
        "dead.yaml",
        &[service("dead", &[home.socket(10, 1)]), tests::home::ingress("dead", "dead.home.example", "dead")].concat(),
    );
    let _router = home.start("router");
    for version in ["--http1.1", "--http2"] {
        for (url, status) in [("https://nothing.home.example/", "404"), ("https://dead.home.example/", "502")] {
            for method in ["-I", "-i"] {
                let said = home.curl(21, &[version, method, "-w", "\nend %{http_code} %{exitcode} %{errormsg}", url]);
                assert!(said.contains(&format!("\nend {status} 0 ")), "{version} {method} {url}\n{said}");
                assert_eq!(said.contains("\nrequest "), method == "-i", "{version} {method} {url}\n{said}");
            }
        }
    }
}

#[test]
fn one_that_sends_what_nobody_wants_still_reads_why() {
    let backends = Backends::new();
    let home = home(&backends);
    let _router = home.start("router");
    let body = vec![0; 8 << 20];
    let head = format!("PUT /x HTTP/1.1\r\nHost: nothing.home.example\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = raw(&home, 21);
    stream.write_all(head.as_bytes()).expect("sent");
    // It sends all before it reads anything, as many programs do.
    stream.write_all(&body).expect("all of it is taken");
    let answer = read_all(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("no route for nothing.home.example"), "{answer}");
}

#[test]
fn one_that_sends_it_over_http_2_reads_why_too() {
    let backends = Backends::new();
    let home = home(&backends);
    let _router = home.start("router");
    std::fs::write(home.path("large"), vec![0; 3 << 20]).expect("written");
    let body = format!("@{}", home.path("large").display());
    let url = "https://nothing.home.example/";
    let said = home.curl(21, &["--http2", "--data-binary", &body, "-w", "%{http_code} %{exitcode}", url]);
    assert!(said.contains("no route for nothing.home.example") && said.ends_with("404 0"), "{said}");
}

#[test]
fn one_that_breaks_off_its_upload_is_gone_at_once() {
    let backends = Backends::new();
    let home = home(&backends);
    let router = home.start("router");
    let mut stream = raw(&home, 21);
    let head = "POST /count HTTP/1.1\r\nHost: app.home.example\r\nContent-Length: 100000\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(&[0; 1000]).expect("sent");
    drop(stream);
    // One that has sent everything would be given thirty seconds to take its answer.
    within(Duration::from_secs(25), "the end of the request", || match router.log() {
        log if log.contains("\"/count\"") => Ok(()),
        other => Err(other),
    });
}

#[test]
fn a_name_longer_than_names_are_is_refused() {
    let backends = Backends::new();
    let home = home(&backends);
    let _router = home.start("router");
    let mut stream = raw(&home, 21);
    let host = "a.".repeat(20_000) + "home.example";
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[test]
fn no_connection_takes_more_of_the_backends_than_there_are_descriptors_for() {
    let home = Home::new();
    let waiting = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&waiting);
    let web = raw_backend(&home, move |mut stream| {
        if read_head(&mut stream).is_some_and(|head| head.contains("/waits")) {
            counted.fetch_add(1, Relaxed);
            // Until the router gives up.
            let _ = stream.read(&mut [0]);
        }
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    });
    home.apply("app.yaml", &app(&[web]));
    // What is left to it is half for clients, and at least half of the other half for requests, of which one client
    // may have half.
    let _router = home.ready("router", home.launch_with_files("router", 64 + 4 * 40));
    Backends::new().0.block_on(async {
        let client = http2(&home).await;
        let ask = |path: &str| {
            let request = Request::get(format!("http://app.home.example/{path}")).body(Empty::<Bytes>::new());
            client.clone().send_request(request.expect("a request"))
        };
        let all = tokio::spawn(join_all((0..20).map(|_| ask("waits"))));
        tokio::task::block_in_place(|| {
            eventually("all that there is place for", || match waiting.load(Relaxed) {
                20 => Ok(()),
                other => Err(other),
            });
        });
        let answer = ask("more").await.expect("an answer");
        assert_eq!(answer.status(), 503);
        let why = answer.into_body().collect().await.expect("all of it").to_bytes();
        assert!(why.windows(17).any(|part| part == b"too many requests"), "{why:?}");
        // Their streams are reset.
        all.abort();
        let mut last = None;
        for _ in 0..500 {
            last = Some(ask("more").await.expect("an answer").status());
            if last.is_some_and(|status| status == 204) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no place again: {last:?}");
    });
}
