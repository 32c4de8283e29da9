//! Where a request goes: everything that is decided before a backend is asked.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use http::header;
use k8s::model::Filter;
use pingora_core::protocols::http::server::Session as HttpSession;
use pingora_http::RequestHeader;

use super::{
    Proxy, Reply, affinity,
    context::{Context, Forward, Routed},
    headers,
    tries::{Tried, Try},
};
use crate::{
    dataplane::{Action, CellTarget, WeightedCell},
    filter::{self, Origin},
    framing::{self, Refusal},
    table::Request,
    upstream::{Choice, clock},
};

const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

impl Proxy {
    pub(super) fn route(&self, session: &mut HttpSession, context: &mut Context) -> Result<(), Reply> {
        let bound = session
            .digest()
            .and_then(|digest| digest.socket_digest.as_ref())
            .and_then(|digest| digest.local_addr().cloned());
        let bound: Option<SocketAddr> = bound.and_then(|address| address.as_inet().copied());
        // One load for the whole request: what follows sees one dataplane.
        let dataplane = self.dataplane.load();
        let socket = bound.and_then(|bound| dataplane.sockets.get(&bound));
        let Some(socket) = socket else { return Err(Reply::error(404, "this listener is about to close")) };
        let edge = context.edge.insert(Arc::clone(&socket.edge));

        let peer = session.client_addr().and_then(|address| address.as_inet().copied());
        let peer = peer.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let client = framing::client(&edge.trust, peer, edge.is_tls, &session.req_header().headers);
        context.client = Some(client);

        headers::remove_asserted(session.req_header_mut(), client.is_trusted);

        let head = session.req_header();
        framing::check(head).map_err(bad_request)?;
        let authority = head.headers.get(header::HOST).map(|value| value.as_bytes());
        let authority = authority.or_else(|| head.uri.authority().map(|authority| authority.as_str().as_bytes()));
        let authority = std::str::from_utf8(authority.unwrap_or_default()).map_err(|_| bad_request(Refusal::Host))?;
        let host = framing::host(authority).map_err(bad_request)?;
        if head.raw_path().iter().any(|byte| !byte.is_ascii_graphic()) {
            return Err(bad_request(Refusal::PathCharacter));
        }
        let path = framing::path(head.uri.path()).map_err(bad_request)?;
        let query = head.uri.query();
        context.host = host.as_ref().into();

        let request = Request { host: &host, path: &path, method: head.method.as_str(), query, headers: &head.headers };
        let listener = socket.table.listener(&host);
        let connection = session.digest().and_then(|digest| digest.ssl_digest.as_ref());
        if let (Some(tls), Some(connection), Some(listener)) = (&socket.tls, connection, listener)
            && tls.is_misdirected(connection, &listener.name)
        {
            return Err(Reply::error(421, format!("{host} needs a new connection, opened with its name (SNI)")));
        }
        let Some(found) = listener.and_then(|listener| socket.table.find_on(listener, &request)) else {
            return Err(Reply::error(404, format!("no route for {host}{path} on entry point {}", edge.entry_point)));
        };
        let action = Arc::clone(found.value);
        let prefix = found.prefix;
        let action = &context.routed.insert(Routed { action, forward: None }).action;

        let is_path_untouched = matches!(path, Cow::Borrowed(_));
        let is_https = client.is_https;
        let origin = Origin { is_https, host: &host, port: edge.port, path: &path, is_path_untouched, query, prefix };
        let may_stay = client.is_https || path.starts_with(ACME_CHALLENGE);
        if let Some(redirect) = socket.redirect_to_https.as_ref().filter(|_| !may_stay) {
            return Err(Reply::redirect(redirect.status, &filter::location(redirect, &origin)));
        }
        let (place, wish) = affinity::place(action, &head.headers, client.address, context.id);
        let choice = Choice { wish, tried: &[], random: context.id, now: clock::at(context.started) };
        let forward = forward(action, place, &choice, head, &origin)?;
        let full = || Reply::error(503, "too many requests at once");
        context.place = Some(self.requests.place(client.address).ok_or_else(full)?);
        if let Some(routed) = &mut context.routed {
            routed.forward = Some(forward);
        }
        Ok(())
    }
}

/// What answers where a reference leads nowhere: Gateway API has HTTP say 500, and gRPC UNAVAILABLE, which is what its
/// clients make of 503.
fn unresolved(action: &Action) -> u16 {
    if action.route.kind == "GRPCRoute" { 503 } else { 500 }
}

/// A backend with an endpoint; or what the router answers in its place.
fn forward(
    action: &Action,
    place: Option<(usize, &WeightedCell)>,
    choice: &Choice<'_>,
    head: &RequestHeader,
    origin: &Origin<'_>,
) -> Result<Forward, Reply> {
    let answered = |filters: &[Filter]| {
        let preflight = filter::cors(filters).and_then(|cors| filter::preflight(cors, &head.method, &head.headers));
        // Browsers follow no redirect before they are allowed to.
        match (preflight, filter::redirect(filters, origin)) {
            (Some(headers), _) => Err(Reply::preflight(headers)),
            (None, Some((status, location))) => Err(Reply::redirect(status, &location)),
            (None, None) => Ok(()),
        }
    };
    answered(&action.filters)?;
    let unresolved = unresolved(action);
    let missing = || Reply::error(unresolved, format!("{} has no backend for this request", action.route));
    let (place, backend) = place.ok_or_else(missing)?;
    answered(&backend.filters)?;
    match &backend.target {
        CellTarget::Invalid(why) => Err(Reply::error(unresolved, format!("{}: {why}", action.route))),
        CellTarget::Cell(cell) => {
            let missing = || Reply::error(503, format!("no ready endpoint of Service {}", cell.backend.id));
            Ok(Forward {
                backend: place,
                target: filter::target(&action.filters, &backend.filters, origin),
                wish: choice.wish,
                picked: cell.pick(choice).ok_or_else(missing)?,
                cell: Arc::clone(cell),
                tried: Tried::default(),
                current: Try::default(),
            })
        }
    }
}

fn bad_request(refusal: Refusal) -> Reply {
    Reply::error(refusal.status(), refusal.to_string())
}
