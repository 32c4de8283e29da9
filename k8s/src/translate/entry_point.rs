//! Entry points of the configuration file, with the Ingresses they serve.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Work,
    certificate::{self, Role},
    ingress, ingress_class, version,
};
use crate::{
    config::{EntryPointConfig, PortConfig},
    model::{Attachment, Certificate, EntryPoint, Listener, ListenerProtocol, ObjectName},
    status::{Desired, Status},
};

pub(super) fn from_config(work: &mut Work<'_>) -> Vec<EntryPoint> {
    let owned = ingress_class::owned_ingresses(work);
    let owned: Vec<_> = owned.iter().map(|one| (ingress::read(work, one.ingress), &*one.entry_point)).collect();
    let default_certificate = work.config.default_certificate.as_ref().and_then(|name| {
        let key = ObjectName::new("Configuration", "", "defaultCertificate");
        certificate::find(work, &key, Role::Server, &name.namespace, &name.name)
    });
    let config = work.config;
    for (reading, entry_point) in &owned {
        let found = config.entry_points.iter().find(|entry| *entry.name == **entry_point);
        let addresses = found.map(|entry| entry.addresses.clone()).unwrap_or_default();
        work.statuses.push(Desired {
            object: reading.source.clone(),
            version: version(&reading.ingress.metadata),
            status: Status::Ingress { addresses },
        });
    }
    config
        .entry_points
        .iter()
        .map(|entry| {
            // The LAN serves what the tunnel serves, and never the other way around.
            let here: Vec<_> = owned
                .iter()
                .filter(|(_, entry_point)| entry.default || **entry_point == *entry.name)
                .map(|(reading, _)| &**reading)
                .collect();
            let routes = ingress::translate(work, &here);
            let certificates = ingress::certificates(work, &here);
            // Without one that is meant for it, some certificate is better than a handshake that fails.
            let default = default_certificate.as_ref().or_else(|| certificates.first()).cloned();
            EntryPoint {
                name: Arc::clone(&entry.name),
                addresses: entry.addresses.clone(),
                trust: entry.trust.clone(),
                client_certificate: None,
                listeners: listeners(work, entry, &routes, certificates, default),
            }
        })
        .collect()
}

fn listeners(
    work: &mut Work<'_>,
    entry: &EntryPointConfig,
    routes: &[Attachment],
    certificates: Vec<Arc<Certificate>>,
    default_certificate: Option<Arc<Certificate>>,
) -> Vec<Listener> {
    let listener = |name: &str, port: PortConfig, protocol| Listener {
        name: name.into(),
        port: port.port,
        sockets: entry.listen.iter().map(|address| SocketAddr::new(*address, port.listen)).collect(),
        protocol,
        hostname: None,
        certificates: Vec::new(),
        default_certificate: None,
        client_validation: None,
        authorizers: Ok(Vec::new()),
        routes: routes.to_vec(),
    };
    let redirect_to_https = entry.https.filter(|_| entry.redirect_to_https).map(|https| https.port);
    let http = entry.http.map(|port| listener("http", port, ListenerProtocol::Http { redirect_to_https }));
    let https = entry.https.map(|port| Listener {
        certificates,
        default_certificate,
        ..listener("https", port, ListenerProtocol::Https)
    });
    let remedy = "name a Secret in spec.tls, or one as `defaultCertificate` in the configuration";
    https.iter().for_each(|listener| certificate::report_uncovered(work, listener, remedy));
    http.into_iter().chain(https).collect()
}
