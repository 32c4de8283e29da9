//! The same of GRPCRoutes, as they are translated.

use std::{cmp::Reverse, fmt::Write};

use k8s::{
    config,
    model::Listener,
    source::{self, Kinds, manifest},
    translate::translate,
};
use proptest::prelude::*;

use super::{Fields, found, table};

#[derive(Clone, Debug)]
struct Call {
    kind: &'static str,
    service: Option<&'static str>,
    method: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
}

/// Each rule with its matches; none of them takes every call.
type Rules = Vec<Vec<Call>>;

/// `a.Api/Get`, `a.Api/*`, `*/Get`, each perhaps with `x=1`; `~` before it makes expressions of it.
fn call(text: &str) -> Call {
    let mut words = text.split(' ').map(|word| &*String::from(word).leak());
    let name = words.next().expect("a call");
    let (kind, name) = name.strip_prefix('~').map_or(("Exact", name), |name| ("RegularExpression", name));
    let (service, method) = name.split_once('/').expect("service/method");
    let named = |part: &'static str| Some(part).filter(|part| *part != "*");
    let headers = words.map(|word| word.split_once('=').expect("name=value")).collect();
    Call { kind, service: named(service), method: named(method), headers }
}

/// The listener that holds the routes, each with the day of its creation.
fn listener(routes: &[(u32, Rules)]) -> Listener {
    let mut text = "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: doorward}
spec: {controllerName: doorward.dev/gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: home, namespace: default}
spec:
  gatewayClassName: doorward
  addresses: [{value: 192.168.8.24}]
  listeners: [{name: http, port: 80, protocol: HTTP}]
"
    .to_owned();
    for (number, (day, rules)) in routes.iter().enumerate() {
        let rules: Vec<String> = rules.iter().map(|calls| rule(calls)).collect();
        write!(
            text,
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: r{number}, namespace: default, creationTimestamp: '2026-01-0{day}T00:00:00Z'}}
spec: {{parentRefs: [{{name: home}}], rules: [{}]}}
",
            rules.join(", ")
        )
        .expect("text");
    }
    let config = "zones: [home.example]\nentryPoints: {lan: {addresses: [192.168.8.21], http: 80}}";
    let config = config::parse(config).expect("a right file");
    let objects = manifest::read(&text).expect("right manifests");
    let snapshot = source::snapshot(objects, Kinds { tls: true, endpoints: true, dns_endpoints: false });
    let translation = translate(&snapshot, &config);
    assert_eq!(translation.problems, []);
    let door = translation.model.entry_points.into_iter().find(|entry| &*entry.name == "default/home");
    door.and_then(|door| door.listeners.into_iter().next()).expect("the Gateway's listener")
}

fn rule(calls: &[Call]) -> String {
    let of_call = |Call { kind, service, method, headers }: &Call| {
        let part = |name: &str, it: &Option<&str>| it.map(|it| format!(", {name}: '{it}'")).unwrap_or_default();
        let method = match (service, method) {
            (None, None) => String::new(),
            _ => format!("method: {{type: {kind}{}{}}}, ", part("service", service), part("method", method)),
        };
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{{name: '{name}', value: '{value}'}}")).collect();
        format!("{{{method}headers: [{}]}}", headers.join(", "))
    };
    format!("{{matches: [{}]}}", calls.iter().map(of_call).collect::<Vec<_>>().join(", "))
}

fn rule_of(routes: &[(u32, Rules)], path: &str, headers: &Fields) -> Option<String> {
    found(&table(&[listener(routes)]), "a.example", path, "POST", headers)
}

/// One route; which of its rules takes the call.
#[track_caller]
fn check(calls: &[&str], path: &str, expected: Option<usize>) {
    let rules = calls.iter().map(|text| vec![call(text)]).collect();
    let expected = expected.map(|rule| format!("r0.{rule}"));
    assert_eq!(rule_of(&[(1, rules)], path, &Fields::from([("x", "1")])), expected, "{calls:?} {path}");
}

