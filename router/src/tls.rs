//! Certificates by SNI, and the TLS settings of every HTTPS listener.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use foldhash::fast::RandomState;
use k8s::model::{Certificate, HostPattern};
use pingora_core::listeners::tls::Acceptor;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ProducesTickets, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::dataplane::SharedDataplane;

/// The certificates of one socket.
#[derive(Debug, Default)]
pub struct CertificateStore {
    exact: HashMap<Box<str>, Arc<CertifiedKey>, RandomState>,
    /// By the name behind the star.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>, RandomState>,
    /// For clients that name no host, or one that no certificate covers.
    default: Option<Arc<CertifiedKey>>,
}

impl CertificateStore {
    /// Of two certificates for a name the first one serves. One that cannot be used, which the
    /// translation has ruled out, is passed over.
    pub fn new<'a>(certificates: impl IntoIterator<Item = &'a Arc<Certificate>>) -> Self {
        let mut store = Self::default();
        for certificate in certificates {
            let provider = ring::default_provider();
            let Ok(key) = CertifiedKey::from_der(certificate.chain.clone(), certificate.key.clone_key(), &provider)
            else {
                continue;
            };
            let key = Arc::new(key);
            for name in &certificate.names {
                let (names, name) = match name {
                    HostPattern::Exact(name) => (&mut store.exact, name),
                    HostPattern::Wildcard { parent, .. } => (&mut store.wildcard, parent),
                };
                names.entry(name.as_str().into()).or_insert_with(|| Arc::clone(&key));
            }
            store.default.get_or_insert(key);
        }
        store
    }

    /// The exact name, then the wildcard one label up (RFC 6125 section 6.4.3), then the default.
    /// rustls gives server names in lower case.
    pub fn find(&self, server_name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let named = server_name.and_then(|name| {
            let wildcard = || self.wildcard.get(name.split_once('.')?.1);
            self.exact.get(name).or_else(wildcard)
        });
        named.or(self.default.as_ref())
    }
}

/// TLS for one listener. Certificates are looked up in the dataplane at each handshake, so that a
/// swap needs nothing of the acceptor.
pub(crate) fn acceptor(dataplane: SharedDataplane, socket: SocketAddr) -> anyhow::Result<Acceptor> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver { dataplane, socket }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ticketer()?;
    Ok(Acceptor::from_server_config(Arc::new(config)))
}

/// One for the process: a session may resume on any listener that has its certificate.
fn ticketer() -> anyhow::Result<Arc<dyn ProducesTickets>> {
    static TICKETER: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    if let Some(ticketer) = TICKETER.get() {
        return Ok(Arc::clone(ticketer));
    }
    let made = ring::Ticketer::new().context("no random numbers for session tickets")?;
    Ok(Arc::clone(TICKETER.get_or_init(|| made)))
}

struct Resolver {
    dataplane: SharedDataplane,
    socket: SocketAddr,
}

impl ResolvesServerCert for Resolver {
    /// None ends the handshake with an alert: the socket has no certificate at all.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let dataplane = self.dataplane.load();
        let socket = dataplane.sockets.get(&self.socket)?;
        socket.certificates.as_ref()?.find(hello.server_name()).cloned()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use k8s::model::{Labels, ObjectName};
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn certificate(names: &[&str]) -> Arc<Certificate> {
        let issued =
            rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .expect("issued");
        Arc::new(Certificate {
            secret: ObjectName::new("Secret", "default", names[0]),
            chain: vec![issued.cert.der().clone()],
            key: PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key"),
            names: names.iter().map(|name| HostPattern::parse(name, Labels::One).expect("a pattern")).collect(),
            not_after: 0,
        })
    }

    #[test]
    fn an_exact_name_comes_before_a_wildcard_and_the_first_certificate_serves_the_rest() {
        let all = [
            certificate(&["home.example", "*.home.example"]),
            certificate(&["a.home.example"]),
            certificate(&["*.lab.example"]),
        ];
        let store = CertificateStore::new(&all);
        let found = |name: Option<&str>| {
            let key = store.find(name).expect("a default");
            all.iter().position(|certificate| certificate.chain == key.cert).expect("one of them")
        };
        for (name, number) in [
            (Some("home.example"), 0),
            (Some("a.home.example"), 1),
            (Some("b.home.example"), 0),
            (Some("x.lab.example"), 2),
            (Some("x.y.lab.example"), 0),
            (Some("other"), 0),
            (None, 0),
        ] {
            assert_eq!(found(name), number, "{name:?}");
        }
        assert!(CertificateStore::new([]).find(Some("a")).is_none());
    }
}
