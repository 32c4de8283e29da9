//! Precedence and fall-through, and agreement with a naive reading of the API's text.

mod grpc;

use std::{collections::HashMap, sync::Arc};

use k8s::model::{
    Attachment, HostPattern, Labels, Listener, ListenerProtocol, Match, NamedMatch, ObjectName, PathMatch, Route, Rule,
    ValueMatch,
};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Spec {
    hosts: Vec<&'static str>,
    rules: Vec<Match>,
    falls_through: bool,
    created: i64,
}

type Fields = HashMap<&'static str, &'static str>;

impl Headers for Fields {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).copied()
    }
}

/// `prefix /a`, `exact /a`, `regex /a.*`, then any of `method=GET`, `header:x=1`, `query:q=1`.
fn rule(text: &str) -> Match {
    let mut words = text.split(' ');
    let (kind, path) = (words.next().expect("a kind"), words.next().expect("a path"));
    let path = match kind {
        "exact" => PathMatch::Exact(path.into()),
        "prefix" => PathMatch::Prefix(path.into()),
        "regex" => PathMatch::Regex(path.into()),
        _ => panic!("{kind}"),
    };
    let mut it = Match { path, method: None, headers: Vec::new(), query: Vec::new() };
    for word in words {
        let (what, value) = word.split_once('=').expect("what=value");
        let named = |name: &str| NamedMatch { name: name.into(), value: ValueMatch::Exact(value.into()) };
        match what.split_once(':') {
            None => it.method = Some(value.into()),
            Some(("header", name)) => it.headers.push(named(name)),
            Some((_, name)) => it.query.push(named(name)),
        }
    }
    it
}

fn listener(hostname: Option<&str>, labels: Labels, routes: &[(usize, &Spec)]) -> Listener {
    Listener {
        name: "l".into(),
        port: 80,
        sockets: Vec::new(),
        protocol: ListenerProtocol::Http { redirect_to_https: None },
        hostname: hostname.map(|text| HostPattern::parse(text, Labels::OneOrMore).expect("a pattern")),
        certificates: Vec::new(),
        default_certificate: None,
        client_validation: None,
        authorizers: Ok(Vec::new()),
        routes: routes
            .iter()
            .map(|(number, spec)| Attachment {
                hostnames: spec.hosts.iter().map(|host| HostPattern::parse(host, labels).expect("a pattern")).collect(),
                route: Arc::new(Route {
                    source: ObjectName::new("HTTPRoute", "default", &format!("r{number}")),
                    created: spec.created,
                    rules: spec.rules.iter().map(|it| Rule { matches: vec![it.clone()], ..Rule::default() }).collect(),
                    falls_through: spec.falls_through,
                }),
            })
            .collect(),
    }
}

/// The value is `route.rule`.
fn table(listeners: &[Listener]) -> RouteTable<String> {
    RouteTable::compile(&listeners.iter().collect::<Vec<_>>(), |route, rule| format!("{}.{rule}", route.source.name))
}

fn found(table: &RouteTable<String>, host: &str, target: &str, method: &str, headers: &Fields) -> Option<String> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    table.find(&Request { host, path, method, query, headers }).map(|matched| matched.value.clone())
}

/// Routes given as `host / rule / rule …`; asks `GET target` of host `a.example` with header x=1.
fn check(routes: &[&[&str]], target: &str, expected: Option<&str>) {
    let specs: Vec<Spec> = (0..)
        .zip(routes)
        .map(|(created, route)| Spec {
            hosts: route[..1]
                .iter()
                .copied()
                .filter(|host| !host.is_empty())
                .map(|host| &*String::from(host).leak())
                .collect(),
            rules: route[1..].iter().map(|text| rule(text)).collect(),
            falls_through: true,
            created,
        })
        .collect();
    let numbered: Vec<_> = specs.iter().enumerate().collect();
    let table = table(&[listener(None, Labels::OneOrMore, &numbered)]);
    let headers = Fields::from([("x", "1")]);
    assert_eq!(found(&table, "a.example", target, "GET", &headers).as_deref(), expected, "{routes:?} {target}");
}

#[test]
fn a_route_without_rules_changes_nothing_for_others() {
    let with_rules: &[&[&str]] = &[&["a.example", "prefix /a"], &["*.example", "prefix /"], &["", "exact /none"]];
    for host in ["a.example", "*.example", ""] {
        for place in 0..=with_rules.len() {
            let mut routes = with_rules.to_vec();
            let silent = [host];
            routes.insert(place, &silent);
            let shifted = |number: usize| format!("r{}.0", if place <= number { number + 1 } else { number });
            check(&routes, "/a", Some(&shifted(0)));
            check(&routes, "/b", Some(&shifted(1)));
        }
    }
}

