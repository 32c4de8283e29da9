//! Requests that meet a dead connection, and backends that take too long.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::sleep,
    time::Duration,
};

use tests::{
    Home, PATIENCE, certificate, eventually,
    home::{HTTP, app, classes, ingress, service_with},
};
use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{raw, raw_backend, read_all, read_head};

const URL: &str = "http://app.home.example/";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The body's length, from the head.
pub(crate) fn length(head: &str) -> usize {
    let lower = head.to_lowercase();
    let value = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// One request of a kept connection, whole; None where there is none.
fn request(stream: &mut (impl Read + ?Sized)) -> Option<String> {
    let head = read_head(stream)?;
    let mut body = vec![0; length(&head)];
    stream.read_exact(&mut body).ok()?;
    Some(head)
}

/// A Gateway's `app.home.example` at these endpoints, with `rest` in its rule.
pub(crate) fn gateway_route(home: &Home, endpoints: &[SocketAddr], app_protocol: &str, rest: &str) {
    home.apply("service.yaml", &service_with("web", app_protocol, endpoints));
    home.apply("gateway.yaml", &home.gateway());
    home.apply(
        "route.yaml",
        &format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app}}
spec:
  parentRefs: [{{name: home}}]
  hostnames: [app.home.example]
  rules:
  - backendRefs: [{{name: web, port: 80}}]
{rest}
"
        ),
    );
}

fn statuses(home: &Home, last: u8, arguments: &[&str]) -> String {
    home.curl(last, &[&["-o", "/dev/null", "-w", "%{http_code} "][..], arguments].concat())
}

#[test]
fn a_backend_that_closes_idle_connections_after_a_second_loses_no_post() {
    let home = Home::new();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let web = raw_backend(&home, move |mut stream| {
        counted.fetch_add(1, Relaxed);
        stream.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
        while request(&mut stream).is_some() {
            let answer = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    home.apply("app.yaml", &app(&[web]));
    let _router = home.start("router");
    let post = ["-X", "POST", "-d", "x"];
    let url = format!("{URL}?n=[1-20]");
    assert_eq!(statuses(&home, 21, &[&post[..], &[&url]].concat()).matches("200").count(), 20);
    let opened = connections.load(Relaxed);
    assert!(opened < 20, "connections are used again: {opened} for 20 requests");
    // Around the moment at which it closes them.
    for pause in [990, 995, 998, 1_000, 1_002, 1_005] {
        sleep(Duration::from_millis(pause));
        assert_eq!(statuses(&home, 21, &[&post[..], &[URL]].concat()), "200 ", "after {pause} ms");
    }
}

#[test]
fn a_connection_is_closed_before_the_backend_closes_it() {
    let home = Home::new();
    let was_closed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&was_closed);
    // It says one second, and would wait for ever.
    let web = raw_backend(&home, move |mut stream| {
        while request(&mut stream).is_some() {
            let answer = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok";
            let _ = stream.write_all(answer.as_bytes());
        }
        seen.store(true, Relaxed);
    });
    home.apply("app.yaml", &app(&[web]));
    let _router = home.start("router");
    assert_eq!(statuses(&home, 21, &[&format!("{URL}?n=[1-2]")]), "200 200 ");
    eventually("its end", || if was_closed.load(Relaxed) { Ok(()) } else { Err(()) });
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
    /// Of a connection with TLS, without its own farewell.
    FinUnderTls,
}

/// It takes one request on each connection, and ends it at the second with nothing said, as if it had been closing
/// it. `taken` counts what was answered.
fn closes_at_the_second(home: &Home, taken: &Arc<AtomicUsize>, end: End) -> SocketAddr {
    let taken = Arc::clone(taken);
    let answer_one = move |stream: &mut dyn Stream| {
        if request(stream).is_some() && stream.write_all(OK.as_bytes()).is_ok() {
            taken.fetch_add(1, Relaxed);
            // Whoever closes with something unread resets.
            let _ = if end == End::Reset { stream.read(&mut [0]).ok().map(drop) } else { request(stream).map(drop) };
        }
    };
    let config = tls();
    raw_backend(home, move |mut stream| {
        if end == End::FinUnderTls {
            answer_one(&mut over_tls(&config, stream));
        } else {
            answer_one(&mut stream);
        }
    })
}

/// A server of HTTP/1.1 with a certificate that nobody knows.
fn tls() -> Arc<ServerConfig> {
    tls_with(|_| ())
}

/// The same, with some of the certificate's bytes changed.
fn tls_with(change: impl FnOnce(&mut [u8])) -> Arc<ServerConfig> {
    let (chain, key) = certificate(&["nobody.example"]);
    let mut chain = CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate in PEM").to_vec();
    change(&mut chain);
    let chain = CertificateDer::from(chain);
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key in PEM");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions that ring has").with_no_client_auth();
    Arc::new(config.with_single_cert(vec![chain], key).expect("a certificate and its key"))
}

fn over_tls(config: &Arc<ServerConfig>, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).expect("a session"), stream)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

