//! Certificates of clients.

use std::sync::Arc;

use k8s::model::{ClientValidation, ValidationMode};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::prelude::parse_x509_certificate;

/// Lets in whom a [`ClientValidation`] lets in. Whatever its mode, a client has the key of the certificate it shows.
#[derive(Debug)]
pub(super) struct Clients {
    mode: ValidationMode,
    /// None where there is no authority, and so nobody has a valid certificate.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    pub(super) fn new(validation: &ClientValidation) -> Self {
        let mut anchors = RootCertStore::empty();
        // The translation has asked whether they can be used.
        anchors.add_parsable_certificates(validation.authorities.0.iter().cloned());
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider).build().ok();
        Self { mode: validation.mode, verifier, algorithms }
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.as_ref().map(|verifier| verifier.root_hint_subjects()).unwrap_or_default()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mode == ValidationMode::AllowValidOnly
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // pingora reads it again with this parser, and panics where it cannot.
        parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
        match (self.mode, &self.verifier) {
            (ValidationMode::AllowInsecureFallback, _) => Ok(ClientCertVerified::assertion()),
            (ValidationMode::AllowValidOnly, Some(verifier)) => {
                verifier.verify_client_cert(certificate, intermediates, now)
            }
            (ValidationMode::AllowValidOnly, None) => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
