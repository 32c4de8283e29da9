//! Which endpoint gets a request: by load, by health, by what the request brings.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tests::{
    Home, eventually,
    home::{app, classes, ingress, service, service_with},
};

use crate::{Backends, answers_once, field, raw_backend, tries::speaks_http_2};

const URL: &str = "http://app.home.example/";

/// What the admin port says of an endpoint of `app.home.example`; null where it does not know it.
fn explained(home: &Home, endpoint: SocketAddr) -> Value {
    let page = home.admin("router", &format!("/explain?url={URL}"));
    let page: Value = serde_json::from_str(&page).unwrap_or_default();
    let endpoints = page.pointer("/answers/0/backends/0/endpoints").and_then(Value::as_array).cloned();
    let mut endpoints = endpoints.unwrap_or_default().into_iter();
    endpoints.find(|it| it["address"] == endpoint.to_string()).unwrap_or_default()
}

/// The Service `web` in these manifests, with an annotation.
fn annotated(manifests: &str, annotation: &str) -> String {
    manifests.replace("{name: web, ", &format!("{{name: web, annotations: {{{annotation}}}, "))
}

/// Of so many requests, how many each of these backends had.
fn spread(home: &Home, requests: usize, more: &[&str], names: [&str; 2]) -> [usize; 2] {
    let url = format!("{URL}?n=[1-{requests}]");
    let answers = home.curl(21, &[more, &[&url]].concat());
    names.map(|name| answers.matches(&format!("\"backend\": \"{name}\"")).count())
}

/// The number that the metric of this name and label has.
fn metric(home: &Home, series: &str) -> usize {
    let metrics = home.admin("router", "/metrics");
    let line = metrics.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_dead_endpoint_among_live_ones_costs_no_request_and_is_soon_left_alone() {
    let home = Home::new();
    let backends = Backends::new();
    let [one, two] = ["one", "two"].map(|name| backends.start(&home, name));
    let dead = home.socket(10, 1);
    home.apply("app.yaml", &app(&[dead, one, two]));
    let router = home.start("router");
    let write = ["-X", "POST", "-d", "x"];
    let counts = [spread(&home, 100, &[], ["one", "two"]), spread(&home, 100, &write, ["one", "two"])];
    assert_eq!(counts.concat().iter().sum::<usize>(), 200, "{counts:?}\n{}", router.log());
    let failures = metric(&home, "doorward_http_upstream_failures_total{entry_point=\"lan\",route=\"default/app\"}");
    // Without ejection it would have been a third of them.
    assert!((1..20).contains(&failures), "{failures}");
    let ejections = metric(&home, "doorward_upstream_ejections_total{service=\"default/web\"}");
    assert_eq!(ejections, failures, "each is one, as the first ejects");
    eventually("what the admin port says of it", || {
        spread(&home, 10, &[], ["one", "two"]);
        match explained(&home, dead) {
            it if it["ejectedForMs"].is_number() => Ok(()),
            other => Err(other),
        }
    });
}

#[test]
fn an_endpoint_that_does_not_even_refuse_costs_no_request_either() {
    let home = Home::new();
    let backends = Backends::new();
    let well = backends.start(&home, "well");
    // Its queue is full, and the kernel drops whoever knocks.
    let socket = backends.0.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(home.socket(10, 0)).expect("a free port");
        socket.listen(0).expect("it is bound")
    });
    let lost = socket.local_addr().expect("a bound socket");
    let mut waiting = Vec::new();
    let wait = std::time::Duration::from_millis(200);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&lost, wait) {
        waiting.push(stream);
    }
    home.apply("app.yaml", &app(&[lost, well]));
    let router = home.start("router");
    let [well, _] = spread(&home, 40, &["-X", "POST", "-d", "x"], ["well", ""]);
    assert_eq!(well, 40, "{}", router.log());
    assert!(metric(&home, "doorward_upstream_ejections_total{service=\"default/web\"}") > 0);
}

#[test]
fn what_is_known_of_an_endpoint_survives_a_change_of_its_service() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    let silent = raw_backend(&home, |stream| drop(std::io::copy(&mut &stream, &mut std::io::sink())));
    let route = [classes(), ingress("app", "app.home.example", "web")].concat();
    home.apply("route.yaml", &route);
    home.apply("service.yaml", &service("web", &[silent]));
    let router = home.start("router");
    let mut waiting = Command::new("curl")
        .args(["-s", "-m", "60", URL])
        .args(home.connect_to(21))
        .stdout(Stdio::null())
        .spawn()
        .expect("curl is installed");
    let has_one = |what: &str| {
        eventually(what, || match explained(&home, silent) {
            it if it["inFlight"] == 1 => Ok(()),
            other => Err(other),
        })
    };
    has_one("the request on its way");
    let swaps = router.log().matches("routes changed").count();
    home.apply("service.yaml", &service_with("web", "kubernetes.io/ws", &[silent, web]));
    let checked = annotated(&service("web", &[silent, web]), "doorward.dev/health-check: /");
    home.apply("service.yaml", &checked);
    eventually("another cell", || match router.log().matches("routes changed").count() {
        now if now > swaps => Ok(()),
        now => Err(now),
    });
    has_one("the same request");
    waiting.kill().expect("it runs");
    waiting.wait().expect("it ends");
}