#[test]
fn exact_path_beats_equal_prefix_and_prefixes_go_by_elements() {
    let routes: &[&[&str]] = &[&["a.example", "prefix /a", "exact /a", "prefix /", "prefix /a/b"]];
    check(routes, "/a", Some("r0.1"));
    check(routes, "/a/", Some("r0.0"));
    check(routes, "/apple", Some("r0.2"));
    check(routes, "/a/b/c", Some("r0.3"));
}

#[test]
fn path_then_method_then_headers_then_query_decide() {
    check(&[&["a.example", "prefix /a", "prefix / method=GET header:x=1"]], "/a?q=1", Some("r0.0"));
    check(&[&["a.example", "prefix / header:x=1", "prefix / method=GET"]], "/", Some("r0.1"));
    check(&[&["a.example", "prefix / query:q=1", "prefix / header:x=1"]], "/?q=1", Some("r0.1"));
    check(&[&["a.example", "prefix /", "prefix / query:q=1"]], "/?q=1", Some("r0.1"));
    check(&[&["a.example", "prefix / header:x=2", "prefix / query:q=2"]], "/?q=1", None);
}

#[test]
fn of_equal_matches_the_older_route_then_the_first_rule_wins() {
    check(&[&["a.example", "prefix /"], &["a.example", "prefix /"]], "/", Some("r0.0"));
    check(&[&["a.example", "exact /", "exact /"]], "/", Some("r0.0"));
}

#[test]
fn an_unmatched_request_falls_to_the_next_less_specific_hostname() {
    let routes: &[&[&str]] = &[&["", "prefix /"], &["*.example", "prefix /w"], &["a.example", "prefix /a"]];
    check(routes, "/a", Some("r2.0"));
    check(routes, "/w", Some("r1.0"));
    check(routes, "/other", Some("r0.0"));
}

#[test]
fn an_ingress_host_is_closed() {
    let closed = Spec { hosts: vec!["a.example"], rules: vec![rule("prefix /a")], falls_through: false, created: 0 };
    let any = Spec { hosts: vec![], rules: vec![rule("prefix /")], falls_through: false, created: 0 };
    let table = table(&[listener(None, Labels::One, &[(0, &closed), (1, &any)])]);
    assert_eq!(found(&table, "a.example", "/b", "GET", &Fields::new()), None);
    assert_eq!(found(&table, "b.example", "/b", "GET", &Fields::new()).as_deref(), Some("r1.0"));
}

#[test]
fn an_ingress_host_without_any_rule_is_closed_too() {
    let broken = Spec { hosts: vec!["a.example"], rules: Vec::new(), falls_through: false, created: 0 };
    let wild = Spec { hosts: vec!["*.example"], rules: vec![rule("prefix /")], falls_through: false, created: 0 };
    let table = table(&[listener(None, Labels::One, &[(0, &broken), (1, &wild)])]);
    assert_eq!(found(&table, "a.example", "/", "GET", &Fields::new()), None);
    assert_eq!(found(&table, "b.example", "/", "GET", &Fields::new()).as_deref(), Some("r1.0"));
}

#[test]
fn a_path_that_is_much_longer_than_every_rule_is_found_as_any_other() {
    let many: Vec<String> = (0..20).map(|number| format!("prefix /a/{number}")).collect();
    let rules: Vec<&str> = std::iter::once("a.example").chain(many.iter().map(String::as_str)).collect();
    let slashes = "/".repeat(100_000);
    check(&[&rules], &format!("/a/17{slashes}"), Some("r0.17"));
    check(&[&rules], &slashes, None);
    check(&[&rules, &["a.example", "prefix /"]], &slashes, Some("r1.0"));
}

#[test]
fn an_ingress_wildcard_covers_one_label_and_a_gateway_wildcard_more() {
    let spec = Spec { hosts: vec!["*.example"], rules: vec![rule("prefix /")], falls_through: true, created: 0 };
    for (labels, host, is_found) in [
        (Labels::One, "a.example", true),
        (Labels::One, "a.b.example", false),
        (Labels::OneOrMore, "a.b.example", true),
        (Labels::OneOrMore, "example", false),
    ] {
        let table = table(&[listener(None, labels, &[(0, &spec)])]);
        assert_eq!(found(&table, host, "/", "GET", &Fields::new()).is_some(), is_found, "{labels:?} {host}");
    }
}

#[test]
fn the_most_specific_listener_is_asked_and_no_other_after_it() {
    let wide = Spec { hosts: vec![], rules: vec![rule("prefix /")], falls_through: true, created: 0 };
    let narrow = Spec { hosts: vec![], rules: vec![rule("prefix /a")], falls_through: true, created: 0 };
    let table = table(&[
        listener(None, Labels::OneOrMore, &[(0, &wide)]),
        listener(Some("*.example"), Labels::OneOrMore, &[(1, &narrow)]),
    ]);
    assert_eq!(found(&table, "a.example", "/a", "GET", &Fields::new()).as_deref(), Some("r1.0"));
    assert_eq!(found(&table, "a.example", "/b", "GET", &Fields::new()), None);
    assert_eq!(found(&table, "a.other", "/b", "GET", &Fields::new()).as_deref(), Some("r0.0"));
}

