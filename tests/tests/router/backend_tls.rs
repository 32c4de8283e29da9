//! TLS to backends that are verified.

use std::{net::TcpListener, sync::Mutex};

use futures::{SinkExt, StreamExt};
use tests::{
    ApiServer, Authority, Home, eventually,
    home::{HTTP, app, classes, ingress, service_with, slices},
    tls_secret,
};
use tokio_rustls::rustls::server::Acceptor;
use tokio_tungstenite::tungstenite::Message;

use crate::{Backends, field};

/// A policy for a Service, whose authorities are in the ConfigMap `authorities`.
fn policy(service: &str, hostname: &str) -> String {
    let references = "caCertificateRefs: [{group: \"\", kind: ConfigMap, name: authorities}]";
    policy_by(service, hostname, references)
}

fn policy_by(service: &str, hostname: &str, authorities: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {service}, namespace: default}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: {service}}}]
  validation: {{hostname: {hostname}, {authorities}}}
---
"
    )
}

#[test]
fn a_backend_is_verified_by_the_policy_of_the_moment_and_not_by_what_was_verified_before() {
    let (home, backends) = (Home::new(), Backends::new());
    let [right, wrong] = ["right", "wrong"].map(Authority::new);
    let web = backends.start_tls_as(&home, "web", &right.issue(&["nas.example"]));
    // The same endpoint, whose connections are kept: once by name, and once by nobody.
    let free = [service_with("free", "https", &[web]), ingress("free", "free.home.example", "free")].concat();
    home.apply("app.yaml", &[app(&[web]), free].concat());
    home.apply("authorities.yaml", &right.config_map("authorities"));
    home.apply("policy.yaml", &policy("web", "nas.example"));
    let _router = home.start("router");
    let becomes = |status: &str, why: &str| {
        eventually(status, || match home.curl(21, &["-i", "http://app.home.example/"]) {
            answer if answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(why) => Ok(()),
            other => Err(other),
        });
        assert_eq!(home.status(21, "http://free.home.example/"), "200", "nobody is asked who {status} is");
    };
    becomes("200", "\"backend\": \"web\"");
    home.apply("policy.yaml", &policy("web", "other.example"));
    becomes("502", "TLS handshake fails");
    home.apply("policy.yaml", &policy("web", "nas.example"));
    becomes("200", "\"backend\": \"web\"");
    home.apply("authorities.yaml", &wrong.config_map("authorities"));
    becomes("502", "TLS handshake fails");
    home.apply("authorities.yaml", &right.config_map("authorities"));
    becomes("200", "\"backend\": \"web\"");
    home.apply("policy.yaml", &policy_by("web", "nas.example", "wellKnownCACertificates: System"));
    becomes("502", "TLS handshake fails");
    home.apply("policy.yaml", &policy("web", "nas.example"));
    becomes("200", "\"backend\": \"web\"");
    home.delete("authorities.yaml");
    becomes("500", "BackendTLSPolicy default/web cannot take effect");
    let problems = home.admin("router", "/problems");
    assert!(problems.contains("references ConfigMap default/authorities, which does not exist"), "{problems}");
    // Without a policy the Service speaks what it says itself.
    home.delete("policy.yaml");
    becomes("502", "");
}

#[test]
fn nothing_is_served_before_the_policies_may_be_read() {
    let (home, backends) = (Home::new(), Backends::new());
    home.configure("");
    let authority = Authority::new("right");
    // Spoken to in the clear it would answer.
    let web = backends.start(&home, "web");
    let api = ApiServer::start(home.socket(99, 6443));
    api.apply(&[app(&[web]), policy("web", "nas.example"), authority.config_map("authorities")].concat());
    api.forbid("backendtlspolicies", true);
    let router = home.launch_on_api_server("router", home.socket(99, 6443));
    eventually("what is waited for", || match router.log() {
        log if log.contains("still waiting for these kinds to be listed") => Ok(()),
        log => Err(log),
    });
    let log = router.log();
    for part in ["BackendTLSPolicy", "grant `list` and `watch`", "backendtlspolicies is forbidden: nobody may read it"]
    {
        assert!(log.contains(part), "no {part:?} in {log}");
    }
    assert_ne!(home.admin("router", "/readyz"), "ok\n", "{log}");
    api.forbid("backendtlspolicies", false);
    let _router = home.ready("router", router);
    let answer = home.curl(21, &["-i", "http://app.home.example/"]);
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("TLS handshake fails"), "{answer}");
}

