//! TLS of every HTTPS socket: certificates by server name, and session tickets.

mod certificates;

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use k8s::model::Listener;
use pingora_core::{
    Error, ErrorType, Result,
    listeners::tls::Acceptor as PingoraAcceptor,
    protocols::{IO, tls::TlsStream},
};
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, ProducesTickets},
};

pub use self::certificates::CertificateStore;
use crate::dataplane::SharedDataplane;

/// How a socket ends TLS: a part of its dataplane, and so swapped together with the routes.
pub struct Termination {
    pub certificates: Arc<CertificateStore>,
    acceptor: PingoraAcceptor,
}

impl Termination {
    /// # Errors
    /// When there are no random numbers for session tickets.
    pub fn new(listeners: &[&Listener]) -> anyhow::Result<Self> {
        let certificates = Arc::new(CertificateStore::new(listeners));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = ticketer()?;
        // What is kept here would end with the dataplane. Clients without tickets shake hands in full.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { certificates, acceptor: PingoraAcceptor::from_server_config(Arc::new(config)) })
    }
}

impl fmt::Debug for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Termination").field("certificates", &self.certificates).finish_non_exhaustive()
    }
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
