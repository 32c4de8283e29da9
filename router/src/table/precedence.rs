//! Which of several matching rules wins.

use std::cmp::{Ordering, Reverse};

use k8s::model::{Match, ObjectName, PathMatch, Route, ValueMatch};

/// The text of Gateway API v1.7 (`HTTPRouteRule.matches`) as an order; the least wins:
/// exact path, longest prefix, method, most header matches, most query matches, oldest route, first
/// by `namespace/name`, first rule, first match.
///
/// The API leaves expressions to the implementation. Here they come after exact paths, which are
/// surer, and before prefixes, which are vaguer; the longer expression first.
///
/// An Ingress asks for the longest path, and exact before prefix: for paths that match the same request
/// that is this order too, as an exact path that matches is as long as the request's.
///
/// A GRPCRoute asks for the longest service, then the longest method, then most header matches. Both named is an exact
/// path and a service alone a prefix: for calls that is this order, too. All else is a [`PathMatch::Call`], which comes
/// after them, those with an expression for the service before those that leave it open, and before what takes every
/// call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence<'a> {
    path: PathRank<'a>,
    /// Of a call, what it asks of service and method: how sure, and how many bytes.
    call: Reverse<Option<[(u8, usize); 2]>>,
    has_method: Reverse<bool>,
    n_headers: Reverse<usize>,
    n_query: Reverse<usize>,
    created: i64,
    name: Name<'a>,
    rule: usize,
    position: usize,
}

/// Equal paths stand together, which `PathIndex` relies on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank<'a> {
    Exact(&'a str),
    Regex(Reverse<usize>, &'a str),
    Prefix(Reverse<usize>, &'a str),
}

/// `namespace/name`, compared as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name<'a>(&'a ObjectName);

impl Ord for Name<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        fn text<'a>(name: &Name<'a>) -> impl Iterator<Item = u8> + use<'a> {
            name.0.namespace.bytes().chain([b'/']).chain(name.0.name.bytes())
        }
        text(self).cmp(text(other))
    }
}

impl PartialOrd for Name<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Precedence<'a> {
    pub(super) fn of(route: &'a Route, rule: usize, position: usize, it: &'a Match) -> Self {
        let path = match &it.path {
            PathMatch::Exact(path) => PathRank::Exact(path),
            PathMatch::Prefix(path) => PathRank::Prefix(Reverse(path.len()), path),
            PathMatch::Regex(path) => PathRank::Regex(Reverse(path.len()), path),
            PathMatch::Call { .. } => PathRank::Prefix(Reverse(1), "/"),
        };
        // A name is surer than an expression, and both than neither.
        let asked = |it: &Option<ValueMatch>| match it {
            None => (0, 0),
            Some(ValueMatch::Regex(text)) => (1, text.len()),
            Some(ValueMatch::Exact(text)) => (2, text.len()),
        };
        let call = match &it.path {
            PathMatch::Call { service, method } => Some([asked(service), asked(method)]),
            _ => None,
        };
        Self {
            path,
            call: Reverse(call),
            has_method: Reverse(it.method.is_some()),
            n_headers: Reverse(it.headers.len()),
            n_query: Reverse(it.query.len()),
            created: route.created,
            name: Name(&route.source),
            rule,
            position,
        }
    }
}