#[test]
fn a_verified_backend_is_spoken_to_in_each_protocol() {
    let (home, backends) = (Home::new(), Backends::new());
    let authority = Authority::new("right");
    let web = backends.start_tls_as(&home, "web", &authority.issue(&["nas.example"]));
    let grpc = [service_with("grpc", "kubernetes.io/h2c", &[web]), ingress("grpc", "grpc.home.example", "grpc")];
    let policies = [policy("web", "nas.example"), policy("grpc", "nas.example"), authority.config_map("authorities")];
    home.apply("app.yaml", &[app(&[web]), grpc.concat(), policies.concat()].concat());
    let _router = home.start("router");
    for (url, version) in [("http://app.home.example/", "HTTP/2.0"), ("http://grpc.home.example/", "HTTP/2.0")] {
        for _ in 0..3 {
            assert_eq!(field(&home.curl(21, &[url]), "/version"), version, "{url}");
        }
    }
    backends.0.block_on(async {
        let stream = tokio::net::TcpStream::connect(home.socket(21, HTTP)).await.expect("open");
        let url = "ws://app.home.example/socket";
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("an upgrade");
        socket.send(Message::text("hello")).await.expect("sent");
        assert_eq!(socket.next().await.expect("open").expect("a message"), Message::text("hello"));
    });
}

#[test]
fn a_backend_is_known_by_the_names_that_its_policy_lists_and_asked_for_by_its_hostname() {
    let (home, backends) = (Home::new(), Backends::new());
    let [right, wrong] = ["right", "wrong"].map(Authority::new);
    let web = backends.start_tls_as(&home, "web", &right.issue(&["*.nas.example", "spiffe://home.example/nas"]));
    let services = [service_with("web", "", &[web]), service_with("grpc", "grpc", &[web])].concat();
    let hosts = [ingress("app", "app.home.example", "web"), ingress("grpc", "grpc.home.example", "grpc")].concat();
    home.apply("app.yaml", &[classes(), services, hosts].concat());
    home.apply("authorities.yaml", &right.config_map("authorities"));
    let known_by = |names: &str| {
        let policy_for = |service| {
            policy(service, "asked.example").replace("hostname:", &format!("subjectAltNames: [{names}], hostname:"))
        };
        home.apply("policy.yaml", &[policy_for("web"), policy_for("grpc")].concat());
    };
    let [host, other_host] = ["a.nas.example", "asked.example"].map(|it| format!("{{type: Hostname, hostname: {it}}}"));
    let [uri, other_uri] = ["nas", "na"].map(|it| format!("{{type: URI, uri: 'spiffe://home.example/{it}'}}"));
    known_by(&uri);
    let router = home.start("router");
    let answers = |expected: &str| {
        for (host, version) in [("app", "HTTP/1.1"), ("grpc", "HTTP/2.0")] {
            let url = format!("http://{host}.home.example/");
            eventually(expected, || match home.curl(21, &["-w", " %{http_code}", &url]) {
                answer if answer.ends_with(expected) => {
                    assert!(expected != "200" || answer.contains(version), "{answer}");
                    Ok(())
                }
                other => Err(other),
            });
        }
    };
    answers("200");
    for (names, expected) in [
        (&other_uri, "502"),
        (&host, "200"),
        (&other_host, "502"),
        (&format!("{other_host}, {uri}"), "200"),
        (&format!("{other_host}, {other_uri}"), "502"),
    ] {
        known_by(names);
        answers(expected);
    }
    known_by(&host);
    answers("200");
    backends.0.block_on(async {
        let stream = tokio::net::TcpStream::connect(home.socket(21, HTTP)).await.expect("open");
        let url = "ws://app.home.example/socket";
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("an upgrade");
        socket.send(Message::text("hello")).await.expect("sent");
        assert_eq!(socket.next().await.expect("open").expect("a message"), Message::text("hello"));
    });
    home.apply("authorities.yaml", &wrong.config_map("authorities"));
    answers("502");

    let (listener, asked) = (TcpListener::bind(home.socket(10, 0)).expect("a free port"), Mutex::new(None));
    home.apply("app.yaml", &app(&[listener.local_addr().expect("bound")]));
    std::thread::scope(|threads| {
        threads.spawn(|| *asked.lock().expect("no panic") = server_name(&listener));
        eventually("a server name", || {
            let _ = home.curl(21, &["http://app.home.example/"]);
            asked.lock().expect("no panic").clone().ok_or("none")
        });
    });
    assert_eq!(asked.into_inner().expect("no panic").as_deref(), Some("asked.example"));
    assert!(!router.log().contains("panicked"), "{}", router.log());
}

