//! One request's tries at endpoints: which one, with what limits, and whether another follows.

use std::{
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use http::{StatusCode, Version};
use pingora_core::{Error, ErrorSource, ErrorType, Result, RetryType, upstreams::peer::HttpPeer};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tracing::error;

use super::{context::Context, respond};
use crate::upstream::{
    self, Choice, Failure, Terms, Upgraded, clock,
    retry::{Failed, Fate, may_retry},
};

/// Tries at endpoints for one request, the first one included.
pub(super) const MOST: usize = 3;

/// The endpoints that one request was sent to, in order.
pub(super) struct Tried {
    addresses: [SocketAddr; MOST],
    count: usize,
}

impl Tried {
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        self.addresses.get(..self.count).unwrap_or_default()
    }

    fn push(&mut self, address: SocketAddr) {
        if let Some(place) = self.addresses.get_mut(self.count) {
            *place = address;
            self.count += 1;
        }
    }
}

impl Default for Tried {
    fn default() -> Self {
        Self { addresses: [SocketAddr::from(([0, 0, 0, 0], 0)); MOST], count: 0 }
    }
}

/// What becomes of a request once its last try has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    End,
    Other,
    /// The same endpoint, with a connection that nobody has used.
    SameAnew,
}

/// The current try.
pub(super) struct Try {
    began: Instant,
    /// When the whole answer has to be there.
    deadline: Option<Instant>,
    /// The connection may carry other requests at the same time.
    is_shared: bool,
    is_answered: bool,
    websocket: Option<Upgraded>,
    next: Next,
}

impl Default for Try {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            deadline: None,
            is_shared: false,
            is_answered: false,
            websocket: None,
            next: Next::Other,
        }
    }
}

impl Try {
    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|at| Instant::now() >= at)
    }

    fn goes_on(&self) -> bool {
        self.next != Next::End && !self.is_late()
    }
}

/// Begins a try.
pub(super) fn peer(context: &mut Context) -> Result<HttpPeer> {
    let no_endpoint = || Error::explain(ErrorType::HTTPStatus(503), "no ready endpoint");
    let routed = context.routed.as_mut().ok_or_else(no_endpoint)?;
    let forward = routed.forward.as_mut().ok_or_else(no_endpoint)?;
    let now = Instant::now();
    let is_retry = !forward.tried.addresses().is_empty();
    let is_fresh = is_retry && forward.current.next == Next::SameAnew;
    if is_retry && !is_fresh {
        let choice =
            Choice { wish: forward.wish, tried: forward.tried.addresses(), random: context.id, now: clock::at(now) };
        forward.picked = forward.cell.pick(&choice).ok_or_else(no_endpoint)?;
    }
    forward.tried.push(forward.picked.address());

    let limits = [
        routed.action.timeouts.request.and_then(|limit| context.started.checked_add(Duration::from_millis(limit))),
        routed.action.timeouts.backend_request.and_then(|limit| now.checked_add(Duration::from_millis(limit))),
    ];
    let deadline = limits.into_iter().flatten().min();
    let left = deadline.map(|at| at.saturating_duration_since(now));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(Error::explain(ErrorType::HTTPStatus(504), "the request's time is over"));
    }
    let websocket = context.upgrade.is_some().then(Upgraded::default);
    forward.current = Try { began: now, deadline, websocket: websocket.clone(), next: Next::End, ..Try::default() };
    let terms = Terms {
        websocket,
        connect: upstream::connect_limit(forward.cell.has_other(forward.tried.addresses())),
        idle: forward.picked.idle(),
        left,
        is_fresh,
    };
    let (protocol, verified) = (forward.cell.backend.protocol, forward.cell.verified.as_ref());
    Ok(upstream::peer(forward.picked.address(), protocol, verified, &terms))
}

/// There is a connection, and this is what it speaks.
pub(super) fn connected(context: &mut Context, spoken: Version) {
    if let Some(forward) = context.forward_mut() {
        forward.current.is_shared = spoken == Version::HTTP_2;
    }
}

/// The head of an answer has come, if only a 100 Continue.
pub(super) fn answered(context: &mut Context, response: &ResponseHeader) {
    let Some(forward) = context.forward_mut() else { return };
    forward.current.is_answered = true;
    if response.status == StatusCode::SWITCHING_PROTOCOLS
        && let Some(upgraded) = &forward.current.websocket
    {
        upgraded.store(true, Relaxed);
    }
    if respond::is_final(response.status) {
        forward.picked.answered(response.headers.get("keep-alive").and_then(|value| value.to_str().ok()));
    }
}

