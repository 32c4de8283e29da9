//! Who is believed about the client, and what the backend is told.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc::{Receiver, channel},
};

use tests::{
    Home, certificate,
    home::{app, classes, ingress_of, service},
    tls_secret,
};

use crate::{Backends, field, raw, read_all};

#[test]
fn the_lan_believes_nobody_and_the_tunnel_believes_its_sources() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    home.apply(
        "app.yaml",
        &format!("{}{}{}", classes(), service("web", &[web]), ingress_of("external", "app", "app.home.example", "web")),
    );
    let _router = home.start("router");
    let forged = [
        "-H",
        "CF-Connecting-IP: 203.0.113.7",
        "-H",
        "X-Forwarded-For: 1.1.1.1",
        "-H",
        "X_Forwarded_For: 2.2.2.2",
        "-H",
        "X-Forwarded-Proto: https",
        "-H",
        "X-authentik-username: root",
        "-H",
        "Remote-User: root",
        "-H",
        "CF-Ray: abc",
    ];
    let asked = |door: u8| home.curl(door, &[forged.as_slice(), &["http://app.home.example/"]].concat());

    let lan = asked(21);
    assert_eq!(field(&lan, "/headers/x-forwarded-for"), "127.0.0.1", "{lan}");
    assert_eq!(field(&lan, "/headers/x-real-ip"), "127.0.0.1");
    assert_eq!(field(&lan, "/headers/x-forwarded-proto"), "http");
    assert_eq!(field(&lan, "/headers/x-forwarded-host"), "app.home.example");
    for name in ["cf-connecting-ip", "cf-ray", "x-authentik-username", "remote-user", "x_forwarded_for"] {
        assert_eq!(field(&lan, &format!("/headers/{name}")), "", "{name}\n{lan}");
    }
    assert_eq!(field(&lan, "/headers/x-request-id").len(), 16);

    let tunnel = asked(23);
    assert_eq!(field(&tunnel, "/headers/x-forwarded-for"), "203.0.113.7", "{tunnel}");
    assert_eq!(field(&tunnel, "/headers/x-forwarded-proto"), "https");
    assert_eq!(field(&tunnel, "/headers/cf-ray"), "abc");
    assert_eq!(field(&tunnel, "/headers/x-authentik-username"), "", "identity is nobody's to assert but ours");
}

/// How CGI-style backends and careless proxies spell the same field.
fn spellings(name: &str) -> [String; 5] {
    let upper = name.to_uppercase();
    [name.to_owned(), upper.clone(), name.replace('-', "_"), upper.replace('-', "_"), name.replace('-', ".")]
}

#[test]
fn what_only_the_router_may_assert_is_taken_from_clients_in_every_spelling() {
    let home = Home::new();
    let backends = Backends::new();
    home.configure("defaultCertificate: default/home-tls");
    let secret = tls_secret("default", "home-tls", &certificate(&["*.home.example"]));
    home.apply("app.yaml", &[app(&[backends.start(&home, "web")]), secret].concat());
    let _router = home.start("router");
    let asserted = [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-User",
        "X-Forwarded-Groups",
        "X-Forwarded-Prefix",
        "X-Forwarded-Tls-Client-Cert",
        "X-Real-Ip",
        "X-Client-Ip",
        "X-Cluster-Client-Ip",
        "X-Request-Id",
        "X-Scheme",
        "X-Original-Url",
        "X-Original-Uri",
        "X-Original-Method",
        "X-Rewrite-Url",
        "X-Http-Method",
        "X-Http-Method-Override",
        "X-Method-Override",
        "Remote-User",
        "Remote-Groups",
        "Remote-Name",
        "Remote-Email",
        "X-Authentik-Username",
        "X-Authentik-Meta-Jwks",
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "Cf-Connecting-Ip",
        "Cf-Ray",
        "Cf-Ipcountry",
        "Cf-Access-Jwt-Assertion",
        "Cdn-Loop",
        "True-Client-Ip",
    ];
    let folded = |name: &str| name.to_lowercase().replace(['_', '.'], "-");
    // The router's own, by which the client's are replaced.
    let own =
        ["x-forwarded-for", "x-real-ip", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host", "x-request-id"];
    for names in asserted.chunks(10) {
        let spelled: Vec<String> = names.iter().flat_map(|name| spellings(name)).collect();
        let fields = spelled.iter().flat_map(|name| ["-H".to_owned(), format!("{name}: forged")]);
        let fields: Vec<String> = fields.chain(["-H".to_owned(), "X-Other: kept".to_owned()]).collect();
        for version in ["--http1.1", "--http2"] {
            let mut arguments = vec![version, "https://app.home.example/"];
            arguments.extend(fields.iter().map(String::as_str));
            let answer = home.curl(21, &arguments);
            let sent: serde_json::Value =
                serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
            let sent = sent["headers"].as_object().expect("fields");
            assert_eq!(sent["x-other"], "kept", "{answer}");
            assert!(!answer.contains("forged"), "{version} {names:?}: {answer}");
            let left: Vec<&String> =
                sent.keys().filter(|name| spelled.contains(name) || own.contains(&&*folded(name))).collect();
            assert!(left.iter().all(|name| own.contains(&name.as_str())), "{version}: {left:?}");
        }
    }
}

#[test]
fn what_only_the_router_may_assert_is_not_taken_from_trailers_either() {
    let home = Home::new();
    let (backend, seen) = keeps_one_request(&home);
    home.apply("app.yaml", &app(&[backend]));
    let _router = home.start("router");
    let mut stream = raw(&home, 21);
    let trailers = ["X-Forwarded-For: forged", "Remote_User: forged", "X.Authentik.Username: forged", "Other: forged"];
    let head = "POST / HTTP/1.1\r\nHost: app.home.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
                Trailer: X-Forwarded-For, Remote_User\r\n\r\n";
    stream.write_all(format!("{head}5\r\nhello\r\n0\r\n{}\r\n\r\n", trailers.join("\r\n")).as_bytes()).expect("sent");
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 200"));
    let seen = seen.recv().expect("a request");
    assert!(seen.contains("hello") && !seen.contains("forged"), "{seen}");
}

/// A backend that reads a chunked request to its end, answers, and hands out what it has read.
fn keeps_one_request(home: &Home) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind(home.socket(10, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let (hand_out, seen) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
        while !read.windows(5).any(|end| end == b"0\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => read.extend_from_slice(&buffer[..count]),
                _ => break,
            }
        }
        // The router may have gone.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let _ = hand_out.send(String::from_utf8_lossy(&read).into_owned());
    });
    (address, seen)
}