#[test]
fn an_ingress_may_say_that_its_backends_speak_tls_and_what_is_to_be_verified_is_not_sent_elsewhere() {
    let (home, backends) = (Home::new(), Backends::new());
    let [first, second] = ["first", "second"].map(|name| backends.start_tls(&home, name));
    let annotated = |name: &str, annotations: &str| {
        ingress(name, &format!("{name}.home.example"), "web")
            .replace("namespace: default}", &format!("namespace: default, annotations: {{{annotations}}}}}"))
    };
    let https = "nginx.ingress.kubernetes.io/backend-protocol: HTTPS";
    let verified = format!("{https}, nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"");
    let hosts =
        [annotated("tls", https), annotated("verified", &verified), ingress("plain", "plain.home.example", "web")];
    home.apply("app.yaml", &[classes(), hosts.concat(), service_with("web", "", &[])].concat());
    home.apply("slices.yaml", &slices("web", &[first]));
    let _router = home.start("router");
    // The endpoints of the Service are those of each way to speak to it.
    for (name, endpoint) in [("first", first), ("second", second)] {
        home.apply("slices.yaml", &slices("web", &[endpoint]));
        eventually(name, || match field(&home.curl(21, &["http://tls.home.example/"]), "/backend") {
            backend if backend == name => Ok(()),
            other => Err(other),
        });
    }
    assert_eq!(home.status(21, "http://verified.home.example/"), "500");
    assert_eq!(home.status(21, "http://plain.home.example/"), "502", "its backend speaks TLS, and it does not");
}

/// What the next client asks for.
fn server_name(listener: &TcpListener) -> Option<String> {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut acceptor = Acceptor::default();
    loop {
        acceptor.read_tls(&mut stream).expect("a hello");
        if let Ok(Some(accepted)) = acceptor.accept() {
            return accepted.client_hello().server_name().map(str::to_owned);
        }
    }
}

#[test]
fn the_machines_authorities_count_where_a_policy_says_so_and_are_read_at_the_start() {
    let (home, backends) = (Home::new(), Backends::new());
    let authority = Authority::new("machine");
    let web = backends.start_tls_as(&home, "web", &authority.issue(&["nas.example"]));
    let policies = ["web", "other"].map(|service| {
        let hostname = if service == "web" { "nas.example" } else { "other.example" };
        policy_by(service, hostname, "wellKnownCACertificates: System")
    });
    let other = [service_with("other", "", &[web]), ingress("other", "other.home.example", "other")].concat();
    home.apply("app.yaml", &[app(&[web]), other, policies.concat()].concat());
    home.write("authorities.pem", &authority.certificate);
    let _router = home.ready("router", home.launch_believing("router", &home.path("authorities.pem")));
    assert_eq!(home.status(21, "http://app.home.example/"), "200");
    assert_eq!(home.status(21, "http://other.home.example/"), "502");
    home.write("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for wrong in ["nowhere.pem", "odd.pem"] {
        let mut router = home.launch_believing("router", &home.path(wrong));
        assert!(!router.wait().success());
        let said = router.log();
        assert!(said.contains("SSL_CERT_FILE") && !said.contains("panicked"), "{said}");
    }
}

/// A Gateway at this address, with `tls` in its spec, and a route `SERVICE.home.example` to each of these.
fn gateway(home: &Home, name: &str, last: u8, tls: &str, services: &[&str]) -> String {
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: default}}
spec:
  gatewayClassName: doorward
  addresses: [{{value: {}}}]
  tls: {{{tls}}}
  listeners: [{{name: http, port: {HTTP}, protocol: HTTP}}]
---
",
        home.address(last)
    );
    let route = |service: &&str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}-{service}, namespace: default}}
spec:
  parentRefs: [{{name: {name}}}]
  hostnames: [{service}.home.example]
  rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]
---
"
        )
    };
    [gateway, services.iter().map(route).collect()].concat()
}

/// Services of backends that know their clients by certificates: in each protocol, verified in each way.
const ASKING: [&str; 5] = ["unverified", "h1", "h2", "named-h1", "named-h2"];

/// Those, behind Ingresses too, and whatever Gateways need beside themselves.
fn asking(home: &Home, backends: &Backends, servers: &Authority, clients: &Authority) -> String {
    let identity = servers.issue(&["nas.example", "spiffe://home.example/nas"]);
    let [h1, h2] = ["http/1.1", "h2"].map(|protocol| backends.start_asking(home, "web", &identity, clients, protocol));
    let services = ASKING.map(|name| match name {
        "unverified" => service_with(name, "https", &[h1]),
        "named-h2" => [service_with(name, "grpc", &[h2]), named(name)].concat(),
        "named-h1" => [service_with(name, "", &[h1]), named(name)].concat(),
        "h1" => [service_with(name, "", &[h1]), policy(name, "nas.example")].concat(),
        _ => [service_with(name, "", &[h2]), policy(name, "nas.example")].concat(),
    });
    let ingresses = ASKING.map(|name| ingress(name, &format!("{name}.home.example"), name));
    let class = "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: doorward}
spec: {controllerName: doorward.dev/gateway}
---
";
    [classes(), class.to_owned(), servers.config_map("authorities"), services.concat(), ingresses.concat()].concat()
}

