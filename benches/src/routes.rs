//! Listeners with many hosts, requests for them, and the peer that `RouteTable` is measured against.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use k8s::model::{
    Attachment, HostPattern, Labels, Listener, ListenerProtocol, Match, NamedMatch, ObjectName, PathMatch, Route, Rule,
    ValueMatch,
};
use router::table::RouteTable;

use crate::{random::Random, requests::Requests};

/// The rules of each host, and paths that they match.
pub const PREFIXES: [&str; 3] = ["/", "/api", "/static/assets"];
pub const PATHS: [&str; 3] = ["/login", "/api/v1/items/17", "/static/assets/app.js"];
const WORDS: [&str; 8] = ["grafana", "home", "jellyfin", "photos", "git", "vault", "paperless", "status"];

/// `word-number.home.example`
pub fn host(number: usize) -> String {
    format!("{}-{number}.home.example", WORDS[number % WORDS.len()])
}

/// As many hosts as asked for, each with three prefixes.
pub fn three_prefixes(n_hosts: usize) -> Listener {
    let matches = || PREFIXES.map(|prefix| vec![path(PathMatch::Prefix(prefix.into()))]).into();
    listener((0..n_hosts).map(|number| attachment(number, &host(number), matches())))
}

/// Random hosts of [`three_prefixes`], with the path of a random rule each.
pub fn requests(n_hosts: usize) -> Requests {
    random_requests(n_hosts, host, &PATHS)
}

/// Hosts that the listener has not.
pub fn unknown_hosts(n_hosts: usize) -> Requests {
    random_requests(n_hosts, |number| host(number + n_hosts), &PATHS)
}

/// Every host is served by a wildcard two labels above it.
pub fn wildcards(n_hosts: usize) -> (Listener, Requests) {
    let matches = || PREFIXES.map(|prefix| vec![path(PathMatch::Prefix(prefix.into()))]).into();
    let listener = listener((0..n_hosts).map(|number| attachment(number, &format!("*.{}", host(number)), matches())));
    (listener, random_requests(n_hosts, |number| format!("a.b.{}", host(number)), &PATHS))
}

/// Each host has 300 prefixes of one to six segments.
pub fn deep_paths(n_hosts: usize) -> (Listener, Requests) {
    let deep = |number: usize| -> String {
        (0..=number % 6).map(|depth| format!("/segment-{}", number / 6 * (depth + 1))).collect()
    };
    let matches = || (0..300).map(|number| vec![path(PathMatch::Prefix(deep(number).into()))]).collect();
    let listener = listener((0..n_hosts).map(|number| attachment(number, &host(number), matches())));
    let paths: Vec<String> = (0..300).map(|number| deep(number) + "/and/below").collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    (listener, random_requests(n_hosts, host, &paths))
}

/// Each host tells five rules with one path apart by method, headers and query; the last one matches.
pub fn predicates(n_hosts: usize) -> (Listener, Requests) {
    let named =
        |name: &str, value: &str| vec![NamedMatch { name: name.into(), value: ValueMatch::Exact(value.into()) }];
    let api = || path(PathMatch::Prefix("/api".into()));
    let matches = || {
        vec![
            vec![Match { method: Some("POST".into()), ..api() }],
            vec![Match { headers: named("x-version", "1"), ..api() }],
            vec![Match { headers: named("x-version", "2"), query: named("beta", "1"), ..api() }],
            vec![Match { query: named("beta", "2"), ..api() }],
            vec![api()],
        ]
    };
    let listener = listener((0..n_hosts).map(|number| attachment(number, &host(number), matches())));
    let mut requests = random_requests(n_hosts, host, &["/api/v1/items/17"]);
    requests.query = Some("page=3&sort=name");
    for (name, value) in [("user-agent", "bench"), ("accept", "*/*"), ("x-version", "2"), ("cookie", "session=1")] {
        requests.headers.insert(name, http::HeaderValue::from_static(value));
    }
    (listener, requests)
}

/// Values are the numbers of the rules.
pub fn compile(listener: &Listener) -> RouteTable<u32> {
    let mut number = 0;
    RouteTable::compile(&[listener], |_, _| {
        number += 1;
        number - 1
    })
}

/// What one would write without thinking of wildcards, predicates and precedence: a map of hosts to matchit routers.
#[derive(Debug)]
pub struct Peer(HashMap<String, matchit::Router<u32>, RandomState>);

impl Peer {
    /// The routes of [`three_prefixes`].
    pub fn three_prefixes(n_hosts: usize) -> Self {
        let router = |number: usize| {
            let mut router = matchit::Router::new();
            for (rule, prefix) in PREFIXES.iter().enumerate() {
                let path = format!("{}/{{*rest}}", prefix.trim_end_matches('/'));
                router.insert(path, (number * PREFIXES.len() + rule) as u32).expect("paths that do not conflict");
            }
            router
        };
        Self((0..n_hosts).map(|number| (host(number), router(number))).collect())
    }

    pub fn find(&self, host: &str, path: &str) -> Option<u32> {
        self.0.get(host)?.at(path).ok().map(|matched| *matched.value)
    }
}

fn random_requests(n_hosts: usize, host: impl Fn(usize) -> String, paths: &[&str]) -> Requests {
    let mut random = Random::new(1);
    let mut requests = Requests::default();
    for _ in 0..n_hosts.max(20_000) {
        requests.push(&host(random.below(n_hosts)), paths[random.below(paths.len())]);
    }
    requests
}

fn path(path: PathMatch) -> Match {
    Match { path, method: None, headers: Vec::new(), query: Vec::new() }
}

fn attachment(number: usize, hostname: &str, rules: Vec<Vec<Match>>) -> Attachment {
    let rule = |matches| Rule { matches, ..Rule::default() };
    Attachment {
        hostnames: [HostPattern::parse(hostname, Labels::OneOrMore).expect("a host pattern")].into(),
        route: Arc::new(Route {
            source: ObjectName::new("HTTPRoute", "default", &format!("route-{number}")),
            created: number as i64,
            rules: rules.into_iter().map(rule).collect(),
            falls_through: true,
        }),
    }
}

fn listener(routes: impl Iterator<Item = Attachment>) -> Listener {
    Listener {
        name: "http".into(),
        port: 80,
        sockets: Vec::new(),
        protocol: ListenerProtocol::Http { redirect_to_https: None },
        hostname: None,
        certificates: Vec::new(),
        default_certificate: None,
        client_validation: None,
        authorizers: Ok(Vec::new()),
        routes: routes.collect(),
    }
}
