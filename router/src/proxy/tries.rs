//! One request's tries at endpoints: which one, with what limits, and whether another follows.

use std::{
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use http::{HeaderName, StatusCode, Version, response};
use k8s::model::{MOST_RETRIES, Retry};
use pingora_core::{Error, ErrorSource, ErrorType, Result, RetryType, upstreams::peer::HttpPeer};
use pingora_proxy::Session;
use tracing::error;

use super::{
    context::{Context, Forward, Routed},
    respond,
};
use crate::{
    dataplane::Action,
    upstream::{
        self, Choice, Failure, Terms, Upgraded, balance, clock,
        retry::{self, Failed, Fate, may_retry},
    },
};

/// Tries at endpoints for one request, the first one included, where its rule does not say how many.
const MOST: u32 = 3;
/// The same where a rule says more than anybody needs.
pub(super) const MOST_OF_ALL: usize = 1 + MOST_RETRIES as usize;
pub(super) const TIME_IS_OVER: &str = "the request's time is over";
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// As a trailer or, where nothing else is said, a header field of gRPC: nothing was done.
const UNAVAILABLE: &[u8] = b"14";

/// The endpoints that one request was sent to, in order; of many the last ones.
pub(super) struct Tried {
    addresses: [SocketAddr; MOST as usize],
    kept: usize,
    /// All tries.
    count: u32,
}

impl Tried {
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        self.addresses.get(..self.kept).unwrap_or_default()
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    fn push(&mut self, address: SocketAddr) {
        if self.kept == self.addresses.len() {
            self.addresses.rotate_left(1);
            self.kept -= 1;
        }
        if let Some(place) = self.addresses.get_mut(self.kept) {
            *place = address;
            self.kept += 1;
        }
        self.count += 1;
    }

    /// All of them have had their turn, and it is only the last one's that has just been.
    fn begin_round(&mut self) {
        self.addresses.rotate_left(self.kept.saturating_sub(1));
        self.kept = self.kept.min(1);
    }
}

impl Default for Tried {
    fn default() -> Self {
        Self { addresses: [SocketAddr::from(([0, 0, 0, 0], 0)); MOST as usize], kept: 0, count: 0 }
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
    pub(super) began: Instant,
    /// When the whole answer has to be there.
    deadline: Option<Instant>,
    /// The same, whatever else is tried.
    last_deadline: Option<Instant>,
    /// The connection may carry other requests at the same time.
    is_shared: bool,
    is_answered: bool,
    /// Its answer is one that the rule has retried.
    is_refused: bool,
    websocket: Option<Upgraded>,
    next: Next,
    /// Whether the next try is to wait.
    pauses: bool,
}

impl Try {
    pub(super) fn at(began: Instant) -> Self {
        Self {
            began,
            deadline: None,
            last_deadline: None,
            is_shared: false,
            is_answered: false,
            is_refused: false,
            websocket: None,
            next: Next::Other,
            pauses: false,
        }
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|at| Instant::now() >= at)
    }

    fn is_last_time_over(&self) -> bool {
        self.last_deadline.is_some_and(|at| Instant::now() >= at)
    }
}

/// Whether there may be another try.
fn may_go_on(forward: &Forward, retry: Option<&Retry>) -> bool {
    match retry {
        // An explicit 0 is to be none at all.
        Some(retry) => forward.tried.count() <= retry.attempts && !forward.current.is_last_time_over(),
        None => forward.tried.count() < MOST && !forward.current.is_late(),
    }
}

/// How long the next try waits; nobody waits longer than the request may take.
pub(super) fn pause(context: &Context) -> Option<Duration> {
    let routed = context.routed.as_ref()?;
    let (forward, retry) = (routed.forward.as_ref()?, routed.action.retry.as_ref()?);
    if !forward.current.pauses {
        return None;
    }
    let number = forward.tried.count().saturating_sub(1);
    let random = balance::mix(context.id.wrapping_add(u64::from(number)));
    let pause = retry::pause(retry.backoff.map(Duration::from_millis), number, random);
    let left = forward.current.last_deadline.map(|at| at.saturating_duration_since(Instant::now()));
    Some(left.map_or(pause, |left| pause.min(left)))
}

/// When the whole answer has to be there, whatever is tried.
pub(super) fn deadline(context: &Context, action: &Action) -> Option<Instant> {
    after(context.started, action.timeouts.request)
}

/// `limit` is in milliseconds.
fn after(from: Instant, limit: Option<u64>) -> Option<Instant> {
    from.checked_add(Duration::from_millis(limit?))
}

/// Begins a try, and says how it is to be made.
///
/// # Errors
/// When there is no endpoint, or no time left.
pub(super) fn begin(context: &mut Context) -> Result<Terms> {
    let routed = context.routed.as_mut().ok_or_else(no_endpoint)?;
    let forward = routed.forward.as_mut().ok_or_else(no_endpoint)?;
    let now = Instant::now();
    let is_retry = forward.tried.count() > 0;
    let is_fresh = is_retry && forward.current.next == Next::SameAnew;
    if is_retry && !is_fresh {
        if routed.action.retry.is_some() && !forward.cell.has_other(forward.tried.addresses()) {
            forward.tried.begin_round();
        }
        let choice =
            Choice { wish: forward.wish, tried: forward.tried.addresses(), random: context.id, now: clock::at(now) };
        forward.picked = forward.cell.pick(&choice).ok_or_else(no_endpoint)?;
    }
    forward.tried.push(forward.picked.address());

    let last_deadline = after(context.started, routed.action.timeouts.request);
    let deadline = last_deadline.into_iter().chain(after(now, routed.action.timeouts.backend_request)).min();
    let left = deadline.map(|at| at.saturating_duration_since(now));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(Error::explain(ErrorType::HTTPStatus(504), TIME_IS_OVER));
    }
    let websocket = context.upgrade.is_some().then(Upgraded::default);
    forward.current = Try { deadline, last_deadline, websocket: websocket.clone(), next: Next::End, ..Try::at(now) };
    Ok(Terms {
        websocket,
        connect: upstream::connect_limit(forward.cell.has_other(forward.tried.addresses())),
        idle: forward.picked.idle(),
        left,
        is_fresh,
        client_certificate: context.edge.as_ref().and_then(|edge| edge.client_certificate.clone()),
    })
}

