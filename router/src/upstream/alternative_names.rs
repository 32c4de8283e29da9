//! TLS to backends whose certificates have to have another name than the one that is asked for.
//!
//! pingora verifies the one name that it asks for. Here TLS is below what it takes for a connection in the clear, so
//! that it learns nothing of ALPN, and one protocol is offered; and as its pool knows connections by their descriptors,
//! which these do not show, no HTTP/1.1 connection is used twice. Sessions resume.

use std::{fmt, sync::Arc};

use k8s::model::{AlternativeName, ServerValidation, TrustedBy};
use pingora_core::{Error, ErrorType, OrErr, Result};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};

use super::client_certificate::ClientCertificate;

/// A client that verifies a backend as it is to be verified, and offers no protocol yet.
///
/// # Errors
/// When the machine's authorities cannot be read.
pub(super) fn config(validation: &ServerValidation) -> anyhow::Result<ClientConfig> {
    let mut anchors = RootCertStore::empty();
    match &validation.authorities {
        // The translation has had each of them parsed.
        TrustedBy::These(these) => anchors.add_parsable_certificates(these.0.iter().cloned()),
        TrustedBy::System => anchors.add_parsable_certificates(rustls_native_certs::load_native_certs()?),
    };
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let config = if validation.alternative_names.is_empty() {
        config.with_root_certificates(anchors)
    } else {
        let verifier = Verifier { anchors, names: validation.alternative_names.clone(), algorithms };
        config.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    };
    Ok(config.with_no_client_auth())
}

/// # Errors
/// When rustls cannot use it.
pub(super) fn hostname(validation: &ServerValidation) -> anyhow::Result<ServerName<'static>> {
    Ok(ServerName::try_from(validation.hostname.as_str().to_owned())?)
}

/// Verified TLS for one protocol.
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    hostname: ServerName<'static>,
    protocol: &'static [u8],
}

impl Tls {
    /// For HTTP/1.1, and for HTTP/2.
    ///
    /// # Errors
    /// As [`config`] and [`hostname`] have them.
    pub(super) fn both(validation: &ServerValidation) -> anyhow::Result<[Arc<Self>; 2]> {
        let (config, hostname) = (config(validation)?, hostname(validation)?);
        let [h1, h2]: [&'static [u8]; 2] = [b"http/1.1", b"h2"];
        Ok([h1, h2].map(|protocol| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(Self { config: Arc::new(config), hostname: hostname.clone(), protocol })
        }))
    }
}

/// The same for the requests of one entry point.
#[derive(Clone, Debug)]
pub(super) struct Presenting {
    pub(super) tls: Arc<Tls>,
    /// Shown where the backend asks for one.
    pub(super) client_certificate: Option<Arc<ClientCertificate>>,
}

impl Presenting {
    /// Takes as long as it takes: the peer's limit for all of a connection counts.
    pub(super) async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let Tls { config, hostname, protocol } = &*self.tls;
        let mut config = Arc::clone(config);
        if let Some(certificate) = &self.client_certificate {
            certificate.show_in(Arc::make_mut(&mut config));
        }
        let stream = TlsConnector::from(config).connect(hostname.clone(), stream).await;
        let stream = stream.explain_err(ErrorType::TLSHandshakeFailure, |error| format!("no handshake: {error}"))?;
        // A server without ALPN speaks HTTP/1.1.
        let spoken = stream.get_ref().1.alpn_protocol().unwrap_or(b"http/1.1");
        if spoken != *protocol {
            return Error::e_explain(ErrorType::TLSHandshakeFailure, "the backend speaks another protocol");
        }
        Ok(stream)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

/// Whatever is asked for, the certificate is to have one of the names.
#[derive(Debug)]
struct Verifier {
    anchors: RootCertStore,
    names: Vec<AlternativeName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.anchors, intermediates, now, algorithms)?;
        let has = |name: &AlternativeName| match name {
            AlternativeName::Hostname(name) => {
                ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
            }
            AlternativeName::Uri(uri) => has_uri(certificate, uri),
        };
        if self.names.iter().any(has) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn has_uri(certificate: &CertificateDer<'_>, uri: &str) -> bool {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return false };
    let names = parsed.subject_alternative_name().ok().flatten();
    names.is_some_and(|names| {
        names.value.general_names.iter().any(|name| matches!(name, GeneralName::URI(found) if *found == uri))
    })
}
