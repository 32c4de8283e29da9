//! Requests without a body, and their answers, where the backend speaks HTTP/1.1 in the clear: most of all there are.
//!
//! What pingora does for any request at all costs as much as everything else that is done for these: two queues
//! between two futures, each head copied and spelt twice, and a task for each connection that waits. So they go from
//! the client, who stays pingora's, straight to the backend and back. Where they go, who is tried next and what both
//! sides get is decided in the same places.

use std::{
    future::{Future, pending},
    io,
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version, header};
use k8s::model::Protocol;
use pingora_core::{Error, ErrorSource, ErrorType, Result, protocols::http::server::Session as Downstream};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::time::{sleep, sleep_until};

use super::{context::Context, headers, mirror, respond, tries};
use crate::{
    framing::answer::{self, Body, Head},
    upstream::{
        http1::{self, Connection},
        retry::Fate,
    },
};

/// Of an answer, in bytes.
const HEAD: usize = 64 << 10;

/// Of an answer's body, in bytes: half of what is read at once.
const SMALL: usize = 32 << 10;

/// What has ended a try.
struct Broken {
    error: Box<Error>,
    /// What became of the request, where the backend has ended it.
    fate: Option<Fate>,
}

impl From<Box<Error>> for Broken {
    fn from(error: Box<Error>) -> Self {
        let fate = (*error.esource() == ErrorSource::Upstream).then_some(Fate::Known);
        Self { error, fate }
    }
}

impl Broken {
    fn by_backend(fate: Fate, etype: ErrorType, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { error: Error::because(etype, "a backend", error).into_up(), fate: Some(fate) }
    }
}

pub(super) fn is_ours(session: &mut Session, context: &Context) -> bool {
    let is_plain = context
        .forward()
        .is_some_and(|forward| forward.cell.backend.protocol == Protocol::Http && forward.cell.verified.is_none());
    is_plain
        && context.upgrade.is_none()
        && session.req_header().version != Version::HTTP_10
        && session.is_body_empty()
        && !mirror::is_due(context)
}

/// Asks one endpoint after the other, until there is an answer.
///
/// # Errors
/// When there is none, it breaks off, or the client is gone.
pub(super) async fn run(session: &mut Session, context: &mut Context) -> Result<()> {
    loop {
        if let Some(pause) = tries::pause(context) {
            sleep(pause).await;
        }
        let terms = tries::begin(context)?;
        let head = headers::to_http1(session.req_header(), context)?;
        let Some(forward) = context.forward() else { return Err(no_backend()) };
        let mut connection = match http1::connect(&forward.picked, &terms, forward.current.began).await {
            Ok(connection) => connection,
            Err(error) if tries::connect_failed(context, &error) => continue,
            Err(error) => return Err(error),
        };
        match exchange(session, context, &mut connection, &head).await {
            Ok(is_kept) => {
                // What time it is is asked once for both.
                let now = *context.ended.insert(Instant::now());
                if let Some(forward) = context.forward().filter(|_| is_kept) {
                    connection.keep(&forward.picked, now);
                }
                return Ok(());
            }
            Err(Broken { error, fate }) => {
                if !fate.is_some_and(|fate| tries::broke(session, context, fate, connection.is_reused)) {
                    return Err(error);
                }
            }
        }
    }
}

fn no_backend() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "a request without a backend on its way to one")
}

