//! Browsers that ask for pages of other origins.

use tests::{Home, home::service};

use crate::{Backends, answers_once};

const URL: &str = "http://app.home.example";

/// The header fields of an answer that speak of origins, sorted, and its status line before them.
fn told(answer: &str) -> Vec<String> {
    let lower = answer.to_lowercase();
    let head = lower.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.lines().map(str::to_owned);
    let status = lines.next().unwrap_or_default();
    let mut about: Vec<String> =
        lines.filter(|line| line.starts_with("access-control-") || line.starts_with("vary")).collect();
    about.sort();
    [vec![status.trim().to_owned()], about].concat()
}

#[test]
fn a_preflight_is_answered_by_the_router_and_an_answer_says_who_may_use_it() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let own = answers_once(
        &home,
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Max-Age: 9\r\nVary: accept\r\nContent-Length: 2\r\n\r\nok",
    );
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: home}]
  hostnames: [app.home.example]
  rules:
  - matches: [{path: {value: /some}}]
    filters:
    - type: CORS
      cors:
        allowOrigins: [\"https://www.foo.com\", \"https://*.bar.com\"]
        allowCredentials: true
        allowMethods: [GET, OPTIONS]
        allowHeaders: [x-one, x-two]
        exposeHeaders: [x-three, x-four]
        maxAge: 3600
    backendRefs: [{name: own, port: 80}]
  - matches: [{path: {value: /moved}}]
    filters:
    - {type: CORS, cors: {allowOrigins: [\"*\"], allowMethods: [\"*\"]}}
    - {type: RequestRedirect, requestRedirect: {hostname: new.home.example}}
  - matches: [{path: {value: /backend}}]
    backendRefs: [{name: web, port: 80, filters: [{type: CORS, cors: {allowOrigins: [\"https://www.foo.com\"]}}]}]
  - matches: [{path: {value: /gone}}]
    filters: [{type: CORS, cors: {allowOrigins: [\"https://www.foo.com\"]}}]
    backendRefs: [{name: gone, port: 80}]
";
    home.apply(
        "app.yaml",
        &[service("web", &[web]), service("own", &[own]), home.gateway(), route.to_owned()].concat(),
    );
    let _router = home.start("router");
    let preflight = |path: &str, origin: &str| {
        let origin = format!("origin: {origin}");
        let asks = ["-H", "access-control-request-method: GET", "-H", "access-control-request-headers: x-one"];
        told(&home.curl(24, &[&["-i", "-X", "OPTIONS", "-H", &origin, &format!("{URL}{path}")][..], &asks].concat()))
    };
    let simple = |method: &str, path: &str, origin: &str| {
        let origin = format!("origin: {origin}");
        told(&home.curl(24, &["-i", "-X", method, "-H", &origin, &format!("{URL}{path}")]))
    };
    let varies = "vary: origin, access-control-request-method, access-control-request-headers";
    for origin in ["https://www.foo.com", "https://a.b.bar.com"] {
        let allowed = format!("access-control-allow-origin: {origin}");
        assert_eq!(
            preflight("/some", origin),
            [
                "http/1.1 204 no content",
                "access-control-allow-credentials: true",
                "access-control-allow-headers: x-one, x-two",
                "access-control-allow-methods: get, options",
                &allowed,
                "access-control-expose-headers: x-three, x-four",
                "access-control-max-age: 3600",
                varies,
            ]
        );
        let shared = [
            "http/1.1 200 ok",
            "access-control-allow-credentials: true",
            &allowed,
            "access-control-expose-headers: x-three, x-four",
            "vary: accept",
            "vary: origin",
        ];
        assert_eq!(simple("GET", "/some", origin), shared);
        // Whoever asks for no other method's sake asks the backend.
        assert_eq!(simple("OPTIONS", "/some", origin), shared);
    }
    assert_eq!(preflight("/some", "https://bar.com"), ["http/1.1 204 no content", varies]);
    assert_eq!(simple("GET", "/some", "https://bar.com"), ["http/1.1 200 ok", "vary: accept", "vary: origin"]);

    let moved = preflight("/moved", "https://x.example:12345");
    assert!(moved[0].contains("204") && moved.contains(&"access-control-allow-origin: *".to_owned()), "{moved:?}");
    assert_eq!(simple("GET", "/moved", "https://x.example"), ["http/1.1 302 found", "access-control-allow-origin: *"]);
    let foo = "access-control-allow-origin: https://www.foo.com";
    assert!(preflight("/backend", "https://www.foo.com").contains(&foo.to_owned()));
    assert_eq!(simple("GET", "/backend", "https://www.foo.com"), ["http/1.1 200 ok", foo, "vary: origin"]);
    // Scripts may read why they get nothing.
    assert_eq!(
        simple("GET", "/gone", "https://www.foo.com"),
        ["http/1.1 500 internal server error", foo, "vary: origin"]
    );

    // The connection stays good after an answer without a body.
    let twice =
        ["-i", "-X", "OPTIONS", "-H", "origin: https://www.foo.com", "-H", "access-control-request-method: GET"];
    let url = format!("{URL}/some?n=[1-2]");
    let answers = home.curl(24, &[&twice[..], &["-w", "%{num_connects}\n", &url]].concat());
    assert_eq!((answers.matches("204 No Content").count(), answers.matches("\n0\n").count()), (2, 1), "{answers}");
}
