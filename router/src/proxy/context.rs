//! What one request carries from phase to phase.

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use http::HeaderValue;
use k8s::model::Filter;
use pingora_proxy::Session;

use super::{
    mirror::Mirroring,
    respond,
    tries::{self, Tried, Try},
};
use crate::{
    access_log::{AccessLog, Line},
    dataplane::{Action, Edge},
    filter::{Target, check::Put},
    framing::{Client, Refusal},
    listen::OneRequest,
    upstream::{BackendCell, Picked, Wish, balance},
};

pub struct Context {
    pub(super) started: Instant,
    /// Where it is known.
    pub(super) ended: Option<Instant>,
    pub(super) id: u64,
    /// The same, as it is told to backend, client and log.
    pub(super) request_id: HeaderValue,
    pub(super) edge: Option<Arc<Edge>>,
    pub(super) client: Option<Client>,
    /// For how long the client's connection may wait for its next request, in seconds; None for not at all.
    pub(super) keepalive: Option<u64>,
    /// Normalised; empty where the request was refused before.
    pub(super) host: Box<str>,
    /// The protocols that the client asks to change to.
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) routed: Option<Routed>,
    /// What the answer gets from who has consented to the request.
    pub(super) for_client: Vec<Put>,
    /// Whether mirrors have had their chance.
    pub(super) is_mirrored: bool,
    /// What they wait for.
    pub(super) mirroring: Option<Box<Mirroring>>,
    /// Among all requests that backends are asked for.
    pub(super) place: Option<OneRequest>,
    /// Why the router itself answered, or the answer broke off.
    pub(super) error: Option<Cow<'static, str>>,
}

/// What is known once a rule has matched.
pub(super) struct Routed {
    pub(super) action: Arc<Action>,
    /// None where the router answers itself. In a box, as pingora has the room of three contexts in each request.
    pub(super) forward: Option<Box<Forward>>,
}

/// A request on its way to a backend.
pub(super) struct Forward {
    /// Which of the action's backends.
    pub(super) backend: usize,
    pub(super) cell: Arc<BackendCell>,
    /// What the backend is asked for.
    pub(super) target: Target,
    pub(super) wish: Wish,
    pub(super) picked: Picked,
    pub(super) tried: Tried,
    pub(super) current: Try,
}

impl Routed {
    /// The rule's filters, then those of the backend that was chosen.
    pub(super) fn filters(&self) -> impl Iterator<Item = &Filter> {
        let backend = self.forward.as_ref().and_then(|forward| self.action.backends.get(forward.backend));
        self.action.filters.iter().chain(backend.into_iter().flat_map(|backend| &backend.filters))
    }
}

impl Context {
    pub(super) fn new() -> Self {
        let id = next_id();
        Self {
            started: Instant::now(),
            ended: None,
            id,
            request_id: text(id),
            edge: None,
            client: None,
            keepalive: None,
            host: "".into(),
            upgrade: None,
            routed: None,
            for_client: Vec::new(),
            is_mirrored: false,
            mirroring: None,
            place: None,
            error: None,
        }
    }

    pub(super) fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// Answers, counts and logs what was refused before it could be read as a request.
    pub(super) fn refuse(
        self,
        edge: Option<&Edge>,
        peer: SocketAddr,
        refusal: Refusal,
        log: Option<&AccessLog>,
    ) -> Vec<u8> {
        let (id, status, why) = (self.request_id(), refusal.status(), refusal.to_string());
        if let Some(edge) = edge {
            edge.unrouted.answered(status, self.started.elapsed());
        }
        let answer = respond::last(status, &why, id);
        if let Some(log) = log {
            log.write(&Line {
                time: &k8s::telemetry::rfc3339(SystemTime::now()),
                request_id: id,
                entry_point: edge.map_or("", |edge| &edge.entry_point),
                remote_addr: peer.ip().to_canonical().to_string(),
                status,
                bytes_sent: answer.len(),
                error: Some(&why),
                ..Line::default()
            });
        }
        answer
    }

    pub(super) fn forward(&self) -> Option<&Forward> {
        self.routed.as_ref()?.forward.as_deref()
    }

    pub(super) fn forward_mut(&mut self) -> Option<&mut Forward> {
        self.routed.as_mut()?.forward.as_deref_mut()
    }

