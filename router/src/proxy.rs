//! A request's life, in the order of pingora's phases. Each is a few lines that call a decision made elsewhere.

mod affinity;
mod authorize;
mod caught;
mod context;
mod failure;
mod headers;
mod http_10;
mod mirror;
mod respond;
mod tries;

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use k8s::model::Filter;
use pingora_core::{
    Error, ErrorSource, ErrorType,
    apps::HttpServerOptions,
    modules::http::HttpModules,
    protocols::http::{server::Session as HttpSession, v2::server::default_h2_options},
    server::configuration::ServerConf,
    upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session, http_proxy};

pub use self::caught::Caught;
use self::{
    context::{Context, Forward, Routed},
    failure::failure,
    tries::{Tried, Try},
};
use crate::{
    access_log::AccessLog,
    dataplane::{Action, CellTarget, SharedDataplane, WeightedCell},
    filter::{self, Origin},
    framing::{self, Refusal},
    listen::{IDLE, Refuse, Requests, phase},
    table::Request,
    upstream::{Choice, clock},
};

/// Connections to backends that wait for their next request, in all.
pub const KEPT_CONNECTIONS: usize = 256;
/// A client that takes nothing for this long is gone.
const CLIENT_WRITE: Duration = Duration::from_secs(60);
/// What each HTTP/2 stream may hold for a client that does not read, in bytes. h2's own 400 KiB are 40 MiB for the
/// hundred streams of one connection.
const H2_SEND_BUFFER: usize = 64 << 10;
const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// What every request shares.
pub struct Proxy {
    dataplane: SharedDataplane,
    log: Option<AccessLog>,
    requests: Arc<Requests>,
}

/// The proxy as listeners take it. `log` is None where nobody wants an access log.
pub fn app(
    dataplane: SharedDataplane,
    log: Option<AccessLog>,
    requests: Arc<Requests>,
    threads: usize,
) -> HttpProxy<Proxy> {
    let conf = ServerConf {
        threads,
        upstream_keepalive_pool_size: KEPT_CONNECTIONS,
        max_retries: tries::MOST_OF_ALL,
        ..ServerConf::default()
    };
    let mut proxy = http_proxy(&Arc::new(conf), Proxy { dataplane, log, requests });
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(IDLE);
    proxy.server_options = Some(options);
    let mut options = default_h2_options();
    options.max_send_buffer_size(H2_SEND_BUFFER);
    proxy.h2_options = Some(options);
    proxy
}

/// The answer to what is refused before pingora reads it; counted and logged like any other.
pub fn refuse(dataplane: SharedDataplane, log: Option<AccessLog>) -> Arc<Refuse> {
    Arc::new(move |bound, peer, refusal| {
        let dataplane = dataplane.load();
        let edge = dataplane.sockets.get(&bound).map(|socket| &*socket.edge);
        Context::new().refuse(edge, peer, refusal, log.as_ref())
    })
}

/// A decision about a request that the router answers itself.
pub(crate) struct Reply {
    status: u16,
    /// What happened, for the person who sees it. None for what programs alone read.
    why: Option<String>,
    headers: Box<HeaderMap>,
    /// None is a page that says why.
    body: Option<Bytes>,
}

impl Reply {
    fn error(status: u16, why: impl Into<String>) -> Self {
        Self { status, why: Some(why.into()), headers: Box::default(), body: None }
    }

    fn preflight(headers: HeaderMap) -> Self {
        Self { status: 204, why: None, headers: Box::new(headers), body: None }
    }

    fn redirect(status: u16, location: &str) -> Self {
        match HeaderValue::try_from(location) {
            Ok(location) => {
                let headers = Box::new([(header::LOCATION, location)].into_iter().collect());
                Self { status, why: None, headers, body: None }
            }
            Err(_) => Self::error(500, "a redirect leads nowhere"),
        }
    }
}

