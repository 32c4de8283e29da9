//! Certificates by server name (SNI).

use std::{cmp::Reverse, collections::HashMap, fmt, sync::Arc};

use foldhash::fast::RandomState;
use k8s::model::{HostPattern, Listener};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::Keys;

/// The certificates of one socket, by its listeners.
#[derive(Default)]
pub struct CertificateStore {
    /// The most specific hostname first: the first one that covers a name is its listener.
    listeners: Vec<OfListener>,
    /// For clients that name no host, or one of no listener.
    default: Option<Arc<CertifiedKey>>,
}

struct OfListener {
    name: Arc<str>,
    hostname: Option<HostPattern>,
    names: Names,
}

/// The certificates of one listener.
#[derive(Default)]
struct Names {
    exact: HashMap<Box<str>, Arc<CertifiedKey>, RandomState>,
    /// By the name behind the star.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>, RandomState>,
    default: Option<Arc<CertifiedKey>>,
}

impl CertificateStore {
    pub fn new(listeners: &[&Listener], keys: &Keys) -> Self {
        let of_listener = |listener: &&Listener| OfListener {
            name: Arc::clone(&listener.name),
            hostname: listener.hostname.clone(),
            names: Names::new(listener, keys),
        };
        let mut listeners: Vec<_> = listeners.iter().map(of_listener).collect();
        let default = listeners.iter().find_map(|it| it.names.default.clone());
        listeners.sort_by_key(|it| Reverse(it.hostname.as_ref().map(HostPattern::specificity)));
        Self { listeners, default }
    }

    /// rustls gives server names in lower case.
    pub fn find(&self, server_name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let of_listener = server_name.and_then(|name| self.listener(name)?.names.find(name));
        of_listener.or(self.default.as_ref())
    }

    /// The name of the listener that a server name selects.
    pub fn listener_name(&self, server_name: &str) -> Option<&Arc<str>> {
        Some(&self.listener(server_name)?.name)
    }

    fn listener(&self, server_name: &str) -> Option<&OfListener> {
        self.listeners.iter().find(|it| it.hostname.as_ref().is_none_or(|hostname| hostname.covers(server_name)))
    }
}

impl ResolvesServerCert for CertificateStore {
    /// None ends the handshake with an alert: the socket has no certificate at all.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).cloned()
    }
}

/// Never shows a key.
impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateStore").finish_non_exhaustive()
    }
}

impl Names {
    fn new(listener: &Listener, keys: &Keys) -> Self {
        let mut names = Self::default();
        for certificate in listener.certificates.iter().chain(&listener.default_certificate) {
            let Some(key) = keys.get(certificate) else { continue };
            for name in &certificate.names {
                let (names, name) = match name {
                    HostPattern::Exact(name) => (&mut names.exact, name),
                    HostPattern::Wildcard { parent, .. } => (&mut names.wildcard, parent),
                };
                names.entry(name.as_str().into()).or_insert_with(|| Arc::clone(key));
            }
            if listener.default_certificate.as_ref() == Some(certificate) {
                names.default = Some(Arc::clone(key));
            }
        }
        names
    }

    /// The exact name, then the wildcard one label up (RFC 6125 section 6.4.3), then the default.
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wildcard).or(self.default.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use k8s::model::{Certificate, EntryPoint, Labels, ListenerProtocol, Model, ObjectName, Trust};
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    /// Each of a Secret of its own.
    fn certificate(names: &[&str]) -> Arc<Certificate> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let issued =
            rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .expect("issued");
        Arc::new(Certificate {
            secret: ObjectName::new("Secret", "default", &format!("{}-{}", names[0], NEXT.fetch_add(1, Relaxed))),
            chain: vec![issued.cert.der().clone()],
            key: PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key"),
            names: names.iter().map(|name| HostPattern::parse(name, Labels::One).expect("a pattern")).collect(),
            not_after: 0,
        })
    }

    fn listener(
        hostname: Option<&str>,
        certificates: &[&Arc<Certificate>],
        default: Option<&Arc<Certificate>>,
    ) -> Listener {
        Listener {
            name: "https".into(),
            port: 443,
            sockets: Vec::new(),
            protocol: ListenerProtocol::Https,
            hostname: hostname.map(|text| HostPattern::parse(text, Labels::OneOrMore).expect("a pattern")),
            certificates: certificates.iter().map(|it| Arc::clone(it)).collect(),
            default_certificate: default.cloned(),
            client_validation: None,
            authorizers: Ok(Vec::new()),
            routes: Vec::new(),
        }
    }

    fn store(listeners: &[&Listener]) -> CertificateStore {
        let entry_point = EntryPoint {
            name: "lan".into(),
            addresses: Vec::new(),
            trust: Trust::default(),
            client_certificate: None,
            listeners: listeners.iter().copied().cloned().collect(),
        };
        let model = Model { entry_points: vec![entry_point], ..Model::default() };
        CertificateStore::new(listeners, &Keys::default().after(&model))
    }

    fn check(listeners: &[&Listener], expected: &[(Option<&str>, &Arc<Certificate>)]) {
        let store = store(listeners);
        for (name, certificate) in expected {
            let found = store.find(*name).expect("a default");
            assert_eq!(found.cert, certificate.chain, "{name:?} should get {}", certificate.secret);
        }
    }

    #[test]
    fn an_exact_name_comes_before_a_wildcard_and_the_default_serves_the_rest() {
        let [home, a, lab] =
            [&["home.example", "*.home.example"][..], &["a.home.example"], &["*.lab.example"]].map(certificate);
        let listener = listener(None, &[&a, &lab], Some(&home));
        check(
            &[&listener],
            &[
                (Some("home.example"), &home),
                (Some("a.home.example"), &a),
                (Some("b.home.example"), &home),
                (Some("x.lab.example"), &lab),
                (Some("x.y.lab.example"), &home),
                (Some("other"), &home),
                (None, &home),
            ],
        );
        assert!(store(&[]).find(Some("a")).is_none());
    }

    #[test]
    fn a_certificate_that_an_object_names_comes_before_the_default_for_the_same_name() {
        let [own, default] = [(); 2].map(|()| certificate(&["*.home.example"]));
        check(&[&listener(None, &[&own], Some(&default))], &[(Some("a.home.example"), &own), (None, &default)]);
    }

    #[test]
    fn the_listener_whose_hostname_is_most_specific_chooses_among_its_own() {
        let [wide, narrow] = [(); 2].map(|()| certificate(&["*.home.example"]));
        let listeners = [
            listener(Some("*.home.example"), &[&wide], Some(&wide)),
            listener(Some("a.home.example"), &[&narrow], Some(&narrow)),
        ];
        check(
            &[&listeners[0], &listeners[1]],
            &[
                (Some("a.home.example"), &narrow),
                (Some("b.home.example"), &wide),
                (Some("other.example"), &wide),
                (None, &wide),
            ],
        );
    }
}
