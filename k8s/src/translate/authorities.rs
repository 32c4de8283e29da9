//! References to the certificates of authorities, resolved.

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::parse_x509_certificate;

use super::{Work, key_of};
use crate::{config_map::AUTHORITIES, model::Authorities, problem::Reason};

/// The authorities in `ca.crt` of a ConfigMap, or of a TLS Secret, where cert-manager puts them.
pub(super) fn find(
    work: &Work<'_>,
    (group, kind): (&str, &str),
    namespace: &str,
    name: &str,
) -> Result<Authorities, Reason> {
    let target = format!("{kind} {namespace}/{name}");
    let pem = match (group, kind) {
        ("", "ConfigMap") => {
            let found = work.snapshot.config_maps.iter().find(|it| key_of(&it.metadata) == (namespace, name));
            let Some(found) = found else {
                // One without the key is not always known.
                let error = format!("does not exist or has no {AUTHORITIES}");
                return Err(Reason::AuthoritiesInvalid { target, error });
            };
            found.data.authorities.as_deref().map(str::as_bytes)
        }
        ("", "Secret") => {
            let secrets = work.snapshot.secrets.iter().flatten();
            let found = secrets.into_iter().find(|it| key_of(&it.metadata) == (namespace, name));
            let Some(found) = found else {
                return Err(Reason::SecretMissing { secret: format!("{namespace}/{name}") });
            };
            found.data.as_ref().and_then(|data| data.get(AUTHORITIES)).map(|bytes| bytes.0.as_slice())
        }
        (group, kind) => {
            let value = if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") };
            return Err(Reason::Unsupported { field: "caCertificateRef kind".to_owned(), value });
        }
    };
    let pem = pem.filter(|pem| !pem.is_empty());
    let parsed = pem.ok_or_else(|| format!("has no {AUTHORITIES}")).and_then(parse);
    parsed.map_err(|error| Reason::AuthoritiesInvalid { target, error })
}

/// The error continues "ConfigMap a/b, which …".
fn parse(pem: &[u8]) -> Result<Authorities, String> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("has a {AUTHORITIES} that is not PEM: {error}"))?;
    if found.is_empty() {
        return Err(format!("has no certificate in PEM form in its {AUTHORITIES}"));
    }
    let mut anchors = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        // Both parsers will be asked again where nothing may fail.
        let is_certificate = parse_x509_certificate(certificate).is_ok() && anchors.add(certificate.clone()).is_ok();
        if !is_certificate {
            return Err(format!("has a {AUTHORITIES} whose certificate number {} is no X.509 certificate", index + 1));
        }
    }
    Ok(Authorities(found))
}
