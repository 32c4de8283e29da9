//! What the snapshot asks for, with every reference resolved: plain data with no Kubernetes type in it.
//!
//! ```text
//! Model ── EntryPoint ── Listener ── Attachment ── Route ── Rule ─┬─ Match, Filter
//!   │                        └─ Certificate                       └─ WeightedBackend ── BackendId ┐
//!   └─ Backend ◄─────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod affinity;
mod backend;
mod certificate;
mod entry_point;
mod filter;
mod host;
mod name;
mod object;
mod route;
mod validation;

use std::collections::BTreeMap;

pub use self::{
    affinity::{Affinity, AffinityCookie, AffinityHeader, SameSite},
    backend::{Addressing, Backend, BackendId, Endpoints, HealthCheck, Protocol},
    certificate::Certificate,
    entry_point::{Attachment, EntryPoint, Listener, ListenerProtocol, Trust},
    filter::{
        Asked, Cors, ExternalAuth, Filter, HeaderEdits, HttpQuestion, MOST_FORWARDED, Mirror, Names, OriginHost,
        OriginPattern, PathRewrite, Redirect, Rewrite, Scheme, Share,
    },
    host::{HostName, HostPattern, InvalidHost, Labels},
    name::{CONFIGURATION, ClaimedAnswer, NameClaim, RecordData, STATIC_RECORDS},
    object::{ObjectName, ServiceName},
    route::{
        MOST_RETRIES, Match, NamedMatch, PathMatch, REGEX_BYTES, Retry, Route, Rule, Target, Timeouts, ValueMatch,
        WeightedBackend,
    },
    validation::{AlternativeName, Authorities, ClientValidation, ServerValidation, TrustedBy, ValidationMode},
};

/// Everything the two binaries serve, as plain data.
///
/// Two models are equal exactly when the same requests and queries get the same answers, so a
/// reader that sees an equal model again has nothing to do. Endpoints are not part of it: they
/// change often, and travel past the model (see `source::Update`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Static entry points in the order of the configuration file, then one per Gateway, oldest first.
    /// Where two serve a name, the first one's address is the one DNS answers, unless `dns.entryPoints` says otherwise.
    pub entry_points: Vec<EntryPoint>,
    /// Every backend that a route refers to and that exists.
    pub backends: BTreeMap<BackendId, Backend>,
}