#[test]
fn query_parameters_are_compared_decoded_and_the_first_one_counts() {
    check(&[&["a.example", "prefix / query:q=a/b"]], "/?q=a%2Fb&q=c", Some("r0.0"));
    check(&[&["a.example", "prefix / query:q=c"]], "/?q=a&q=c", None);
}

/// All hostnames from the most specific to none; at each, every rule that matches, and of those the winner.
fn naive(specs: &[Spec], host: &str, target: &str, method: &str, headers: &Fields) -> Option<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let matches = |it: &Match| {
        let path_holds = match &it.path {
            PathMatch::Exact(exact) => **exact == *path,
            PathMatch::Prefix(prefix) => {
                **prefix == *"/" || path == &**prefix || path.starts_with(&format!("{prefix}/"))
            }
            PathMatch::Regex(_) | PathMatch::Call { .. } => unreachable!("not generated"),
        };
        let value_is = |wanted: &NamedMatch, value: Option<&str>| matches!(&wanted.value, ValueMatch::Exact(text) if Some(&**text) == value);
        path_holds
            && it.method.as_deref().is_none_or(|wanted| wanted == method)
            && it.headers.iter().all(|wanted| value_is(wanted, headers.get(&*wanted.name).copied()))
            && it.query.iter().all(|wanted| {
                let first =
                    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| **name == *wanted.name);
                value_is(wanted, first.map(|(_, value)| value))
            })
    };
    let mut hostnames = vec![host.to_owned()];
    let mut rest = host;
    while let Some((_, parent)) = rest.split_once('.') {
        hostnames.push(format!("*.{parent}"));
        rest = parent;
    }
    for hostname in hostnames.iter().map(Some).chain([None]) {
        let here: Vec<(usize, &Spec)> = specs
            .iter()
            .enumerate()
            .filter(|(_, spec)| {
                hostname.map_or_else(|| spec.hosts.is_empty(), |hostname| spec.hosts.contains(&hostname.as_str()))
            })
            .collect();
        let winner = here
            .iter()
            .flat_map(|(number, spec)| {
                spec.rules.iter().enumerate().map(move |(index, it)| (*number, *spec, index, it))
            })
            .filter(|(_, _, _, it)| matches(it))
            .min_by_key(|(number, spec, index, it)| {
                let (exact, length) = match &it.path {
                    PathMatch::Exact(path) => (0, path.len()),
                    PathMatch::Prefix(path) => (1, path.len()),
                    PathMatch::Regex(_) | PathMatch::Call { .. } => unreachable!("not generated"),
                };
                let lengths = (
                    std::cmp::Reverse(length),
                    std::cmp::Reverse(it.method.is_some()),
                    std::cmp::Reverse(it.headers.len()),
                );
                (exact, lengths, std::cmp::Reverse(it.query.len()), spec.created, *number, *index)
            });
        if let Some((number, _, index, _)) = winner {
            return Some(format!("r{number}.{index}"));
        }
        if here.iter().any(|(_, spec)| !spec.falls_through) {
            return None;
        }
    }
    None
}

fn any_match() -> impl Strategy<Value = Match> {
    let path = prop::sample::select(vec![
        "exact /",
        "exact /a",
        "exact /a/b",
        "prefix /",
        "prefix /a",
        "prefix /a/b",
        "prefix /b",
    ]);
    let more =
        prop::sample::subsequence(vec!["method=GET", "header:x=1", "header:y=1", "query:q=1", "query:p=1"], 0..3);
    (path, more).prop_map(|(path, more)| rule(&[vec![path], more].concat().join(" ")))
}

fn any_spec() -> impl Strategy<Value = Spec> {
    let hosts = prop::sample::subsequence(vec!["a.example", "b.a.example", "*.example", "*.a.example"], 0..3);
    (hosts, prop::collection::vec(any_match(), 0..20), prop::bool::weighted(0.8), 0..3_i64)
        .prop_map(|(hosts, rules, falls_through, created)| Spec { hosts, rules, falls_through, created })
}

proptest! {
    #[test]
    fn find_agrees_with_a_naive_reading_of_the_precedence_text(
        specs in prop::collection::vec(any_spec(), 0..6),
        host in prop::sample::select(vec!["a.example", "b.a.example", "c.b.a.example", "x.example", "other"]),
        target in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b?q=1", "/a?p=1&q=1", "/a?q=2&q=1"]),
        method in prop::sample::select(vec!["GET", "POST"]),
        headers in prop::sample::subsequence(vec![("x", "1"), ("y", "1"), ("y", "2")], 0..3),
    ) {
        let headers: Fields = headers.into_iter().collect();
        let numbered: Vec<_> = specs.iter().enumerate().collect();
        let table = table(&[listener(None, Labels::OneOrMore, &numbered)]);
        prop_assert_eq!(found(&table, host, target, method, &headers), naive(&specs, host, target, method, &headers));
    }
}