#[test]
fn a_service_alone_comes_before_a_method_alone_and_both_come_first() {
    check(&["*/*", "*/Get", "a.Api/*", "a.Api/Get"], "/a.Api/Get", Some(3));
    check(&["*/* x=1", "*/Get x=1", "a.Api/*"], "/a.Api/Get", Some(2));
    check(&["*/* x=1", "*/Get"], "/a.Api/Get", Some(1));
    check(&["*/*", "*/* x=1"], "/a.Api/Get", Some(1));
}

#[test]
fn a_service_is_no_prefix_of_another_and_a_method_is_all_of_its_name() {
    check(&["a.Api/*", "*/Get"], "/a.ApiV2/Put", None);
    check(&["*/Get"], "/a.Api/GetAll", None);
    check(&["*/Get"], "/a.Api/b/Get", None);
    check(&["*/Get"], "/Get", None);
}

#[test]
fn expressions_come_after_names_and_before_what_takes_every_call() {
    check(&["*/*", "~a[.].*/*", "~a[.].*/G.*", "a.Api/*"], "/a.Api/Get", Some(3));
    check(&["*/*", "~a[.].*/*", "~a[.].*/G.*"], "/a.Api/Get", Some(2));
    check(&["*/*", "*/Get", "~a[.].*/*"], "/a.Api/Get", Some(2));
    check(&["*/*", "~*/G.*|Put", "*/Get"], "/a.Api/Get", Some(2));
    check(&["*/*", "~*/G.*|Put", "*/Get"], "/a.Api/Put", Some(1));
    // All of the name, and never across the slash.
    check(&["~a/G"], "/a.Api/Get", None);
    check(&["~.*/Get"], "/a/b/Get", None);
    check(&["~a|b/Get"], "/b/Get", Some(0));
}

/// Every match that holds, and of those the one of which the text counts most.
fn naive(routes: &[(u32, Rules)], service: &str, method: &str, headers: &Fields) -> Option<String> {
    let mut all = Vec::new();
    for (number, (day, rules)) in routes.iter().enumerate() {
        for (index, calls) in rules.iter().enumerate() {
            all.extend(calls.iter().map(|call| ((number, *day, index), call)));
        }
    }
    let holds = |call: &Call| {
        call.service.is_none_or(|it| it == service)
            && call.method.is_none_or(|it| it == method)
            && call.headers.iter().all(|(name, value)| headers.get(name) == Some(value))
    };
    let winner = all.into_iter().filter(|(_, call)| holds(call)).min_by_key(|((number, day, index), call)| {
        let characters = |it: Option<&str>| it.map_or(0, |it| it.chars().count());
        (
            Reverse(characters(call.service)),
            Reverse(characters(call.method)),
            Reverse(call.headers.len()),
            *day,
            *number,
            *index,
        )
    });
    winner.map(|((number, _, index), _)| format!("r{number}.{index}"))
}

fn any_call() -> impl Strategy<Value = Call> {
    let service = prop::sample::select(vec![None, Some("a.Api"), Some("a.ApiV2"), Some("b")]);
    let method = prop::sample::select(vec![None, Some("Get"), Some("GetAll"), Some("Put")]);
    let headers = prop::sample::subsequence(vec![("x", "1"), ("y", "1"), ("z", "1")], 0..3);
    (service, method, headers).prop_map(|(service, method, headers)| Call { kind: "Exact", service, method, headers })
}

proptest! {
    #[test]
    fn calls_are_found_as_a_naive_reading_of_the_text_finds_them(
        routes in prop::collection::vec(
            (1..4_u32, prop::collection::vec(prop::collection::vec(any_call(), 1..3), 0..10)), 0..5),
        service in prop::sample::select(vec!["a.Api", "a.ApiV2", "b", "c"]),
        method in prop::sample::select(vec!["Get", "GetAll", "Put", "Delete"]),
        headers in prop::sample::subsequence(vec![("x", "1"), ("y", "1"), ("z", "2")], 0..3),
    ) {
        let headers: Fields = headers.into_iter().collect();
        let path = format!("/{service}/{method}");
        prop_assert_eq!(rule_of(&routes, &path, &headers), naive(&routes, service, method, &headers));
    }
}
