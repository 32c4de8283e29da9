//! Certificates as rustls wants them, made once for each, and when they end.

use std::{collections::HashMap, sync::Arc};

use k8s::model::{Certificate, Model, ObjectName};
use metrics::{Gauge, describe_gauge, gauge};
use rustls::{crypto::ring, sign::CertifiedKey};

/// When a certificate that is served ends, in seconds since 1970, by its Secret; NaN, which no alert is true of, once it
/// is served no more.
pub const NOT_AFTER: &str = "doorward_certificate_not_after_timestamp_seconds";

/// By the Secret they come from. They outlive the dataplanes that use them.
#[derive(Default)]
pub struct Keys(HashMap<ObjectName, (Arc<Certificate>, Arc<CertifiedKey>)>);

impl Keys {
    /// Those that a model wants. What was made before is used again where the certificate is the same.
    pub fn after(self, model: &Model) -> Self {
        let Self(mut old) = self;
        let mut keys = HashMap::new();
        let listeners = model.entry_points.iter().flat_map(|entry_point| &entry_point.listeners);
        for certificate in listeners.flat_map(|it| it.certificates.iter().chain(&it.default_certificate)) {
            if keys.contains_key(&certificate.secret) {
                continue;
            }
            let known = old.remove(&certificate.secret).filter(|(known, _)| known == certificate);
            // One that cannot be used, which the translation has ruled out, is passed over.
            let Some(made) = known.map(|(_, key)| key).or_else(|| make(certificate)) else { continue };
            not_after(&certificate.secret).set(certificate.not_after as f64);
            keys.insert(certificate.secret.clone(), (Arc::clone(certificate), made));
        }
        for secret in old.keys().filter(|secret| !keys.contains_key(secret)) {
            not_after(secret).set(f64::NAN);
        }
        Self(keys)
    }

    pub(super) fn get(&self, certificate: &Certificate) -> Option<&Arc<CertifiedKey>> {
        self.0.get(&certificate.secret).map(|(_, key)| key)
    }
}

/// Once, at start.
pub fn describe() {
    describe_gauge!(NOT_AFTER, "When the certificate of a Secret ends, in seconds since 1970");
}

fn make(certificate: &Certificate) -> Option<Arc<CertifiedKey>> {
    let provider = ring::default_provider();
    CertifiedKey::from_der(certificate.chain.clone(), certificate.key.clone_key(), &provider).ok().map(Arc::new)
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

    fn model(certificates: &[&Arc<Certificate>]) -> Model {
        let listener = Listener {
            name: "https".into(),
            port: 443,
            sockets: Vec::new(),
            protocol: ListenerProtocol::Https,
            hostname: None,
            certificates: certificates.iter().map(|it| Arc::clone(it)).collect(),
            default_certificate: None,
            client_validation: None,
            routes: Vec::new(),
        };
        let (addresses, trust) = (Vec::new(), Trust::default());
        let entry_point =
            EntryPoint { name: "lan".into(), addresses, trust, client_certificate: None, listeners: vec![listener] };
        Model { entry_points: vec![entry_point], ..Model::default() }
    }

    #[test]
    fn a_key_is_made_once_for_each_certificate_and_forgotten_with_it() {
        let [a, b, other_a] = ["a", "b", "a"].map(certificate);
        let keys = Keys::default().after(&model(&[&a, &b]));
        let [first, second] = [&a, &b].map(|it| Arc::clone(keys.get(it).expect("made")));
        let keys = keys.after(&model(&[&other_a, &b]));
        let made_again = keys.get(&other_a).expect("made");
        assert!(!Arc::ptr_eq(made_again, &first) && made_again.cert == other_a.chain);
        assert!(Arc::ptr_eq(keys.get(&b).expect("kept"), &second));
        assert!(keys.after(&model(&[&b])).get(&a).is_none());
    }
}
