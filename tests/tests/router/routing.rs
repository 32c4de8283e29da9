//! Which backend gets a request, and what the router answers itself.

use tests::{
    Home,
    home::{app, classes, ingress, ingress_of, service},
};

use crate::{Backends, field};

#[test]
fn requests_go_by_host_and_path_and_the_rest_is_told_why_not() {
    let home = Home::new();
    let backends = Backends::new();
    let [web, api] = ["web", "api"].map(|name| backends.start(&home, name));
    let refused = home.socket(10, 1);
    let apps = format!(
        "{}{}{}{}{}{}{}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: app}}
spec:
  ingressClassName: internal
  rules:
  - host: app.home.example
    http:
      paths:
      - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}
      - {{path: /api, pathType: Prefix, backend: {{service: {{name: api, port: {{number: 80}}}}}}}}
      - {{path: /gone, pathType: Prefix, backend: {{service: {{name: gone, port: {{number: 80}}}}}}}}
      - {{path: /empty, pathType: Prefix, backend: {{service: {{name: empty, port: {{number: 80}}}}}}}}
      - {{path: /dead, pathType: Exact, backend: {{service: {{name: dead, port: {{number: 80}}}}}}}}
",
        classes(),
        service("web", &[web]),
        service("api", &[api]),
        service("empty", &[]),
        service("dead", &[refused]),
        ingress("wild", "*.wild.home.example", "web"),
        ingress_of("external", "outside", "outside.home.example", "web"),
    );
    home.apply("apps.yaml", &apps);
    let router = home.start("router");
    for (url, backend) in [
        ("http://app.home.example/", "web"),
        ("http://app.home.example/api/v1?q=1", "api"),
        ("http://app.home.example/apis", "web"),
        ("http://APP.home.example:80/api", "api"),
        ("http://x.wild.home.example/", "web"),
    ] {
        assert_eq!(field(&home.curl(21, &[url]), "/backend"), backend, "{url}\n{}", router.log());
    }
    for (url, status, says) in [
        ("http://nothing.home.example/", "404", "no route for nothing.home.example/ on entry point lan"),
        ("http://a.b.wild.home.example/", "404", "no route"),
        ("http://app.home.example/gone", "500", "references Service default/gone, which does not exist"),
        ("http://app.home.example/empty", "503", "no ready endpoint of Service default/empty:80"),
        ("http://app.home.example/dead", "502", "the backend refuses the connection"),
        ("http://app.home.example/a%2", "400", "percent sign"),
    ] {
        let answer = home.curl(21, &["-i", url]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{url}\n{answer}");
        assert!(answer.contains(says) && answer.contains("\nrequest "), "{url}\n{answer}");
    }
    // The tunnel has the external app alone.
    assert_eq!(home.status(23, "http://outside.home.example/"), "200");
    assert_eq!(home.status(23, "http://app.home.example/"), "404");
    assert_eq!(home.status(21, "http://outside.home.example/"), "200");

    let explained = home.admin("router", "/explain?url=http://app.home.example/api/x");
    assert!(explained.contains("Ingress default/app") && explained.contains("default/api:80"), "{explained}");
    let problems = home.admin("router", "/problems");
    assert!(
        problems.contains("Ingress default/app: references Service default/gone, which does not exist"),
        "{problems}"
    );
    let metrics = home.admin("router", "/metrics");
    assert!(
        metrics.contains("doorward_http_requests_total{entry_point=\"lan\",route=\"default/app\",status=\"5xx\"} 3"),
        "{metrics}"
    );
    assert!(!metrics.contains("nothing.home.example"), "hosts that clients make up are no series");
    let log = router.log();
    let line = log.lines().find(|line| line.contains("\"/api/v1\"")).unwrap_or_default();
    assert!(line.contains("\"status\":200") && line.contains("\"route\":\"Ingress default/app rule 1\""), "{log}");
}

#[test]
fn a_gateway_route_is_matched_by_method_header_and_query_and_filtered() {
    let home = Home::new();
    let backends = Backends::new();
    let [one, two] = ["one", "two"].map(|name| backends.start(&home, name));
    home.apply("services.yaml", &format!("{}{}", service("one", &[one]), service("two", &[two])));
    home.apply("gateway.yaml", &home.gateway());
    home.apply(
        "route.yaml",
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: home}]
  hostnames: [app.home.example]
  rules:
  - backendRefs: [{name: one, port: 80}]
  - matches: [{method: POST}, {headers: [{name: X-Env, value: canary}]}, {queryParams: [{name: v, value: \"2\"}]}]
    backendRefs: [{name: two, port: 80}]
  - matches: [{headers: [{name: Remote-User, value: admin}]}]
    backendRefs: [{name: two, port: 80}]
  - matches: [{path: {value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 8443, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
  - matches: [{path: {value: /re}}]
    filters:
    - {type: URLRewrite, urlRewrite: {hostname: inner.local, path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Set, value: set}], add: [{name: X-Add, value: added}], remove: [X-Remove]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Answer, value: ours}], remove: [Content-Type]}}
    backendRefs: [{name: one, port: 80}]
  - matches: [{path: {value: /own}}]
    filters: [{type: URLRewrite, urlRewrite: {hostname: inner.local, path: {type: ReplaceFullPath, replaceFullPath: /rule}}}]
    backendRefs:
    - name: one
      port: 80
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /backend}}}]
  - matches: [{path: {value: /each}}]
    backendRefs:
    - name: one
      port: 80
      filters:
      - {type: URLRewrite, urlRewrite: {hostname: one.local, path: {type: ReplaceFullPath, replaceFullPath: /full}}}
      - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-For, value: one}]}}
      - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: X-From, value: one}]}}
    - name: two
      port: 80
      filters: [{type: RequestRedirect, requestRedirect: {hostname: two.home.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /moved}}}]
  - matches: [{path: {value: /weights}}]
    backendRefs: [{name: one, port: 80, weight: 3}, {name: two, port: 80, weight: 1}, {name: gone, port: 80, weight: 0}]
