//! Entry points of the configuration file, with the Ingresses they serve.

use std::{net::SocketAddr, sync::Arc};

use super::{Work, certificate, ingress, ingress_class};
use crate::{
    config::{EntryPointConfig, PortConfig},
    model::{Attachment, Certificate, EntryPoint, Listener, ListenerProtocol, ObjectName},
    problem::Reason,
};

pub(super) fn from_config(work: &mut Work<'_>) -> Vec<EntryPoint> {
    let owned = ingress_class::owned_ingresses(work);
    let default_certificate = work.config.default_certificate.as_ref().and_then(|name| {
        let key = ObjectName::new("Configuration", "", "defaultCertificate");
        certificate::find(work, &key, &name.namespace, &name.name)
    });
    let config = work.config;
    config
        .entry_points
        .iter()
        .map(|entry| {
            // The LAN serves what the tunnel serves, and never the other way around.
            let here: Vec<_> = owned
                .iter()
                .filter(|owned| entry.default || owned.entry_point == entry.name)
                .map(|owned| owned.ingress)
                .collect();
            let routes = ingress::translate(work, &here);
            let mut certificates: Vec<Arc<Certificate>> = default_certificate.iter().cloned().collect();
            for certificate in ingress::certificates(work, &here) {
                if !certificates.contains(&certificate) {
                    certificates.push(certificate);
                }
            }
            if entry.https.is_some() && work.certificates.are_watched() {
                report_uncovered(work, &routes, &certificates);
            }
            EntryPoint {
                name: Arc::clone(&entry.name),
                addresses: entry.addresses.clone(),
                trust: entry.trust.clone(),
                listeners: listeners(entry, &routes, certificates),
            }
        })
        .collect()
}

fn listeners(entry: &EntryPointConfig, routes: &[Attachment], certificates: Vec<Arc<Certificate>>) -> Vec<Listener> {
    let listener = |name: &str, port: PortConfig, protocol, certificates| Listener {
        name: name.into(),
        port: port.port,
        sockets: entry.listen.iter().map(|address| SocketAddr::new(*address, port.listen)).collect(),
        protocol,
        hostname: None,
        certificates,
        routes: routes.to_vec(),
    };
    let redirect_to_https = entry.https.filter(|_| entry.redirect_to_https).map(|https| https.port);
    let http = entry.http.map(|port| listener("http", port, ListenerProtocol::Http { redirect_to_https }, Vec::new()));
    let https = entry.https.map(|port| listener("https", port, ListenerProtocol::Https, certificates));
    http.into_iter().chain(https).collect()
}

/// Hosts whose visitors would be shown a certificate for something else, or none.
fn report_uncovered(work: &mut Work<'_>, routes: &[Attachment], certificates: &[Arc<Certificate>]) {
    for attachment in routes {
        for host in &attachment.hostnames {
            let covered = certificates
                .iter()
                .flat_map(|certificate| &certificate.names)
                .any(|name| name.intersect(host).as_ref() == Some(host));
            if !covered {
                let source = attachment.route.source.clone();
                work.problem(&source, Reason::NoCertificate { host: host.clone() });
            }
        }
    }
}
