//! What is done with a request, or its answer, on the way.

use std::sync::Arc;

use super::BackendId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    Cors(Cors),
    ExternalAuth(ExternalAuth),
    Mirror(Mirror),
    RequestHeaders(HeaderEdits),
    ResponseHeaders(HeaderEdits),
    Redirect(Redirect),
    Rewrite(Rewrite),
}

/// Applied in the order set, add, remove. Names in lower case, names and values legal in HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    pub set: Vec<(Arc<str>, Arc<str>)>,
    pub add: Vec<(Arc<str>, Arc<str>)>,
    pub remove: Vec<Arc<str>>,
}

/// What is not named stays as the client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub scheme: Option<Scheme>,
    pub hostname: Option<Arc<str>>,
    pub path: Option<PathRewrite>,
    /// None: the well-known port of a named scheme, else the listener's port.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    pub hostname: Option<Arc<str>>,
    pub path: Option<PathRewrite>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    Full(Arc<str>),
    /// Replaces the matched prefix; the result is never empty and gains no double slash.
    Prefix(Arc<str>),
}

/// Somebody who gets requests, too, and whose answers nobody gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub backend: BackendId,
    pub share: Share,
}

/// So many out of so many, which are at least as many, and at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub numerator: u32,
    pub denominator: u32,
}

/// Which pages of other origins may use what is answered (the CORS protocol of the Fetch standard).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Any of them.
    pub origins: Vec<OriginPattern>,
    /// Whether browsers may send cookies and the like, and show the answers to that.
    pub credentials: bool,
    pub methods: Names,
    pub request_headers: Names,
    /// What scripts may read, beyond what they always may.
    pub response_headers: Names,
    /// How long a browser may remember what it was told, in seconds.
    pub max_age: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    Any,
    Of {
        scheme: Scheme,
        host: OriginHost,
        /// The scheme's own where nobody has said another.
        port: u16,
    },
}

/// In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginHost {
    Any,
    /// Whatever ends with this, which begins with a dot; never what comes after the dot alone.
    Below(Arc<str>),
    Exact(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    Any,
    /// As they are sent: separated by commas, and empty for none.
    These(Arc<str>),
}

/// Bodies that have to be there as a whole are no longer than this, in bytes: it is what can be sent again.
pub const MOST_FORWARDED: u64 = 64 << 10;

/// Somebody who is asked about each request before its backend is, and without whose consent it goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAuth {
    pub backend: BackendId,
    pub asked: Asked,
    /// How long a body may be, which is passed on then, in bytes; 0 passes none on. At most [`MOST_FORWARDED`].
    pub body: usize,
}

/// How somebody who authorizes is asked. Names of headers are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// By a request like the client's.
    Http(HttpQuestion),
    /// By a call of `envoy.service.auth.v3.Authorization/Check`, with these headers of the client's request; empty is
    /// all.
    Grpc { request_headers: Vec<Arc<str>> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpQuestion {
    /// Comes before the path that the client asks for. Empty, or begins with a slash and does not end with one.
    pub path: Arc<str>,
    /// What is passed on of the client's request, beside what always is.
    pub request_headers: Vec<Arc<str>>,
    /// What of the consent the backend gets; clients cannot bring these. Empty is all.
    pub response_headers: Vec<Arc<str>>,
}
