//! Who the client is, and which header fields only the router may assert.

use std::net::{IpAddr, SocketAddr};

use k8s::model::Trust;

use super::folds_to;
use crate::table::Headers;

/// What the router says of a client to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// Whether the client's own connection is encrypted.
    pub is_https: bool,
    /// Whether the peer may assert the above, and so headers such as CF-Ray stay.
    pub is_trusted: bool,
}

/// The peer itself, unless the entry point trusts it to speak for somebody else.
pub fn client<H: Headers + ?Sized>(trust: &Trust, peer: SocketAddr, is_tls: bool, headers: &H) -> Client {
    let peer = peer.ip().to_canonical();
    if !trust.sources.iter().any(|source| source.contains(&peer)) {
        return Client { address: peer, is_https: is_tls, is_trusted: false };
    }
    let named = trust.client_address.as_deref().and_then(|name| headers.value(name));
    Client {
        address: named.and_then(|text| text.trim().parse().ok()).unwrap_or(peer),
        is_https: headers.value("x-forwarded-proto").map_or(is_tls, |scheme| scheme.eq_ignore_ascii_case("https")),
        is_trusted: true,
    }
}

/// Names compared with every character that is no letter or digit as `_`: CGI-style backends cannot
/// tell `X_Forwarded-For` from `X-Forwarded-For`.
const ASSERTED: &[&str] = &[
    "forwarded",
    "remote_email",
    "remote_groups",
    "remote_name",
    "remote_user",
    "x_client_ip",
    "x_cluster_client_ip",
    "x_http_method",
    "x_http_method_override",
    "x_method_override",
    "x_original_method",
    "x_original_uri",
    "x_original_url",
    "x_real_ip",
    "x_request_id",
    "x_rewrite_url",
    "x_scheme",
];
const ASSERTED_PREFIXES: &[&str] = &["x_authentik_", "x_auth_request_", "x_forwarded_"];
/// What the tunnel says, and nobody else may.
const TUNNEL: &[&str] = &["cdn_loop", "true_client_ip"];
const TUNNEL_PREFIX: &str = "cf_";

/// Whether a field that a client sent is to be removed because the backend would believe it.
pub fn is_asserted(name: &str, is_trusted: bool) -> bool {
    // With these begin all of the names below, and few that browsers send.
    if !matches!(name.bytes().next().map(|byte| byte.to_ascii_lowercase()), Some(b'c' | b'f' | b'r' | b't' | b'x')) {
        return false;
    }
    let any = |names: &[&str]| {
        names.iter().any(|known| known.len() == name.len() && folds_to(name.as_bytes(), known.as_bytes()))
    };
    let starts =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|start| folds_to(start.as_bytes(), prefix.as_bytes()));
    any(ASSERTED)
        || ASSERTED_PREFIXES.iter().any(|prefix| starts(prefix))
        || (!is_trusted && (any(TUNNEL) || starts(TUNNEL_PREFIX)))
}
