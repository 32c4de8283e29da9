//! What TLS connections are opened for: server names, versions, sessions, certificates of clients.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use hyper::Version;
use tests::{
    Authority, Home, SetAtTheEnd, certificate, eventually,
    home::{HTTPS, service},
    output,
    tls::Client,
    tls_secret,
};

use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::Backends;

/// A Gateway at `.24` with these listeners on its HTTPS port, each a name and a hostname (which may be empty), one
/// certificate for all, and a route to `web` that goes for each host at any of them.
fn gateway(home: &Home, listeners: &[(&str, &str)]) -> String {
    let listeners: String = listeners
        .iter()
        .map(|(name, hostname)| {
            format!("  - {{name: {name}, hostname: \"{hostname}\", port: {HTTPS}, protocol: HTTPS, tls: {{certificateRefs: [{{name: home-tls}}]}}}}\n")
        })
        .collect();
    let gateway = home.gateway();
    let (before, after) = gateway.split_once("  listeners:").expect("listeners");
    let rest = after.split_once("---").map(|(_, rest)| rest).unwrap_or_default();
    format!(
        "{before}  listeners:\n{listeners}---{rest}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web}}
spec: {{parentRefs: [{{name: home}}], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}
---
"
    )
}

/// The same with one listener for everything, running.
fn served(home: &Home, backends: &Backends, listeners: &[(&str, &str)]) {
    let web = backends.start(home, "web");
    let secret = tls_secret("default", "home-tls", &certificate(&["*.home.example"]));
    home.apply("app.yaml", &[gateway(home, listeners), service("web", &[web]), secret].concat());
}

#[test]
fn a_request_on_a_connection_for_another_listener_is_misdirected() {
    let (home, backends) = (Home::new(), Backends::new());
    served(&home, &backends, &[("one", "one.home.example"), ("two", "two.home.example"), ("all", "*.home.example")]);
    let _router = home.start("router");
    let door = home.socket(24, HTTPS);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let client = Client::new(version, None);
        for (name, requests) in [
            // As a browser does that finds both names in the certificate: one connection for all of them.
            (Some("one.home.example"), [200, 421, 421, 404]),
            (Some("two.home.example"), [421, 200, 421, 404]),
            (Some("x.home.example"), [421, 421, 200, 404]),
            (Some("y.home.example"), [421, 421, 200, 404]),
            (Some("unknown.example"), [421, 421, 421, 404]),
            (None, [200, 200, 200, 404]),
        ] {
            // The second one resumes the first one's session.
            for is_resumed in [false, true] {
                let found = backends.0.block_on(async {
                    let mut connection = client.connect(door, name).await.expect("a handshake");
                    assert_eq!(connection.is_resumed, is_resumed, "{version:?} {name:?}");
                    let mut found = Vec::new();
                    for host in ["one.home.example", "two.home.example", "x.home.example", "other.example"] {
                        let (status, body) = connection.get(host, "/").await.expect("an answer");
                        found.push(status.as_u16());
                        assert!(status != 421 || body.contains(host), "{body}");
                    }
                    found
                });
                assert_eq!(found, requests, "{version:?} {name:?} resumed: {is_resumed}");
            }
        }
    }
}

#[test]
fn what_does_not_end_here_or_has_one_listener_is_never_misdirected() {
    let (home, backends) = (Home::new(), Backends::new());
    served(&home, &backends, &[("all", "")]);
    let _router = home.start("router");
    for version in ["--http1.1", "--http2"] {
        // cloudflared sends one name for everything that it brings.
        let url = "https://tunnel.home.example/";
        let arguments = [version, "-H", "Host: app.home.example", "-o", "/dev/null", "-w", "%{http_code}", url];
        assert_eq!(home.curl(24, &arguments), "200", "{version}");
    }
}

