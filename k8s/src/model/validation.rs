//! Whose certificates are believed: those of clients, and those of backends.

use std::{fmt, sync::Arc};

use rustls_pki_types::CertificateDer;

use super::HostName;

/// Certificates of authorities (X.509 in DER), each good for a trust anchor; checked by the translation.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Authorities(pub Vec<CertificateDer<'static>>);

/// How the clients of a listener are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientValidation {
    /// None of them lets nobody in whose certificate has to be valid.
    pub authorities: Authorities,
    pub mode: ValidationMode,
}

/// Gateway API's words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidationMode {
    /// A client without a valid certificate is refused.
    AllowValidOnly,
    /// A client is asked for a certificate, and let in whether it has a valid one or not.
    AllowInsecureFallback,
}

/// How the certificate of a backend's endpoints is verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerValidation {
    pub authorities: TrustedBy,
    /// Asked for (SNI), and what the certificate has to be valid for where nothing else is said.
    pub hostname: HostName,
    /// Of these the certificate has to have one. Empty: it is the hostname that counts.
    pub alternative_names: Vec<AlternativeName>,
}

/// A subjectAltName (RFC 5280 section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AlternativeName {
    Hostname(HostName),
    /// Compared byte for byte.
    Uri(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TrustedBy {
    These(Arc<Authorities>),
    /// Those that the machine believes.
    System,
}

/// Their number says enough.
impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}
