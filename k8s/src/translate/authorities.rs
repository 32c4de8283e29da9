//! References to the certificates of authorities, resolved.

use std::{collections::HashMap, sync::Arc};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::parse_x509_certificate;

use super::{Work, condition, key_of};
use crate::{
    cluster_trust_bundle::{self, ClusterTrustBundle},
    config_map::{AUTHORITIES, ConfigMap},
    model::Authorities,
    problem::Reason,
    snapshot::Snapshot,
};

/// Of ConfigMaps, TLS Secrets and ClusterTrustBundles by namespace and name, each parsed when it is first asked for:
/// many policies may refer to one of them, and each of the many certificates in it takes its time.
pub(super) struct Bundles<'a> {
    config_maps: HashMap<(&'a str, &'a str), &'a ConfigMap>,
    cluster_trust_bundles: &'a [Arc<ClusterTrustBundle>],
    parsed: HashMap<(Holder, String, String), Result<Arc<Authorities>, Reason>>,
}

/// What they are in.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    ClusterTrustBundle,
    ConfigMap,
    Secret,
}

impl<'a> Bundles<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let config_maps = snapshot.config_maps.iter().map(|it| (key_of(&it.metadata), &**it)).collect();
        Self { config_maps, cluster_trust_bundles: &snapshot.cluster_trust_bundles, parsed: HashMap::new() }
    }
}

/// The authorities in `ca.crt` of a ConfigMap, or of a TLS Secret, where cert-manager puts them; or of a
/// ClusterTrustBundle, which is in no namespace.
pub(super) fn find(
    work: &mut Work<'_>,
    (group, kind): (&str, &str),
    namespace: &str,
    name: &str,
) -> Result<Arc<Authorities>, Reason> {
    let holder = match (group, kind) {
        (cluster_trust_bundle::GROUP, "ClusterTrustBundle") => Holder::ClusterTrustBundle,
        ("", "ConfigMap") => Holder::ConfigMap,
        ("", "Secret") => Holder::Secret,
        (group, kind) => {
            let what = condition::CA_REFERENCE.to_owned();
            return Err(Reason::KindUnsupported { what, group: group.to_owned(), kind: kind.to_owned() });
        }
    };
    let key = (holder, namespace.to_owned(), name.to_owned());
    if let Some(known) = work.bundles.parsed.get(&key) {
        return known.clone();
    }
    let found = read(work, holder, namespace, name).map(Arc::new);
    work.bundles.parsed.insert(key, found.clone());
    found
}

fn read(work: &Work<'_>, holder: Holder, namespace: &str, name: &str) -> Result<Authorities, Reason> {
    let (kind, pem) = match holder {
        Holder::ClusterTrustBundle => {
            let mut all = work.bundles.cluster_trust_bundles.iter();
            let Some(found) = all.find(|it| key_of(&it.metadata).1 == name) else {
                let target = format!("ClusterTrustBundle {name}");
                return Err(Reason::AuthoritiesInvalid { target, error: "does not exist".to_owned() });
            };
            return parse(found.spec.trust_bundle.as_bytes(), "trustBundle")
                .map_err(|error| Reason::AuthoritiesInvalid { target: format!("ClusterTrustBundle {name}"), error });
        }
        Holder::ConfigMap => {
            let found = work.bundles.config_maps.get(&(namespace, name)).copied();
            let Some(found) = found else {
                let target = format!("ConfigMap {namespace}/{name}");
                // One without the key is not always known.
                let error = format!("does not exist or has no {AUTHORITIES}");
                return Err(Reason::AuthoritiesInvalid { target, error });
            };
            ("ConfigMap", found.data.authorities.as_deref().map(str::as_bytes))
        }
        Holder::Secret => {
            let Some(found) = work.certificates.secret(namespace, name) else {
                return Err(Reason::SecretMissing { secret: format!("{namespace}/{name}") });
            };
            let data = found.data.as_ref().and_then(|data| data.get(AUTHORITIES));
            ("Secret", data.map(|bytes| bytes.0.as_slice()))
        }
    };
    let pem = pem.filter(|pem| !pem.is_empty());
    let parsed = pem.ok_or_else(|| format!("has no {AUTHORITIES}")).and_then(|pem| parse(pem, AUTHORITIES));
    parsed.map_err(|error| Reason::AuthoritiesInvalid { target: format!("{kind} {namespace}/{name}"), error })
}

/// `field`: what the text is in. The error continues "ConfigMap a/b, which …".
fn parse(pem: &[u8], field: &str) -> Result<Authorities, String> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("has a {field} that is not PEM: {error}"))?;
    if found.is_empty() {
        return Err(format!("has no certificate in PEM form in its {field}"));
    }
    let mut anchors = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        // Both parsers will be asked again where nothing may fail.
        let is_certificate = parse_x509_certificate(certificate).is_ok() && anchors.add(certificate.clone()).is_ok();
        if !is_certificate {
            return Err(format!("has a {field} whose certificate number {} is no X.509 certificate", index + 1));
        }
    }
    Ok(Authorities(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, config_map::Data, translate::Last};

    const CONFIG: &str = "{zones: [home.example], entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}}";

    #[test]
    fn a_bundle_is_parsed_once_for_all_that_refer_to_it_and_so_is_what_is_wrong_with_it() {
        let authority = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
        let config_map = |name: &str, pem: &str| {
            let metadata = kube::core::ObjectMeta {
                namespace: Some("a".to_owned()),
                name: Some(name.to_owned()),
                ..Default::default()
            };
            Arc::new(ConfigMap { metadata, data: Data { authorities: Some(pem.to_owned()) } })
        };
        let config_maps = vec![config_map("good", &authority.cert.pem()), config_map("bad", "garbage")];
        let snapshot = Snapshot { config_maps, secrets: Some(Vec::new()), ..Snapshot::default() };
        let (config, last) = (config::parse(CONFIG).expect("a configuration"), Last::default());
        let mut work = Work::new(&snapshot, &config, &last);
        let mut ask = |kind, namespace, name| find(&mut work, ("", kind), namespace, name);
        let first = ask("ConfigMap", "a", "good").expect("good");
        assert_eq!(first.0, [authority.cert.der().clone()]);
        assert!(Arc::ptr_eq(&first, &ask("ConfigMap", "a", "good").expect("good")), "not parsed anew");
        // Nobody gets what is another's.
        for (kind, namespace, name) in [("ConfigMap", "b", "good"), ("Secret", "a", "good"), ("ConfigMap", "a", "bad")]
        {
            let [once, again] = [(); 2].map(|()| ask(kind, namespace, name).expect_err("wrong"));
            assert_eq!(once, again);
        }
        assert_eq!(work.bundles.parsed.len(), 4);
    }
}
