//! Host, path and predicates to a rule, in the precedence of Gateway API v1.7 and Ingress. Pure.
//!
//! ```text
//! RouteTable ─ listeners, most specific hostname first
//!   └─ Hosts ─ one hash table; per host the ranks that its name, or `*.name`, has
//!        └─ Rank ─ rules in the order of precedence: the first that matches wins
//! ```
//!
//! `find` allocates nothing and takes no lock. What it reads for one request lies close together: the host's
//! name, paths and rules in one run of bytes ([`record`]).

mod compile;
mod path;
mod precedence;
mod predicate;
mod record;

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use k8s::model::HostPattern;

pub use self::compile::{Part, Shared};
use self::{
    path::PathIndex,
    predicate::Predicates,
    record::{Entry, NONE, PathKind, Rank, Rules},
};

/// Compiled routes of one socket.
#[derive(Debug)]
pub struct RouteTable<T> {
    /// The most specific hostname first, so that the first one that covers a host is its listener.
    listeners: Vec<OfListener<T>>,
}

/// A listener of the socket, with its routes, which listeners of other sockets may have too.
#[derive(Debug)]
pub struct OfListener<T> {
    pub name: Arc<str>,
    hostname: Option<HostPattern>,
    hosts: Arc<Hosts<T>>,
}

/// What of a request decides its route.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, H: ?Sized> {
    /// Lower case, without port and trailing dot.
    pub host: &'a str,
    /// Normalised; begins with `/`.
    pub path: &'a str,
    pub method: &'a str,
    /// Without the `?`.
    pub query: Option<&'a str>,
    pub headers: &'a H,
}

/// Header fields by name.
pub trait Headers {
    /// The first value under the name, which is in lower case; None also where the value is not text.
    fn value(&self, name: &str) -> Option<&str>;
}

impl Headers for http::HeaderMap {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }
}

/// The rule that a request belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'t, T> {
    pub value: &'t T,
    /// How many bytes of the path a prefix match took; None for exact paths and expressions.
    pub prefix: Option<usize>,
}

/// The routes of one listener by host.
#[derive(Debug)]
struct Hosts<T> {
    /// Where each host's record begins.
    table: HashTable<u32>,
    hasher: FixedState,
    records: Vec<u8>,
    indexes: Vec<PathIndex>,
    predicates: Vec<Arc<Predicates>>,
    values: Vec<T>,
    /// The rank of routes without hostnames.
    any: Option<u32>,
    has_wildcards: bool,
}

/// Which rule, and how much of the path a prefix took.
#[derive(Clone, Copy, Debug)]
struct Found {
    value: u32,
    prefix: Option<usize>,
}

impl<T> RouteTable<T> {
    /// The listener that a host belongs to.
    pub fn listener(&self, host: &str) -> Option<&OfListener<T>> {
        self.listeners.iter().find(|it| it.hostname.as_ref().is_none_or(|pattern| pattern.covers(host)))
    }

    /// The rule for a request; None is 404.
    pub fn find<H: Headers + ?Sized>(&self, request: &Request<'_, H>) -> Option<Matched<'_, T>> {
        self.find_on(self.listener(request.host)?, request)
    }

    /// The same where the request's listener is known already.
    pub fn find_on<'t, H: Headers + ?Sized>(
        &'t self,
        listener: &'t OfListener<T>,
        request: &Request<'_, H>,
    ) -> Option<Matched<'t, T>> {
        let Found { value, prefix } = listener.hosts.find(request)?;
        Some(Matched { value: listener.hosts.values.get(value as usize)?, prefix })
    }

    /// Every rule's value, once for each listener that it is on.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.listeners.iter().flat_map(|listener| &listener.hosts.values)
    }
}

impl<T> Hosts<T> {
    /// From the most specific hostname to none, until a rule matches or a closed host says no.
    fn find<H: Headers + ?Sized>(&self, request: &Request<'_, H>) -> Option<Found> {
        if let Some(rank) = self.host(request.host).and_then(|host| host.exact()) {
            match self.search(&rank, request) {
                None if rank.closed => return None,
                None => {}
                found => return found,
            }
        }
        if self.has_wildcards {
            let mut rest = request.host;
            let mut depth = 0;
            while let Some((_, parent)) = rest.split_once('.') {
                rest = parent;
                depth += 1;
                let Some(host) = self.host(parent) else { continue };
                let one_label = if depth == 1 { host.one_label } else { NONE };
                for start in [one_label, host.any_depth] {
                    let Some(rank) = record::rank(&self.records, start) else { continue };
                    match self.search(&rank, request) {
                        None if rank.closed => return None,
                        None => {}
                        found => return found,
                    }
                }
            }
        }
        self.search(&record::rank(&self.records, self.any?)?, request)
    }

    fn host(&self, name: &str) -> Option<record::Host<'_>> {
        use std::hash::BuildHasher;
        let hash = self.hasher.hash_one(name.as_bytes());
        let is_it = |start: &u32| record::host(&self.records, *start).is_some_and(|host| host.name == name.as_bytes());
        record::host(&self.records, *self.table.find(hash, is_it)?)
    }

    fn search<H: Headers + ?Sized>(&self, rank: &Rank<'_>, request: &Request<'_, H>) -> Option<Found> {
        match &rank.rules {
            Rules::Few(entries) => {
                let mut entries = entries.clone();
                let found =
                    entries.find(|entry| path_matches(entry, request.path) && self.holds(entry.predicates, request))?;
                let prefix = (found.kind == PathKind::Prefix).then_some(found.path.len());
                Some(Found { value: found.value, prefix })
            }
            Rules::Index(index) => self.indexes.get(*index as usize)?.find(self, request),
        }
    }

    fn holds<H: Headers + ?Sized>(&self, predicates: u32, request: &Request<'_, H>) -> bool {
        predicates == NONE || self.predicates.get(predicates as usize).is_some_and(|it| it.hold(request))
    }
}

fn path_matches(entry: &Entry<'_>, path: &str) -> bool {
    match entry.kind {
        PathKind::Exact => entry.path == path.as_bytes(),
        PathKind::Prefix => path::is_prefix(entry.path, path.as_bytes()),
        // The expression is asked with the other predicates.
        PathKind::Regex => true,
    }
}

#[cfg(test)]
mod tests;
