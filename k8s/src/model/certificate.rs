//! A certificate with its key, from a TLS Secret.

use std::fmt;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{HostPattern, ObjectName};

/// A certificate chain and the key that fits it; checked by the translation.
pub struct Certificate {
    pub secret: ObjectName,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// The DNS names of the leaf's subjectAltName.
    pub names: Vec<HostPattern>,
    /// Seconds since 1970.
    pub not_after: i64,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret && self.chain == other.chain && self.key.secret_der() == other.key.secret_der()
    }
}

impl Eq for Certificate {}

/// Never shows the key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("secret", &self.secret)
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