#[test]
fn a_certificate_is_replaced_while_connections_are_opened_and_none_fails() {
    let (home, backends) = (Home::new(), Backends::new());
    served(&home, &backends, &[("all", "")]);
    let secret = |issued: &(String, String)| home.apply("secret.yaml", &tls_secret("default", "home-tls", issued));
    let app = std::fs::read_to_string(home.manifests().join("app.yaml")).expect("written");
    let (app, _) = app.split_once("apiVersion: v1\nkind: Secret").expect("a Secret");
    let issued = [(); 20].map(|()| certificate(&["*.home.example"]));
    home.apply("app.yaml", app);
    secret(&issued[0]);
    let _router = home.start("router");
    let door = home.socket(24, HTTPS);
    let (is_over, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        let _end = SetAtTheEnd(&is_over);
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let (is_over, opened, backends) = (&is_over, &opened, &backends);
            threads.spawn(move || {
                while !is_over.load(Relaxed) {
                    // A new client each time, so that no session resumes; and one that resumes if it can.
                    let client = Client::new(version, None);
                    for _ in 0..2 {
                        let status = backends.0.block_on(async {
                            let mut connection = client.connect(door, Some("app.home.example")).await?;
                            connection.get("app.home.example", "/").await.map_err(std::io::Error::other)
                        });
                        assert_eq!(status.expect("a handshake and an answer").0, 200);
                        opened.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        for issued in &issued[1..] {
            let before = opened.load(Relaxed);
            secret(issued);
            let expected = CertificateDer::from_pem_slice(issued.0.as_bytes()).expect("in PEM");
            eventually("the new certificate", || {
                let client = Client::new(Version::HTTP_11, None);
                let connection = backends.0.block_on(client.connect(door, Some("app.home.example")));
                let found = connection.expect("a handshake").certificate;
                if found.as_ref() == Some(&expected) { Ok(()) } else { Err(found) }
            });
            eventually("connections in between", || {
                let since = opened.load(Relaxed) - before;
                if since >= 8 { Ok(()) } else { Err(since) }
            });
        }
    });
    println!("{} handshakes while {} certificates were replaced", opened.load(Relaxed), issued.len() - 1);
    let ends = "doorward_certificate_not_after_timestamp_seconds{secret=\"default/home-tls\"} ";
    let metrics = home.admin("router", "/metrics");
    // As rcgen has it: the end of the year 4095.
    assert!(metrics.contains(&format!("{ends}67090118400\n")), "{metrics}");
}

/// A door that asks for certificates: whom it lets in with which one, and whether their sessions resume.
#[test]
fn clients_are_verified_by_the_authorities_of_the_moment() {
    let (home, backends) = (Home::new(), Backends::new());
    served(&home, &backends, &[("all", "")]);
    let open = std::fs::read_to_string(home.manifests().join("app.yaml")).expect("written");
    let asking = |mode: &str| {
        let frontend = format!(
            "spec:\n  tls: {{frontend: {{default: {{validation: {{mode: {mode}, caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: people}}]}}}}}}}}\n  gatewayClassName: doorward"
        );
        open.replace("spec:\n  gatewayClassName: doorward", &frontend)
    };
    let [people, strangers] = ["people", "strangers"].map(Authority::new);
    let identities = [None, Some(people.issue(&["me.example"])), Some(strangers.issue(&["you.example"]))];
    home.apply("people.yaml", &people.config_map("people"));
    let _router = home.start("router");
    let door = home.socket(24, HTTPS);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let clients = identities.clone().map(|identity| Client::new(version, identity.as_ref()));
        // What a client is answered, and at once again, there with one more where the session is resumed: 0 is nothing
        // at all.
        let asked = |client: &Client| {
            backends.0.block_on(async {
                let mut found = Vec::new();
                for again in [false, true] {
                    let Ok(mut connection) = client.connect(door, Some("app.home.example")).await else {
                        return vec![0];
                    };
                    // In TLS 1.3 a client learns only here that its certificate is refused.
                    let Ok((status, _)) = connection.get("app.home.example", "/").await else { return vec![0] };
                    found.push(status.as_u16() + u16::from(again && connection.is_resumed));
                }
                found
            })
        };
        let all_asked = |what: &str, expected: [&[u16]; 3]| {
            eventually(what, || {
                let found = clients.each_ref().map(asked);
                if found == expected { Ok(()) } else { Err(found) }
            });
        };
        home.apply("app.yaml", &open);
        all_asked("an open door", [&[200, 201], &[200, 201], &[200, 201]]);
        let mut before = backends.0.block_on(clients[0].connect(door, None)).expect("open");
        home.apply("app.yaml", &asking("AllowValidOnly"));
        all_asked("a door for people alone, where no session resumes", [&[0], &[200, 200], &[0]]);
        let (status, _) = backends.0.block_on(before.get("app.home.example", "/")).expect("an answer");
        assert_eq!(status, 421, "a connection of before is no way in");
        home.apply("people.yaml", &strangers.config_map("people"));
        all_asked("a door for strangers alone", [&[0], &[0], &[200, 200]]);
        home.apply("app.yaml", &asking("AllowInsecureFallback"));
        all_asked("a door that only asks", [&[200, 200], &[200, 200], &[200, 200]]);
        home.apply("app.yaml", &asking("AllowValidOnly"));
        home.delete("people.yaml");
        all_asked("a door for nobody", [&[0], &[0], &[0]]);
        assert!(home.admin("router", "/problems").contains("nobody gets in"));
        home.apply("people.yaml", &people.config_map("people"));
    }
}

/// What openssl says of a handshake.
fn openssl(home: &Home, arguments: &str) -> String {
    let script = format!("openssl s_client -connect {} {arguments} </dev/null 2>&1", home.socket(24, HTTPS));
    output(Command::new("sh").args(["-c", &script]))
}

#[test]
fn only_tls_1_2_and_1_3_are_spoken_and_only_http_in_them() {
    let (home, backends) = (Home::new(), Backends::new());
    served(&home, &backends, &[("all", "")]);
    let _router = home.start("router");
    for (arguments, expected) in [
        ("-tls1 -cipher DEFAULT@SECLEVEL=0", "alert handshake failure"),
        ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", "alert handshake failure"),
        ("-tls1_2 -cipher AES128-SHA", "alert handshake failure"),
        ("-tls1_2", "Protocol  : TLSv1.2"),
        ("-tls1_3", "New, TLSv1.3"),
        ("-alpn imap", "alert no application protocol"),
        ("-alpn imap,http/1.1", "ALPN protocol: http/1.1"),
        ("-alpn http/1.1,h2", "ALPN protocol: h2"),
        ("", "No ALPN negotiated"),
        ("-noservername", "CN = rcgen"),
        ("-servername nobody.example", "CN = rcgen"),
    ] {
        let said = openssl(&home, arguments);
        assert!(said.contains(expected), "{arguments}: {expected}\n{said}");
    }
}