/// A policy for a Service, by a name of its certificate.
fn named(service: &str) -> String {
    let name = "{type: URI, uri: 'spiffe://home.example/nas'}";
    policy(service, "asked.example").replace("hostname:", &format!("subjectAltNames: [{name}], hostname:"))
}

fn client_certificate(secret: &str) -> String {
    format!("backend: {{clientCertificateRef: {{name: {secret}}}}}")
}

fn backend_at(home: &Home, last: u8, service: &str) -> String {
    field(&home.curl(last, &[&format!("http://{service}.home.example/")]), "/backend")
}

#[test]
fn each_gateway_shows_its_own_certificate_to_a_backend_that_they_share() {
    let (home, backends) = (Home::new(), Backends::new());
    let [servers, clients] = ["servers", "clients"].map(Authority::new);
    let names = ["spiffe://home.example/a", "b.example"];
    let gateways = [("a", 24, names[0]), ("b", 25, names[1])].map(|(name, last, client)| {
        let secret = tls_secret("default", name, &clients.issue(&[client]));
        [gateway(&home, name, last, &client_certificate(name), &ASKING), secret].concat()
    });
    home.apply("app.yaml", &[asking(&home, &backends, &servers, &clients), gateways.concat()].concat());
    let router = home.start("router");
    for _ in 0..3 {
        for service in ASKING {
            for (last, client) in [(24, names[0]), (25, names[1])] {
                assert_eq!(backend_at(&home, last, service), format!("web for {client}"), "{service} at .{last}");
            }
            assert_eq!(home.status(21, &format!("http://{service}.home.example/")), "502", "an Ingress has none");
        }
    }
    for (service, version) in
        [("h1", "HTTP/1.1"), ("h2", "HTTP/2.0"), ("named-h1", "HTTP/1.1"), ("named-h2", "HTTP/2.0")]
    {
        assert_eq!(field(&home.curl(24, &[&format!("http://{service}.home.example/")]), "/version"), version);
    }
    for service in ["unverified", "h1", "named-h1"] {
        backends.0.block_on(async {
            for (last, gets_in) in [(24, true), (25, true), (21, false)] {
                let stream = tokio::net::TcpStream::connect(home.socket(last, HTTP)).await.expect("open");
                let url = format!("ws://{service}.home.example/socket");
                let upgrade = tokio_tungstenite::client_async(url, stream).await;
                assert_eq!(upgrade.is_ok(), gets_in, "{service} at .{last}");
                let Ok((mut socket, _)) = upgrade else { continue };
                socket.send(Message::text("hello")).await.expect("sent");
                assert_eq!(socket.next().await.expect("open").expect("a message"), Message::text("hello"));
            }
        });
    }
    let metrics = home.admin("router", "/metrics");
    assert!(metrics.contains("doorward_certificate_not_after_timestamp_seconds{secret=\"default/a\"}"), "{metrics}");
    assert!(!router.log().contains("panicked"), "{}", router.log());
}

#[test]
fn what_is_shown_to_a_backend_is_the_certificate_of_the_moment() {
    let (home, backends) = (Home::new(), Backends::new());
    let [servers, clients] = ["servers", "clients"].map(Authority::new);
    home.apply("app.yaml", &asking(&home, &backends, &servers, &clients));
    let shows = |name: &str| {
        let secret = tls_secret("default", "shown", &clients.issue(&[name]));
        home.apply("gateway.yaml", &[gateway(&home, "a", 24, &client_certificate("shown"), &ASKING), secret].concat());
    };
    let is_known_as = |client: &str| {
        let expected = format!("web for {client}");
        eventually(&expected, || match backend_at(&home, 24, ASKING[0]) {
            backend if backend == expected => Ok(()),
            other => Err(other),
        });
        for service in ASKING.iter().chain(&ASKING) {
            assert_eq!(backend_at(&home, 24, service), expected, "{service}");
        }
    };
    shows("first.example");
    let _router = home.start("router");
    is_known_as("first.example");
    shows("renewed.example");
    is_known_as("renewed.example");
    home.apply("gateway.yaml", &gateway(&home, "a", 24, "", &ASKING));
    let status = |service: &str| home.status(24, &format!("http://{service}.home.example/"));
    eventually("none", || match status(ASKING[0]) {
        status if status == "502" => Ok(()),
        other => Err(other),
    });
    for service in ASKING {
        assert_eq!(status(service), "502", "{service}");
    }
}