/// Returns whether the connection may carry another request.
async fn exchange(
    session: &mut Session,
    context: &mut Context,
    connection: &mut Connection,
    head: &[u8],
) -> Result<bool, Broken> {
    let due = tries::due(context);
    let written = while_there(session, due, connection.write(head)).await?;
    written.map_err(|error| Broken::by_backend(Fate::Unanswered, ErrorType::WriteError, error))?;
    let Head { mut parts, reason, .. } = loop {
        let head = read_head(session, due, connection).await?;
        tries::answered(session, context, &head.parts)?;
        if respond::is_final(head.parts.status) {
            break head;
        }
        send_head(session, head.parts.into(), false).await?;
    };
    let body = Body::new(&session.req_header().method, parts.status, &mut parts.headers);
    let body = body.map_err(|error| Broken::by_backend(Fate::Known, ErrorType::InvalidHTTPHeader, error))?;
    let is_kept = answer::is_kept(parts.version, &parts.headers) && parts.status != StatusCode::SWITCHING_PROTOCOLS;
    if body.is_until_close() {
        // The client's connection is to outlive the backend's.
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    respond::pass_on(session, &mut parts, context)?;
    let mut response = ResponseHeader::from(parts);
    response.set_reason_phrase(reason.as_deref())?;
    send_head(session, response, body.is_done()).await?;
    let is_kept = is_kept && !body.is_until_close();
    send_body(session, due, connection, body).await?;
    Ok(is_kept)
}

async fn read_head(session: &mut Session, due: Option<Instant>, connection: &mut Connection) -> Result<Head, Broken> {
    loop {
        let malformed = |error| Broken::by_backend(Fate::Known, ErrorType::InvalidHTTPHeader, error);
        if let Some(head) = answer::head(&connection.received).map_err(malformed)? {
            let _ = connection.received.split_to(head.length);
            return Ok(head);
        }
        if connection.received.len() > HEAD {
            return Err(malformed(answer::Malformed::Head));
        }
        let fate = if connection.received.is_empty() { Fate::Unanswered } else { Fate::Broken };
        match while_there(session, due, connection.read(0)).await? {
            Ok(1..) => {}
            Ok(0) => {
                let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(Broken::by_backend(fate, ErrorType::ConnectionClosed, end));
            }
            Err(error) => return Err(Broken::by_backend(fate, ErrorType::ReadError, error)),
        }
    }
}

/// Past pingora's modules, which see to HTTP/1.0.
async fn send_head(session: &mut Session, head: ResponseHeader, is_end: bool) -> Result<()> {
    let client = session.as_downstream_mut();
    if is_end && let Downstream::H2(client) = client {
        // By an end of its own, a 304 that says a length would have fallen short of that (RFC 9113 section 8.1.1).
        return client.write_response_header(Box::new(head), true).map_err(Error::into_down);
    }
    client.write_response_header(Box::new(head)).await.map_err(Error::into_down)
}

async fn send_body(
    session: &mut Session,
    due: Option<Instant>,
    connection: &mut Connection,
    mut body: Body,
) -> Result<(), Broken> {
    if body.is_done() {
        session.as_downstream_mut().finish_body().await.map_err(Error::into_down)?;
        return Ok(());
    }
    loop {
        let piece = read_piece(session, due, connection, &mut body).await?;
        let is_end = piece.is_none() || body.is_done();
        let piece = if session.is_http2() { piece.map(alone) } else { piece };
        let piece = piece.unwrap_or_default();
        session.as_downstream_mut().write_response_body(piece, is_end).await.map_err(Error::into_down)?;
        if is_end {
            return Ok(());
        }
    }
}

/// h2 keeps what its client does not take yet, and counts the bytes: not what each small piece was read into.
fn alone(piece: Bytes) -> Bytes {
    if piece.len() < SMALL { Bytes::copy_from_slice(&piece) } else { piece }
}

/// None is the end.
async fn read_piece(
    session: &mut Session,
    due: Option<Instant>,
    connection: &mut Connection,
    body: &mut Body,
) -> Result<Option<Bytes>, Broken> {
    let broken = |etype, error: Box<dyn std::error::Error + Send + Sync>| Broken::by_backend(Fate::Known, etype, error);
    let malformed = |error: answer::Malformed| broken(ErrorType::ReadError, error.into());
    loop {
        let piece = body.all(&mut connection.received).map_err(malformed)?;
        if piece.is_some() || body.is_done() {
            return Ok(piece);
        }
        match while_there(session, due, connection.read(body.left())).await? {
            Ok(1..) => {}
            Ok(0) if body.is_until_close() => return Ok(None),
            Ok(0) => {
                let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(broken(ErrorType::ConnectionClosed, end.into()));
            }
            Err(error) => return Err(broken(ErrorType::ReadError, error.into())),
        }
    }
}

/// Waits for the backend for as long as the client is there, and the request has time.
async fn while_there<T>(
    session: &mut Session,
    due: Option<Instant>,
    io: impl Future<Output = io::Result<T>>,
) -> Result<io::Result<T>> {
    let late = || Err(Error::explain(ErrorType::ReadTimedout, tries::TIME_IS_OVER).into_up());
    // Where there is always more to read, nobody waits below.
    if due.is_some_and(|due| Instant::now() >= due) {
        return late();
    }
    let time_is_over = async {
        match due {
            Some(due) => sleep_until(due.into()).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        done = io => Ok(done),
        gone = session.as_downstream_mut().read_body_or_idle(true) => {
            let gone = gone.err().unwrap_or_else(|| Error::new(ErrorType::ConnectionClosed));
            Err(gone.into_down())
        }
        () = time_is_over => late(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_piece_keeps_nothing_of_what_it_was_read_into() {
        let read = Bytes::from(vec![b'a'; 2 * SMALL]);
        let small = alone(read.slice(..SMALL - 1));
        assert!(read.is_unique() && small.len() == SMALL - 1);
        let large = alone(read.slice(..SMALL));
        assert!(!read.is_unique() && large == read[..SMALL]);
    }
}
