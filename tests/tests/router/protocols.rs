//! HTTP/1.1, HTTP/2, TLS, WebSocket, streaming.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::Command,
    sync::Arc,
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use tests::{
    Home, PATIENCE, certificate, eventually,
    home::{HTTP, HTTPS, classes, ingress, service_with},
    output, tls_secret,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_tungstenite::tungstenite::Message;

use crate::{Backends, field};

/// A home whose `app.home.example` is served by one backend, with a default certificate, which lies in `home.pem`.
fn home(backends: &Backends, app_protocol: &str) -> Home {
    let home = Home::new();
    home.configure("defaultCertificate: default/home-tls");
    let web = backends.start(&home, "web");
    let issued = certificate(&["home.example", "*.home.example"]);
    home.write("home.pem", &issued.0);
    let secret = tls_secret("default", "home-tls", &issued);
    let app = [classes(), service_with("web", app_protocol, &[web]), ingress("app", "app.home.example", "web"), secret];
    home.apply("app.yaml", &app.concat());
    home
}

/// What the certificate that is served for a name is called.
fn served_names(home: &Home, server_name: &str) -> String {
    let script = format!(
        "openssl s_client -connect {} -servername {server_name} </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName",
        home.socket(21, HTTPS)
    );
    output(Command::new("sh").args(["-c", &script]))
}

#[test]
fn http_1_and_2_over_tls_and_in_the_clear() {
    let backends = Backends::new();
    let home = home(&backends, "");
    let _router = home.start("router");
    for (arguments, version) in [
        (vec!["--http1.1", "https://app.home.example/"], "1.1"),
        (vec!["--http2", "https://app.home.example/"], "2"),
        (vec!["--http1.1", "http://app.home.example/"], "1.1"),
        (vec!["--http2-prior-knowledge", "http://app.home.example/"], "2"),
    ] {
        let answer = home.curl(21, &[vec!["-w", "used %{http_version}"], arguments.clone()].concat());
        assert_eq!(
            field(answer.split("used").next().unwrap_or_default(), "/backend"),
            "web",
            "{arguments:?}\n{answer}"
        );
        assert!(answer.ends_with(&format!("used {version}")), "{arguments:?}\n{answer}");
    }
}

#[test]
fn a_backend_that_speaks_h2c_is_spoken_to_in_it() {
    let backends = Backends::new();
    let home = home(&backends, "kubernetes.io/h2c");
    let _router = home.start("router");
    for version in ["--http1.1", "--http2"] {
        let answer = home.curl(21, &[version, "https://app.home.example/"]);
        assert_eq!(field(&answer, "/version"), "HTTP/2.0", "{answer}");
        assert_eq!(field(&answer, "/host"), "app.home.example", "{answer}");
    }
}

#[test]
fn certificates_go_by_name_and_are_swapped_while_others_are_served() {
    let backends = Backends::new();
    let home = home(&backends, "");
    home.apply("secret.yaml", &tls_secret("default", "own-tls", &certificate(&["own.home.example", "first.example"])));
    home.apply(
        "own.yaml",
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: own}
spec:
  ingressClassName: internal
  tls: [{hosts: [own.home.example], secretName: own-tls}]
  rules: [{host: own.home.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
",
    );
    let _router = home.start("router");
    assert!(served_names(&home, "own.home.example").contains("first.example"));
    assert!(served_names(&home, "app.home.example").contains("*.home.example"));
    assert!(
        served_names(&home, "unknown.example").contains("*.home.example"),
        "the default serves names nobody covers"
    );

    home.apply("secret.yaml", &tls_secret("default", "own-tls", &certificate(&["own.home.example", "second.example"])));
    eventually("the renewed certificate", || match served_names(&home, "own.home.example") {
        names if names.contains("second.example") => Ok(()),
        other => Err(other),
    });
    assert_eq!(home.status(21, "https://own.home.example/"), "200");
    home.apply("secret.yaml", "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: own-tls}\nstringData: {tls.crt: garbage, tls.key: garbage}\n");
    eventually("the problem", || match home.admin("router", "/problems") {
        problems
            if problems.contains(
                "serves what was last good of Secret default/own-tls, whose tls.crt holds no certificate in PEM form",
            ) =>
        {
            Ok(())
        }
        other => Err(other),
    });
    assert!(served_names(&home, "own.home.example").contains("second.example"));
    home.delete("secret.yaml");
    eventually("the other problem", || match home.admin("router", "/problems") {
        problems if problems.contains("Secret default/own-tls, which does not exist any more") => Ok(()),
        other => Err(other),
    });
    assert!(served_names(&home, "own.home.example").contains("second.example"));
    assert_eq!(home.status(21, "https://own.home.example/"), "200");
    home.apply("own.yaml", &ingress("own", "own.home.example", "web"));
    eventually("the default certificate", || match served_names(&home, "own.home.example") {
        names if names.contains("*.home.example") => Ok(()),
        other => Err(other),
    });
}

#[test]
fn plain_http_is_redirected_where_that_is_wanted_and_challenges_pass() {
    let backends = Backends::new();
    let home = home(&backends, "");
    let config = std::fs::read_to_string(home.path("doorward.yaml")).expect("written");
    let config = config.replacen(&format!("https: {HTTPS}}}"), &format!("https: {HTTPS}, redirectToHttps: true}}"), 1);
    std::fs::write(home.path("doorward.yaml"), config).expect("written");
    let _router = home.start("router");
    let answer = home.curl(21, &["-i", "http://app.home.example/a?b=1"]);
    assert!(answer.starts_with("HTTP/1.1 308"), "{answer}");
    assert!(answer.contains(&format!("https://app.home.example:{HTTPS}/a?b=1")), "{answer}");
    assert_eq!(home.status(21, "http://app.home.example/.well-known/acme-challenge/token"), "200");
    assert_eq!(home.status(21, "http://nothing.home.example/"), "404");
}

#[test]
fn a_websocket_echoes_over_tls_and_in_the_clear() {
    let backends = Backends::new();
    let home = home(&backends, "kubernetes.io/ws");
    let _router = home.start("router");
    backends.0.block_on(async {
        let plain = tokio::net::TcpStream::connect(home.socket(21, HTTP)).await.expect("open");
        echoes("ws://app.home.example/api/websocket", plain).await;

        let below = tokio::net::TcpStream::connect(home.socket(21, HTTPS)).await.expect("open");
        let name = ServerName::try_from("app.home.example").expect("a name");
        let secure = trusting_only(&home).connect(name, below).await.expect("a certificate to trust");
        echoes("wss://app.home.example/api/websocket", secure).await;
    });
}

/// Whoever connects with this takes the default certificate and no other.
fn trusting_only(home: &Home) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(home.path("home.pem")).expect("in PEM")).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn echoes(url: &str, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut socket, answer) = tokio_tungstenite::client_async(url, stream).await.expect("an upgrade");
    assert_eq!(answer.status(), 101);
    for message in [Message::text("hello"), Message::binary(vec![7; 100_000])] {
        socket.send(message.clone()).await.expect("sent");
        assert_eq!(socket.next().await.expect("open").expect("a message"), message);
    }
    socket.close(None).await.expect("closed");
}

