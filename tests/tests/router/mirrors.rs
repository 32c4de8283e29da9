//! Requests that others get as well.

use std::{
    convert::Infallible,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, channel},
    },
    thread::sleep,
    time::Duration,
};

use hyper::{Response, Version, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tests::{
    Home, PATIENCE, eventually,
    home::{service, service_with},
};
use tokio::net::TcpListener;

use crate::{Backends, field, raw_backend, read_head, tries::length};

/// A route with these rules, and the Services `web` and `copy`.
fn apply(home: &Home, services: &[String], rules: &str) {
    let route = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app}}
spec:
  parentRefs: [{{name: home}}]
  hostnames: [app.home.example]
  rules:
{rules}
"
    );
    home.apply("app.yaml", &[&services.concat(), &*home.gateway(), &*route].concat());
}

/// A backend that tells what it was asked, head and body, and answers 503.
fn recorder(home: &Home) -> (SocketAddr, Receiver<String>) {
    let (told, asked) = channel();
    let address = raw_backend(home, move |mut stream| {
        while let Some(request) = whole_request(&mut stream) {
            let _ = told.send(request);
            let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno";
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

fn whole_request(stream: &mut TcpStream) -> Option<String> {
    let head = read_head(stream)?;
    let mut body = vec![0; length(&head)];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

/// A backend that counts requests of HTTP/2, and takes no others.
fn counter(home: &Home, backends: &Backends) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let listener = backends.0.block_on(TcpListener::bind(home.socket(10, 0))).expect("a free port");
    let address = listener.local_addr().expect("bound");
    backends.0.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                    counted.fetch_add(usize::from(request.version() == Version::HTTP_2), Relaxed);
                    async { Ok::<_, Infallible>(Response::new(String::new())) }
                });
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, asked)
}

#[test]
fn a_request_is_mirrored_once_however_many_backends_it_tries() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let (copy, asked) = recorder(&home);
    let dead = [1, 2, 3].map(|port| home.socket(10, port));
    let services = [service("web", &[&dead[..], &[web]].concat()), service("copy", &[copy])];
    let rules = "  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}}}]
    retry: {attempts: 10, backoff: 1ms}
    backendRefs: [{name: web, port: 80}]";
    apply(&home, &services, rules);
    let _router = home.start("router");
    for number in 0..10 {
        assert_eq!(home.status(24, &format!("http://app.home.example/{number}")), "200");
        let mirrored = asked.recv_timeout(PATIENCE).expect("a mirrored request");
        assert!(mirrored.starts_with(&format!("GET /{number} ")), "{mirrored}");
    }
    assert!(asked.try_recv().is_err(), "nothing twice");
}

#[test]
fn a_mirror_gets_what_the_backend_gets_and_its_answer_goes_nowhere() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let ((copy, asked), (own, asked_own)) = (recorder(&home), recorder(&home));
    let services = [service("web", &[web]), service("copy", &[copy]), service("own", &[own])];
    apply(
        &home,
        &services,
        "  - filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: own, port: 80}, percent: 0}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: by-rule}], remove: [x-gone]}}
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /inner}}}
    matches: [{path: {value: /rule}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /own}}]
    backendRefs:
    - {name: web, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: own, port: 80}}}]}",
    );
    let _router = home.start("router");
    let next = |asked: &Receiver<String>| asked.recv_timeout(PATIENCE).expect("a mirrored request").to_lowercase();
    for (arguments, line, body) in [
        (&["-X", "DELETE"][..], "delete", ""),
        (&["-d", "some=body"], "post", "some=body"),
        (&["-X", "PUT", "-H", "transfer-encoding: chunked", "-d", "in chunks"], "put", "in chunks"),
    ] {
        let url = "http://app.home.example/rule/x?q=1";
        let answer = home.curl(24, &[arguments, &["-H", "x-gone: x", url]].concat());
        assert_eq!(
            (field(&answer, "/backend"), field(&answer, "/path")),
            ("web".to_owned(), "/inner/x?q=1".to_owned())
        );
        let mirrored = next(&asked);
        assert!(mirrored.starts_with(&format!("{line} /inner/x?q=1 http/1.1\r\n")), "{mirrored}");
        assert!(mirrored.contains("\r\nhost: app.home.example\r\n"), "{mirrored}");
        assert!(mirrored.contains("\r\nx-set: by-rule\r\n") && !mirrored.contains("x-gone"), "{mirrored}");
        assert!(mirrored.ends_with(&format!("\r\n\r\n{body}")), "{mirrored}");
    }
    assert_eq!(home.status(24, "http://app.home.example/own"), "200");
    assert!(next(&asked_own).starts_with("get /own http/1.1\r\n"));
    assert!(asked.try_recv().is_err() && asked_own.try_recv().is_err(), "no one gets more");
}