#[test]
fn an_endpoint_that_joins_others_begins_slowly_and_soon_has_its_share() {
    let home = Home::new();
    let backends = Backends::new();
    let [old, new] = ["old", "new"].map(|name| backends.start(&home, name));
    home.apply("app.yaml", &app(&[old]));
    let _router = home.start("router");
    assert!(explained(&home, old)["slowStartPercent"].is_null(), "nobody is slow at the router's own start");
    home.apply("app.yaml", &app(&[old, new]));
    eventually("the new endpoint", || match explained(&home, new) {
        Value::Null => Err(()),
        _ => Ok(()),
    });
    let [_, first] = spread(&home, 200, &[], ["old", "new"]);
    // It had at most this much of its fair share; null is all of it.
    let percent = explained(&home, new)["slowStartPercent"].as_u64().unwrap_or(100);
    let most = usize::try_from(percent).expect("at most 100") + 25;
    assert!(first <= most, "{first} of 200 at {percent} %");
    eventually("its full share", || match explained(&home, new) {
        it if it["slowStartPercent"].is_null() => Ok(()),
        other => Err(other),
    });
    let [_, then] = spread(&home, 200, &[], ["old", "new"]);
    assert!((60..=140).contains(&then), "{then} of 200");
}

#[test]
fn a_cookie_keeps_a_client_at_its_endpoint_until_that_is_gone() {
    let home = Home::new();
    let backends = Backends::new();
    let names = ["one", "two", "three"];
    let all = names.map(|name| backends.start(&home, name));
    let kept = |endpoints: &[SocketAddr]| annotated(&app(endpoints), "doorward.dev/affinity: cookie Kept");
    home.apply("app.yaml", &kept(&all));
    let router = home.start("router");
    let jar = home.path("jar").display().to_string();
    let curl = |more: &[&str]| home.curl(21, &[&["-i", "-b", &jar, "-c", &jar][..], more].concat());
    let who = |answer: &str| field(answer, "/backend");

    let first = curl(&[URL]);
    let cookie = first.lines().find(|line| line.to_lowercase().starts_with("set-cookie: ")).unwrap_or_default();
    assert!(cookie.contains("Kept=") && cookie.contains("; Path=/; HttpOnly"), "{first}");
    let mine = who(&first);
    let many = curl(&[&format!("{URL}?n=[1-20]")]);
    assert_eq!(many.matches(&format!("\"backend\": \"{mine}\"")).count(), 20, "{many}");
    assert!(!many.to_lowercase().contains("set-cookie"), "{many}");
    let others = home.curl(21, &[&format!("{URL}?n=[1-40]")]);
    assert!(names.iter().all(|name| others.contains(&format!("\"{name}\""))), "without it any: {others}");

    drop(router);
    let _router = home.start("router");
    assert_eq!(who(&curl(&[URL])), mine, "another router knows the cookie");

    let left: Vec<SocketAddr> = names.iter().zip(all).filter(|(name, _)| **name != mine).map(|(_, it)| it).collect();
    home.apply("app.yaml", &kept(&left));
    let (moved, _) = eventually("another endpoint", || match curl(&[URL]) {
        answer if who(&answer) != mine => Ok(answer),
        answer => Err(answer),
    });
    assert!(moved.to_lowercase().contains("set-cookie: kept="), "{moved}");
    let many = curl(&[&format!("{URL}?n=[1-20]")]);
    assert_eq!(many.matches(&format!("\"backend\": \"{}\"", who(&moved))).count(), 20, "{many}");
}

#[test]
fn a_header_keeps_what_belongs_together_at_one_endpoint() {
    let home = Home::new();
    let backends = Backends::new();
    let all = ["one", "two"].map(|name| backends.start(&home, name));
    let hashed = ingress("app", "app.home.example", "web").replace(
        "name: app, ",
        "name: app, annotations: {nginx.ingress.kubernetes.io/upstream-hash-by: $http_x_user}, ",
    );
    home.apply("app.yaml", &[classes(), service("web", &all), hashed].concat());
    let _router = home.start("router");
    let of_user = |user: usize| spread(&home, 10, &["-H", &format!("X-User: {user}")], ["one", "two"]);
    let users: Vec<[usize; 2]> = (0..24).map(of_user).collect();
    assert!(users.iter().all(|it| [[10, 0], [0, 10]].contains(it)), "{users:?}");
    assert!(users.contains(&[10, 0]) && users.contains(&[0, 10]), "{users:?}");
    let [one, two] = spread(&home, 40, &[], ["one", "two"]);
    assert!(one > 0 && two > 0, "without it any");
}

