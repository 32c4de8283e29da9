//! TLS Secrets to certificates: chain and key parsed, and checked to belong together.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use k8s_openapi::api::core::v1::Secret;
use rustls::{crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};

use super::{Work, key_of, object_name};
use crate::{
    model::{Certificate, HostName, HostPattern, Labels, Listener, ObjectName},
    problem::Reason,
};

/// TLS Secrets by namespace and name, each parsed when it is first asked for.
pub(super) struct Certificates<'a> {
    /// None where Secrets are not watched.
    secrets: Option<HashMap<(&'a str, &'a str), &'a Secret>>,
    parsed: HashMap<(String, String), Result<Arc<Certificate>, Reason>>,
}

impl<'a> Certificates<'a> {
    pub(super) fn new(secrets: Option<&'a [Arc<Secret>]>) -> Self {
        let secrets =
            secrets.map(|secrets| secrets.iter().map(|secret| (key_of(&secret.metadata), &**secret)).collect());
        Self { secrets, parsed: HashMap::new() }
    }

    pub(super) fn are_watched(&self) -> bool {
        self.secrets.is_some()
    }

    fn find(&mut self, namespace: &str, name: &str) -> Option<Result<Arc<Certificate>, Reason>> {
        let secrets = self.secrets.as_ref()?;
        let parsed = self.parsed.entry((namespace.to_owned(), name.to_owned())).or_insert_with(|| {
            let secret = format!("{namespace}/{name}");
            let Some(found) = secrets.get(&(namespace, name)) else { return Err(Reason::SecretMissing { secret }) };
            parse(found).map(Arc::new).map_err(|error| Reason::SecretInvalid { secret, error })
        });
        Some(parsed.clone())
    }
}

/// The certificate in a Secret; None, and a problem of `owner`, where there is no good one.
/// None without a problem where Secrets are not watched.
pub(super) fn find(work: &mut Work<'_>, owner: &ObjectName, namespace: &str, name: &str) -> Option<Arc<Certificate>> {
    match work.certificates.find(namespace, name)? {
        Ok(certificate) => Some(certificate),
        Err(reason) => {
            work.problem(owner, reason);
            None
        }
    }
}

/// Reports hosts whose visitors are shown a certificate for something else, or none; `remedy` says what to do.
pub(super) fn report_uncovered(work: &mut Work<'_>, listener: &Listener, remedy: &'static str) {
    if !work.certificates.are_watched() {
        return;
    }
    let (mut names, mut wildcards): (HashSet<&HostName>, HashSet<&HostName>) = Default::default();
    for name in listener.certificates.iter().chain(&listener.default_certificate).flat_map(|it| &it.names) {
        match name {
            HostPattern::Exact(name) => names.insert(name),
            HostPattern::Wildcard { parent, .. } => wildcards.insert(parent),
        };
    }
    let is_covered = |host: &HostPattern| match host {
        HostPattern::Exact(name) => {
            names.contains(name) || name.parent().is_some_and(|parent| wildcards.contains(&parent))
        }
        // Names of several labels below the star are covered by nothing; those of one label are most of them.
        HostPattern::Wildcard { parent, .. } => wildcards.contains(parent),
    };
    for attachment in &listener.routes {
        for host in listener.effective_hostnames(attachment).into_iter().filter(|host| !is_covered(host)) {
            work.problem(&attachment.route.source, Reason::NoCertificate { host, remedy });
        }
    }
}

/// The error continues "Secret a/b, whose …", and never shows what is in the key.
fn parse(secret: &Secret) -> Result<Certificate, String> {
    let entry = |key: &str| {
        let found = secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
        found.filter(|bytes| !bytes.is_empty()).ok_or_else(|| format!("{key} is missing or empty"))
    };
    let chain = CertificateDer::pem_slice_iter(entry("tls.crt")?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("tls.crt is not PEM: {error}"))?;
    let Some(leaf) = chain.first() else { return Err("tls.crt holds no certificate in PEM form".to_owned()) };
    let (_, x509) =
        parse_x509_certificate(leaf).map_err(|error| format!("tls.crt holds no X.509 certificate: {error}"))?;
    let alternatives = x509.subject_alternative_name().ok().flatten();
    let names: Vec<HostPattern> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => HostPattern::parse(name, Labels::One).ok(),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return Err("certificate names no DNS host in its subjectAltName".to_owned());
    }
    let not_after = x509.validity().not_after.timestamp();
    // The library's error may quote what it read.
    let key = PrivateKeyDer::from_pem_slice(entry("tls.key")?)
        .map_err(|_| "tls.key holds no private key in PEM form".to_owned())?;
    CertifiedKey::from_der(chain.clone(), key.clone_key(), provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "tls.key does not belong to the certificate in tls.crt".to_owned(),
        error => format!("tls.key cannot be used: {error}"),
    })?;
    Ok(Certificate { secret: object_name("Secret", &secret.metadata), chain, key, names, not_after })
}

fn provider() -> &'static CryptoProvider {
    static PROVIDER: OnceLock<CryptoProvider> = OnceLock::new();
    PROVIDER.get_or_init(rustls::crypto::ring::default_provider)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    fn secret(certificate: &str, key: &str) -> Secret {
        let data = [("tls.crt", certificate), ("tls.key", key)]
            .into_iter()
            .map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())))
            .collect::<BTreeMap<_, _>>();
        Secret { data: Some(data), ..Secret::default() }
    }

    fn issue(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let issued = rcgen::generate_simple_self_signed(names).expect("a certificate");
        (issued.cert.pem(), issued.signing_key.serialize_pem())
    }

    #[test]
    fn a_good_secret_gives_its_names() {
        let (certificate, key) = issue(&["home.example", "*.home.example"]);
        let parsed = parse(&secret(&certificate, &key)).expect("good");
        let names: Vec<String> = parsed.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["home.example", "*.home.example"]);
    }

    #[test]
    fn garbage_says_what_is_wrong_and_never_shows_the_key() {
        let (certificate, key) = issue(&["a.example"]);
        let (_, other_key) = issue(&["b.example"]);
        for (secret, expected) in [
            (secret("", &key), "tls.crt is missing or empty"),
            (secret("garbage", &key), "tls.crt holds no certificate in PEM form"),
            (
                secret("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key),
                "tls.crt holds no X.509 certificate",
            ),
            (secret(&certificate, "canary"), "tls.key holds no private key in PEM form"),
            (secret(&certificate, &other_key), "tls.key does not belong to the certificate in tls.crt"),
        ] {
            let error = parse(&secret).expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
