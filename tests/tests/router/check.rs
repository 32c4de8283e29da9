//! Requests that somebody has to consent to who speaks Envoy's protocol. What is on the wire is written out here, so
//! that it is the protocol's and not the router's idea of it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::mpsc::{Receiver, Sender, channel},
};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{HeaderMap, Request, Response, body::Frame, body::Incoming, header::HeaderValue, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tests::{
    Home, PATIENCE,
    home::{HTTP, service},
};
use tokio::net::{TcpListener, TcpStream};

use crate::{Backends, field};

/// A field of protobuf that is text, bytes or a message.
fn part(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 0x80).expect("a short one");
    [&[number << 3 | 2, length], content].concat()
}

fn header(number: u8, name: &str, value: &str) -> Vec<u8> {
    part(number, part(1, [part(1, name), part(2, value)].concat()))
}

/// `status { code: … }`, 0 being OK.
fn status(code: u8) -> Vec<u8> {
    part(1, [1 << 3, code])
}

fn frames(message: &[u8], status: Option<&'static str>) -> Vec<Result<Frame<Bytes>, Infallible>> {
    let length = u32::try_from(message.len()).expect("a short one").to_be_bytes();
    let data = Frame::data([&[0][..], &length, message].concat().into());
    let trailers = status.map(|status| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        Frame::trailers(trailers)
    });
    [data].into_iter().chain(trailers).map(Ok).collect()
}

/// Consents to who brings a cookie.
async fn check(
    request: Request<Incoming>,
    told: Sender<Vec<u8>>,
) -> Result<Response<StreamBody<impl stream::Stream<Item = Result<Frame<Bytes>, Infallible>>>>, Infallible> {
    assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
    let is_grpc = request.headers().get("content-type").is_some_and(|value| value == "application/grpc");
    let message = request.into_body().collect().await.expect("a message").to_bytes();
    let (prefix, message) = message.split_at(5);
    let is_whole = prefix[1..] == u32::try_from(message.len()).expect("a short one").to_be_bytes();
    assert!(is_grpc && is_whole, "{prefix:?}");
    let has = |text: Vec<u8>| message.windows(text.len()).any(|window| window == text);
    let consent = [
        status(0),
        part(
            3,
            [
                header(2, "x-user", "jo"),
                header(2, "host", "evil.example"),
                part(5, "x-secret"),
                header(6, "set-cookie", "seen=1"),
            ]
            .concat(),
        ),
    ]
    .concat();
    let refusal = [
        status(16),
        part(
            2,
            [part(1, [1 << 3, 0xad, 0x02]), header(2, "location", "https://login.example/"), part(3, "log in")]
                .concat(),
        ),
    ]
    .concat();
    let answer = if has(part(4, "/fails")) {
        frames(&consent, Some("13"))
    } else if has(part(4, "/silent")) {
        frames(&consent, None)
    } else if has(part(4, "/garbage")) {
        frames(b"\xff\xff", Some("0"))
    } else if has([part(1, "cookie"), part(2, "known")].concat()) {
        frames(&consent, Some("0"))
    } else {
        frames(&refusal, Some("0"))
    };
    let _ = told.send(message.to_vec());
    let answer = StreamBody::new(stream::iter(answer));
    Ok(Response::builder().header("content-type", "application/grpc").body(answer).expect("an answer"))
}

async fn converse(stream: TcpStream, told: Sender<Vec<u8>>) {
    let serve = service_fn(move |request| check(request, told.clone()));
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), serve)
        .await;
}

fn authorizer(home: &Home, backends: &Backends) -> (SocketAddr, Receiver<Vec<u8>>) {
    let (told, asked) = channel();
    let listener = backends.0.block_on(TcpListener::bind(home.socket(10, 0))).expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    backends.0.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, told.clone()));
        }
    });
    (address, asked)
}

#[test]
fn who_speaks_the_protocol_of_envoy_is_asked_and_obeyed() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let (auth, asked) = authorizer(&home, &backends);
    let filter = "type: ExternalAuth
        externalAuth: {protocol: GRPC, backendRef: {name: auth, port: 80}";
    let listeners = format!(
        "  listeners:
  - name: http
    port: {HTTP}
    protocol: HTTP
    filters:
      requests:
      - {filter}, grpc: {{allowedHeaders: [cookie]}}}}"
    );
    let gateway = home.gateway();
    let lines = gateway.lines().map(|line| if line.starts_with("  listeners:") { &listeners } else { line });
    let gateway: String = lines.map(|line| format!("{line}\n")).collect();
    let route = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app}}
spec:
  parentRefs: [{{name: home}}]
  hostnames: [app.home.example]
  rules:
  - matches: [{{headers: [{{name: x-user, value: jo}}]}}]
    backendRefs: [{{name: web, port: 80}}]
  - matches: [{{path: {{value: /body}}, headers: [{{name: x-user, value: jo}}]}}]
    filters:
      - {filter}, grpc: {{}}, forwardBody: {{maxSize: 100}}}}
    backendRefs: [{{name: web, port: 80}}]
"
    );
    home.apply("app.yaml", &[service("web", &[web]), service("auth", &[auth]), gateway, route].concat());
    let router = home.start("router");
    let next = || asked.recv_timeout(PATIENCE).expect("a question");
    let has = |message: &[u8], text: Vec<u8>| message.windows(text.len()).any(|window| window == text);

    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let url = "http://app.home.example/a%2Fb?q=1";
        let known =
            ["-i", protocol, "-X", "PUT", "-H", "cookie: known", "-H", "x-user: admin", "-H", "x-secret: 1", url];
        let answer = home.curl(24, &known);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}\n{}", router.log()));
        assert_eq!(field(body, "/headers/x-user"), "jo", "{answer}\n{}", router.log());
        assert_eq!(
            (field(body, "/headers/x-secret"), field(body, "/headers/host")),
            (String::new(), "app.home.example".to_owned())
        );
        assert!(head.to_lowercase().contains("\r\nset-cookie: seen=1"), "{head}");
        let question = next();
        for said in [part(2, "PUT"), part(4, "/a%2Fb?q=1"), part(5, "app.home.example"), part(6, "http")] {
            assert!(has(&question, said.clone()), "{said:?}: {question:?}");
        }
        assert!(!has(&question, b"x-secret".to_vec()), "only what is listed: {question:?}");
    }

    let refused = home.curl(24, &["-i", "-H", "x-user: jo", "http://app.home.example/"]).to_lowercase();
    assert!(refused.starts_with("http/1.1 301") && refused.ends_with("\r\n\r\nlog in"), "{refused}");
    assert!(refused.contains("\r\nlocation: https://login.example/\r\n"), "{refused}");
    let _ = next();

    let known = ["-o", "/dev/null", "-w", "%{http_code}", "-H", "cookie: known"];
    let found = home.curl(24, &[&known[..], &["-d", "its body", "http://app.home.example/body"]].concat());
    let (without, with) = (next(), next());
    assert_eq!(found, "200", "{}", router.log());
    assert!(!has(&without, part(11, "its body")) && has(&with, part(11, "its body")), "{without:?}{with:?}");
    assert!(has(&with, [part(1, "x-user"), part(2, "jo")].concat()), "all headers where none is listed: {with:?}");

    // A call that fails, says not how it ended, or returns nothing that can be read is no consent.
    for path in ["/fails", "/silent", "/garbage"] {
        let url = format!("http://app.home.example{path}");
        assert_eq!(home.curl(24, &[&known[..], &[&url]].concat()), "503", "{path}");
    }
}
