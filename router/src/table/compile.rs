//! Model to table.

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;
use k8s::model::{Attachment, HostPattern, Labels, Listener, PathMatch, Route};

use super::{
    Entry, Hosts, NONE, OfListener, PathKind, RouteTable,
    path::{LINEAR, PathIndex},
    precedence::Precedence,
    predicate::Predicates,
    record,
};

/// What a route is compiled to, whatever listeners it is on. It is good for as long as the route is the same one.
#[derive(Debug)]
pub struct Part<T> {
    pub route: Arc<Route>,
    /// One for each rule.
    pub values: Vec<T>,
    /// One for each match of each rule, in their order.
    asked: Vec<Asked>,
}

/// What a match asks for besides a literal path.
#[derive(Clone, Debug)]
enum Asked {
    Nothing,
    This(Arc<Predicates>),
    /// What does not compile. The match is left out rather than taken to hold.
    Nonsense,
}

impl<T> Part<T> {
    /// `make` is called once for each value, with the rule's place in the route.
    pub fn new(route: &Arc<Route>, make: impl FnMut(usize) -> T) -> Self {
        let matches = route.rules.iter().flat_map(|rule| &rule.matches);
        let asked = matches.map(|it| match Predicates::of(it) {
            Ok(None) => Asked::Nothing,
            Ok(Some(predicates)) => Asked::This(Arc::new(predicates)),
            Err(_) => Asked::Nonsense,
        });
        let asked = asked.collect();
        Self { route: Arc::clone(route), values: (0..route.rules.len()).map(make).collect(), asked }
    }
}

/// The routes of listeners that are compiled already: those of HTTP and of HTTPS are mostly the same.
/// By how many there are and which is first, as a Gateway may have very many listeners.
pub struct Shared<'a, T>(HashMap<(usize, Option<*const Route>), Vec<Known<'a, T>>, RandomState>);

type Known<'a, T> = (&'a [Attachment], Arc<Hosts<T>>);

impl<T> Default for Shared<'_, T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<'a, T: Clone> Shared<'a, T> {
    fn hosts(&mut self, routes: &'a [Attachment], part: &mut impl FnMut(&Arc<Route>) -> Arc<Part<T>>) -> Arc<Hosts<T>> {
        let first = routes.first().map(|first| Arc::as_ptr(&first.route));
        let known = self.0.entry((routes.len(), first)).or_default();
        if let Some((_, hosts)) = known.iter().find(|(known, _)| *known == routes) {
            return Arc::clone(hosts);
        }
        let hosts = Arc::new(Hosts::of(routes, part));
        known.push((routes, Arc::clone(&hosts)));
        hosts
    }
}

impl<T: Clone> RouteTable<T> {
    /// Compiles all listeners of one socket. `make` is called once for each rule of each route on each of them, with the
    /// rule's place in the route.
    pub fn compile(listeners: &[&Listener], mut make: impl FnMut(&Route, usize) -> T) -> Self {
        let part = |route: &Arc<Route>| Arc::new(Part::new(route, |rule| make(route, rule)));
        Self::of_parts(listeners, part, &mut Shared::default())
    }

    /// The same where the parts of routes are made elsewhere; a part that was made for the same route is as good as a new
    /// one.
    pub fn of_parts<'a>(
        listeners: &[&'a Listener],
        mut part: impl FnMut(&Arc<Route>) -> Arc<Part<T>>,
        shared: &mut Shared<'a, T>,
    ) -> Self {
        let compile = |listener: &&'a Listener| OfListener {
            name: Arc::clone(&listener.name),
            hostname: listener.hostname.clone(),
            hosts: shared.hosts(&listener.routes, &mut part),
        };
        let mut listeners: Vec<OfListener<T>> = listeners.iter().map(compile).collect();
        listeners.sort_by_key(|it| std::cmp::Reverse(it.hostname.as_ref().map(HostPattern::specificity)));
        Self { listeners }
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
    precedence: Precedence<'a>,
    path: &'a PathMatch,
    predicates: Option<Arc<Predicates>>,
    value: u32,
}

fn candidates_of<'a, T>(route: &'a Route, part: &Part<T>, first_value: u32) -> impl Iterator<Item = Candidate<'a>> {
    let matches = route
        .rules
        .iter()
        .enumerate()
        .flat_map(|(rule, it)| it.matches.iter().enumerate().map(move |(position, it)| (rule, position, it)));
    matches.zip(&part.asked).filter_map(move |((rule, position, it), asked)| {
        let predicates = match asked {
            Asked::Nothing => None,
            Asked::This(predicates) => Some(Arc::clone(predicates)),
            Asked::Nonsense => return None,
        };
        let precedence = Precedence::of(route, rule, position, it);
        Some(Candidate { precedence, path: &it.path, predicates, value: first_value + index(rule) })
    })
}

/// What is known of a name before its record is written.
#[derive(Default)]
struct Named {
    exact: Option<Vec<u8>>,
    one_label: Option<u32>,
    any_depth: Option<u32>,
}

impl<T: Clone> Hosts<T> {
    fn of(routes: &[Attachment], part: &mut impl FnMut(&Arc<Route>) -> Arc<Part<T>>) -> Self {
        let mut values = Vec::new();
        let mut ranks: Vec<Claimed<'_>> = Vec::with_capacity(routes.len());
        let mut by_host: HashMap<Option<&HostPattern>, usize, RandomState> = HashMap::default();
        for Attachment { hostnames, route } in routes {
            let (part, first) = (part(route), index(values.len()));
            values.extend(part.values.iter().cloned());
            let own = hostnames.iter().map(Some);
            let none = hostnames.is_empty().then_some(None);
            for hostname in own.chain(none) {
                let place = *by_host.entry(hostname).or_insert_with(|| {
                    ranks.push(Claimed { hostname, candidates: Vec::new(), closed: false });
                    ranks.len() - 1
                });
                if let Some(claimed) = ranks.get_mut(place) {
                    claimed.candidates.extend(candidates_of(route, &part, first));
                    // A host is closed as soon as one Ingress has claimed it, with rules or without.
                    claimed.closed |= !route.falls_through;
                }
            }
        }
        Self::of_ranks(ranks, values)
    }

    fn of_ranks(ranks: Vec<Claimed<'_>>, values: Vec<T>) -> Self {
        let mut hosts = Self {
            table: HashTable::with_capacity(ranks.len()),
            hasher: FixedState::default(),
            records: Vec::new(),
            indexes: Vec::new(),
            predicates: Vec::new(),
            values,
            any: None,
            has_wildcards: false,
        };
        // In the order in which they come first.
        let mut names: Vec<(&str, Named)> = Vec::with_capacity(ranks.len());
        let mut places: HashMap<&str, usize, RandomState> = HashMap::default();
        for claimed in ranks {
            let hostname = claimed.hostname;
            let rank = hosts.rank(claimed);
            let (name, wildcard) = match hostname {
                None => {
                    hosts.any = Some(hosts.push(&rank));
                    continue;
                }
                Some(HostPattern::Exact(name)) => (name.as_str(), None),
                Some(HostPattern::Wildcard { parent, labels }) => (parent.as_str(), Some(*labels)),
            };
            let place = *places.entry(name).or_insert_with(|| {
                names.push((name, Named::default()));
                names.len() - 1
            });
            let Some((_, named)) = names.get_mut(place) else { continue };
            match wildcard {
                None => named.exact = Some(rank),
                Some(labels) => {
                    hosts.has_wildcards = true;
                    let start = Some(hosts.push(&rank));
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