#[test]
fn a_request_that_meets_a_dead_connection_is_sent_once_more_and_done_once() {
    for end in [End::Fin, End::Reset, End::FinUnderTls] {
        let home = Home::new();
        let taken = Arc::new(AtomicUsize::new(0));
        let web = closes_at_the_second(&home, &taken, end);
        let protocol = if end == End::FinUnderTls { "https" } else { "" };
        let parts = [classes(), service_with("web", protocol, &[web]), ingress("app", "app.home.example", "web")];
        home.apply("app.yaml", &parts.concat());
        let router = home.start("router");
        for method in ["GET", "POST", "PUT"] {
            let before = taken.load(Relaxed);
            let url = format!("{URL}?n=[1-10]");
            let answers = statuses(&home, 21, &["-X", method, "-d", "body", &url]);
            assert_eq!(answers.matches("200").count(), 10, "{method} {end:?}: {answers}\n{}", router.log());
            assert_eq!(taken.load(Relaxed) - before, 10, "{method} {end:?}");
        }
        let metrics = home.admin("router", "/metrics");
        let failures = "doorward_http_upstream_failures_total{entry_point=\"lan\",route=\"default/app\"} ";
        assert!(metrics.contains(failures) && !metrics.contains(&format!("{failures}0")), "{end:?} {metrics}");
        assert!(metrics.contains("doorward_upstream_ejections_total{service=\"default/web\"} 0"), "{metrics}");
    }
}

#[test]
fn a_backend_may_take_its_time_for_a_tls_handshake() {
    let home = Home::new();
    let slow = || {
        let config = tls();
        raw_backend(&home, move |stream| {
            // Twice as long as a connection may take where there is another endpoint.
            sleep(Duration::from_secs(2));
            let mut stream = over_tls(&config, stream);
            let _ = request(&mut stream).map(|_| stream.write_all(OK.as_bytes()));
        })
    };
    let web = service_with("web", "https", &[slow(), slow()]);
    home.apply("app.yaml", &[classes(), web, ingress("app", "app.home.example", "web")].concat());
    let router = home.start("router");
    assert_eq!(statuses(&home, 21, &[URL]), "200 ", "{}", router.log());
    let metrics = home.admin("router", "/metrics");
    assert!(metrics.contains("doorward_upstream_ejections_total{service=\"default/web\"} 0"), "{metrics}");
}

#[test]
fn a_backend_whose_certificate_cannot_be_read_ends_nothing_but_its_own_requests() {
    let home = Home::new();
    // From when it is valid (UTCTime, the 13 digits of 1975) is no time any more. Nobody verifies that, and pingora
    // panics as it reads it.
    let config = tls_with(|certificate| {
        let from = certificate.windows(4).position(|part| part == b"\x17\x0d75").expect("a beginning");
        certificate[from] = 0x16;
    });
    let web = raw_backend(&home, move |stream| {
        let _ = request(&mut over_tls(&config, stream));
    });
    let web = service_with("web", "https", &[web]);
    let web = web.replacen("name: web", "name: web, annotations: {doorward.dev/health-check: /}", 1);
    home.apply("app.yaml", &[classes(), web, ingress("app", "app.home.example", "web")].concat());
    let router = home.start("router");
    for version in ["--http1.1", "--http2-prior-knowledge", "--http1.1"] {
        assert_eq!(statuses(&home, 21, &[version, URL]), "000 ", "{}", router.log());
    }
    let metrics = home.admin("router", "/metrics");
    for line in [
        "doorward_http_requests_total{entry_point=\"lan\",route=\"default/app\",status=\"5xx\"} 3",
        "doorward_http_upstream_failures_total{entry_point=\"lan\",route=\"default/app\"} 3",
        "doorward_upstream_ejections_total{service=\"default/web\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    eventually("failed checks", || {
        let explained = home.admin("router", "/explain?url=http://app.home.example/");
        if explained.contains("failsHealthCheck") { Ok(()) } else { Err(explained) }
    });
    assert!(router.log().contains("a request has panicked"), "{}", router.log());
}

