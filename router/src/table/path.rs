//! Paths: what a prefix covers, and an index for hosts with many rules.

use std::{collections::HashMap, ops::Range};

use foldhash::fast::RandomState;

use super::{Entry, Headers, Hosts, PathKind, Request};

/// More rules than this are found by hash instead of one after another.
pub(super) const LINEAR: usize = 12;

/// Whether `prefix` covers `path` by whole path elements: `/app` covers `/app` and `/app/x`, never `/apple`.
pub(super) fn is_prefix(prefix: &[u8], path: &[u8]) -> bool {
    prefix == b"/" || (path.starts_with(prefix) && matches!(path.get(prefix.len()), None | Some(b'/')))
}

/// Ranges of a rank's entries by path. As entries are in order of precedence, equal paths stand together.
#[derive(Clone, Debug, Default)]
pub(super) struct PathIndex {
    exact: HashMap<Box<[u8]>, Range<u32>, RandomState>,
    regex: Range<u32>,
    prefix: HashMap<Box<[u8]>, Range<u32>, RandomState>,
    /// No prefix is longer than this, so that a long path costs no more than a short one.
    longest: usize,
}

impl PathIndex {
    pub(super) fn new(hosts: &Hosts, entries: &[Entry]) -> Self {
        let mut index = Self::default();
        for (number, entry) in (0..).zip(entries) {
            index.longest = index.longest.max(entry.path.length as usize);
            let path = || Box::from(hosts.text(entry.path));
            let range = match entry.kind {
                PathKind::Exact => index.exact.entry(path()).or_insert(number..number),
                PathKind::Prefix => index.prefix.entry(path()).or_insert(number..number),
                PathKind::Regex if index.regex.is_empty() => {
                    index.regex = number..number;
                    &mut index.regex
                }
                PathKind::Regex => &mut index.regex,
            };
            range.end = number + 1;
        }
        index
    }

    /// The same answer as asking `entries` one after another.
    pub(super) fn find<'t, H: Headers + ?Sized>(
        &self,
        hosts: &Hosts,
        entries: &'t [Entry],
        request: &Request<'_, H>,
    ) -> Option<&'t Entry> {
        let first = |range: &Range<u32>| {
            let range = entries.get(range.start as usize..range.end as usize)?;
            range.iter().find(|entry| hosts.holds(entry, request))
        };
        let path = request.path.as_bytes();
        self.exact
            .get(path)
            .and_then(first)
            .or_else(|| first(&self.regex))
            .or_else(|| prefixes(path, self.longest).find_map(|prefix| self.prefix.get(prefix).and_then(first)))
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
