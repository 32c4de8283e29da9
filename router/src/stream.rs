//! Connections that are not HTTP: TLS that is handed on as it is, TLS that ends here, and TCP.
//!
//! A connection's way: `listen` accepts → [`hello`], on TLS sockets → [`server_names`] → a backend by weight, and an
//! endpoint of it → TLS, where that ends here → [`tunnel`] → [`report`].

pub mod hello;
pub mod report;
pub mod server_names;
pub mod tunnel;

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use k8s::model::{Listener, ListenerProtocol, Route};
use rustls::ServerConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsStream, server::StartHandshake};
use tracing::error;

use self::{
    hello::Hello,
    report::Report,
    server_names::ServerNames,
    tunnel::{Broken, Side, carry},
};
use crate::{
    access_log::AccessLog,
    dataplane::{Action, CellTarget},
    listen::{Requests, Turns},
    tls::{self, CertificateStore, Keys},
    upstream::{
        BackendCell,
        raw::{self, Connection, NO_ENDPOINT, NotReached, Reached, reach},
    },
};

/// What there is on a socket besides HTTP.
#[derive(Debug)]
pub enum Streams {
    Tcp(OnlyRoute),
    /// With its HTTPS listeners, which they share names with.
    Tls(ServerNames<Mode, Arc<Action>>),
}

/// A listener without names, on which the oldest route gets everything.
#[derive(Debug)]
pub struct OnlyRoute {
    pub listener: Arc<str>,
    pub action: Option<Arc<Action>>,
}

/// What becomes of a TLS connection.
#[derive(Clone, Debug)]
pub enum Mode {
    Https,
    Passthrough,
    Terminate(Termination),
}

/// How TLS ends on a listener, whatever is in it.
#[derive(Clone, Debug)]
pub struct Termination {
    certificates: Arc<CertificateStore>,
    config: Arc<ServerConfig>,
}

/// What every connection shares.
#[derive(Clone)]
pub struct Shared {
    pub log: Option<AccessLog>,
    pub requests: Arc<Requests>,
}

/// How a client begins.
pub(crate) enum Opening {
    Tcp,
    /// With these bytes of a handshake, which go to the backend like all that follow.
    Passthrough(Vec<u8>),
    /// With a handshake that may take so long, in turns with the client's others.
    Terminate(Box<Hello>, Termination, Duration, Arc<Turns>),
}

impl Streams {
    /// None where there is nothing but HTTP. `make` as [`ServerNames::compile`] has it.
    pub fn compile(
        listeners: &[&Listener],
        keys: &Keys,
        mut make: impl FnMut(&Arc<Route>) -> Arc<Action>,
    ) -> Option<Self> {
        let first = listeners.first()?;
        if first.protocol == ListenerProtocol::Tcp {
            return Some(Self::Tcp(OnlyRoute::compile(first, make)));
        }
        if listeners.iter().all(|listener| listener.protocol.is_http()) {
            return None;
        }
        let mode = |listener: &Listener| match listener.protocol {
            ListenerProtocol::Https => Some(Mode::Https),
            ListenerProtocol::TlsPassthrough => Some(Mode::Passthrough),
            ListenerProtocol::TlsTerminate => {
                let termination = Termination::new(listener, keys);
                let failed = |error| error!(listener = %listener.name, "cannot end TLS: {error:#}");
                termination.map_err(failed).ok().map(Mode::Terminate)
            }
            ListenerProtocol::Http { .. } | ListenerProtocol::Tcp | ListenerProtocol::Udp => None,
        };
        let listeners = listeners.iter().filter_map(|listener| Some((*listener, mode(listener)?))).collect();
        Some(Self::Tls(ServerNames::compile(listeners, &mut make)))
    }

    /// Whether a connection that is opened for this name is no HTTPS.
    pub fn takes(&self, server_name: &str) -> bool {
        match self {
            Self::Tcp(_) => true,
            Self::Tls(names) => {
                let listener = names.listener(Some(server_name));
                listener.is_some_and(|listener| !matches!(listener.mode, Mode::Https))
            }
        }
    }
}

impl OnlyRoute {
    pub fn compile(listener: &Listener, make: impl FnOnce(&Arc<Route>) -> Arc<Action>) -> Self {
        let oldest = listener.routes.first();
        Self { listener: Arc::clone(&listener.name), action: oldest.map(|attachment| make(&attachment.route)) }
    }
}

impl Termination {
    fn new(listener: &Listener, keys: &Keys) -> anyhow::Result<Self> {
        let certificates = Arc::new(CertificateStore::new(&[listener], keys));
        let config = tls::server_config(&certificates, listener.client_validation.as_ref())?;
        Ok(Self { certificates, config: Arc::new(config) })
    }