#[test]
fn a_body_that_is_too_large_to_be_kept_is_sent_once() {
    let home = Home::new();
    let taken = Arc::new(AtomicUsize::new(0));
    let web = closes_at_the_second(&home, &taken, End::Fin);
    home.apply("app.yaml", &app(&[web]));
    let _router = home.start("router");
    home.write("large", &"x".repeat(200_000));
    let body = format!("@{}", home.path("large").display());
    let url = format!("{URL}?n=[1-2]");
    assert_eq!(statuses(&home, 21, &["-X", "PUT", "--data-binary", &body, &url]), "200 502 ");
}

#[test]
fn a_post_that_a_backend_may_have_done_is_not_sent_again() {
    let home = Home::new();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    // Connections are new each time, and end when the request was read.
    let web = raw_backend(&home, move |mut stream| {
        if request(&mut stream).is_some() {
            counted.fetch_add(1, Relaxed);
        }
    });
    home.apply("app.yaml", &app(&[web]));
    let _router = home.start("router");
    assert_eq!(statuses(&home, 21, &["-X", "POST", "-d", "x", URL]), "502 ");
    assert_eq!(seen.load(Relaxed), 1);
    assert_eq!(statuses(&home, 21, &[URL]), "502 ");
    assert_eq!(seen.load(Relaxed), 3, "a GET once more, and not for ever");
}

/// A backend with HTTP/2 that answers its first stream with `refusal` and what follows with 200; `streams` counts.
fn refuses_the_first(home: &Home, streams: &Arc<AtomicUsize>, refusal: &'static [u8]) -> SocketAddr {
    let streams = Arc::clone(streams);
    speaks_http_2(home, move |stream, head| {
        // HEADERS: `:status 200`, and nothing more of this stream.
        let ok = [&[0, 0, 1, 1, 5], &head[5..9], &[0x88]].concat();
        stream.write_all(if streams.fetch_add(1, Relaxed) == 0 { refusal } else { &ok })
    })
}

/// A backend with HTTP/2 that does `answer` with the frame head of each stream's HEADERS, and closes when that fails.
pub(crate) fn speaks_http_2(
    home: &Home,
    answer: impl Fn(&mut TcpStream, &[u8; 9]) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    raw_backend(home, move |mut stream| {
        let mut preface = [0; 24];
        let _ = stream.read_exact(&mut preface);
        // SETTINGS, with nothing in it.
        let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let mut head = [0; 9];
        while stream.read_exact(&mut head).is_ok() {
            let mut rest = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            let _ = stream.read_exact(&mut rest);
            let done = match head[3] {
                1 => answer(&mut stream, &head),
                // SETTINGS are acknowledged.
                4 if head[4] == 0 => stream.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]),
                _ => Ok(()),
            };
            if done.is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_stream_that_an_http_2_backend_refuses_is_opened_again() {
    // RST_STREAM of stream 1 with REFUSED_STREAM; GOAWAY with NO_ERROR, before any stream.
    let reset = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7][..];
    let go_away = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..];
    for refusal in [reset, go_away] {
        let home = Home::new();
        let streams = Arc::new(AtomicUsize::new(0));
        let web = refuses_the_first(&home, &streams, refusal);
        gateway_route(&home, &[web], "kubernetes.io/h2c", "");
        let router = home.start("router");
        assert_eq!(statuses(&home, 24, &["-X", "POST", "-d", "x", URL]), "200 ", "{refusal:?}\n{}", router.log());
        assert_eq!(streams.load(Relaxed), 2, "{refusal:?}");
    }
}

#[test]
fn a_post_on_a_connection_that_is_shared_is_not_sent_again_when_that_ends() {
    let home = Home::new();
    let streams = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&streams);
    // The second stream of each connection is its end, with nothing said.
    let web = speaks_http_2(&home, move |stream, head| {
        counted.fetch_add(1, Relaxed);
        if head[5..9] != [0, 0, 0, 1] {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        stream.write_all(&[&[0, 0, 1, 1, 5], &head[5..9], &[0x88]].concat())
    });
    gateway_route(&home, &[web], "kubernetes.io/h2c", "");
    let _router = home.start("router");
    assert_eq!(statuses(&home, 24, &[URL]), "200 ");
    assert_eq!(statuses(&home, 24, &["-X", "POST", "-d", "x", URL]), "502 ");
    assert_eq!(streams.load(Relaxed), 2, "the POST once");
    assert_eq!(statuses(&home, 24, &[&format!("{URL}?n=[1-2]")]), "200 200 ", "a GET as often as it needs");
    assert_eq!(streams.load(Relaxed), 5);
}

