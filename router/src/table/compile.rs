//! Model to table.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    sync::Arc,
};

use k8s::model::{HostPattern, Labels, Listener, PathMatch, Route};

use super::{
    Entry, Hosts, NONE, OfListener, PathKind, RouteTable,
    path::{LINEAR, PathIndex},
    precedence::Precedence,
    predicate::Predicates,
    record,
};

impl<T> RouteTable<T> {
    /// Compiles all listeners of one socket. `make` is called once for each rule of each route on it,
    /// with the rule's place in the route.
    pub fn compile(listeners: &[&Listener], mut make: impl FnMut(&Route, usize) -> T) -> Self {
        let mut values = Vec::new();
        // A route on two listeners of the socket has its rules' values once.
        let mut known: HashMap<*const Route, u32> = HashMap::new();
        let mut compiled: Vec<OfListener> = listeners
            .iter()
            .map(|listener| {
                let mut ranks: Vec<Claimed<'_>> = Vec::new();
                let mut by_host: HashMap<Option<&HostPattern>, usize> = HashMap::new();
                for attachment in &listener.routes {
                    let route = &attachment.route;
                    let first = *known.entry(Arc::as_ptr(route)).or_insert_with(|| {
                        let first = values.len();
                        values.extend((0..route.rules.len()).map(|rule| make(route, rule)));
                        index(first)
                    });
                    let own = attachment.hostnames.iter().map(Some);
                    let none = attachment.hostnames.is_empty().then_some(None);
                    for hostname in own.chain(none) {
                        let place = *by_host.entry(hostname).or_insert_with(|| {
                            ranks.push(Claimed { hostname, candidates: Vec::new(), closed: false });
                            ranks.len() - 1
                        });
                        if let Some(claimed) = ranks.get_mut(place) {
                            claimed.candidates.extend(candidates_of(route, first));
                            // A host is closed as soon as one Ingress has claimed it, with rules or without.
                            claimed.closed |= !route.falls_through;
                        }
                    }
                }
                let (name, hostname) = (Arc::clone(&listener.name), listener.hostname.clone());
                OfListener { name, hostname, hosts: Hosts::compile(ranks) }
            })
            .collect();
        compiled.sort_by_key(|it| std::cmp::Reverse(it.hostname.as_ref().map(HostPattern::specificity)));
        Self { listeners: compiled, values }
    }
}

/// A hostname with all that its routes bring, before it is a rank.
struct Claimed<'a> {
    hostname: Option<&'a HostPattern>,
    candidates: Vec<Candidate<'a>>,
    closed: bool,
}

/// A match before it has a place.
struct Candidate<'a> {
    precedence: Precedence,
    path: &'a PathMatch,
    predicates: Option<Predicates>,
    value: u32,
}

fn candidates_of(route: &Route, first_value: u32) -> impl Iterator<Item = Candidate<'_>> {
    route.rules.iter().enumerate().flat_map(move |(rule, it)| {
        it.matches.iter().enumerate().filter_map(move |(position, it)| {
            Some(Candidate {
                precedence: Precedence::of(route, rule, position, it),
                path: &it.path,
                predicates: Predicates::of(it).ok()?,
                value: first_value + index(rule),
            })
        })
    })
}

/// What is known of a name before its record is written.
#[derive(Default)]
struct Named {
    exact: Option<Vec<u8>>,
    one_label: Option<u32>,
    any_depth: Option<u32>,
}

impl Hosts {
    fn compile(ranks: Vec<Claimed<'_>>) -> Self {
        let mut hosts = Self::default();
        let mut names: BTreeMap<&str, Named> = BTreeMap::new();
        for claimed in ranks {
            let hostname = claimed.hostname;
            let rank = hosts.rank(claimed);
            match hostname {
                None => hosts.any = Some(hosts.push(&rank)),
                Some(HostPattern::Exact(name)) => names.entry(name.as_str()).or_default().exact = Some(rank),
                Some(HostPattern::Wildcard { parent, labels }) => {
                    hosts.has_wildcards = true;
                    let start = Some(hosts.push(&rank));
                    let named = names.entry(parent.as_str()).or_default();
                    match labels {
                        Labels::One => named.one_label = start,
                        Labels::OneOrMore => named.any_depth = start,
                    }
                }
            }
        }
        for (name, Named { exact, one_label, any_depth }) in names {
            let start = index(hosts.records.len());
            let (one_label, any_depth) = (one_label.unwrap_or(NONE), any_depth.unwrap_or(NONE));
            record::write_host(&mut hosts.records, name, one_label, any_depth, exact.as_deref());
            let (hasher, records) = (&hosts.hasher, &hosts.records);
            let hash_of =
                |start: &u32| hasher.hash_one(record::host(records, *start).map_or(&b""[..], |host| host.name));
            hosts.table.insert_unique(hasher.hash_one(name.as_bytes()), start, hash_of);
        }
        hosts.records.shrink_to_fit();
        hosts
    }

    /// The record of a rank.
    fn rank(&mut self, Claimed { mut candidates, closed, .. }: Claimed<'_>) -> Vec<u8> {
        // No request has such a path.
        candidates.retain(|candidate| text(candidate.path).len() <= usize::from(u16::MAX));
        candidates.sort_by(|a, b| a.precedence.cmp(&b.precedence));
        let entries: Vec<Entry<'_>> = candidates
            .into_iter()
            .map(|candidate| {
                let (kind, path) = match candidate.path {
                    PathMatch::Exact(path) => (PathKind::Exact, &**path),
                    PathMatch::Prefix(path) => (PathKind::Prefix, &**path),
                    PathMatch::Regex(_) => (PathKind::Regex, ""),
                    PathMatch::Call { .. } => (PathKind::Prefix, "/"),
                };
                let predicates = candidate.predicates.map_or(NONE, |predicates| {
                    self.predicates.push(predicates);
                    index(self.predicates.len() - 1)
                });
                Entry { kind, path: path.as_bytes(), predicates, value: candidate.value }
            })
            .collect();
        let mut rank = Vec::new();
        if entries.len() > LINEAR {
            record::write_indexed_rank(&mut rank, closed, index(self.indexes.len()));
            self.indexes.push(PathIndex::new(&entries));
        } else {
            record::write_rank(&mut rank, closed, &entries);
        }
        rank
    }

    /// Where it begins.
    fn push(&mut self, record: &[u8]) -> u32 {
        let start = index(self.records.len());
        self.records.extend_from_slice(record);
        start
    }
}

fn text(path: &PathMatch) -> &str {
    match path {
        PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::Regex(text) => text,
        PathMatch::Call { .. } => "/",
    }
}

/// Places are kept in 32 bits. Four billion of anything do not fit into an API server; if they ever did, the
/// last ones would not be found.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}
