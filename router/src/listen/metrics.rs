//! What listeners count, by the address that was bound.

use std::net::SocketAddr;

use metrics::{Counter, Gauge, counter, gauge};

pub(super) const ACCEPTED: &str = "doorward_connections_accepted_total";
pub(super) const OPEN: &str = "doorward_connections_open";
/// Connections that ended before a request: by why.
pub(super) const REFUSED: &str = "doorward_connections_refused_total";

pub(super) struct Metrics {
    pub(super) accepted: Counter,
    pub(super) open: Gauge,
    pub(super) accept_errors: Counter,
    pub(super) handshake_failed: Counter,
    pub(super) handshake_timeout: Counter,
    pub(super) silent: Counter,
    pub(super) no_proxy_header: Counter,
    pub(super) too_many: Counter,
    pub(super) flood: Counter,
}

impl Metrics {
    pub(super) fn new(address: SocketAddr) -> Self {
        let address = address.to_string();
        let refused = |why: &'static str| counter!(REFUSED, "address" => address.clone(), "why" => why);
        Self {
            accepted: counter!(ACCEPTED, "address" => address.clone()),
            open: gauge!(OPEN, "address" => address.clone()),
            accept_errors: refused("accept_error"),
            handshake_failed: refused("handshake_failed"),
            handshake_timeout: refused("handshake_timeout"),
            silent: refused("silent"),
            no_proxy_header: refused("no_proxy_header"),
            too_many: refused("too_many_of_one_client"),
            flood: refused("http2_flood"),
        }
    }
}