/// Begins a try that pingora makes.
pub(super) fn peer(context: &mut Context) -> Result<HttpPeer> {
    let terms = begin(context)?;
    let forward = context.forward().ok_or_else(no_endpoint)?;
    let (protocol, verified) = (forward.cell.backend.protocol, forward.cell.verified.as_ref());
    Ok(upstream::peer(forward.picked.address(), protocol, verified, &terms))
}

fn no_endpoint() -> Box<Error> {
    Error::explain(ErrorType::HTTPStatus(503), "no ready endpoint")
}

/// There is a connection, and this is what it speaks.
pub(super) fn connected(context: &mut Context, spoken: Version) {
    if let Some(forward) = context.forward_mut() {
        forward.current.is_shared = spoken == Version::HTTP_2;
    }
}

/// The head of an answer has come, if only a 100 Continue.
///
/// # Errors
/// When it is one that the rule has retried: it goes no further.
pub(super) fn answered(session: &Session, context: &mut Context, response: &response::Parts) -> Result<()> {
    let Some(Routed { action, forward: Some(forward) }) = &mut context.routed else { return Ok(()) };
    forward.current.is_answered = true;
    if response.status == StatusCode::SWITCHING_PROTOCOLS
        && let Some(upgraded) = &forward.current.websocket
    {
        upgraded.store(true, Relaxed);
    }
    if !respond::is_final(response.status) {
        return Ok(());
    }
    forward.picked.answered(response.headers.get(KEEP_ALIVE).and_then(|value| value.to_str().ok()));
    let Some(retry) = &action.retry else { return Ok(()) };
    let is_listed = retry.codes.binary_search(&response.status.as_u16()).is_ok();
    let is_unavailable = || response.headers.get("grpc-status").is_some_and(|status| status == UNAVAILABLE);
    if (is_listed || is_unavailable()) && is_replayable(session) && may_go_on(forward, Some(retry)) {
        forward.current.is_refused = true;
        let status = ErrorType::HTTPStatus(response.status.as_u16());
        return Err(Error::explain(status, "an answer that is retried").into_up());
    }
    Ok(())
}

/// Whether the client knows of no answer yet, and all that it has sent is there to be sent again.
fn is_replayable(session: &Session) -> bool {
    !session.as_downstream().retry_buffer_truncated() && !respond::has_answered(session)
}

/// When the whole answer to the current try has to be there.
pub(super) fn due(context: &Context) -> Option<Instant> {
    context.forward()?.current.deadline
}

/// Whether the whole answer should have been there. A WebSocket may take its time.
pub(super) fn is_overdue(session: &Session, context: &Context) -> bool {
    context.forward().is_some_and(|forward| forward.current.is_late()) && !session.was_upgraded()
}

/// There was no connection. Returns whether to try again.
pub(super) fn connect_failed(context: &mut Context, error: &Error) -> bool {
    context.count_upstream_failure();
    let Some(Routed { action, forward: Some(forward) }) = &mut context.routed else { return false };
    let has_other = forward.cell.has_other(forward.tried.addresses());
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
            // Nothing was sent, so any method may be tried again; at the same endpoint it would only fail again, unless
            // somebody is patient.
            forward.current.pauses = !has_other;
            if has_other || action.retry.is_some() { Next::Other } else { Next::End }
        }
    };
    forward.current.next != Next::End && may_go_on(forward, action.retry.as_ref())
}

/// pingora's way of saying that.
pub(super) fn failed(session: &Session, context: &mut Context, error: &Error, is_reused: bool) -> bool {
    *error.esource() == ErrorSource::Upstream && broke(session, context, fate(error), is_reused)
}

/// It ended with an error of the backend's while there was a connection. Returns whether to try again.
pub(super) fn broke(session: &Session, context: &mut Context, fate: Fate, is_reused: bool) -> bool {
    context.count_upstream_failure();
    let Some(Routed { action, forward: Some(forward) }) = &mut context.routed else { return false };
    let is_idempotent = session.req_header().method.is_idempotent();
    let failed = Failed {
        fate,
        is_reused,
        is_shared: forward.current.is_shared,
        is_retry: forward.tried.count() > 1,
        is_idempotent,
        is_replayable: !session.as_downstream().retry_buffer_truncated(),
        is_answered: forward.current.is_answered,
        took: forward.current.began.elapsed(),
    };
    // A connection that had waited says nothing of its endpoint.
    if failed.fate == Fate::Unanswered && !is_reused && !failed.is_answered {
        forward.cell.failed(&forward.picked, Failure::NoAnswer);
    }
    // What took too long may have been done.
    let is_late = action.retry.is_some() && forward.current.is_late() && is_idempotent && is_replayable(session);
    forward.current.pauses = forward.current.is_refused || is_late;
    forward.current.next = match (forward.current.pauses || may_retry(&failed), is_reused) {
        (false, _) => Next::End,
        (true, true) if !forward.current.pauses => Next::SameAnew,
        (true, _) => Next::Other,
    };
    forward.current.next != Next::End && may_go_on(forward, action.retry.as_ref())
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
