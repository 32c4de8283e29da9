//! Paths: what a prefix covers, and an index for hosts with many rules.

use std::{collections::HashMap, ops::Range};

use foldhash::fast::RandomState;

use super::{Entry, Found, Headers, Hosts, PathKind, Request};

/// More rules than this are found by hash instead of one after another.
pub(super) const LINEAR: usize = 12;

/// Whether `prefix` covers `path` by whole path elements: `/app` covers `/app` and `/app/x`, never `/apple`.
pub(super) fn is_prefix(prefix: &[u8], path: &[u8]) -> bool {
    prefix == b"/" || (path.starts_with(prefix) && matches!(path.get(prefix.len()), None | Some(b'/')))
}

/// The rules of one hostname by path. As they are in order of precedence, equal paths stand together.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    rules: Vec<Rule>,
    exact: HashMap<Box<[u8]>, Range<usize>, RandomState>,
    regex: Range<usize>,
    prefix: HashMap<Box<[u8]>, Range<usize>, RandomState>,
    /// No prefix is longer than this, so that a long path costs no more than a short one.
    longest: usize,
}

/// An entry without its path.
#[derive(Debug)]
struct Rule {
    predicates: u32,
    value: u32,
}

impl PathIndex {
    pub(super) fn new(entries: &[Entry<'_>]) -> Self {
        let mut index = Self::default();
        for (number, entry) in entries.iter().enumerate() {
            index.longest = index.longest.max(entry.path.len());
            let range = match entry.kind {
                PathKind::Exact => index.exact.entry(entry.path.into()).or_insert(number..number),
                PathKind::Prefix => index.prefix.entry(entry.path.into()).or_insert(number..number),
                PathKind::Regex if index.regex.is_empty() => {
                    index.regex = number..number;
                    &mut index.regex
                }
                PathKind::Regex => &mut index.regex,
            };
            range.end = number + 1;
            index.rules.push(Rule { predicates: entry.predicates, value: entry.value });
        }
        index
    }

    /// The same answer as asking the entries one after another.
    pub(super) fn find<T, H: Headers + ?Sized>(&self, hosts: &Hosts<T>, request: &Request<'_, H>) -> Option<Found> {
        let first = |range: &Range<usize>, prefix: Option<usize>| {
            let mut rules = self.rules.get(range.clone())?.iter();
            let rule = rules.find(|rule| hosts.holds(rule.predicates, request))?;
            Some(Found { value: rule.value, prefix })
        };
        let path = request.path.as_bytes();
        let prefix = |prefix: &[u8]| first(self.prefix.get(prefix)?, Some(prefix.len()));
        let exact = self.exact.get(path).and_then(|range| first(range, None));
        exact.or_else(|| first(&self.regex, None)).or_else(|| prefixes(path, self.longest).find_map(prefix))
    }
}

/// Everything of up to `longest` bytes that may cover a path, the longest first: `/a/b`, `/a`, `/`.
fn prefixes(path: &[u8], longest: usize) -> impl Iterator<Item = &[u8]> {
    let whole = (path.len() <= longest).then_some(path.len());
    // A slash right behind the longest one ends it.
    let reach = path.get(..=longest).unwrap_or(path);
    let slashes = reach.iter().enumerate().skip(1).rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    whole
        .into_iter()
        .chain(slashes)
        .map(|end| path.get(..end).unwrap_or_default())
        .chain(std::iter::once(b"/".as_slice()))
}
