//! The certificate that an entry point shows to backends which ask for one.

use std::{fmt, sync::Arc};

use k8s::model::Certificate;
use pingora_core::{upstreams::peer::HttpPeer, utils::tls::CertKey};
use rustls::{
    ClientConfig,
    crypto::ring,
    pki_types::PrivateKeyDer,
    sign::{CertifiedKey, SingleCertAndKey},
};
use x509_parser::prelude::parse_x509_certificate;

use super::peer::identity;

/// Made once for each certificate.
pub struct ClientCertificate {
    /// For TLS of our own.
    shown: Arc<SingleCertAndKey>,
    /// For pingora's.
    pair: Arc<CertKey>,
    /// Differs where the certificate does.
    pub(super) identity: u64,
}

impl ClientCertificate {
    /// None for one that cannot be used, which the translation has ruled out: pingora would panic at it.
    pub fn new(certificate: &Certificate) -> Option<Self> {
        let Certificate { secret: _, chain, key, names: _, not_after: _ } = certificate;
        let provider = ring::default_provider();
        chain.first()?;
        let certified = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).ok()?;
        let is_parsed = chain.iter().all(|certificate| parse_x509_certificate(certificate).is_ok());
        // pingora gets the bytes alone, and guesses what form of key they are.
        let key = key.secret_der().to_vec();
        let is_guessed = PrivateKeyDer::try_from(key.as_slice()).is_ok_and(|guessed| guessed == certificate.key);
        (is_parsed && is_guessed).then(|| Self {
            shown: Arc::new(SingleCertAndKey::from(certified)),
            pair: Arc::new(CertKey::new(chain.iter().map(|certificate| certificate.to_vec()).collect(), key)),
            identity: identity(chain),
        })
    }

    /// Makes connections with `config` show it. They resume each other's sessions and nobody else's: rustls takes a
    /// session for what its resolver has begun.
    pub fn show_in(&self, config: &mut ClientConfig) {
        config.client_auth_cert_resolver = Arc::clone(&self.shown) as _;
    }

    /// The same for connections that pingora makes, which resume no sessions. Its pool tells certificates apart by their
    /// serial numbers, which their issuers choose: the peer needs `identity` in its key, too.
    pub(super) fn show_to(&self, peer: &mut HttpPeer) {
        peer.client_cert_key = Some(Arc::clone(&self.pair));
    }
}

/// Never shows the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use k8s::model::{AlternativeName, Authorities, HostName, ObjectName, Protocol, ServerValidation, TrustedBy};
    use pingora_core::upstreams::peer::Peer;
    use rustls::pki_types::CertificateDer;

    use super::{
        super::peer::{Terms, Verified, peer},
        *,
    };

    /// Each has another key, and the same number.
    fn certificate() -> Certificate {
        let key = rcgen::KeyPair::generate().expect("random numbers");
        let mut parameters = rcgen::CertificateParams::default();
        parameters.serial_number = Some(1.into());
        Certificate {
            secret: ObjectName::new("Secret", "default", "shown"),
            chain: vec![parameters.self_signed(&key).expect("its own key").der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            names: Vec::new(),
            not_after: 0,
        }
    }

    fn validation(names: &[&str]) -> ServerValidation {
        let hostname = |name: &str| name.parse::<HostName>().expect("a name");
        ServerValidation {
            authorities: TrustedBy::These(Arc::new(Authorities::default())),
            hostname: hostname("nas.example"),
            alternative_names: names.iter().map(|name| AlternativeName::Hostname(hostname(name))).collect(),
        }
    }

    #[test]
    fn connections_in_tls_are_told_apart_by_the_certificate_that_they_show() {
        let [first, second] = [certificate(), certificate()];
        let [one, same, other] = [&first, &first, &second].map(|it| ClientCertificate::new(it).map(Arc::new));
        assert!(one.is_some() && same.is_some() && other.is_some());
        let made = |protocol, verified: Option<&Verified>, certificate: Option<&Arc<ClientCertificate>>| {
            let (connect, idle) = (Duration::from_secs(1), Duration::from_secs(1));
            let client_certificate = certificate.cloned();
            let terms = Terms { websocket: None, connect, idle, left: None, is_fresh: false, client_certificate };
            peer(SocketAddr::from(([10, 0, 0, 1], 443)), protocol, verified, &terms)
        };
        let [by_hostname, by_name] = [&[][..], &["a.example"]].map(|names| Verified::new(&validation(names)));
        for (protocol, verified, is_seen_by_pingora) in [
            (Protocol::Https, None, true),
            (Protocol::Http, Some(&by_hostname), true),
            (Protocol::H2c, Some(&by_hostname), true),
            (Protocol::Http, Some(&by_name), false),
            (Protocol::H2c, Some(&by_name), false),
        ] {
            let peers = [&one, &same, &other, &None].map(|it| made(protocol, verified, it.as_ref()));
            let [one, same, other, none] = peers.each_ref().map(Peer::reuse_hash);
            assert_eq!(one, same);
            assert!(one != other && one != none && other != none, "{protocol:?} {verified:?}");
            assert_eq!(peers[0].client_cert_key.is_some(), is_seen_by_pingora);
        }
        let clear = [&one, &None].map(|it| made(Protocol::Http, None, it.as_ref()).reuse_hash());
        assert_eq!(clear[0], clear[1], "nothing is shown in the clear");
    }

    #[test]
    fn what_pingora_would_panic_at_is_refused() {
        let good = certificate();
        assert!(ClientCertificate::new(&good).is_some());
        let chains = [vec![], vec![CertificateDer::from(vec![])], [&good.chain[..], &[vec![0].into()]].concat()];
        for chain in chains {
            let key = good.key.clone_key();
            assert!(ClientCertificate::new(&Certificate { chain, key, ..certificate() }).is_none());
        }
        let mut odd = good.key.secret_der().to_vec();
        odd.truncate(1);
        assert!(ClientCertificate::new(&Certificate { key: PrivateKeyDer::Pkcs8(odd.into()), ..good }).is_none());
    }
}
