//! Model to table.

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use k8s::model::{HostPattern, Labels, Listener, PathMatch, Route};

use super::{
    Entry, Host, Hosts, NONE, PathKind, Rank, RouteTable, Text,
    path::{LINEAR, PathIndex},
    precedence::Precedence,
    predicate::Predicates,
};

impl<T> RouteTable<T> {
    /// Compiles all listeners of one socket. `make` is called once for each rule of each route on it,
    /// with the rule's place in the route.
    pub fn compile(listeners: &[&Listener], mut make: impl FnMut(&Route, usize) -> T) -> Self {
        let mut values = Vec::new();
        // A route on two listeners of the socket has its rules' values once.
        let mut known: HashMap<*const Route, u32> = HashMap::new();
        let mut compiled: Vec<(Option<HostPattern>, Hosts)> = listeners
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
                (listener.hostname.clone(), Hosts::compile(ranks))
            })
            .collect();
        compiled.sort_by_key(|(hostname, _)| std::cmp::Reverse(hostname.as_ref().map(HostPattern::specificity)));
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

impl Hosts {
    fn compile(ranks: Vec<Claimed<'_>>) -> Self {
        let mut hosts = Self::default();
        for claimed in ranks {
            match claimed.hostname {
                None => hosts.any = Some(hosts.add_rank(claimed)),
                Some(HostPattern::Exact(name)) => {
                    let host = hosts.host_named(name.as_str());
                    let rank = hosts.add_rank(claimed);
                    hosts.with_host(host, |host| host.exact = Some(rank));
                }
                Some(HostPattern::Wildcard { parent, labels }) => {
                    hosts.has_wildcards = true;
                    let host = hosts.host_named(parent.as_str());
                    let rank = hosts.add_rank(claimed);
                    let place = index(hosts.ranks.len());
                    hosts.ranks.push(rank);
                    hosts.with_host(host, |host| match labels {
                        Labels::One => host.one_label = Some(place),
                        Labels::OneOrMore => host.any_depth = Some(place),
                    });
                }
            }
        }
        hosts
    }

    /// The name's place in `bytes`, where it is new together with an entry in the table.
    fn host_named(&mut self, name: &str) -> Text {
        if let Some(host) = self.host(name) {
            return host.name;
        }
        let text = self.push(name);
        let hash = self.hasher.hash_one(name.as_bytes());
        let host = Host { name: text, exact: None, one_label: None, any_depth: None };
        let (hasher, bytes) = (&self.hasher, &self.bytes);
        self.table.insert_unique(hash, host, |host| hasher.hash_one(slice(bytes, host.name)));
        text
    }

    fn with_host(&mut self, name: Text, change: impl FnOnce(&mut Host)) {
        let bytes = &self.bytes;
        let hash = self.hasher.hash_one(slice(bytes, name));
        if let Some(host) = self.table.find_mut(hash, |host| host.name.start == name.start) {
            change(host);
        }
    }

    fn add_rank(&mut self, Claimed { mut candidates, closed, .. }: Claimed<'_>) -> Rank {
        candidates.sort_by(|a, b| a.precedence.cmp(&b.precedence));
        let start = self.entries.len();
        for candidate in candidates {
            let (kind, path) = match candidate.path {
                PathMatch::Exact(path) => (PathKind::Exact, self.push(path)),
                PathMatch::Prefix(path) => (PathKind::Prefix, self.push(path)),
                PathMatch::Regex(_) => (PathKind::Regex, Text::default()),
            };
            let predicates = candidate.predicates.map_or(NONE, |predicates| {
                self.predicates.push(predicates);
                index(self.predicates.len() - 1)
            });
            self.entries.push(Entry { path, kind, predicates, value: candidate.value });
        }
        let entries = self.entries.get(start..).unwrap_or_default();
        let path_index = (entries.len() > LINEAR).then(|| Box::new(PathIndex::new(self, entries)));
        Rank { start: index(start), end: index(self.entries.len()), closed, index: path_index }
    }

    fn push(&mut self, text: &str) -> Text {
        let start = index(self.bytes.len());
        self.bytes.extend_from_slice(text.as_bytes());
        Text { start, length: index(text.len()) }
    }
}

fn slice(bytes: &[u8], text: Text) -> &[u8] {
    bytes.get(text.start as usize..(text.start + text.length) as usize).unwrap_or_default()
}

/// Places are kept in 32 bits. Four billion of anything do not fit into an API server; if they ever did, the
/// last ones would not be found.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}
