//! TLS Secrets to certificates: chain and key parsed, and checked to belong together.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::{Arc, OnceLock},
};

use foldhash::fast::RandomState;
use k8s_openapi::api::core::v1::Secret;
use rustls::{crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};

use super::{Work, key_of, object_name};
use crate::{
    model::{Certificate, HostPattern, Labels, Listener, ObjectName},
    problem::{Reason, SecretFault},
};

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// To be shown to backends, which look for whatever they want to see in it.
    Client,
    /// To be shown to clients, which look for a host's name.
    Server,
}

/// What was last good of each Secret that is referred to, by role, namespace and name.
#[derive(Clone, Default)]
pub(super) struct LastGood(HashMap<(Role, String, String), Good>);

#[derive(Clone)]
struct Good {
    secret: Arc<Secret>,
    certificate: Arc<Certificate>,
}

/// Never shows what is in a Secret.
impl fmt::Debug for LastGood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LastGood").field(&self.0.keys().collect::<BTreeSet<_>>()).finish()
    }
}

/// TLS Secrets by namespace and name, each parsed when it is first asked for.
pub(super) struct Certificates<'a> {
    /// None where Secrets are not watched.
    secrets: Option<HashMap<(&'a str, &'a str), &'a Arc<Secret>>>,
    last_good: &'a LastGood,
    found: HashMap<(Role, String, String), Found>,
}

#[derive(Clone)]
struct Found {
    good: Option<Good>,
    problem: Option<Reason>,
}

impl<'a> Certificates<'a> {
    pub(super) fn new(secrets: Option<&'a [Arc<Secret>]>, last_good: &'a LastGood) -> Self {
        let secrets = secrets.map(|secrets| secrets.iter().map(|secret| (key_of(&secret.metadata), secret)).collect());
        Self { secrets, last_good, found: HashMap::new() }
    }

    pub(super) fn secret(&self, namespace: &str, name: &str) -> Option<&'a Secret> {
        self.secrets.as_ref()?.get(&(namespace, name)).map(|secret| &***secret)
    }

    pub(super) fn are_watched(&self) -> bool {
        self.secrets.is_some()
    }

    /// What nobody refers to any more is forgotten.
    pub(super) fn into_last_good(self) -> LastGood {
        LastGood(self.found.into_iter().filter_map(|(key, found)| Some((key, found.good?))).collect())
    }

    fn find(&mut self, role: Role, namespace: &str, name: &str) -> Option<Found> {
        let secrets = self.secrets.as_ref()?;
        let key = (role, namespace.to_owned(), name.to_owned());
        let last_good = self.last_good.0.get(&key);
        let found = self.found.entry(key).or_insert_with(|| {
            let secret = secrets.get(&(namespace, name)).copied();
            let known = last_good.filter(|good| secret.is_some_and(|secret| good.secret == *secret));
            let parsed = match (known, secret) {
                (Some(known), _) => Ok(known.clone()),
                (None, Some(secret)) => parse(secret, role)
                    .map(|parsed| Good { secret: Arc::clone(secret), certificate: Arc::new(parsed) })
                    .map_err(SecretFault::Invalid),
                (None, None) => Err(SecretFault::Missing),
            };
            match parsed {
                Ok(good) => Found { good: Some(good), problem: None },
                Err(fault) => {
                    let secret = format!("{namespace}/{name}");
                    let problem = match (last_good, fault) {
                        (Some(_), fault) => Reason::SecretNoLongerGood { secret, fault },
                        (None, SecretFault::Invalid(error)) => Reason::SecretInvalid { secret, error },
                        (None, SecretFault::Missing) => Reason::SecretMissing { secret },
                    };
                    Found { good: last_good.cloned(), problem: Some(problem) }
                }
            }
        });
        Some(found.clone())
    }
}

/// The certificate in a Secret, or what was last good of it. None, and a problem of `owner`, where there is neither.
/// None without a problem where Secrets are not watched.
pub(super) fn find(
    work: &mut Work<'_>,
    owner: &ObjectName,
    role: Role,
    namespace: &str,
    name: &str,
) -> Option<Arc<Certificate>> {
    let Found { good, problem } = work.certificates.find(role, namespace, name)?;
    if let Some(reason) = problem {
        work.problem(owner, reason);
    }
    good.map(|good| good.certificate)
}

/// Reports hosts whose visitors are shown a certificate for something else, or none; `remedy` says what to do.
pub(super) fn report_uncovered(work: &mut Work<'_>, listener: &Listener, remedy: &'static str) {
    if !work.certificates.are_watched() {
        return;
    }
    let (mut names, mut wildcards): (HashSet<&str, RandomState>, HashSet<&str, RandomState>) = Default::default();
    for name in listener.certificates.iter().chain(&listener.default_certificate).flat_map(|it| &it.names) {
        match name {
            HostPattern::Exact(name) => names.insert(name.as_str()),
            HostPattern::Wildcard { parent, .. } => wildcards.insert(parent.as_str()),
        };
    }
    let is_covered = |host: &HostPattern| match host {
        HostPattern::Exact(name) => {
            let parent = name.as_str().split_once('.').map(|(_, parent)| parent);
            names.contains(name.as_str()) || parent.is_some_and(|parent| wildcards.contains(parent))
        }
        // Names of several labels below the star are covered by nothing; those of one label are most of them.
        HostPattern::Wildcard { parent, .. } => wildcards.contains(parent.as_str()),
    };
    for attachment in &listener.routes {
        let hosts = match &listener.hostname {
            None => Cow::Borrowed(&*attachment.hostnames),
            Some(_) => Cow::Owned(listener.effective_hostnames(attachment)),
        };
        for host in hosts.iter().filter(|host| !is_covered(host)).cloned() {
            work.problem(&attachment.route.source, Reason::NoCertificate { host, remedy });
        }
    }
}

