//! A request's life, in the order of pingora's phases. Each is a few lines that call a decision made elsewhere.

mod affinity;
mod authorize;
mod caught;
mod context;
mod exchange;
mod failure;
mod headers;
mod http_10;
mod mirror;
mod respond;
mod route;
mod tries;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pingora_core::{
    Error, ErrorSource, ErrorType, apps::HttpServerOptions, modules::http::HttpModules,
    protocols::http::v2::server::default_h2_options, server::configuration::ServerConf, upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session, http_proxy};

pub use self::caught::Caught;
use self::{context::Context, failure::failure};
use crate::{
    access_log::AccessLog,
    dataplane::SharedDataplane,
    framing,
    listen::{IDLE, Refuse, Requests, phase},
    upstream::MOST_KEPT,
};

/// Connections to backends that wait for their next request, in all: pingora's and our own.
pub const KEPT_CONNECTIONS: usize = KEPT_BY_PINGORA + MOST_KEPT;
const KEPT_BY_PINGORA: usize = 64;
/// A client that takes nothing for this long is gone.
const CLIENT_WRITE: Duration = Duration::from_secs(60);
/// What each HTTP/2 stream may hold for a client that does not read, in bytes. h2's own 400 KiB are 40 MiB for the
/// hundred streams of one connection.
const H2_SEND_BUFFER: usize = 64 << 10;

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
        upstream_keepalive_pool_size: KEPT_BY_PINGORA,
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
    /// What the router answers itself; None where a backend is to.
    async fn answer(&self, session: &mut Session, context: &mut Context) -> pingora_core::Result<Option<Reply>> {
        // What has been read of it, for whoever else has to see it.
        let mut body = None;
        match self.route(session.as_downstream_mut(), context) {
            Err(reply) => return Ok(Some(reply)),
            Ok(None) => {}
            Ok(Some(socket)) => {
                if let Some(reply) = authorize::at_gate(&socket, session, context, &mut body).await? {
                    return Ok(Some(reply));
                }
                if let Err(reply) = self.route_behind(&socket, session.as_downstream(), context) {
                    return Ok(Some(reply));
                }
            }
        }
        authorize::behind_route(session, context, &mut body).await
    }
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
        if framing::has(&head.headers, &header::UPGRADE) {
            context.upgrade = framing::upgrade::to_tunnel(head.version, &head.headers);
            if context.upgrade.is_none() {
                // pingora would take the field alone for a wish.
                head.remove_header(&header::UPGRADE);
            }
        }
        if head.version == http::Version::HTTP_10 {
            // It knows no answer before the answer (RFC 9110 sections 10.1.1 and 15.2).
            head.remove_header(&header::EXPECT);
            session.as_downstream_mut().set_ignore_info_resp(true);
        }
        set_limits(session, context.upgrade.is_some());
        context.keepalive = session.get_keepalive();
        headers::join_cookies(session.req_header_mut())?;
        match self.answer(session, context).await? {
            Some(reply) => respond::send(session, context, reply).await?,
            None if exchange::is_ours(session, context) => exchange::run(session, context).await?,
            None => {
                headers::forget_spelling(session.req_header_mut())?;
                return Ok(false);
            }
        }
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
        headers::edit_response(response, |parts| respond::pass_on(session, parts, context))
    }

    fn upstream_response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        _context: &mut Context,
    ) -> pingora_core::Result<()> {
        if session.req_header().version == http::Version::HTTP_2 {
            headers::own(trailers);
        }
        Ok(())
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
        error.set_retry(tries::failed(session, context, &error, client_reused));
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
        // What may have to be waited for now is no backend's business.
        context.leave_backend();
        if error.is_none() {
            respond::finish(session).await;
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
    // Of HTTP/1, `listen` knows itself.
    if session.is_http2() {
        session.set_write_timeout(Some(CLIENT_WRITE));
    }
    // pingora's own answer to `keep-alive` is to wait for ever.
    if session.get_keepalive() == Some(0) {
        session.set_keepalive(Some(IDLE.as_secs()));
    }
}
