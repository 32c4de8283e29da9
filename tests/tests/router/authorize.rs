//! Requests that somebody has to consent to.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::mpsc::{Receiver, channel},
};

use tests::{
    Home, PATIENCE,
    home::{service, service_with},
};

use crate::{Backends, field, raw_backend, read_head, tries::length};

const URL: &str = "http://app.home.example";

/// Consents to who brings a cookie, and tells what it was asked.
fn authorizer(home: &Home) -> (SocketAddr, Receiver<String>) {
    let (told, asked) = channel();
    let address = raw_backend(home, move |mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let mut body = vec![0; length(&head)];
            if stream.read_exact(&mut body).is_err() {
                return;
            }
            let is_known = head.to_lowercase().contains("\r\ncookie: known");
            let _ = told.send(head + &String::from_utf8_lossy(&body));
            let answer = if is_known {
                "HTTP/1.1 200 OK\r\nX-User: jo\r\nX-Other: other\r\nContent-Length: 2\r\n\r\nok"
            } else {
                "HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 9\r\n\r\nlog in..."
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
    let (auth, asked) = authorizer(&home);
    let services = [
        service("web", &[web]),
        service("auth", &[auth]),
        service("dead", &[home.socket(10, 1)]),
        service("empty", &[]),
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
    let _ = next();

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
    let log = router.log();
    assert!(log.contains("\"error\":\"not authorized\""), "{log}");
}
