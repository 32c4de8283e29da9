//! What is said of a connection, or of a client's datagrams, once it has ended.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use k8s::model::BackendId;

use super::tunnel::Carried;
use crate::{
    access_log::{AccessLog, StreamLine},
    dataplane::{Action, Edge},
};

/// What is known of it as it begins.
pub struct About {
    pub began: Instant,
    pub edge: Arc<Edge>,
    /// Empty where there is none.
    pub listener: Arc<str>,
    /// `tcp`, `udp`, `tls`, and `tls passthrough`.
    pub protocol: &'static str,
    pub client: SocketAddr,
    pub server_name: Option<Box<str>>,
    /// None where no route has it.
    pub action: Option<Arc<Action>>,
}

/// Counted, and written to the log, when it is dropped: whichever way it ends.
pub struct Report {
    pub about: About,
    pub backend: Option<BackendId>,
    pub upstream: Option<SocketAddr>,
    pub carried: Carried,
    pub error: Option<Cow<'static, str>>,
    log: Option<AccessLog>,
}

impl Report {
    pub fn new(about: About, log: Option<AccessLog>) -> Self {
        Self { about, backend: None, upstream: None, carried: Carried::default(), error: None, log }
    }

    /// It is counted, and not written.
    pub fn silence(&mut self) {
        self.log = None;
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let About { began, edge, listener, protocol, client, server_name, action } = &self.about;
        let metrics = action.as_ref().map_or(&edge.unrouted, |action| &action.metrics);
        metrics.stream_ended(self.carried.from_client, self.carried.from_backend, self.error.is_some());
        let Some(log) = &self.log else { return };
        let took = began.elapsed();
        let began = SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH);
        log.write(&StreamLine {
            time: &k8s::telemetry::rfc3339(began),
            entry_point: &edge.entry_point,
            listener,
            protocol,
            remote_addr: client.ip().to_canonical().to_string(),
            server_name: server_name.as_deref().unwrap_or_default(),
            route: action.as_ref().map(|action| action.route.to_string()),
            backend: self.backend.as_ref().map(ToString::to_string),
            upstream: self.upstream.map(|address| address.to_string()),
            bytes_received: self.carried.from_client,
            bytes_sent: self.carried.from_backend,
            duration: took.as_secs_f64(),
            error: self.error.as_deref(),
        });
    }
}
