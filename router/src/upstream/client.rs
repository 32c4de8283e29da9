//! Requests that the router makes of a backend on its own account, with a body that is there as a whole.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header};
use pingora_core::{
    Error, ErrorType, OrErr, Result,
    connectors::http::Connector,
    protocols::http::client::HttpSession,
    upstreams::peer::{HttpPeer, Peer},
};
use pingora_http::RequestHeader;

use super::{
    BackendCell, Choice, ClientCertificate, Failure, Picked, Wish, clock,
    peer::{self, Terms},
};
use crate::unwind;

/// Among the extensions of an answer that came by HTTP/2 and had any.
#[derive(Clone, Debug)]
pub struct Trailers(pub HeaderMap);

/// Endpoints that are tried, where one takes no connection.
const MOST: usize = 3;

/// Asks one endpoint of the backend, over a connection that others have used or will use, where there is one, and shows
/// it the certificate where it asks for one. Of the answer's body as much is read as `most` says, in bytes; more of it is
/// an error. What the request says of its connection and its length is this function's to say. Takes as long as the
/// backend does.
///
/// # Errors
/// When there is no endpoint, no connection, or no whole answer that is HTTP.
pub async fn ask(
    cell: &BackendCell,
    client_certificate: Option<&Arc<ClientCertificate>>,
    request: &Request<Bytes>,
    most: usize,
    random: u64,
) -> Result<Response<Bytes>> {
    let asking = unwind::catch(ask_one(cell, client_certificate, request, most, random)).await;
    asking.unwrap_or_else(|_| Err(Error::explain(ErrorType::InternalError, "it has panicked")))
}

async fn ask_one(
    cell: &BackendCell,
    client_certificate: Option<&Arc<ClientCertificate>>,
    request: &Request<Bytes>,
    most: usize,
    random: u64,
) -> Result<Response<Bytes>> {
    static CONNECTOR: OnceLock<Connector> = OnceLock::new();
    let connector = CONNECTOR.get_or_init(|| Connector::new(None));
    let none = || Error::explain(ErrorType::ConnectError, "no ready endpoint");
    let mut tried = Vec::new();
    let (picked, (peer, (mut session, is_reused))) = loop {
        let choice = Choice { wish: Wish::Any, tried: &tried, random, now: clock::now() };
        let picked = cell.pick(&choice).ok_or_else(none)?;
        match connect(connector, cell, client_certificate, &picked, false).await {
            Ok(connected) => break (picked, connected),
            Err(error) => {
                tried.push(picked.address());
                if tried.len() == MOST || !cell.has_other(&tried) {
                    return Err(error);
                }
            }
        }
    };
    match exchange(&mut session, &peer, request, most).await {
        // It may have been dead before it was used.
        Err(_) if is_reused && session.response_header().is_none() => {
            let (peer, (mut session, _)) = connect(connector, cell, client_certificate, &picked, true).await?;
            exchange(&mut session, &peer, request, most).await
        }
        Err(error) => Err(error),
        Ok(answer) => {
            let said = answer.headers().get("keep-alive").and_then(|value| value.to_str().ok());
            picked.answered(said);
            connector.release_http_session(session, &peer, peer.idle_timeout()).await;
            Ok(answer)
        }
    }
}

type Connected = (HttpSession, bool);

async fn connect(
    connector: &Connector,
    cell: &BackendCell,
    client_certificate: Option<&Arc<ClientCertificate>>,
    picked: &Picked,
    is_fresh: bool,
) -> Result<(HttpPeer, Connected)> {
    let terms = Terms {
        websocket: None,
        connect: peer::connect_limit(cell.has_other(&[picked.address()])),
        idle: picked.idle(),
        left: None,
        is_fresh,
        client_certificate: client_certificate.cloned(),
    };
    let peer = peer::peer(picked.address(), cell.backend.protocol, cell.verified.as_ref(), &terms);
    let connected = connector.get_http_session(&peer).await;
    let connected = connected.inspect_err(|_| cell.failed(picked, Failure::NoConnection))?;
    Ok((peer, connected))
}

async fn exchange(
    session: &mut HttpSession,
    peer: &HttpPeer,
    request: &Request<Bytes>,
    most: usize,
) -> Result<Response<Bytes>> {
    let body = request.body();
    session.write_request_header(Box::new(head(session, peer, request)?)).await?;
    if !body.is_empty() {
        session.write_request_body(body.clone(), true).await?;
    }
    session.finish_request_body().await?;
    loop {
        session.read_response_header().await?;
        if session.response_header().is_none_or(|head| !head.status.is_informational()) {
            break;
        }
    }
    let mut body = BytesMut::new();
    while let Some(piece) = session.read_response_body().await? {
        if body.len() + piece.len() > most {
            return Err(Error::explain(ErrorType::ReadError, "the answer is too long"));
        }
        body.extend_from_slice(&piece);
    }
    let trailers = match session {
        HttpSession::H2(h2) => h2.read_trailers().await?,
        HttpSession::H1(h1) => {
            h1.respect_keepalive();
            None
        }
        _ => None,
    };
    let head = session.response_header().ok_or_else(|| Error::explain(ErrorType::ReadError, "no answer"))?;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::explain(ErrorType::ReadError, "a 101 that nobody has asked for"));
    }
    let mut answer = Response::new(body.freeze());
    (*answer.status_mut(), *answer.headers_mut()) = (head.status, head.headers.clone());
    if let Some(trailers) = trailers {
        answer.extensions_mut().insert(Trailers(trailers));
    }
    Ok(answer)
}

/// As the connection wants it.
fn head(session: &HttpSession, peer: &HttpPeer, request: &Request<Bytes>) -> Result<RequestHeader> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.headers = request.headers().clone();
    for name in [header::CONNECTION, header::EXPECT, header::TRANSFER_ENCODING, header::UPGRADE] {
        parts.headers.remove(name);
    }
    let says_length = parts.headers.remove(header::CONTENT_LENGTH).is_some();
    if says_length || !request.body().is_empty() {
        parts.headers.insert(header::CONTENT_LENGTH, request.body().len().into());
    }
    let path = request.uri().path_and_query().cloned();
    if matches!(session, HttpSession::H2(_)) {
        let host = parts.headers.remove(header::HOST);
        let scheme = if peer.is_tls() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(host.as_ref().map_or(&b""[..], |host| host.as_bytes()));
        let uri = path.map_or_else(Uri::builder, |path| uri.path_and_query(path));
        parts.uri = uri.build().or_err(ErrorType::InvalidHTTPHeader, "the host is none")?;
        parts.version = Version::HTTP_2;
    } else {
        parts.uri = path.map(Uri::from).unwrap_or_default();
        parts.version = Version::HTTP_11;
    }
    Ok(parts.into())
}