#[test]
fn both_directions_stream_without_waiting_for_the_other_to_end() {
    let backends = Backends::new();
    let home = home(&backends, "");
    let _router = home.start("router");
    let mut stream = TcpStream::connect(home.socket(21, HTTP)).expect("open");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
        .write_all(b"POST /stream HTTP/1.1\r\nHost: app.home.example\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("sent");
    let read_until = |stream: &mut TcpStream, wanted: &str| {
        let mut seen = String::new();
        let mut buffer = [0; 4096];
        while !seen.contains(wanted) {
            let count = stream.read(&mut buffer).expect("a chunk in time");
            assert!(count > 0, "the stream ended before {wanted:?}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    read_until(&mut stream, "chunk 0");
    stream.write_all(b"1\r\na\r\n").expect("sent");
    read_until(&mut stream, "chunk 1");
    stream.write_all(b"1\r\nb\r\n").expect("sent");
    read_until(&mut stream, "chunk 2");
    stream.write_all(b"0\r\n\r\n").expect("sent");
    read_until(&mut stream, "0\r\n\r\n");
}

#[test]
fn a_large_upload_passes_without_being_held_in_memory() {
    let backends = Backends::new();
    let home = home(&backends, "");
    let router = home.start("router");
    let size = 200 << 20;
    std::fs::File::create(home.path("large")).and_then(|file| file.set_len(size)).expect("a sparse file");
    let before = router.peak_memory();
    let file = home.path("large").display().to_string();
    let counted = home.curl(21, &["-m", "600", "-T", &file, "https://app.home.example/count"]);
    assert_eq!(counted.trim(), size.to_string());
    let grown = router.peak_memory() - before;
    assert!(grown < 40 << 10, "200 MiB uploaded, and memory grew by {grown} KiB in between");
}

#[test]
fn a_backend_that_does_not_answer_in_time_is_504_and_only_where_a_limit_is_set() {
    let backends = Backends::new();
    let home = home(&backends, "");
    home.apply("gateway.yaml", &home.gateway());
    home.apply(
        "route.yaml",
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: slow}
spec:
  parentRefs: [{name: home}]
  rules: [{timeouts: {backendRequest: 100ms}, backendRefs: [{name: web, port: 80}]}]
",
    );
    let _router = home.start("router");
    let answer = home.curl(24, &["-i", "http://any.example/slow/3000"]);
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("does not answer in time"), "{answer}");
    // A field that only speaks of an upgrade lifts no limit.
    for fields in [vec!["-H", "Upgrade: foo"], vec!["-H", "Upgrade: foo", "-H", "Connection: Upgrade"], vec!["--http2"]]
    {
        let url = "http://any.example/slow/3000";
        let status = home.curl(24, &[&["-o", "/dev/null", "-w", "%{http_code}", url], &*fields].concat());
        assert_eq!(status, "504", "{fields:?}");
    }
    assert_eq!(home.status(21, "http://app.home.example/slow/300"), "200");
}

#[test]
fn answers_of_the_router_keep_the_connection_open() {
    let backends = Backends::new();
    let home = home(&backends, "");
    let _router = home.start("router");
    let said = home.curl(
        21,
        &[
            "-o",
            "/dev/null",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}/%{num_connects} ",
            "http://x.home.example/1",
            "http://x.home.example/2",
        ],
    );
    assert_eq!(said, "404/1 404/0 ");
}

#[test]
fn a_request_head_that_never_ends_is_cut_and_a_slow_one_is_served() {
    let backends = Backends::new();
    let home = home(&backends, "");
    let _router = home.start("router");
    let connect = || TcpStream::connect(home.socket(21, HTTP)).expect("open");
    let mut endless = connect();
    endless.write_all(b"GET / HTTP/1.1\r\nHost: app.home.example\r\nX-Endless: ").expect("sent");

    // As slow as a client that waits for another one's answer before each line.
    let mut slow = connect();
    for line in ["GET / HTTP/1.1\r\n", "Host: app.home.example\r\n", "Connection: close\r\n", "\r\n"] {
        assert_eq!(home.status(21, "http://app.home.example/"), "200");
        slow.write_all(line.as_bytes()).expect("sent");
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // Byte after byte, so that no single one is waited for long.
    endless.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
    let mut answer = Vec::new();
    eventually("the end", || match endless.write_all(b"x").and_then(|()| endless.read_to_end(&mut answer)) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err("open"),
        // A reset is an end too.
        Ok(_) | Err(_) => Ok(()),
    });
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("did not come in time"), "{answer}");
}