",
    );
    let _router = home.start("router");
    let url = "http://app.home.example";
    let backend = |arguments: &[&str]| field(&home.curl(24, arguments), "/backend");
    assert_eq!(backend(&[&format!("{url}/")]), "one");
    assert_eq!(backend(&["-X", "POST", &format!("{url}/")]), "two");
    assert_eq!(backend(&["-H", "x-env: canary", &format!("{url}/")]), "two");
    assert_eq!(backend(&[&format!("{url}/?a=1&v=2")]), "two");
    assert_eq!(backend(&["-H", "remote-user: admin", &format!("{url}/")]), "one", "who it is only the router says");

    let redirect = home.curl(24, &["-i", &format!("{url}/old/a?q=1")]);
    assert!(
        redirect.starts_with("HTTP/1.1 301") && redirect.contains("https://app.home.example:8443/new/a?q=1"),
        "{redirect}"
    );

    let answer = home.curl(24, &["-i", "-H", "X-Remove: me", &format!("{url}/re/a?q=1")]);
    assert_eq!(field(&answer, "/path"), "/x/a?q=1");
    assert_eq!(field(&answer, "/host"), "inner.local");
    assert_eq!(field(&answer, "/headers/x-set") + &field(&answer, "/headers/x-add"), "setadded");
    assert_eq!(field(&answer, "/headers/x-remove"), "");
    let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
    assert!(head.contains("x-answer: ours") && !head.contains("content-type"), "{answer}");

    let own = home.curl(24, &[&format!("{url}/own/a?q=1")]);
    assert_eq!(field(&own, "/path"), "/backend/a?q=1", "the backend's own rewrite, and the query");
    assert_eq!(field(&own, "/host"), "inner.local", "what it does not say is the rule's");

    let each: Vec<String> = (0..50).map(|_| home.curl(24, &["-i", &format!("{url}/each/a?q=1")])).collect();
    let (forwarded, redirected): (Vec<_>, Vec<_>) = each.iter().partition(|answer| answer.starts_with("HTTP/1.1 200"));
    assert!(forwarded.len() > 5 && redirected.len() > 5, "{each:?}");
    for answer in forwarded {
        assert_eq!((field(answer, "/path"), field(answer, "/host")), ("/full?q=1".to_owned(), "one.local".to_owned()));
        assert!(field(answer, "/headers/x-for") == "one" && answer.to_lowercase().contains("x-from: one"), "{answer}");
    }
    for answer in redirected {
        let location = "location: http://two.home.example:8080/moved/a?q=1";
        assert!(answer.starts_with("HTTP/1.1 302") && answer.to_lowercase().contains(location), "{answer}");
        assert!(!answer.contains("x-from"), "{answer}");
    }

    let urls = format!("{url}/weights?n=[1-200]");
    let answers = home.curl(24, &[&urls]);
    let ones = answers.matches("\"backend\": \"one\"").count();
    let twos = answers.matches("\"backend\": \"two\"").count();
    assert_eq!(ones + twos, 200);
    assert!((120..=180).contains(&ones), "3 to 1 of 200 gave {ones} to {twos}");
    // Nothing of the Gateway is on the LAN door.
    assert_eq!(home.status(21, &format!("{url}/")), "404");
}

#[test]
fn every_endpoint_is_used_and_a_dead_one_is_passed_over() {
    let home = Home::new();
    let backends = Backends::new();
    let [one, two] = ["one", "two"].map(|name| backends.start(&home, name));
    let dead = home.socket(10, 1);
    home.apply("app.yaml", &app(&[one, two]));
    let _router = home.start("router");
    let answers = home.curl(21, &["http://app.home.example/?n=[1-20]"]);
    assert!(answers.contains("\"one\"") && answers.contains("\"two\""), "{answers}");

    home.apply("app.yaml", &app(&[dead, two]));
    tests::eventually("the other endpoints", || match home.admin("router", "/explain?url=http://app.home.example/") {
        explained if explained.contains(&dead.to_string()) => Ok(()),
        other => Err(other),
    });
    let statuses = home.curl(
        21,
        &["-X", "POST", "-d", "x", "-o", "/dev/null", "-w", "%{http_code} ", "http://app.home.example/?n=[1-20]"],
    );
    assert_eq!(statuses.matches("200").count(), 20, "{statuses}");
}
