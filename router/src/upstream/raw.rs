//! Connections to backends that carry anything, where no HTTP is known of that pingora could speak.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use k8s::model::ServerValidation;
use rustls::{AlertDescription, ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::error;

use super::{
    BackendCell, Choice, ClientCertificate, Failure, Picked, Wish, alternative_names, clock,
    peer::{HANDSHAKE, connect_limit},
};

/// Tries at endpoints for one connection, the first one included.
const MOST: usize = 3;
pub const NO_ENDPOINT: &str = "no ready endpoint";
/// A backend whose node has lost its power says nothing; a stream to it ends after about a minute. One that takes
/// nothing is waited for.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// A connection to an endpoint, which it is counted for as long as `picked` is kept.
#[derive(Debug)]
pub struct Reached {
    pub picked: Picked,
    pub connection: Connection,
}

#[derive(Debug)]
pub enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How a connection is to be had.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whether a backend that is to be verified is spoken to in TLS. Not where the client's own TLS goes there.
    pub in_tls: bool,
    /// Offered in that TLS (ALPN).
    pub protocol: Option<&'a [u8]>,
    /// Shown to who asks for one.
    pub client_certificate: Option<&'a Arc<ClientCertificate>>,
    /// Anything that differs from connection to connection.
    pub random: u64,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotReached {
    /// The last one that was tried.
    pub endpoint: Option<SocketAddr>,
    pub why: &'static str,
}

/// One try that came to nothing.
struct Missed {
    /// None is what this machine lacks or the client wants, and not the endpoint's fault.
    failure: Option<Failure>,
    why: &'static str,
}

/// Tries other endpoints where one takes no connection: nothing was sent.
///
/// # Errors
/// When none takes one, or there is none.
pub async fn reach(cell: &BackendCell, wanted: Wanted<'_>) -> Result<Reached, NotReached> {
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let choice = Choice { wish: Wish::Any, tried: &tried, random: wanted.random, now: clock::now() };
        let Some(picked) = cell.pick(&choice) else {
            return Err(NotReached { endpoint: tried.last().copied(), why: NO_ENDPOINT });
        };
        tried.push(picked.address());
        let limit = connect_limit(cell.has_other(&tried));
        let Missed { failure, why } = match connect(cell, picked.address(), limit, wanted).await {
            Ok(connection) => {
                picked.connected();
                return Ok(Reached { picked, connection });
            }
            Err(missed) => missed,
        };
        if let Some(failure) = failure {
            cell.failed(&picked, failure);
        }
        if tried.len() == MOST || !cell.has_other(&tried) {
            return Err(NotReached { endpoint: Some(picked.address()), why });
        }
    }
}

/// `limit` is for the connection without TLS.
async fn connect(
    cell: &BackendCell,
    address: SocketAddr,
    limit: Duration,
    wanted: Wanted<'_>,
) -> Result<Connection, Missed> {
    let ours = Missed { failure: None, why: "the router has no socket for it" };
    let missed = |why| Missed { failure: Some(Failure::NoConnection), why };
    let late = |failure| Missed { failure: Some(failure), why: "the backend does not accept a connection in time" };
    let dialled = timeout(limit, dial(address)).await.map_err(|_| late(Failure::NoConnection))?;
    let stream = dialled.map_err(|error| match error {
        NotDialled::NoSocket(_) => ours,
        NotDialled::NotConnected(error) => match error.kind() {
            io::ErrorKind::AddrNotAvailable => ours,
            io::ErrorKind::ConnectionRefused => missed("the backend refuses the connection"),
            _ => missed("the backend cannot be reached"),
        },
    })?;
    let (Some(verified), Some(validation), true) = (&cell.verified, &cell.backend.validation, wanted.in_tls) else {
        return Ok(Connection::Plain(stream));
    };
    let failed = missed("the backend's TLS handshake fails");
    let Some((config, hostname)) = verified.raw.get(validation) else { return Err(failed) };
    let mut config = Arc::clone(config);
    if let Some(protocol) = wanted.protocol {
        Arc::make_mut(&mut config).alpn_protocols = vec![protocol.to_vec()];
    }
    if let Some(certificate) = wanted.client_certificate {
        certificate.show_in(Arc::make_mut(&mut config));
    }
    let handshake = TlsConnector::from(config).connect(hostname.clone(), stream);
    match timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => Ok(Connection::Tls(Box::new(stream))),
        // What is offered is the client's choice, who must not be able to take the endpoint away from all others.
        Ok(Err(error)) if wanted.protocol.is_some() && is_about_protocol(&error) => {
            Err(Missed { failure: None, why: "the backend speaks no protocol that the client offers" })
        }
        Ok(Err(_)) => Err(failed),
        Err(_) => Err(late(Failure::NoAnswer)),
    }
}

/// Whether the backend has ended a handshake over what was offered (RFC 7301 section 3.2).
fn is_about_protocol(error: &io::Error) -> bool {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(of_tls, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
}

/// Why there is no connection to an address.
#[derive(Debug)]
pub(super) enum NotDialled {
    /// This machine lacks something.
    NoSocket(io::Error),
    NotConnected(io::Error),
}

/// Takes as long as the kernel does.
pub(super) async fn dial(address: SocketAddr) -> Result<TcpStream, NotDialled> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.and_then(|socket| prepare(&socket).map(|()| socket)).map_err(NotDialled::NoSocket)?;
    socket.connect(address).await.map_err(NotDialled::NotConnected)
}

fn prepare(socket: &TcpSocket) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(socket).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))
}

/// Verified TLS that offers no protocol, made where it is asked for first.
#[derive(Debug, Default)]
pub(super) struct RawTls(OnceLock<Option<(Arc<ClientConfig>, ServerName<'static>)>>);

impl RawTls {
    /// None where nobody could be verified.
    fn get(&self, validation: &ServerValidation) -> Option<&(Arc<ClientConfig>, ServerName<'static>)> {
        let make = || {
            let config = alternative_names::config(validation)?;
            anyhow::Ok((Arc::new(config), alternative_names::hostname(validation)?))
        };
        let made = self.0.get_or_init(|| {
            let failed = |error| {
                error!(hostname = %validation.hostname, "cannot verify a backend, and so reaches it never: {error:#}");
            };
            make().map_err(failed).ok()
        });
        made.as_ref()
    }
}