/// Whether the whole answer should have been there. A WebSocket may take its time.
pub(super) fn is_overdue(session: &Session, context: &Context) -> bool {
    context.forward().is_some_and(|forward| forward.current.is_late()) && !session.was_upgraded()
}

/// There was no connection. Returns whether to try again.
pub(super) fn connect_failed(context: &mut Context, error: &Error) -> bool {
    context.count_upstream_failure();
    let Some(forward) = context.forward_mut() else { return false };
    forward.current.next = match error.etype() {
        // There was one, of HTTP/2, that took no more streams.
        ErrorType::H2Error => Next::SameAnew,
        etype => {
            // What this machine lacks, or a route's own haste, is not the endpoint's fault.
            let is_ours = matches!(etype, ErrorType::BindError | ErrorType::InternalError | ErrorType::SocketError);
            if !is_ours && !forward.current.is_late() {
                let failure = if is_late_handshake(error) { Failure::NoAnswer } else { Failure::NoConnection };
                forward.cell.failed(&forward.picked, failure);
            }
            // Nothing was sent, so any method may be tried again; at the same endpoint it would only fail again.
            if forward.cell.has_other(forward.tried.addresses()) { Next::Other } else { Next::End }
        }
    };
    forward.current.goes_on()
}

/// It ended with an error while there was a connection. Returns whether to try again.
pub(super) fn broke(session: &Session, context: &mut Context, error: &Error, is_reused: bool) -> bool {
    if *error.esource() != ErrorSource::Upstream {
        return false;
    }
    context.count_upstream_failure();
    let Some(forward) = context.forward_mut() else { return false };
    let failed = Failed {
        fate: fate(error),
        is_reused,
        is_shared: forward.current.is_shared,
        is_retry: forward.tried.addresses().len() > 1,
        is_idempotent: session.req_header().method.is_idempotent(),
        is_replayable: !session.as_downstream().retry_buffer_truncated(),
        is_answered: forward.current.is_answered,
        took: forward.current.began.elapsed(),
    };
    // A connection that had waited says nothing of its endpoint.
    if failed.fate == Fate::Unanswered && !is_reused && !failed.is_answered {
        forward.cell.failed(&forward.picked, Failure::NoAnswer);
    }
    forward.current.next = match (may_retry(&failed), is_reused) {
        (false, _) => Next::End,
        (true, true) => Next::SameAnew,
        (true, false) => Next::Other,
    };
    forward.current.goes_on()
}

/// A panic has ended it. Where nothing of an answer had come, what the endpoint said is as likely a reason as any.
pub(super) fn panicked(context: &Context) {
    let Some((forward, upstream)) = context.forward().zip(context.upstream()) else { return };
    context.count_upstream_failure();
    if !forward.current.is_answered {
        forward.cell.failed(&forward.picked, Failure::NoAnswer);
    }
    error!(%upstream, service = %forward.cell.backend.id, request_id = context.request_id(), "a request has panicked");
}

/// Whether somebody took the connection, and was too slow with its TLS. pingora tells it from a connection that nobody
/// took in words.
fn is_late_handshake(error: &Error) -> bool {
    let said = error.context.as_ref().map(|context| context.as_str()).unwrap_or_default();
    *error.etype() == ErrorType::ConnectTimedout && said.starts_with("connecting to server")
}

/// As pingora has it in the error: what may be sent again, what may only where the connection was not new, and in
/// words how much was read. Of TLS it retries nothing: an end without a farewell may be an attacker's. But where
/// nothing was read yet there is nothing that he could have cut short.
fn fate(error: &Error) -> Fate {
    let said = error.context.as_ref().map(|context| context.as_str()).unwrap_or_default();
    let nothing_read = said.ends_with("bytes already read: 0") || said.ends_with("reading h2 header");
    match (error.retry, error.etype()) {
        // The answer was no HTTP/2; the next try is HTTP/1.1.
        (RetryType::Decided(true), ErrorType::InvalidH2) => Fate::Broken,
        (RetryType::Decided(true), _) => Fate::Unprocessed,
        (RetryType::ReusedOnly, _) | (RetryType::Decided(false), ErrorType::ReadError) if nothing_read => {
            Fate::Unanswered
        }
        (RetryType::ReusedOnly, _) => Fate::Broken,
        (RetryType::Decided(false), ErrorType::WriteError) => Fate::Unanswered,
        (RetryType::Decided(false), _) => Fate::Known,
    }
}