    /// A client that offers one protocol will speak that, and some leave where nobody agrees to it. Of several, nobody
    /// here knows which one the backend speaks.
    async fn handshake(&self, stream: TcpStream, hello: Hello, protocol: Option<Vec<u8>>) -> Option<Side> {
        let mut config = Arc::clone(&self.config);
        if let Some(protocol) = protocol {
            Arc::make_mut(&mut config).alpn_protocols = vec![protocol];
        }
        let handshake = StartHandshake::from_parts(hello.accepted, stream).into_stream(config);
        Some(Side::Tls(Box::new(TlsStream::Server(handshake.await.ok()?))))
    }
}

/// From the client's first bytes to its end, which `cancelled` may hasten.
pub(crate) async fn serve(
    stream: TcpStream,
    opening: Opening,
    mut report: Report,
    shared: &Shared,
    cancelled: impl Future<Output = ()>,
) {
    report.error = forward(stream, opening, &mut report, shared, cancelled).await.err();
}

/// Ends a connection that leads nowhere. Without an alert in TLS: nobody has taken it.
pub fn refuse(stream: TcpStream, mut report: Report, why: &'static str) {
    report.error = Some(why.into());
    Side::Plain(stream).reset();
}

async fn forward(
    stream: TcpStream,
    opening: Opening,
    report: &mut Report,
    shared: &Shared,
    cancelled: impl Future<Output = ()>,
) -> Result<(), Cow<'static, str>> {
    let refused = |stream, why| {
        Side::Plain(stream).reset();
        Err(why)
    };
    let Some(action) = report.about.action.clone() else {
        return refused(stream, "no route".into());
    };
    let cell = match backend(&action) {
        Ok(cell) => cell,
        Err(why) => return refused(stream, why),
    };
    report.backend = Some(cell.backend.id.clone());
    let Some(_place) = shared.requests.place(report.about.client.ip()) else {
        return refused(stream, "too many requests at once".into());
    };
    let edge = Arc::clone(&report.about.edge);
    let client_certificate = edge.client_certificate.as_ref();
    let mut wanted = raw::Wanted { in_tls: true, protocol: None, client_certificate, random: random() };
    let protocol;
    let (mut client, first) = match opening {
        Opening::Tcp => (Side::Plain(stream), Vec::new()),
        Opening::Passthrough(first) => {
            wanted.in_tls = false;
            (Side::Plain(stream), first)
        }
        Opening::Terminate(hello, termination, limit, turns) => {
            let has_certificate = termination.certificates.find(report.about.server_name.as_deref()).is_some();
            if !has_certificate || hello.behind > 0 {
                let why = if has_certificate { "early data" } else { "no certificate for this server name" };
                return refused(stream, why.into());
            }
            // The client learns by its handshake that there is nobody.
            if cell.endpoints().is_empty() {
                return refused(stream, NO_ENDPOINT.into());
            }
            protocol = hello.only_protocol();
            wanted.protocol = protocol.as_deref();
            let handshake = turns.take(|_| true, termination.handshake(stream, *hello, protocol.clone()));
            let Ok(Some(client)) = timeout(limit, handshake).await else { return Err("no TLS handshake".into()) };
            (client, Vec::new())
        }
    };
    let Reached { picked, connection } = match reach(&cell, wanted).await {
        Ok(reached) => reached,
        Err(NotReached { endpoint, why }) => {
            report.upstream = endpoint;
            action.metrics.upstream_failed();
            client.reset();
            return Err(why.into());
        }
    };
    report.upstream = Some(picked.address());
    let mut backend = match connection {
        Connection::Plain(stream) => Side::Plain(stream),
        Connection::Tls(stream) => Side::Tls(Box::new(TlsStream::Client(*stream))),
    };
    let ended = tokio::select! {
        ended = carry(&mut client, &mut backend, first, &mut report.carried) => ended.map_err(in_words),
        () = cancelled => Err("the router has closed it".into()),
    };
    if ended.is_err() {
        client.reset();
        backend.reset();
    }
    ended
}

/// By weight; or why there is none.
pub fn backend(action: &Action) -> Result<Arc<BackendCell>, Cow<'static, str>> {
    let (_, backend) = action.backend(random()).ok_or("the route has no backend")?;
    match &backend.target {
        CellTarget::Cell(cell) => Ok(Arc::clone(cell)),
        CellTarget::Invalid(why) => Err(why.to_string().into()),
    }
}

pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

fn in_words(broken: Broken) -> Cow<'static, str> {
    match broken {
        Broken::Client(error) => format!("the client has gone: {error}").into(),
        Broken::Backend(error) => format!("the backend has gone: {error}").into(),
        Broken::HalfClosed => "one side has ended, and the other says nothing".into(),
    }
}

#[cfg(test)]
mod tests;