#[test]
fn the_time_of_a_route_bounds_the_whole_answer() {
    let home = Home::new();
    let web = raw_backend(&home, |mut stream| {
        let head = read_head(&mut stream).unwrap_or_default();
        if head.contains("/drips") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while stream.write_all(b"1\r\nx\r\n").is_ok() {
                sleep(Duration::from_millis(50));
            }
        }
        if head.contains("/refuses") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
        }
        // Whatever else comes is read, and nothing said.
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    gateway_route(&home, &[web], "", "    timeouts: {request: 700ms}");
    let router = home.start("router");
    let answer = home.curl(24, &["-i", &format!("{URL}hangs")]);
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("does not answer in time"), "{answer}");

    // A transfer that breaks off, a stream that is reset: not curl's own patience.
    for (version, code) in [("--http1.1", 18), ("--http2-prior-knowledge", 92)] {
        let arguments = [version, "-s", "-N", "-m", "60", "-i", &format!("{URL}drips")];
        let drips = Command::new("curl").args(arguments).args(home.connect_to(24)).output().expect("curl is installed");
        let said = String::from_utf8_lossy(&drips.stdout);
        assert!(said.contains(" 200") && said.contains("\r\n\r\nx"), "{said}");
        assert_eq!(drips.status.code(), Some(code), "{version} {said}\n{}", router.log());
    }
    eventually("its line", || {
        let log = router.log();
        let line = log.lines().find(|line| line.contains("\"/drips\"")).unwrap_or_default().to_owned();
        if line.contains("\"error\":\"the backend does not answer in time\"") { Ok(()) } else { Err(log) }
    });

    for (path, answer) in [("/hangs", "HTTP/1.1 504"), ("/refuses", "HTTP/1.1 200")] {
        let mut socket = raw(&home, 24);
        let upgrade = format!(
            "GET {path} HTTP/1.1\r\nHost: app.home.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(upgrade.as_bytes()).expect("open");
        assert!(read_all(&mut socket).starts_with(answer), "a handshake is bounded, too: {path}");
    }
}

/// Whatever the client and the backend speak: a limit that one of them makes the router miss would be none.
#[test]
fn an_upload_that_takes_longer_than_its_route_may_is_answered_with_504() {
    for protocol in ["", "kubernetes.io/h2c"] {
        let home = Home::new();
        let backends = crate::Backends::new();
        let web = backends.start(&home, "web");
        gateway_route(&home, &[web], protocol, "    timeouts: {request: 700ms}");
        let router = home.start("router");
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let arguments =
                [version, "-s", "-m", "60", "-o", "/dev/null", "-w", "%{http_code}", "-T", "-", "-H", "Expect:"];
            let mut client = Command::new("curl")
                .args(arguments)
                .arg(format!("{URL}count"))
                .args(home.connect_to(24))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("curl is installed");
            let mut body = client.stdin.take().expect("piped");
            let sending = std::thread::spawn(move || {
                while body.write_all(b"x").is_ok() {
                    sleep(Duration::from_millis(50));
                }
            });
            let answer = client.wait_with_output().expect("curl ends");
            assert_eq!(String::from_utf8_lossy(&answer.stdout), "504", "{version} {protocol:?}\n{}", router.log());
            sending.join().expect("curl has gone");
        }
        assert_eq!(statuses(&home, 24, &[&format!("{URL}slow/5000")]), "504 ", "{protocol:?}");
    }
}

#[test]
fn a_websocket_lasts_longer_than_the_time_of_its_route() {
    let home = Home::new();
    let backends = crate::Backends::new();
    let web = backends.start(&home, "web");
    gateway_route(&home, &[web], "", "    timeouts: {request: 300ms}");
    let _router = home.start("router");
    backends.0.block_on(async {
        use futures::{SinkExt, StreamExt};
        use tokio_tungstenite::tungstenite::Message;
        let stream = tokio::net::TcpStream::connect(home.socket(24, HTTP)).await.expect("open");
        let (mut socket, _) = tokio_tungstenite::client_async("ws://app.home.example/", stream).await.expect("a 101");
        for pause in [0, 600] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            socket.send(Message::text("hello")).await.expect("sent");
            let echo = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
            assert_eq!(echo.expect("open").expect("a message"), Message::text("hello"));
        }
    });
}
