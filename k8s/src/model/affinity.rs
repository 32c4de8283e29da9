//! What keeps the requests that belong together at one endpoint.

use std::sync::Arc;

/// By what an endpoint is chosen, where not by load alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// The client's address.
    Address,
    /// A cookie of the router's own that names the endpoint.
    Cookie(AffinityCookie),
    /// The value of this header, in lower case. Requests without it go anywhere.
    Header(Arc<str>),
    /// A header of the router's own that names the endpoint. Answers bring it, and clients send it back.
    Session(AffinityHeader),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffinityCookie {
    /// A token (RFC 6265 section 4.1.1).
    pub name: Arc<str>,
    /// Two rules of one host may use one name: the browser sends each the cookie of its path, and those above it.
    pub path: Arc<str>,
    /// In seconds; None lasts as long as the browser is open.
    pub max_age: Option<u64>,
    pub same_site: Option<SameSite>,
    /// After so many seconds an endpoint is chosen anew, whatever the client still says; None is never.
    pub lifetime: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffinityHeader {
    /// In lower case.
    pub name: Arc<str>,
    /// As that of an [`AffinityCookie`].
    pub lifetime: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Lax,
    None,
    Strict,
}

impl SameSite {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::None => "None",
            Self::Strict => "Strict",
        }
    }
}