impl Proxy {
    /// Everything that is decided before a backend is asked.
    fn route(&self, session: &mut HttpSession, context: &mut Context) -> Result<(), Reply> {
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

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new()
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        http_10::add_to(modules);
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> pingora_core::Result<bool> {
        let head = session.req_header_mut();
        context.upgrade = framing::upgrade::to_tunnel(head.version, &head.headers);
        if context.upgrade.is_none() {
            // pingora would take the field alone for a wish.
            head.remove_header(&header::UPGRADE);
        }
        if head.version == http::Version::HTTP_10 {
            // It knows no answer before the answer (RFC 9110 sections 10.1.1 and 15.2).
            head.remove_header(&header::EXPECT);
            session.as_downstream_mut().set_ignore_info_resp(true);
        }
        set_limits(session, context.upgrade.is_some());
        context.keepalive = session.get_keepalive();
        headers::forget_spelling(session.req_header_mut())?;
        headers::join_cookies(session.req_header_mut())?;
        let reply = match self.route(session.as_downstream_mut(), context) {
            Ok(()) => authorize::authorize(session, context).await?,
            Err(reply) => Some(reply),
        };
        let Some(reply) = reply else { return Ok(false) };
        respond::send(session, context, reply).await?;
        Ok(true)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> pingora_core::Result<()> {
        mirror::body(body.as_ref(), end_of_stream, context);
        if tries::is_overdue(session, context) {
            // Said to be the client's: any other error ends nothing here where the backend speaks HTTP/2.
            return Err(Error::new_down(ErrorType::HTTPStatus(504)));
        }
        Ok(())
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        context: &mut Context,
    ) -> pingora_core::Result<Box<HttpPeer>> {
        if let Some(pause) = tries::pause(context) {
            tokio::time::sleep(pause).await;
        }
        tries::peer(context).map(Box::new)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> pingora_core::Result<()> {
        tries::connected(context, request.version);
        headers::to_upstream(session, request, context)?;
        mirror::begin(session, request, context);
        // pingora lets nothing pass that comes by HTTP/2 before the answer, so nobody else would say it.
        if request.version == http::Version::HTTP_2 && request.remove_header(&header::EXPECT).is_some() {
            session.as_downstream_mut().write_continue_response().await?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> pingora_core::Result<()> {
        tries::answered(session, context, response)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> pingora_core::Result<()> {
        if !respond::is_final(response.status) {
            return Ok(());
        }
        headers::check_answer(response, context.upgrade.is_some())?;
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            phase::upgraded();
        }
        if session.is_body_done() {
            // With a 100 Continue pingora has given it up, as the body was still to come.
            session.set_keepalive(context.keepalive);
        }
        if phase::is_last_answer() {
            session.set_keepalive(None);
        }
        let knows_chunks = session.req_header().version != http::Version::HTTP_10;
        if !knows_chunks && !response.headers.contains_key(header::CONTENT_LENGTH) {
            session.set_keepalive(None);
        }
        headers::to_client(session.req_header(), response, context)?;
        affinity::to_client(response, context)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> pingora_core::Result<Option<Duration>> {
        if !end_of_stream && tries::is_overdue(session, context) {
            return Err(Error::new_up(ErrorType::HTTPStatus(504)));
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(tries::connect_failed(context, &error));
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        error.set_retry(tries::broke(session, context, &error, client_reused));
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
        let (status, why) = failure(error);
        context.error = Some(why.into());
        if respond::has_answered(session) {
            // pingora would drop the connection, and with it what is not sent. Where nothing but the end of the
            // connection says how long an answer is, that must not be the end of one which broke off.
            let says_its_end = session.req_header().version != http::Version::HTTP_10;
            if *error.esource() != ErrorSource::Downstream && says_its_end && !session.is_http2() {
                session.as_downstream_mut().shutdown().await;
            }
        } else if status > 0 {
            let upstream = context.upstream();
            let why = upstream.map_or_else(|| why.to_owned(), |address| format!("{why} ({address})"));
            // pingora closes the connection after a failure, and the client should know.
            session.set_keepalive(None);
            // The client may be gone.
            let _ = respond::send(session, context, Reply::error(status, why)).await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        phase::request_done();
        if context.error.is_none() {
            context.error = error.map(|error| failure(error).1.into());
        }
        context.report(session, self.log.as_ref());
        // HTTP/1 does the same as it closes, which it may have to say first.
        if error.is_none() && session.is_http2() {
            respond::pass_over_body(session).await;
        }
    }

    // The access log has the line, with more in it.
    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _context: &Context,
        _error: &Error,
        _of: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// What the client's connection may do, where pingora's own limits are others.
fn set_limits(session: &mut Session, is_upgrade: bool) {
    if is_upgrade {
        // It may be silent for as long as both ends like.
        session.set_read_timeout(None);
    }
    session.set_write_timeout(Some(CLIENT_WRITE));
    // pingora's own answer to `keep-alive` is to wait for ever.
    if session.get_keepalive() == Some(0) {
        session.set_keepalive(Some(IDLE.as_secs()));
    }
}
