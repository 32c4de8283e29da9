//! The certificate that every proxy serves, and a client that takes no other one.

use std::{
    io::{Error, ErrorKind},
    sync::Arc,
};

use rcgen::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, CipherSuite, ClientConfig, DigitallySignedStruct, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::ring,
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use crate::connection::Result;

/// ECDSA on P-256.
pub(crate) struct Certificate {
    pub(crate) chain: String,
    pub(crate) key: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    pub(crate) fn issue() -> Self {
        let names = vec!["home.example".to_owned(), "*.home.example".to_owned()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).expect("names are names");
        Self { chain: cert.pem(), key: signing_key.serialize_pem(), der: cert.der().clone() }
    }
}

/// Never resumes a session.
#[derive(Clone)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
}

impl Trust {
    pub(crate) fn in_only(certificate: &Certificate) -> Self {
        let mut provider = ring::default_provider();
        // As browsers do on processors with AES. Proxies that leave the choice to the client would otherwise work harder.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
        let config = config.expect("versions that ring has").dangerous();
        let mut config =
            config.with_custom_certificate_verifier(Arc::new(Only(certificate.der.clone()))).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config) }
    }

    /// # Errors
    /// When it fails, or the other side does not choose that protocol.
    pub(crate) async fn handshake(&self, stream: TcpStream, protocol: &str) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("grafana-0.home.example").expect("a name");
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.with_alpn(vec![protocol.as_bytes().to_vec()]).connect(name, stream).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(chosen) if chosen == protocol.as_bytes() => Ok(stream),
            other => Err(Error::new(ErrorKind::InvalidData, format!("{protocol} is not spoken, but {other:?}"))),
        }
    }
}

/// It is known, so the proxy's signature is left unchecked: that would take longer than all else that a client does.
#[derive(Debug)]
struct Only(CertificateDer<'static>);

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        served: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match *served == self.0 {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General("another certificate".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
