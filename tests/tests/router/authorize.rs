//! Requests that somebody has to consent to.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::mpsc::{Receiver, channel},
};

use tests::{
    Home, PATIENCE, certificate,
    home::{HTTP, HTTPS, service, service_with},
    tls_secret,
};

use crate::{Backends, field, raw_backend, read_head, tries::length};

const URL: &str = "http://app.home.example";
const KNOWN: &str = "cookie: known";

/// Consents to who brings this line, and tells what it was asked.
fn authorizer(home: &Home, line: &'static str) -> (SocketAddr, Receiver<String>) {
    let (told, asked) = channel();
    let address = raw_backend(home, move |mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let mut body = vec![0; length(&head)];
            if stream.read_exact(&mut body).is_err() {
                return;
            }
            let is_known = head.to_lowercase().contains(&format!("\r\n{line}\r\n"));
            let _ = told.send(head + &String::from_utf8_lossy(&body));
            let answer = if is_known {
                "HTTP/1.1 200 OK\r\nX-User: jo\r\nX-Other: other\r\nContent-Length: 2\r\n\r\nok"
            } else {
                "HTTP/1.1 302 Found\r\nServer: auth\r\nX-Request-Id: 1\r\nLocation: https://login.example/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 9\r\n\r\nlog in..."
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

fn route(home: &Home, services: &[String]) {
    let rule = |path: &str, service: &str, more: &str| {
        format!(
            "  - matches: [{{path: {{value: {path}}}}}]
    filters:
    - type: ExternalAuth
      externalAuth:
        protocol: HTTP
        backendRef: {{name: {service}, port: 80}}
        http: {{path: /check, allowedHeaders: [cookie], allowedResponseHeaders: [x-user]}}{more}
    backendRefs: [{{name: web, port: 80}}]
"
        )
    };
    let rules = [
        rule("/plain", "auth", ""),
        rule("/body", "auth", "\n        forwardBody: {maxSize: 1000}"),
        rule("/h2c", "h2c", ""),
        rule("/dead", "dead", ""),
        rule("/empty", "empty", ""),
        rule("/gone", "gone", ""),
        rule("/some", "some", ""),
        rule("/mute", "mute", "\n    timeouts: {request: 300ms}"),
    ];
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: home}]
  hostnames: [app.home.example]
  rules:
";
    home.apply("app.yaml", &[&services.concat(), &*home.gateway(), route, &rules.concat()].concat());
}

#[test]
fn a_request_goes_on_with_consent_and_what_was_said_of_its_client_and_is_answered_without() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let h2c = backends.start(&home, "h2c");
    let (auth, asked) = authorizer(&home, KNOWN);
    let mute = raw_backend(&home, |mut stream| while read_head(&mut stream).is_some() {});
    let services = [
        service("web", &[web]),
        service("auth", &[auth]),
        service("dead", &[home.socket(10, 1)]),
        service("empty", &[]),
        service("mute", &[mute]),
        service("some", &[home.socket(10, 1), home.socket(10, 2), h2c]),
        service_with("h2c", "kubernetes.io/h2c", &[h2c]),
    ];
    route(&home, &services);
    let router = home.start("router");
    let next = || asked.recv_timeout(PATIENCE).expect("a question").to_lowercase();
    let known = ["-H", "cookie: known", "-H", "authorization: Basic x", "-H", "x-user: admin", "-H", "x-secret: no"];

    let plain = format!("{URL}/plain/a%2Fb?q=1");
    let answer = home.curl(24, &[&known[..], &["-X", "PUT", "-d", "its body", &plain]].concat());
    assert_eq!(field(&answer, "/headers/x-user"), "jo", "{answer}\n{}", router.log());
    assert_eq!(
        (field(&answer, "/headers/x-other"), field(&answer, "/headers/content-length")),
        (String::new(), "8".to_owned())
    );
    let question = next();
    assert!(question.starts_with("put /check/plain/a%2fb?q=1 http/1.1\r\n"), "{question}");
    for line in ["host: app.home.example", "content-length: 0", "authorization: basic x", "cookie: known"] {
        assert!(question.contains(&format!("\r\n{line}\r\n")), "{line}: {question}");
    }
    assert!(
        !question.contains("x-secret") && !question.contains("x-user") && question.ends_with("\r\n\r\n"),
        "{question}"
    );

    let refused = home.curl(24, &["-i", "-d", "its body", &plain]).to_lowercase();
    assert!(refused.starts_with("http/1.1 302") && refused.ends_with("\r\n\r\nlog in..."), "{refused}");
    for line in ["location: https://login.example/", "set-cookie: a=1", "set-cookie: b=2", "content-length: 9"] {
        assert!(refused.contains(&format!("\r\n{line}\r\n")), "{line}: {refused}");
    }
    assert_eq!((refused.matches("\r\nserver: ").count(), refused.matches("\r\nx-request-id: ").count()), (1, 1));
    let _ = next();

    // Who consents and who answers see the same path, however it is written.
    let encoded = format!("{URL}/%70lain/%61dmin%2Fb?q=%61");
    let answer = home.curl(24, &[&known[..], &[&encoded]].concat());
    assert!(field(&answer, "/path").starts_with("/plain/admin%2Fb"), "{answer}");
    let question = next();
    assert!(question.starts_with("get /check/plain/admin%2fb?q=%61 http/1.1\r\n"), "{question}");

    // Anybody's body is seen by both, or by nobody.
    for chunked in [&[][..], &["-H", "transfer-encoding: chunked"]] {
        let post = |body: &str| {
            let url = format!("{URL}/body/count");
            home.curl(24, &[&known[..], chunked, &["-w", "%{http_code}", "-d", body, &url]].concat())
        };
        let answer = post(&"x".repeat(1000));
        assert!(answer.ends_with("200"), "{answer}");
        assert!(next().ends_with(&format!("\r\n\r\n{}", "x".repeat(1000))));
        let longer = post(&"x".repeat(1001));
        assert!(longer.ends_with("413"), "{longer}");
    }
    assert!(asked.try_recv().is_err(), "nobody was asked about what is too long");

    // 200 of whoever speaks HTTP/2, too; all who cannot be asked consent to nothing.
    assert_eq!(home.status(24, &format!("{URL}/h2c")), "200");
    for (path, status) in [("/dead", "503"), ("/empty", "503"), ("/gone", "500")] {
        assert_eq!(home.status(24, &format!("{URL}{path}")), status, "{path}");
    }
    for _ in 0..10 {
        assert_eq!(home.status(24, &format!("{URL}/some")), "200", "one of its endpoints is there");
    }
    assert_eq!(home.status(24, &format!("{URL}/mute")), "504", "the rule's time is over before the authorizer's");
    let log = router.log();
    assert!(log.contains("\"error\":\"not authorized\""), "{log}");
}

