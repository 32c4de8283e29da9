//! Certificates as they are used, made once for each, and when they end.

use std::{collections::HashMap, sync::Arc};

use k8s::model::{Certificate, Model, ObjectName};
use metrics::{Gauge, describe_gauge, gauge};
use rustls::{crypto::ring, sign::CertifiedKey};

use crate::upstream::ClientCertificate;

/// When a certificate that clients or backends are shown ends, in seconds since 1970, by its Secret; NaN, which no alert
/// is true of, once nobody is shown it any more.
pub const NOT_AFTER: &str = "doorward_certificate_not_after_timestamp_seconds";

/// They outlive the dataplanes that use them.
#[derive(Default)]
pub struct Keys {
    /// To clients.
    served: Made<CertifiedKey>,
    /// To backends.
    shown: Made<ClientCertificate>,
}

/// By the Secret they come from.
type Made<T> = HashMap<ObjectName, (Arc<Certificate>, Arc<T>)>;

impl Keys {
    /// Those that a model wants.
    pub fn after(&self, model: &Model) -> Self {
        let listeners = model.entry_points.iter().flat_map(|entry_point| &entry_point.listeners);
        let served = listeners.flat_map(|it| it.certificates.iter().chain(&it.default_certificate));
        let shown = model.entry_points.iter().filter_map(|entry_point| entry_point.client_certificate.as_ref());
        let keys = Self {
            served: again(&self.served, served, make),
            shown: again(&self.shown, shown, ClientCertificate::new),
        };
        for certificate in keys.certificates() {
            not_after(&certificate.secret).set(certificate.not_after as f64);
        }
        let is_used = |secret| keys.served.contains_key(secret) || keys.shown.contains_key(secret);
        for secret in self.certificates().map(|certificate| &certificate.secret).filter(|secret| !is_used(secret)) {
            not_after(secret).set(f64::NAN);
        }
        keys
    }

    pub(super) fn get(&self, certificate: &Certificate) -> Option<&Arc<CertifiedKey>> {
        self.served.get(&certificate.secret).map(|(_, key)| key)
    }

    /// The client certificate of an entry point.
    pub fn shown(&self, certificate: &Certificate) -> Option<Arc<ClientCertificate>> {
        self.shown.get(&certificate.secret).map(|(_, shown)| Arc::clone(shown))
    }

    fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let shown = self.shown.values().map(|(certificate, _)| &**certificate);
        shown.chain(self.served.values().map(|(certificate, _)| &**certificate))
    }
}

/// What was made before is used again where the certificate is the same. One that cannot be used, which the translation
/// has ruled out, is passed over.
fn again<'a, T>(
    old: &Made<T>,
    wanted: impl Iterator<Item = &'a Arc<Certificate>>,
    make: impl Fn(&Certificate) -> Option<T>,
) -> Made<T> {
    let mut all = Made::new();
    for certificate in wanted {
        if all.contains_key(&certificate.secret) {
            continue;
        }
        let known = old.get(&certificate.secret).filter(|(known, _)| known == certificate);
        let made = known.map(|(_, made)| Arc::clone(made)).or_else(|| make(certificate).map(Arc::new));
        all.extend(made.map(|made| (certificate.secret.clone(), (Arc::clone(certificate), made))));
    }
    all
}

/// Once, at start.
pub fn describe() {
    describe_gauge!(NOT_AFTER, "When the certificate of a Secret ends, in seconds since 1970");
}

fn make(certificate: &Certificate) -> Option<CertifiedKey> {
    let provider = ring::default_provider();
    CertifiedKey::from_der(certificate.chain.clone(), certificate.key.clone_key(), &provider).ok()
}

fn not_after(secret: &ObjectName) -> Gauge {
    gauge!(NOT_AFTER, "secret" => format!("{}/{}", secret.namespace, secret.name))
}

#[cfg(test)]
mod tests {
    use k8s::model::{EntryPoint, HostPattern, Labels, Listener, ListenerProtocol, Trust};
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn certificate(secret: &str) -> Arc<Certificate> {
        let issued = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("issued");
        Arc::new(Certificate {
            secret: ObjectName::new("Secret", "default", secret),
            chain: vec![issued.cert.der().clone()],
            key: PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key"),
            names: vec![HostPattern::parse("a.example", Labels::One).expect("a name")],
            not_after: 0,
        })
    }

    fn model(certificates: &[&Arc<Certificate>], shown: Option<&Arc<Certificate>>) -> Model {
        let listener = Listener {
            name: "https".into(),
            port: 443,
            sockets: Vec::new(),
            protocol: ListenerProtocol::Https,
            hostname: None,
            certificates: certificates.iter().map(|it| Arc::clone(it)).collect(),
            default_certificate: None,
            client_validation: None,
            authorizers: Ok(Vec::new()),
            routes: Vec::new(),
        };
        let entry_point = EntryPoint {
            name: "lan".into(),
            addresses: Vec::new(),
            trust: Trust::default(),
            client_certificate: shown.cloned(),
            listeners: vec![listener],
        };
        Model { entry_points: vec![entry_point], ..Model::default() }
    }

    #[test]
    fn a_key_is_made_once_for_each_certificate_and_forgotten_with_it() {
        let [a, b, other_a] = ["a", "b", "a"].map(certificate);
        let keys = Keys::default().after(&model(&[&a, &b], None));
        let [first, second] = [&a, &b].map(|it| Arc::clone(keys.get(it).expect("made")));
        let keys = keys.after(&model(&[&other_a, &b], None));
        let made_again = keys.get(&other_a).expect("made");
        assert!(!Arc::ptr_eq(made_again, &first) && made_again.cert == other_a.chain);
        assert!(Arc::ptr_eq(keys.get(&b).expect("kept"), &second));
        assert!(keys.after(&model(&[&b], None)).get(&a).is_none());
    }

    #[test]
    fn a_secret_may_have_one_certificate_for_clients_and_another_for_backends() {
        let [served, shown] = ["a", "a"].map(certificate);
        let keys = Keys::default().after(&model(&[&served], Some(&shown)));
        let made = keys.shown(&shown).expect("made");
        assert_eq!(keys.get(&served).expect("made").cert, served.chain);
        let keys = keys.after(&model(&[], Some(&shown)));
        assert!(Arc::ptr_eq(&keys.shown(&shown).expect("kept"), &made) && keys.get(&served).is_none());
        assert!(keys.after(&model(&[&served], None)).shown(&shown).is_none());
    }
}