/// Of two endpoints that speak this, one says 500 to everything, if not worse.
fn check_health(app_protocol: &str) {
    let home = Home::new();
    let backends = Backends::new();
    let well = backends.start(&home, "well");
    let ill = answers_once(&home, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    let web = service_with("web", app_protocol, &[well, ill]);
    let checked = annotated(&web, "doorward.dev/health-check: /healthz");
    home.apply("app.yaml", &[classes(), checked, ingress("app", "app.home.example", "web")].concat());
    let _router = home.start("router");
    eventually("failed checks", || match explained(&home, ill) {
        it if it["failsHealthCheck"] == true => Ok(()),
        other => Err(other),
    });
    assert_eq!(spread(&home, 40, &[], ["well", "ill"]), [40, 0]);
    assert!(explained(&home, well)["failsHealthCheck"].is_null());
}

#[test]
fn an_endpoint_that_fails_its_health_check_gets_nothing() {
    check_health("");
}

#[test]
fn health_is_asked_for_in_the_protocol_of_the_backend() {
    check_health("kubernetes.io/h2c");
}

#[test]
fn health_is_asked_for_over_a_connection_of_its_own_each_time() {
    let home = Home::new();
    let streams = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&streams);
    // It never answers, so each check ends at its limit.
    let web = speaks_http_2(&home, move |_, head| {
        seen.lock().expect("no panic").push(head[8]);
        Ok(())
    });
    let checked = annotated(&service_with("web", "kubernetes.io/h2c", &[web]), "doorward.dev/health-check: /healthz");
    home.apply("app.yaml", &[classes(), checked, ingress("app", "app.home.example", "web")].concat());
    let _router = home.start("router");
    eventually("a second check", || match streams.lock().expect("no panic").clone() {
        checks if checks.len() < 2 => Err(checks),
        checks => {
            assert_eq!(checks, [1, 1], "the first stream of its connection");
            Ok(())
        }
    });
}

#[test]
fn a_route_keeps_a_session_by_a_cookie_or_a_header_until_its_time_is_over() {
    let home = Home::new();
    let backends = Backends::new();
    let endpoints = ["one", "two", "three"].map(|name| backends.start(&home, name));
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: home}]
  hostnames: [app.home.example]
  rules:
  - matches: [{path: {value: /cookie}}]
    sessionPersistence: {absoluteTimeout: 1h, cookie: {name: kept, lifetimeType: Permanent}}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /header}}]
    sessionPersistence: {type: Header, absoluteTimeout: 1h, header: {name: X-Session}}
    backendRefs: [{name: web, port: 80}]
";
    home.apply("app.yaml", &[service("web", &endpoints), home.gateway(), route.to_owned()].concat());
    let _router = home.start("router");
    let given = |answer: &str, field: &str| {
        let lower = answer.to_lowercase();
        lower.lines().find_map(|line| line.strip_prefix(field).map(str::to_owned)).unwrap_or_default()
    };
    let many = |path: &str, sent: &str| {
        let answers = home.curl(24, &["-i", "-H", sent, &format!("http://app.home.example{path}?n=[1-30]")]);
        let who = ["one", "two", "three"].map(|name| answers.matches(&format!("\"backend\": \"{name}\"")).count());
        (answers, who)
    };

    let cookie = given(&home.curl(24, &["-i", "http://app.home.example/cookie"]), "set-cookie: ");
    assert!(cookie.contains("; path=/; httponly; max-age=3600"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap_or_default();
    let (answers, who) = many("/cookie", &format!("Cookie: {cookie}"));
    assert!(who.contains(&30) && given(&answers, "set-cookie: ").is_empty(), "{who:?} {answers}");

    let session = given(&home.curl(24, &["-i", "http://app.home.example/header"]), "x-session: ");
    let (answers, who) = many("/header", &format!("X-Session: {session}"));
    assert!(who.contains(&30) && given(&answers, "x-session: ").is_empty(), "{who:?} {answers}");

    // Its time was over in 1970.
    let over = format!("{}.1", session.split('.').next().unwrap_or_default());
    let (answers, who) = many("/header", &format!("X-Session: {over}"));
    assert!(!who.contains(&30) && !given(&answers, "x-session: ").is_empty(), "{who:?} {answers}");
}