/// Listeners for three hosts: one that asks two in a row, one that asks somebody who is not there, and one for all else.
fn gateway_with_filters(home: &Home) -> String {
    let filter = |service: &str, headers: &str, more: &str| {
        format!(
            "
      - type: ExternalAuth
        externalAuth:
          protocol: HTTP
          backendRef: {{name: {service}, port: 80}}
          http: {{allowedHeaders: [{headers}], allowedResponseHeaders: [x-user]}}{more}"
        )
    };
    let body = "\n          forwardBody: {maxSize: 1000}";
    let listener = |name: &str, filters: &str| {
        format!(
            "
  - name: {name}
    port: {HTTP}
    protocol: HTTP
    hostname: {name}.home.example
    filters:
      requests:{filters}"
        )
    };
    let guarded = listener("guarded", &[filter("first", "cookie", body), filter("second", "x-user", body)].concat());
    let closed = listener("closed", &[filter("first", "cookie", ""), filter("gone", "", "")].concat());
    let open = format!("\n  - {{name: open, port: {HTTP}, protocol: HTTP}}");
    let listeners = format!("  listeners:{guarded}{closed}{open}");
    let gateway = home.gateway();
    let lines = gateway.lines().map(|line| if line.starts_with("  listeners:") { &listeners } else { line });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_listener_asks_about_all_its_requests_before_any_route_is_looked_for() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let (first, first_asked) = authorizer(&home, KNOWN);
    let (second, second_asked) = authorizer(&home, "x-user: jo");
    let services = [service("web", &[web]), service("first", &[first]), service("second", &[second])];
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: home}]
  rules:
  - matches: [{path: {value: /in}, headers: [{name: x-user, value: jo}]}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /again}, headers: [{name: x-user, value: jo}]}]
    filters:
    - type: ExternalAuth
      externalAuth:
        protocol: HTTP
        backendRef: {name: second, port: 80}
        http: {allowedHeaders: [x-user]}
        forwardBody: {maxSize: 500}
    backendRefs: [{name: web, port: 80}]
