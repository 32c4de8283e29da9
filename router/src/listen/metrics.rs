//! What listeners count, by the address that was bound: `127.0.0.1:443`, and `127.0.0.1:53/udp`.

use metrics::{Counter, Gauge, counter, gauge};

pub(super) const ACCEPTED: &str = "doorward_connections_accepted_total";
pub(super) const OPEN: &str = "doorward_connections_open";
/// Connections that ended before a request: by why.
pub(super) const REFUSED: &str = "doorward_connections_refused_total";

pub(crate) struct Metrics {
    pub(crate) accepted: Counter,
    pub(crate) open: Gauge,
    pub(super) accept_errors: Counter,
    pub(super) handshake_failed: Counter,
    pub(super) handshake_timeout: Counter,
    pub(super) silent: Counter,
    pub(super) no_proxy_header: Counter,
    pub(crate) too_many: Counter,
    pub(super) flood: Counter,
    pub(super) no_hello: Counter,
    pub(super) no_listener: Counter,
}

impl Metrics {
    pub(crate) fn new(address: &str) -> Self {
        let address = address.to_owned();
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
            no_hello: refused("no_tls_handshake"),
            no_listener: refused("unknown_server_name"),
        }
    }
}