    /// To be called when the request is done with: it takes nobody's place any more.
    pub(super) fn leave_backend(&mut self) {
        self.place = None;
        if let Some(routed) = &mut self.routed {
            routed.forward = None;
        }
    }

    pub(super) fn count_upstream_failure(&self) {
        if let Some(routed) = &self.routed {
            routed.action.metrics.upstream_failed();
        }
    }

    /// The endpoint that was asked last.
    pub(super) fn upstream(&self) -> Option<SocketAddr> {
        self.forward()?.tried.addresses().last().copied()
    }

    /// Counts the request, and writes its line.
    pub(super) fn report(&self, session: &Session, log: Option<&AccessLog>) {
        let took =
            self.ended.map_or_else(|| self.started.elapsed(), |ended| ended.saturating_duration_since(self.started));
        let answer = session.response_written().filter(|head| respond::is_final(head.status));
        let status = answer.map_or(0, |head| head.status.as_u16());
        match (&self.routed, &self.edge) {
            (Some(routed), _) => routed.action.metrics.answered(status, took),
            (None, Some(edge)) => edge.unrouted.answered(status, took),
            (None, None) => {}
        }
        let Some(log) = log else { return };
        let head = session.req_header();
        let field =
            |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let began = SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH);
        log.write(&Line {
            time: &k8s::telemetry::rfc3339(began),
            request_id: self.request_id(),
            entry_point: self.edge.as_ref().map_or("", |edge| &edge.entry_point),
            remote_addr: self.client.map(|client| client.address.to_string()).unwrap_or_default(),
            method: head.method.as_str(),
            vhost: &self.host,
            path: head.uri.path(),
            request_query: head.uri.query().unwrap_or_default(),
            request_proto: protocol(head.version),
            status,
            bytes_sent: session.body_bytes_sent(),
            request_length: session.body_bytes_read(),
            duration: took.as_secs_f64(),
            route: self.routed.as_ref().map(|routed| routed.action.to_string()),
            upstream: self.upstream().map(|address| address.to_string()),
            http_user_agent: field(http::header::USER_AGENT),
            http_referrer: field(http::header::REFERER),
            error: self.error.as_deref(),
        });
    }
}

/// Whatever a request does ends by itself, but for a panic.
impl Drop for Context {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        if let Some(routed) = &self.routed {
            routed.action.metrics.answered(500, self.started.elapsed());
        }
        tries::panicked(self);
    }
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Sixteen hexadecimal digits.
fn text(id: u64) -> HeaderValue {
    let digits = std::array::from_fn::<u8, 16, _>(|at| {
        let digit = (id >> (60 - 4 * at)) as u8 & 0xf;
        if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
    });
    // Backend and client are told it, and share one piece of memory from the beginning.
    let text = HeaderValue::from_maybe_shared(Bytes::from_owner(digits));
    let mut text = text.unwrap_or_else(|_| HeaderValue::from_static(""));
    // No other answer has it: HPACK is not to put it into its table, in the place of what others have (RFC 7541 section
    // 6.2.3), nor to look for it there.
    text.set_sensitive(true);
    text
}

/// Unique in this process, and unlikely to meet another's: a counter from a random start, mixed.
fn next_id() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let start = START.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    balance::mix(start.wrapping_add(COUNT.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

#[cfg(test)]
mod tests {
    use pingora_core::{apps::HttpServerApp, protocols::http::ServerSession};
    use tokio::{io::duplex, sync::watch};

    use super::*;
    use crate::{dataplane::SharedDataplane, listen::Requests, proxy};

    /// mimalloc has classes of sizes, and hands out first what was given back last. h2 asks for 16 KiB with each
    /// connection and writes to little of it, which costs what is written to; if it got what a request has left, all
    /// of it would have been.
    #[tokio::test]
    async fn a_request_does_not_share_its_memory_with_the_write_buffers_of_h2() {
        let requests = Arc::new(Requests::for_process(1));
        let app = Arc::new(proxy::app(SharedDataplane::default(), None, requests, 1));
        let (client, _server) = duplex(1);
        let (_tell, told) = watch::channel(false);
        let request = app.process_new_http(ServerSession::new_http1(Box::new(client)), &told);
        let size = size_of_val(&*request);
        assert!(size <= 14 << 10, "{size} bytes, of which three times {} are the context", size_of::<Context>());
    }
}
