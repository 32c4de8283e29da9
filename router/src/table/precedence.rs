//! Which of several matching rules wins.

use std::cmp::Reverse;

use k8s::model::{Match, PathMatch, Route, ValueMatch};

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
pub(super) struct Precedence {
    path: PathRank,
    /// Of a call, what it asks of service and method: how sure, and how many bytes.
    call: Reverse<Option<[(u8, usize); 2]>>,
    has_method: Reverse<bool>,
    n_headers: Reverse<usize>,
    n_query: Reverse<usize>,
    created: i64,
    name: String,
    rule: usize,
    position: usize,
}

/// Equal paths stand together, which `PathIndex` relies on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact(String),
    Regex(Reverse<usize>, String),
    Prefix(Reverse<usize>, String),
}

impl Precedence {
    pub(super) fn of(route: &Route, rule: usize, position: usize, it: &Match) -> Self {
        let path = match &it.path {
            PathMatch::Exact(path) => PathRank::Exact(path.to_string()),
            PathMatch::Prefix(path) => PathRank::Prefix(Reverse(path.len()), path.to_string()),
            PathMatch::Regex(path) => PathRank::Regex(Reverse(path.len()), path.to_string()),
            PathMatch::Call { .. } => PathRank::Prefix(Reverse(1), "/".to_owned()),
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
            name: format!("{}/{}", route.source.namespace, route.source.name),
            rule,
            position,
        }
    }
}
