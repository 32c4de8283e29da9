//! Certificates by SNI.

/// Certificates of one socket.
#[derive(Debug)]
pub struct CertificateStore {}