#[test]
fn a_mirror_that_hangs_or_is_gone_holds_up_nobody() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    // Connections are taken, and nothing is said.
    let silent = raw_backend(&home, |stream| {
        sleep(Duration::from_secs(60));
        drop(stream);
    });
    let gone = home.socket(10, 1);
    let services = [service("web", &[web]), service("silent", &[silent]), service("gone", &[gone])];
    apply(
        &home,
        &services,
        "  - filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: silent, port: 80}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: gone, port: 80}}}
    backendRefs: [{name: web, port: 80}]",
    );
    let _router = home.start("router");
    let url = "http://app.home.example/?n=[1-300]";
    let answers = home.curl(24, &["-o", "/dev/null", "-w", "%{http_code} ", url]);
    assert_eq!(answers.matches("200").count(), 300, "{answers}");
    // Of those that hang no more are kept than there may be.
    eventually("what is lost", || {
        let metrics = home.admin("router", "/metrics");
        let lost = |service| lost(&metrics, service);
        if lost("gone") == 300 && lost("silent") >= 300 - 128 { Ok(()) } else { Err(metrics) }
    });
}

/// How many requests a mirror has not got, as the metrics say.
fn lost(metrics: &str, service: &str) -> usize {
    let series = format!("doorward_mirrors_lost_total{{service=\"default/{service}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    line.and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

#[test]
fn what_is_too_long_for_a_mirror_reaches_its_backend_and_is_counted() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let (copy, asked) = recorder(&home);
    apply(
        &home,
        &[service("web", &[web]), service("copy", &[copy])],
        "  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}}}]
    backendRefs: [{name: web, port: 80}]",
    );
    let _router = home.start("router");
    let post = |more: &[&str], bytes: usize| {
        home.write("body", &"x".repeat(bytes));
        let file = format!("@{}", home.path("body").display());
        let arguments = ["--data-binary", &file, "http://app.home.example/count"];
        assert_eq!(home.curl(24, &[more, &arguments].concat()), format!("{bytes}\n"));
    };
    for more in [&[][..], &["-H", "transfer-encoding: chunked"]] {
        post(more, (64 << 10) + 1);
        post(more, 64 << 10);
        assert!(asked.recv_timeout(PATIENCE).expect("the shorter one").ends_with(&"x".repeat(64 << 10)));
    }
    assert_eq!((lost(&home.admin("router", "/metrics"), "copy"), asked.try_recv().is_err()), (2, true));
}

#[test]
fn a_mirror_may_speak_http_2_and_gets_its_percentage() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let (copy, asked) = counter(&home, &backends);
    apply(
        &home,
        &[service("web", &[web]), service_with("copy", "kubernetes.io/h2c", &[copy])],
        "  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}, percent: 35}}]
    backendRefs: [{name: web, port: 80}]",
    );
    let _router = home.start("router");
    let url = "http://app.home.example/?n=[1-500]";
    let answers = home.curl(24, &["-o", "/dev/null", "-w", "%{http_code} ", url]);
    assert_eq!(answers.matches("200").count(), 500, "{answers}");
    // Mean and five deviations.
    eventually("a third of them", || Some(asked.load(Relaxed)).filter(|asked| *asked > 120).ok_or(()).map(drop));
    assert!(asked.load(Relaxed) < 230, "{asked:?}");
    assert_eq!(lost(&home.admin("router", "/metrics"), "copy"), 0);
}
