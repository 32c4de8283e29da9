//! TLS of every HTTPS socket: certificates by server name, session tickets, and what a connection was opened for.

mod certificates;
mod clients;
mod keys;
mod stream;

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use foldhash::fast::RandomState;
use k8s::model::{ClientValidation, Listener};
use pingora_core::protocols::{IO, raw_connect::ProxyDigest};
use pingora_http::ResponseHeader;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, ProducesTickets},
};
use tokio_rustls::TlsAcceptor;

use self::clients::Clients;
pub(crate) use self::stream::Tls;
pub use self::{
    certificates::CertificateStore,
    keys::{Keys, NOT_AFTER, describe},
};
use crate::dataplane::SharedDataplane;

/// How a socket ends TLS: a part of its dataplane, and so swapped together with the routes.
pub struct Termination {
    pub certificates: Arc<CertificateStore>,
    client_validation: Option<Arc<ClientValidation>>,
    acceptor: TlsAcceptor,
    opened: AllOpened,
}

impl Termination {
    /// # Errors
    /// When there are no random numbers for session tickets.
    pub fn new(listeners: &[&Listener], keys: &Keys) -> anyhow::Result<Self> {
        let certificates = Arc::new(CertificateStore::new(listeners, keys));
        // The same for all of them, as it goes by port.
        let client_validation = listeners.iter().find_map(|listener| listener.client_validation.clone());
        let mut config = server_config(&certificates, client_validation.as_ref())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let opened = AllOpened::new(listeners, client_validation.as_ref())?;
        Ok(Self { certificates, client_validation, acceptor: TlsAcceptor::from(Arc::new(config)), opened })
    }

    /// Whether a request that belongs to `listener`, by its Host, has come on a connection that was opened for another
    /// one, or when other clients were let in. Its client is then to open a connection of its own (RFC 9110 section
    /// 15.5.20). Listeners go by their names, as the connection may be older than the dataplane.
    pub(crate) fn is_misdirected(&self, connection: &ProxyDigest, listener: &str) -> bool {
        let opened = connection.user_data.as_ref().and_then(|data| data.downcast_ref());
        let Some(Opened { listener: selected, client_validation }) = opened else { return false };
        let is_other = match selected {
            Selected::Any => false,
            Selected::Listener(name) => **name != *listener,
            Selected::Nothing => true,
        };
        is_other || *client_validation != self.client_validation
    }
}

impl fmt::Debug for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Termination").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// TLS with these certificates for these clients, and no protocol (ALPN) in it.
///
/// # Errors
/// When there are no random numbers for session tickets.
pub(crate) fn server_config(
    certificates: &Arc<CertificateStore>,
    client_validation: Option<&Arc<ClientValidation>>,
) -> anyhow::Result<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let config = match client_validation {
        None => config.with_no_client_auth(),
        Some(validation) => config.with_client_cert_verifier(Arc::new(Clients::new(validation))),
    };
    let mut config = config.with_cert_resolver(Arc::clone(certificates) as _);
    if client_validation.is_none() {
        config.ticketer = ticketer()?;
    } else {
        // A session that resumes, and is given a new ticket for the next time, would never be verified again.
        config.send_tls13_tickets = 0;
    }
    // What is kept here would end with the dataplane. Clients without tickets shake hands in full.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// One for the process, with a new key every six hours, which is taken for twelve: a session may resume on any
/// socket that has its certificate, after a swap too. Another process has other keys.
fn ticketer() -> anyhow::Result<Arc<dyn ProducesTickets>> {
    static TICKETER: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    if let Some(ticketer) = TICKETER.get() {
        return Ok(Arc::clone(ticketer));
    }
    let made = ring::Ticketer::new().context("no random numbers for session tickets")?;
    Ok(Arc::clone(TICKETER.get_or_init(|| made)))
}

/// What a connection was opened for, as every request on it finds it.
#[derive(Debug, PartialEq, Eq)]
struct Opened {
    listener: Selected,
    client_validation: Option<Arc<ClientValidation>>,
}

/// The listener that a client's server name selects.
#[derive(Debug, PartialEq, Eq)]
enum Selected {
    /// The client named no server.
    Any,
    Listener(Arc<str>),
    /// No listener has the name.
    Nothing,
}

/// Everything that a connection of one socket may be opened for. pingora hands it on from connection to request as what
/// a proxy before the client has said, which there is none of: that has room for data of one's own, and the digest of
/// TLS takes them from pingora's own TLS alone.
struct AllOpened {
    any: Arc<ProxyDigest>,
    nothing: Arc<ProxyDigest>,
    listeners: HashMap<Arc<str>, Arc<ProxyDigest>, RandomState>,
}

impl AllOpened {
    fn new(listeners: &[&Listener], client_validation: Option<&Arc<ClientValidation>>) -> anyhow::Result<Self> {
        let opened = |listener| {
            let opened = Opened { listener, client_validation: client_validation.cloned() };
            let nobodys = Box::new(ResponseHeader::build(200, None)?);
            anyhow::Ok(Arc::new(ProxyDigest::new(nobodys, Some(Box::new(opened)))))
        };
        let of_listener = |listener: &&Listener| {
            let name = &listener.name;
            Ok((Arc::clone(name), opened(Selected::Listener(Arc::clone(name)))?))
        };
        Ok(Self {
            any: opened(Selected::Any)?,
            nothing: opened(Selected::Nothing)?,
            listeners: listeners.iter().map(of_listener).collect::<anyhow::Result<_>>()?,
        })
    }

    /// For a client that has asked for this server name.
    fn find(&self, certificates: &CertificateStore, server_name: Option<&str>) -> &Arc<ProxyDigest> {
        let Some(server_name) = server_name else { return &self.any };
        let listener = certificates.listener_name(server_name).and_then(|name| self.listeners.get(name));
        listener.unwrap_or(&self.nothing)
    }
}

/// TLS for one listening socket, by the dataplane of the moment in which a handshake begins.
pub(crate) struct Acceptor {
    pub(crate) dataplane: SharedDataplane,
    pub(crate) socket: SocketAddr,
}

impl Acceptor {
    pub(crate) async fn tls_handshake<S: IO>(&self, stream: S) -> io::Result<Tls<S>> {
        let socket = self.dataplane.load().sockets.get(&self.socket).cloned();
        let tls = socket.as_ref().and_then(|socket| socket.tls.as_ref());
        let tls = tls.ok_or_else(|| io::Error::other("this listener has no TLS"))?;
        let stream = tls.acceptor.accept(stream).await?;
        let opened = tls.opened.find(&tls.certificates, stream.get_ref().1.server_name());
        Ok(Tls::new(stream, Arc::clone(opened)))
    }
}
