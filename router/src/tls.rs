//! TLS of every HTTPS socket: certificates by server name, session tickets, and what a connection was opened for.

mod certificates;
mod clients;
mod keys;

use std::{
    any::Any,
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use async_trait::async_trait;
use k8s::model::{ClientValidation, Listener};
use pingora_core::{
    Error, ErrorType, Result,
    listeners::{
        TlsAccept,
        tls::{Acceptor as PingoraAcceptor, TlsSettings},
    },
    protocols::{
        IO,
        tls::{SslDigest, TlsRef, TlsStream},
    },
};
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, ProducesTickets},
};
use tokio_rustls::TlsAcceptor;

use self::clients::Clients;
pub use self::{
    certificates::CertificateStore,
    keys::{Keys, NOT_AFTER, describe},
};
use crate::dataplane::SharedDataplane;

/// How a socket ends TLS: a part of its dataplane, and so swapped together with the routes.
pub struct Termination {
    pub certificates: Arc<CertificateStore>,
    client_validation: Option<Arc<ClientValidation>>,
    acceptor: PingoraAcceptor,
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
        let when_open =
            WhenOpen { certificates: Arc::clone(&certificates), client_validation: client_validation.clone() };
        // pingora takes a configuration or a callback; put into its place afterwards, the configuration has both.
        let mut settings = TlsSettings::with_callbacks(Box::new(when_open))?;
        settings.set_cert_resolver(Arc::clone(&certificates) as _);
        let mut acceptor = settings.build();
        acceptor.acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { certificates, client_validation, acceptor })
    }

    /// Whether a request that belongs to `listener`, by its Host, has come on a connection that was opened for another
    /// one, or when other clients were let in. Its client is then to open a connection of its own (RFC 9110 section
    /// 15.5.20). Listeners go by their names, as the connection may be older than the dataplane.
    pub(crate) fn is_misdirected(&self, connection: &SslDigest, listener: &str) -> bool {
        let Some(Opened { listener: selected, client_validation }) = connection.extension.get() else { return false };
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

/// Notes on each connection what it was opened for.
struct WhenOpen {
    certificates: Arc<CertificateStore>,
    client_validation: Option<Arc<ClientValidation>>,
}

#[async_trait]
impl TlsAccept for WhenOpen {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let known = |name| self.certificates.listener_name(name).map(|name| Selected::Listener(Arc::clone(name)));
        let listener = tls.server_name().map_or(Selected::Any, |name| known(name).unwrap_or(Selected::Nothing));
        Some(Arc::new(Opened { listener, client_validation: self.client_validation.clone() }))
    }
}

/// TLS for one listening socket, by the dataplane of the moment in which a handshake begins.
pub(crate) struct Acceptor {
    pub(crate) dataplane: SharedDataplane,
    pub(crate) socket: SocketAddr,
}

impl Acceptor {
    pub(crate) async fn tls_handshake<S: IO + 'static>(&self, stream: S) -> Result<TlsStream<S>> {
        let socket = self.dataplane.load().sockets.get(&self.socket).cloned();
        let tls = socket.as_ref().and_then(|socket| socket.tls.as_ref());
        let tls = tls.ok_or_else(|| Error::explain(ErrorType::TLSHandshakeFailure, "this listener has no TLS"))?;
        tls.acceptor.tls_handshake(stream).await
    }
}
