//! Host, path and predicates to a rule, in the precedence of Gateway API v1.7 and Ingress. Pure.
//!
//! ```text
//! RouteTable ─ listeners, most specific hostname first
//!   └─ Hosts ─ one hash table; per host the ranks that its name, or `*.name`, has
//!        └─ Rank ─ rules in the order of precedence: the first that matches wins
//! ```
//!
//! `find` allocates nothing and takes no lock. What it reads for one request lies close together:
//! the host's name and paths in one run of bytes, its rules in one run of small entries.

mod compile;
mod path;
mod precedence;
mod predicate;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use k8s::model::HostPattern;

use self::{path::PathIndex, predicate::Predicates};

/// Compiled routes of one socket.
#[derive(Debug)]
pub struct RouteTable<T> {
    /// The most specific hostname first, so that the first one that covers a host is its listener.
    listeners: Vec<(Option<HostPattern>, Hosts)>,
    values: Vec<T>,
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
#[derive(Debug, Default)]
struct Hosts {
    table: HashTable<Host>,
    hasher: FixedState,
    /// Host names, each followed by its paths.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    ranks: Vec<Rank>,
    predicates: Vec<Predicates>,
    /// Routes without hostnames.
    any: Option<Rank>,
    has_wildcards: bool,
}

/// A run in `Hosts::bytes`.
#[derive(Clone, Copy, Debug, Default)]
struct Text {
    start: u32,
    length: u32,
}

#[derive(Debug)]
struct Host {
    name: Text,
    /// For the name itself; most hosts have nothing else.
    exact: Option<Rank>,
    /// For names below it, as an index into `Hosts::ranks`: one label deep (Ingress), any depth (Gateway API).
    one_label: Option<u32>,
    any_depth: Option<u32>,
}

/// All rules of one hostname, first of `Hosts::entries` first.
#[derive(Clone, Debug)]
struct Rank {
    start: u32,
    end: u32,
    /// An Ingress host: where nothing here matches, no less specific hostname is asked.
    closed: bool,
    /// Where there are too many rules to look at one by one.
    index: Option<Box<PathIndex>>,
}

/// One match of one rule.
#[derive(Clone, Copy, Debug)]
struct Entry {
    path: Text,
    kind: PathKind,
    /// Into `Hosts::predicates`; `NONE` where the path alone decides.
    predicates: u32,
    /// Into `RouteTable::values`.
    value: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathKind {
    Exact,
    /// The expression is in the predicates.
    Regex,
    Prefix,
}

const NONE: u32 = u32::MAX;

impl<T> RouteTable<T> {
    /// The rule for a request; None is 404.
    pub fn find<H: Headers + ?Sized>(&self, request: &Request<'_, H>) -> Option<Matched<'_, T>> {
        let covers =
            |hostname: &Option<HostPattern>| hostname.as_ref().is_none_or(|pattern| pattern.covers(request.host));
        let (_, hosts) = self.listeners.iter().find(|(hostname, _)| covers(hostname))?;
        let entry = hosts.find(request)?;
        let value = self.values.get(entry.value as usize)?;
        Some(Matched { value, prefix: (entry.kind == PathKind::Prefix).then_some(entry.path.length as usize) })
    }

    /// Every rule's value, once.
    pub fn values(&self) -> &[T] {
        &self.values
    }
}

impl Hosts {
    /// From the most specific hostname to none, until a rule matches or a closed host says no.
    fn find<H: Headers + ?Sized>(&self, request: &Request<'_, H>) -> Option<&Entry> {
        if let Some(rank) = self.host(request.host).and_then(|host| host.exact.as_ref()) {
            match self.search(rank, request) {
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
                for rank in [host.one_label.filter(|_| depth == 1), host.any_depth].into_iter().flatten() {
                    let Some(rank) = self.ranks.get(rank as usize) else { continue };
                    match self.search(rank, request) {
                        None if rank.closed => return None,
                        None => {}
                        found => return found,
                    }
                }
            }
        }
        self.search(self.any.as_ref()?, request)
    }

    fn host(&self, name: &str) -> Option<&Host> {
        use std::hash::BuildHasher;
        let hash = self.hasher.hash_one(name.as_bytes());
        self.table.find(hash, |host| self.text(host.name) == name.as_bytes())
    }

    fn search<H: Headers + ?Sized>(&self, rank: &Rank, request: &Request<'_, H>) -> Option<&Entry> {
        let entries = self.entries.get(rank.start as usize..rank.end as usize)?;
        match &rank.index {
            None => entries.iter().find(|entry| self.path_matches(entry, request.path) && self.holds(entry, request)),
            Some(index) => index.find(self, entries, request),
        }
    }

    fn path_matches(&self, entry: &Entry, path: &str) -> bool {
        match entry.kind {
            PathKind::Exact => self.text(entry.path) == path.as_bytes(),
            PathKind::Prefix => path::is_prefix(self.text(entry.path), path.as_bytes()),
            // The expression is asked with the other predicates.
            PathKind::Regex => true,
        }
    }

    fn holds<H: Headers + ?Sized>(&self, entry: &Entry, request: &Request<'_, H>) -> bool {
        entry.predicates == NONE
            || self.predicates.get(entry.predicates as usize).is_some_and(|predicates| predicates.hold(request))
    }

    fn text(&self, text: Text) -> &[u8] {
        self.bytes.get(text.start as usize..(text.start + text.length) as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
