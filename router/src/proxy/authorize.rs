//! Requests that somebody has to consent to before their backend sees them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, header};
use k8s::model::{Asked, HttpQuestion};
use pingora_core::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tokio::time::timeout;

use super::{Reply, context::Context, headers, tries};
use crate::{
    dataplane::{Authorizer, Gate, Socket},
    filter::{self, Verdict, check},
    framing,
    upstream::{
        BackendCell,
        client::{self, Trailers},
    },
};

/// How long whoever consents may take, where the whole request may take longer.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest answer that a client gets from there, in bytes.
const ANSWER: usize = 64 << 10;

/// By all whom the listener asks. None lets the request go on, with what was said of its client. What cannot be asked is
/// refused. `body` is what has been read of the request's.
///
/// # Errors
/// When the client does not send the body that it has promised.
pub(super) async fn at_gate(
    socket: &Socket,
    session: &mut Session,
    context: &mut Context,
    body: &mut Option<Bytes>,
) -> Result<Option<Reply>> {
    let authorizers = match socket.gate(&context.host) {
        Some(Gate::Guarded(authorizers)) => authorizers.as_slice(),
        Some(Gate::Closed(_)) => return Ok(Some(nobody())),
        None => &[],
    };
    for authorizer in authorizers {
        if let Some(reply) = Box::pin(ask(authorizer, session, context, body)).await? {
            return Ok(Some(reply));
        }
    }
    Ok(None)
}

/// The same by whom the request's rule asks.
///
/// # Errors
/// The same.
pub(super) async fn behind_route(
    session: &mut Session,
    context: &mut Context,
    body: &mut Option<Bytes>,
) -> Result<Option<Reply>> {
    let Some(action) = context.routed.as_ref().map(|routed| Arc::clone(&routed.action)) else {
        return Ok(None);
    };
    match &action.authorizer {
        // In a box: it is far larger than what the many requests need that nobody is asked about.
        Some(authorizer) => Box::pin(ask(authorizer, session, context, body)).await,
        None => Ok(None),
    }
}

async fn ask(
    authorizer: &Authorizer,
    session: &mut Session,
    context: &mut Context,
    body: &mut Option<Bytes>,
) -> Result<Option<Reply>> {
    let auth = &authorizer.auth;
    let body = match auth.body {
        0 => Bytes::new(),
        most => match whole_body(session, most, body).await? {
            Some(body) => body,
            None => return Ok(Some(Reply::error(413, format!("a body of more than {most} bytes is not forwarded")))),
        },
    };
    let Some(cell) = &authorizer.cell else { return Ok(Some(nobody())) };
    match &auth.asked {
        Asked::Http(question) => by_http(question, cell, session, context, body).await,
        Asked::Grpc { request_headers } => by_grpc(request_headers, cell, session, context, body).await,
    }
}

async fn by_http(
    auth: &HttpQuestion,
    cell: &BackendCell,
    session: &mut Session,
    context: &mut Context,
    body: Bytes,
) -> Result<Option<Reply>> {
    let head = session.req_header();
    let Ok(path) = framing::path(head.uri.path()) else { return Ok(Some(nobody())) };
    let host = host(head);
    let question = filter::question(auth, &head.method, &path, head.uri.query(), host.as_ref(), &head.headers, body);
    let Some(question) = question else { return Ok(Some(nobody())) };
    let answer = match answer(cell, &question, context).await {
        Ok(answer) => answer,
        Err(reply) => return Ok(Some(reply)),
    };
    match filter::verdict(answer) {
        Verdict::Admitted(said) => {
            headers::edit_request(session.req_header_mut(), |headers| filter::admit(auth, &said, headers))?;
            Ok(None)
        }
        Verdict::Refused(answer) => Ok(Some(refused(answer, context))),
    }
}

async fn by_grpc(
    listed: &[Arc<str>],
    cell: &BackendCell,
    session: &mut Session,
    context: &mut Context,
    body: Bytes,
) -> Result<Option<Reply>> {
    let head = session.req_header();
    let Some(client) = context.client else { return Ok(Some(nobody())) };
    let Some(target) = target(head) else { return Ok(Some(nobody())) };
    let host = host(head);
    let asked = check::Asked {
        id: context.request_id(),
        client: client.address,
        is_https: client.is_https,
        method: head.method.as_str(),
        target: &target,
        host: host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default(),
        version: head.version,
        headers: &head.headers,
        body,
    };
    let service = &cell.backend.id.service;
    let call = check::call(&format!("{}.{}.svc", service.name, service.namespace), listed, asked);
    let answer = match answer(cell, &call, context).await {
        Ok(answer) => answer,
        Err(reply) => return Ok(Some(reply)),
    };
    let trailers = answer.extensions().get::<Trailers>().map(|Trailers(trailers)| trailers);
    match check::verdict(&answer, trailers) {
        None => Ok(Some(nobody())),
        Some(check::Verdict::Admitted(edits)) => {
            headers::edit_request(session.req_header_mut(), |headers| check::admit(&edits, headers))?;
            context.for_client.extend(edits.answer);
            Ok(None)
        }
        Some(check::Verdict::Refused(answer)) => Ok(Some(refused(answer, context))),
    }
}

/// The error is what the client gets where there is none in time.
async fn answer(cell: &BackendCell, question: &Request<Bytes>, context: &Context) -> Result<Response<Bytes>, Reply> {
    let certificate = context.edge.as_ref().and_then(|edge| edge.client_certificate.as_ref());
    let deadline = context.routed.as_ref().and_then(|routed| tries::deadline(context, &routed.action));
    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let asking = client::ask(cell, certificate, question, ANSWER, context.id);
    match timeout(left.map_or(LIMIT, |left| left.min(LIMIT)), asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Err(_) if left.is_some_and(|left| left < LIMIT) => Err(Reply::error(504, tries::TIME_IS_OVER)),
        Ok(Err(_)) | Err(_) => Err(nobody()),
    }
}

/// The path in its one form, and the query.
fn target(head: &RequestHeader) -> Option<String> {
    let path = framing::path(head.uri.path()).ok()?;
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{path}{query}"))
}

fn host(head: &RequestHeader) -> Option<HeaderValue> {
    let own = || head.uri.authority().and_then(|authority| authority.as_str().parse().ok());
    head.headers.get(header::HOST).cloned().or_else(own)
}

fn refused(answer: Response<Bytes>, context: &mut Context) -> Reply {
    context.error = Some("not authorized".into());
    let (head, body) = answer.into_parts();
    Reply { status: head.status.as_u16(), why: None, headers: Box::new(head.headers), body: Some(body) }
}

fn nobody() -> Reply {
    Reply::error(StatusCode::SERVICE_UNAVAILABLE.as_u16(), "who is to authorize this request does not answer")
}

/// None where it is longer. It stays there for the backend, as for a second try.
async fn whole_body(session: &mut Session, most: usize, read: &mut Option<Bytes>) -> Result<Option<Bytes>> {
    if let Some(body) = read {
        return Ok(Some(body.clone()).filter(|body| body.len() <= most));
    }
    let length = session.req_header().headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Ok(None);
    }
    let is_awaited = session.req_header_mut().remove_header(&header::EXPECT).is_some();
    let downstream = session.as_downstream_mut();
    if is_awaited {
        downstream.write_continue_response().await?;
    }
    downstream.enable_retry_buffering();
    let mut body = BytesMut::new();
    while let Some(piece) = downstream.read_request_body().await? {
        if body.len() + piece.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(read.insert(body.freeze()).clone()))
}
