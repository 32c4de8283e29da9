//! Routes: the one form in which Ingress and Gateway API rules are served.

use std::sync::Arc;

use super::{Affinity, BackendId, Filter, ObjectName};

/// What a compiled regular expression may take, where it is checked and where it is compiled for use.
pub const REGEX_BYTES: usize = 1 << 20;

/// One HTTPRoute or GRPCRoute, one host of an Ingress, or one route of connections (TLS, TCP) or datagrams (UDP), which
/// has one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub source: ObjectName,
    /// Creation time in seconds since 1970. Of two equal matches the older route wins, then the
    /// one whose `namespace/name` comes first.
    pub created: i64,
    pub rules: Vec<Rule>,
    /// Whether a host of this route that none of its rules match asks the next less specific
    /// hostname. True in Gateway API (v1.7), false for an Ingress host.
    pub falls_through: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// As its author calls it.
    pub name: Option<Arc<str>>,
    /// Any of them may match. A rule without matches has the prefix `/`; only that of connections has none.
    pub matches: Vec<Match>,
    /// In the order in which they are applied.
    pub filters: Vec<Filter>,
    /// Chosen among by weight, before anyone asks whether the chosen one is valid. Empty answers 500,
    /// unless a filter redirects.
    pub backends: Vec<WeightedBackend>,
    pub timeouts: Timeouts,
    /// None leaves it to the router what is sent again: little, and nothing that may have been done.
    pub retry: Option<Retry>,
    /// None where any endpoint does for any request.
    pub affinity: Option<Affinity>,
}

impl Route {
    /// All that are asked on behalf of its requests, or get them, some of them several times.
    pub fn backends(&self) -> impl Iterator<Item = &BackendId> {
        fn of_filter(filter: &Filter) -> Option<&BackendId> {
            match filter {
                Filter::ExternalAuth(auth) => Some(&auth.backend),
                Filter::Mirror(mirror) => Some(&mirror.backend),
                Filter::Cors(_)
                | Filter::RequestHeaders(_)
                | Filter::ResponseHeaders(_)
                | Filter::Redirect(_)
                | Filter::Rewrite(_) => None,
            }
        }
        fn of_backend(backend: &WeightedBackend) -> impl Iterator<Item = &BackendId> {
            let target = match &backend.target {
                Target::Backend(id) => Some(id),
                Target::Invalid(_) => None,
            };
            target.into_iter().chain(backend.filters.iter().filter_map(of_filter))
        }
        self.rules
            .iter()
            .flat_map(|rule| rule.filters.iter().filter_map(of_filter).chain(rule.backends.iter().flat_map(of_backend)))
    }
}

impl Rule {
    /// Whether it has backends, and none that can be asked.
    pub fn is_spoilt(&self) -> bool {
        let is_invalid = |backend: &WeightedBackend| matches!(backend.target, Target::Invalid(_));
        !self.backends.is_empty() && self.backends.iter().all(is_invalid)
    }
}

/// Every part must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub path: PathMatch,
    /// As sent: methods are case-sensitive (RFC 9110 section 9.1).
    pub method: Option<Arc<str>>,
    /// Names in lower case, each at most once.
    pub headers: Vec<NamedMatch>,
    /// Names as they are, each at most once; the first value of a repeated parameter counts.
    pub query: Vec<NamedMatch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Byte for byte.
    Exact(Arc<str>),
    /// By whole path elements, without a trailing slash: `/app` covers `/app` and `/app/x`, never
    /// `/apple`. The prefix of everything is `/`.
    Prefix(Arc<str>),
    /// Anchored at both ends, case-sensitive; compiles.
    Regex(Arc<str>),
    /// `/service/method` of a call in gRPC, where none of the others says it. None may be any name; an expression is
    /// anchored at both ends.
    Call { service: Option<ValueMatch>, method: Option<ValueMatch> },
}

impl PathMatch {
    /// A path's expression as it is compiled: it has to match the whole path.
    pub fn anchored(expression: &str) -> String {
        format!("^(?:{expression})$")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedMatch {
    pub name: Arc<str>,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(Arc<str>),
    /// Found anywhere in the value unless anchored by the author; compiles.
    Regex(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedBackend {
    /// Zero receives nothing.
    pub weight: u32,
    pub target: Target,
    /// Applied after the rule's, for requests this backend gets.
    pub filters: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Backend(BackendId),
    /// Keeps its weight and answers 500, with the reason for `explain`.
    Invalid(Arc<str>),
}

/// However many retries a rule asks for, no request has more.
pub const MOST_RETRIES: u32 = 100;

/// What is sent again, whatever the method: what no backend has taken, and what was answered with one of the codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries beyond the first, at most [`MOST_RETRIES`].
    pub attempts: u32,
    /// From 400 to 599, in ascending order, without duplicates.
    pub codes: Vec<u16>,
    /// How long the first pause between two tries is, in milliseconds; None leaves it to the router.
    pub backoff: Option<u64>,
}

/// In milliseconds; None is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's head to the end of the response.
    pub request: Option<u64>,
    /// Each try at a backend.
    pub backend_request: Option<u64>,
}
