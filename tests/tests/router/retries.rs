//! Requests that their rule has sent again.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{sleep, spawn},
    time::Duration,
};

use tests::{Home, eventually};

use crate::{
    raw_backend, read_head,
    tries::{gateway_route, length},
};

const URL: &str = "http://app.home.example/";

/// A backend that says to each request what `answer` makes of its number, which begins at 0, and its body.
fn scripted(
    home: &Home,
    asked: &Arc<AtomicUsize>,
    answer: impl Fn(usize, &str) -> String + Send + Sync + 'static,
) -> SocketAddr {
    let asked = Arc::clone(asked);
    raw_backend(home, move |mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let mut body = vec![0; length(&head)];
            if stream.read_exact(&mut body).is_err() {
                return;
            }
            let answer = answer(asked.fetch_add(1, Relaxed), &String::from_utf8_lossy(&body));
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

fn said(status: u16, more: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} Said\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Body and status.
fn ask(home: &Home, arguments: &[&str]) -> String {
    home.curl(24, &[&["-w", " %{http_code}"], arguments, &[URL]].concat())
}

#[test]
fn an_answer_with_a_listed_code_is_retried_as_often_as_the_rule_says() {
    for (rest, failures, code, answer, tries) in [
        ("    retry: {codes: [500], attempts: 3}", 2, 500, "ok 200", 3),
        ("    retry: {codes: [500], attempts: 3}", 3, 500, "ok 200", 4),
        ("    retry: {codes: [500], attempts: 3}", 9, 500, "sorry 500", 4),
        ("    retry: {codes: [500], attempts: 3}", 9, 503, "sorry 503", 1),
        ("    retry: {codes: [500]}", 1, 500, "ok 200", 2),
        ("    retry: {codes: [500]}", 2, 500, "sorry 500", 2),
        ("    retry: {codes: [500, 502], attempts: 0}", 1, 502, "sorry 502", 1),
        ("", 1, 500, "sorry 500", 1),
    ] {
        let home = Home::new();
        let asked = Arc::new(AtomicUsize::new(0));
        let web = scripted(&home, &asked, move |number, body| match number {
            number if number < failures => said(code, "", "sorry"),
            _ if body.is_empty() || body == "some body" => said(200, "", "ok"),
            _ => said(200, "", "another body"),
        });
        gateway_route(&home, &[web], "", rest);
        let _router = home.start("router");
        for arguments in [&[][..], &["-d", "some body"]] {
            asked.store(0, Relaxed);
            assert_eq!(ask(&home, arguments), answer, "{rest} {failures} {arguments:?}");
            assert_eq!(asked.load(Relaxed), tries, "{rest} {failures} {arguments:?}");
        }
    }
}

#[test]
fn what_cannot_be_sent_again_is_answered_as_the_backend_answers_it() {
    let home = Home::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let web = scripted(&home, &asked, |_, _| said(500, "", "sorry"));
    gateway_route(&home, &[web], "", "    retry: {codes: [500], attempts: 3}");
    let _router = home.start("router");
    home.write("body", &"x".repeat(100_000));
    let file = format!("@{}", home.path("body").display());
    assert_eq!(ask(&home, &["--data-binary", &file]), "sorry 500");
    assert_eq!(asked.load(Relaxed), 1);
}

#[test]
fn each_try_goes_to_another_endpoint_where_there_is_one() {
    let home = Home::new();
    let (good, bad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let endpoints =
        [scripted(&home, &good, |_, _| said(200, "", "ok")), scripted(&home, &bad, |_, _| said(503, "", ""))];
    gateway_route(&home, &endpoints, "", "    retry: {codes: [503]}");
    let _router = home.start("router");
    for _ in 0..30 {
        assert_eq!(ask(&home, &["-d", "x"]), "ok 200");
    }
    assert!(bad.load(Relaxed) > 0 && good.load(Relaxed) == 30);
}

#[test]
fn a_connection_that_is_refused_is_retried_at_an_endpoint_that_takes_it() {
    let home = Home::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let endpoints = [home.socket(10, 1), scripted(&home, &asked, |_, _| said(200, "", "ok"))];
    gateway_route(&home, &endpoints, "", "    retry: {attempts: 100}");
    let _router = home.start("router");
    for _ in 0..10 {
        assert_eq!(ask(&home, &["-d", "x"]), "ok 200");
    }
}

#[test]
fn who_has_patience_waits_for_a_backend_that_is_about_to_listen_and_who_has_none_does_not() {
    for (retry, is_patient) in
        [("    retry: {attempts: 100, backoff: 20ms}", true), ("    retry: {attempts: 0}", false)]
    {
        let home = Home::new();
        let late = home.socket(10, 8999);
        gateway_route(&home, &[late], "", retry);
        let _router = home.start("router");
        let listening = is_patient.then(|| {
            let has_failed = || {
                let metrics = home.admin("router", "/metrics");
                let mut lines =
                    metrics.lines().filter(|line| line.starts_with("doorward_http_upstream_failures_total{"));
                if lines.any(|line| !line.ends_with(" 0")) { Ok(()) } else { Err(metrics) }
            };
            std::thread::scope(|scope| {
                let asking = scope.spawn(|| ask(&home, &["-d", "x"]));
                eventually("a try that failed", has_failed);
                let listener = TcpListener::bind(late).expect("a free port");
                let answering = spawn(move || {
                    let (mut stream, _) = listener.accept().expect("a connection");
                    read_head(&mut stream).expect("a request");
                    stream.read_exact(&mut [0]).expect("its body");
                    stream.write_all(said(200, "", "ok").as_bytes()).expect("it waits");
                });
                answering.join().expect("asked");
                asking.join().expect("answered")
            })
        });
        match listening {
            Some(answer) => assert_eq!(answer, "ok 200"),
            None => assert!(ask(&home, &[]).ends_with(" 502")),
        }
    }
}

#[test]
fn the_requests_time_ends_all_tries() {
    let home = Home::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let web = scripted(&home, &asked, |_, _| {
        sleep(Duration::from_millis(300));
        said(500, "", "sorry")
    });
    gateway_route(
        &home,
        &[web],
        "",
        "    retry: {codes: [500], attempts: 50}\n    timeouts: {request: 500ms, backendRequest: 500ms}",
    );
    let _router = home.start("router");
    assert!(ask(&home, &[]).ends_with(" 504"));
    assert!((1..=2).contains(&asked.load(Relaxed)), "{asked:?}");
}

#[test]
fn a_pause_is_no_longer_than_the_request_may_take() {
    let home = Home::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let web = scripted(&home, &asked, |_, _| said(500, "", "sorry"));
    gateway_route(
        &home,
        &[web],
        "",
        "    retry: {codes: [500], attempts: 50, backoff: 1h}\n    timeouts: {request: 300ms}",
    );
    let _router = home.start("router");
    assert!(ask(&home, &[]).ends_with(" 504"));
    assert_eq!(asked.load(Relaxed), 1);
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another_unless_that_does_harm() {
    let home = Home::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let web = scripted(&home, &asked, |number, _| {
        if number == 0 {
            sleep(Duration::from_secs(30));
        }
        said(200, "", "ok")
    });
    gateway_route(&home, &[web], "", "    retry: {}\n    timeouts: {request: 15s, backendRequest: 2s}");
    let _router = home.start("router");
    assert_eq!(ask(&home, &[]), "ok 200");
    assert_eq!(asked.swap(0, Relaxed), 2);
    assert!(ask(&home, &["-d", "x"]).ends_with(" 504"));
    assert_eq!(asked.load(Relaxed), 1);
}

#[test]
fn a_call_of_grpc_that_nobody_was_there_for_is_made_again() {
    let home = Home::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let web = scripted(&home, &asked, |number, _| {
        let status = if number == 0 { "14" } else { "0" };
        said(200, &format!("content-type: application/grpc\r\ngrpc-status: {status}\r\n"), "")
    });
    gateway_route(&home, &[web], "", "    retry: {}");
    let _router = home.start("router");
    assert!(home.curl(24, &["-i", "-d", "x", URL]).contains("grpc-status: 0"));
    assert_eq!(asked.load(Relaxed), 2);
}
