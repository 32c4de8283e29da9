//! Where a request goes: everything that is decided before a backend is asked.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Instant};

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
    dataplane::{Action, CellTarget, Gate, Socket, WeightedCell},
    filter::{self, Origin},
    framing::{self, Client, Refusal},
    table::{OfListener, Request},
    upstream::{Choice, clock},
};

const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// What a request is for, normalised.
struct Wanted<'a> {
    host: &'a str,
    path: Cow<'a, str>,
}

impl Proxy {
    /// Finds the request's route. Some where its listener has a gate: then nothing has been found yet, and
    /// [`Self::route_behind`] finds it once the request has passed.
    pub(super) fn route(&self, session: &mut HttpSession, context: &mut Context) -> Result<Option<Arc<Socket>>, Reply> {
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
        context.host = host.as_ref().into();

        let listener = socket.table.listener(&host);
        let connection = session.digest().and_then(|digest| digest.proxy_digest.as_ref());
        let is_misdirected = match (&socket.tls, connection, listener) {
            (Some(tls), Some(connection), Some(listener)) => tls.is_misdirected(connection, &listener.name),
            _ => false,
        };
        if is_misdirected || socket.streams.as_ref().is_some_and(|streams| streams.takes(&host)) {
            return Err(Reply::error(421, format!("{host} needs a new connection, opened with its name (SNI)")));
        }
        match listener.and_then(|listener| socket.gates.get(&listener.name)) {
            None => self.find(socket, listener, &Wanted { host: &host, path }, head, context).map(|()| None),
            Some(Gate::Closed(why)) => Err(Reply::error(500, format!("nobody gets in here: {why}"))),
            // Who is asked should not be asked without end either.
            Some(Gate::Guarded(_)) => self.enter(client, context).map(|()| Some(Arc::clone(socket))),
        }
    }

    /// The same with what the request has now. Its listener is the one that it had: its host has not changed, nor has
    /// the socket.
    pub(super) fn route_behind(
        &self,
        socket: &Socket,
        session: &HttpSession,
        context: &mut Context,
    ) -> Result<(), Reply> {
        let head = session.req_header();
        let path = framing::path(head.uri.path()).map_err(bad_request)?;
        let host = context.host.clone();
        self.find(socket, socket.table.listener(&host), &Wanted { host: &host, path }, head, context)
    }

    fn find(
        &self,
        socket: &Socket,
        listener: Option<&OfListener<Arc<Action>>>,
        wanted: &Wanted<'_>,
        head: &RequestHeader,
        context: &mut Context,
    ) -> Result<(), Reply> {
        let Some(client) = context.client else { return Err(Reply::error(500, "a request of nobody")) };
        let (host, path, query) = (wanted.host, &*wanted.path, head.uri.query());
        let request = Request { host, path, method: head.method.as_str(), query, headers: &head.headers };
        let edge = &socket.edge;
        let Some(found) = listener.and_then(|listener| socket.table.find_on(listener, &request)) else {
            return Err(Reply::error(404, format!("no route for {host}{path} on entry point {}", edge.entry_point)));
        };
        let action = Arc::clone(found.value);
        let prefix = found.prefix;
        let action = &context.routed.insert(Routed { action, forward: None }).action;

        let is_path_untouched = matches!(wanted.path, Cow::Borrowed(_));
        let is_https = client.is_https;
        let origin = Origin { is_https, host, port: edge.port, path, is_path_untouched, query, prefix };
        let may_stay = client.is_https || path.starts_with(ACME_CHALLENGE);
        if let Some(redirect) = socket.redirect_to_https.as_ref().filter(|_| !may_stay) {
            return Err(Reply::redirect(redirect.status, &filter::location(redirect, &origin)));
        }
        let (place, wish) = affinity::place(action, &head.headers, client.address, context.id);
        let choice = Choice { wish, tried: &[], random: context.id, now: clock::at(context.started) };
        let forward = forward(action, place, &choice, head, &origin, context.started)?;
        self.enter(client, context)?;
        if let Some(routed) = &mut context.routed {
            routed.forward = Some(Box::new(forward));
        }
        Ok(())
    }

    /// Among all requests that somebody is asked for.
    fn enter(&self, client: Client, context: &mut Context) -> Result<(), Reply> {
        if context.place.is_none() {
            let full = || Reply::error(503, "too many requests at once");
            context.place = Some(self.requests.place(client.address).ok_or_else(full)?);
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
    began: Instant,
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
                current: Try::at(began),
            })
        }
    }
}

fn bad_request(refusal: Refusal) -> Reply {
    Reply::error(refusal.status(), refusal.to_string())
}