/// The error continues "Secret a/b, whose …", and never shows what is in the key.
fn parse(secret: &Secret, role: Role) -> Result<Certificate, String> {
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
    // The library that shows it to backends panics at what it cannot parse, wherever in the chain that is.
    if role == Role::Client && chain.iter().any(|certificate| parse_x509_certificate(certificate).is_err()) {
        return Err("tls.crt holds something beside X.509 certificates".to_owned());
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
    use crate::source::{self, Kinds, Object};

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
    fn what_was_last_good_is_served_until_nobody_refers_to_it_and_what_is_the_same_is_not_parsed_anew() {
        let named = |secret: Secret| {
            let metadata = kube::core::ObjectMeta {
                namespace: Some("a".to_owned()),
                name: Some("tls".to_owned()),
                ..Default::default()
            };
            Arc::new(Secret { metadata, ..secret })
        };
        let issued = || {
            let (certificate, key) = issue(&["a.example"]);
            named(secret(&certificate, &key))
        };
        let [first, second] = [issued(), issued()];
        let first_again = Arc::new(Secret::clone(&first));
        let bad = named(secret("garbage", "garbage"));
        let ask = |secrets: &[&Arc<Secret>], last_good: &LastGood| {
            let secrets: Vec<_> = secrets.iter().map(|it| Arc::clone(it)).collect();
            let mut certificates = Certificates::new(Some(&secrets), last_good);
            let Found { good, problem } = certificates.find(Role::Server, "a", "tls").expect("watched");
            (good.map(|good| good.certificate), problem.map(|it| it.name()), certificates.into_last_good())
        };
        let (one, problem, known) = ask(&[&first], &LastGood::default());
        let one = one.expect("good");
        assert_eq!(problem, None);
        for (secrets, expected) in
            [(&[&first_again][..], None), (&[&bad], Some("SecretNoLongerGood")), (&[], Some("SecretNoLongerGood"))]
        {
            let (found, problem, still_known) = ask(secrets, &known);
            assert!(Arc::ptr_eq(&found.expect("kept"), &one) && problem == expected, "{problem:?}");
            // As long as it takes.
            let (found, ..) = ask(&[&bad], &still_known);
            assert!(Arc::ptr_eq(&found.expect("kept"), &one));
        }
        let (found, problem, _) = ask(&[&second], &known);
        assert!(found.expect("good") != one && problem.is_none());
        let forgotten = Certificates::new(Some(&[]), &known).into_last_good();
        for last_good in [forgotten, LastGood::default()] {
            let (found, problem, _) = ask(&[&bad], &last_good);
            assert!(found.is_none() && problem == Some("SecretInvalid"), "{problem:?}");
        }
    }

    #[test]
    fn nothing_that_holds_a_secret_shows_its_key() {
        let (certificate, key) = issue(&["a.example"]);
        let metadata = kube::core::ObjectMeta { name: Some("tls".to_owned()), ..Default::default() };
        let type_ = Some("kubernetes.io/tls".to_owned());
        let secret = Secret { metadata, type_, ..secret(&certificate, &key) };
        // As Kubernetes' own type shows it, and so would whatever derives it.
        let first: Vec<String> = key.bytes().take(20).map(|byte| byte.to_string()).collect();
        let shows_key = |text: &str| text.contains(&first.join(", ")) || text.contains(&key);
        assert!(shows_key(&format!("{secret:?}")));
        let object = Object::from(secret);
        let kinds = Kinds { tls: true, endpoints: false, dns_endpoints: false };
        let snapshot = source::snapshot([object.clone()], kinds);
        let none = LastGood::default();
        let mut certificates = Certificates::new(snapshot.secrets.as_deref(), &none);
        assert!(certificates.find(Role::Server, "", "tls").is_some_and(|found| found.problem.is_none()));
        let last_good = certificates.into_last_good();
        let texts = [format!("{object:?}"), format!("{snapshot:?}"), format!("{last_good:?}")];
        assert!(!texts.iter().any(|text| shows_key(text)), "{texts:?}");
        assert_eq!(texts[0], "Secret tls");
    }

    #[test]
    fn a_good_secret_gives_its_names() {
        let (certificate, key) = issue(&["home.example", "*.home.example"]);
        let parsed = parse(&secret(&certificate, &key), Role::Server).expect("good");
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
            let error = parse(&secret, Role::Server).expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_certificate_need_not_name_a_host_and_a_clients_has_nothing_else_in_its_chain() {
        let (nameless, key) = issue(&[]);
        assert!(parse(&secret(&nameless, &key), Role::Server).is_ok_and(|it| it.names.is_empty()));
        assert_eq!(parse(&secret(&nameless, &key), Role::Client).expect("good").names, []);
        let garbage = format!("{nameless}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let error = parse(&secret(&garbage, &key), Role::Client).expect_err("garbage");
        assert_eq!(error, "tls.crt holds something beside X.509 certificates");
    }
}