";
    home.apply("app.yaml", &[&services.concat(), &*gateway_with_filters(&home), route].concat());
    let router = home.start("router");
    let status = |url: &str, arguments: &[&str]| {
        home.curl(24, &[arguments, &["-o", "/dev/null", "-w", "%{http_code}", url]].concat())
    };
    let known = ["-H", KNOWN, "-H", "x-user: admin"];
    let next = |asked: &Receiver<String>| asked.recv_timeout(PATIENCE).expect("a question").to_lowercase();

    // What routes match is what was said of the client, by whatever protocol it comes.
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let url = "http://guarded.home.example/in?q=1";
        let answer = home.curl(24, &[&known[..], &[protocol, "-X", "PUT", "-d", "its body", url]].concat());
        assert_eq!(field(&answer, "/headers/x-user"), "jo", "{answer}\n{}", router.log());
        let (one, two) = (next(&first_asked), next(&second_asked));
        assert!(one.starts_with("put /in?q=1 http/1.1\r\n") && one.ends_with("\r\n\r\nits body"), "{one}");
        assert!(!one.contains("x-user") && two.contains("\r\nx-user: jo\r\n"), "{one}{two}");
        assert!(two.ends_with("\r\n\r\nits body"), "a body is there for all of them: {two}");
    }

    // Who is unknown learns nothing of the routes, and brings no name of its own.
    for path in ["/in", "/nowhere"] {
        assert_eq!(status(&format!("http://guarded.home.example{path}"), &["-H", "x-user: jo"]), "302", "{path}");
        let _ = next(&first_asked);
    }
    assert!(second_asked.try_recv().is_err(), "nobody is asked about who was refused");
    assert_eq!(status("http://guarded.home.example/nowhere", &known), "404");
    let _ = (next(&first_asked), next(&second_asked));

    // A rule asks once more; nobody gets a body that is too long for one of them.
    for (path, length, expected) in
        [("/again", 500, "200"), ("/again", 501, "413"), ("/in", 1000, "200"), ("/in", 1001, "413")]
    {
        let url = format!("http://guarded.home.example{path}/count");
        let found = status(&url, &[&known[..], &["-d", &"x".repeat(length)]].concat());
        assert_eq!(found, expected, "{path} {length}");
    }

    // Where one of them cannot be had nobody gets in, and no other listener takes the requests.
    for arguments in [&known[..], &["-H", "x-user: jo"]] {
        assert_eq!(status("http://closed.home.example/in", arguments), "500");
    }
    assert_eq!(status("http://open.home.example/in", &["-H", "x-user: jo"]), "200");

    let explained = home.admin("router", "/explain?url=http://guarded.home.example/in");
    assert!(explained.contains("asksFirst") && explained.contains("default/first:80"), "{explained}");
    let explained = home.admin("router", "/explain?url=http://closed.home.example/in");
    assert!(explained.contains("default/gone, which does not exist"), "{explained}");
}

#[test]
fn a_listener_of_a_listener_set_asks_too_and_never_about_what_is_misdirected() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let (auth, asked) = authorizer(&home, KNOWN);
    let secret = tls_secret("default", "home-tls", &certificate(&["*.home.example"]));
    let tls = "tls: {certificateRefs: [{name: home-tls}]}";
    let listeners = format!(
        "  allowedListeners: {{namespaces: {{from: Same}}}}
  listeners: [{{name: open, hostname: open.home.example, port: {HTTPS}, protocol: HTTPS, {tls}}}]"
    );
    let gateway = home.gateway();
    let lines = gateway.lines().map(|line| if line.starts_with("  listeners:") { &listeners } else { line });
    let gateway: String = lines.map(|line| format!("{line}\n")).collect();
    let rest = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: more}}
spec:
  parentRef: {{name: home}}
  listeners:
  - name: guarded
    hostname: guarded.home.example
    port: {HTTPS}
    protocol: HTTPS
    {tls}
    filters:
      requests:
      - type: ExternalAuth
        externalAuth: {{protocol: HTTP, backendRef: {{name: auth, port: 80}}, http: {{allowedHeaders: [cookie]}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app}}
spec:
  parentRefs: [{{name: home}}, {{kind: ListenerSet, name: more}}]
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
"
    );
    home.apply("app.yaml", &[gateway, service("web", &[web]), service("auth", &[auth]), secret, rest].concat());
    let router = home.start("router");
    let status = |arguments: &[&str]| {
        home.curl(24, &[arguments, &["-o", "/dev/null", "-w", "%{http_code}", "-H", KNOWN]].concat())
    };
    for protocol in ["--http1.1", "--http2"] {
        let misdirected = status(&[protocol, "-H", "host: guarded.home.example", "https://open.home.example/"]);
        assert_eq!(misdirected, "421", "{}", router.log());
        assert_eq!(status(&[protocol, "https://open.home.example/"]), "200");
        assert!(asked.try_recv().is_err(), "nobody is asked about requests of another listener");
        assert_eq!(status(&[protocol, "https://guarded.home.example/"]), "200");
        assert!(asked.recv_timeout(PATIENCE).is_ok());
    }
    assert_eq!(home.status(24, "https://guarded.home.example/"), "302");
}
