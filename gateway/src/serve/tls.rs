//! The certificate of DNS over TLS, followed as its files change.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use arc_swap::ArcSwap;
use k8s::config::DnsTlsConfig;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};
use tracing::{info, warn};

use super::now_and_then;

/// How often the files are looked at: a certificate is renewed weeks before it ends.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Accepts with the newest certificate.
pub(super) struct Acceptor(ArcSwap<ServerConfig>);

impl Acceptor {
    /// None where the client does not get through the handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.0.load_full()).accept(stream).await.ok()
    }
}

/// # Errors
/// When the files cannot be read now. Later the last good ones stay, with a warning.
pub(super) fn follow(config: &DnsTlsConfig) -> anyhow::Result<Arc<Acceptor>> {
    let mut pem = read(config)?;
    let acceptor = Arc::new(Acceptor(ArcSwap::from_pointee(parse(&pem, config)?)));
    let (followed, config) = (Arc::clone(&acceptor), config.clone());
    tokio::spawn(async move {
        let mut warned = None;
        loop {
            tokio::time::sleep(LOOK_UP).await;
            let new = match read(&config) {
                Ok(new) => new,
                Err(error) => {
                    if now_and_then(&mut warned) {
                        warn!("DNS over TLS keeps the certificate it had: {error:#}");
                    }
                    continue;
                }
            };
            if new == pem {
                continue;
            }
            pem = new;
            match parse(&pem, &config) {
                Ok(server) => {
                    followed.0.store(Arc::new(server));
                    info!(certificate = %config.certificate.display(), "certificate of DNS over TLS replaced");
                }
                // The two files may be amid a change.
                Err(error) => warn!("DNS over TLS keeps the certificate it had: {error:#}"),
            }
        }
    });
    Ok(acceptor)
}

fn read(config: &DnsTlsConfig) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("dns.tls: cannot read {}", path.display()));
    Ok((read(&config.certificate)?, read(&config.key)?))
}

fn parse((certificate, key): &(Vec<u8>, Vec<u8>), config: &DnsTlsConfig) -> anyhow::Result<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("dns.tls: {} is not PEM", config.certificate.display()))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .with_context(|| format!("dns.tls: {} has no private key", config.key.display()))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            format!("dns.tls: {} and {} do not fit", config.certificate.display(), config.key.display())
        })?;
    server.alpn_protocols = vec![b"dot".to_vec()];
    Ok(server)
}
