//! Gateways to entry points and their listeners.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    Work,
    attachment::{Claimant, Door, Standing, attach},
    certificate, client_validation,
    filter::invalid,
    http_route, key_of, object_name,
    reference_grant::{From, To, granted},
};
use crate::{
    config::{self, Config},
    gateway_api::{self, GROUP, Gateway, GrpcRouteSpec, HttpRouteSpec, TlsRouteSpec},
    model::{Certificate, EntryPoint, HostPattern, Labels, Listener, ListenerProtocol, ObjectName, Trust},
    problem::Reason,
    snapshot::Snapshot,
};

/// One entry point for each Gateway of our classes, oldest first. `before` have their sockets already.
pub(super) fn translate(work: &mut Work<'_>, before: &[EntryPoint]) -> Vec<EntryPoint> {
    let (snapshot, config) = (work.snapshot, work.config);
    let mut taken: BTreeMap<SocketAddr, String> = before
        .iter()
        .flat_map(|entry| entry.listeners.iter().map(move |listener| (entry, listener)))
        .flat_map(|(entry, listener)| {
            listener.sockets.iter().map(|socket| (*socket, format!("entry point {}", entry.name)))
        })
        .chain(config::both_families(config.admin.router).map(|socket| (socket, "the admin port".to_owned())))
        .collect();
    let mut doors: Vec<Door<'_>> = Vec::new();
    for gateway in &snapshot.gateways {
        match class_of(snapshot, config, gateway) {
            Class::Ours => {}
            Class::Foreign { .. } => continue,
            Class::Missing => {
                let source = object_name("Gateway", &gateway.metadata);
                let class = gateway.spec.gateway_class_name.clone();
                work.problem(&source, Reason::GatewayClassMissing { class });
                continue;
            }
        }
        let addresses = addresses(work, gateway);
        let backend_tls = gateway.spec.tls.as_ref().and_then(|tls| tls.backend.as_ref());
        if backend_tls.is_some_and(|backend| backend.client_certificate_ref.is_some()) {
            let what = "tls.backend.clientCertificateRef is".to_owned();
            let instead = "backends that ask for a certificate get none";
            work.problem(&object_name("Gateway", &gateway.metadata), Reason::NotServed { what, instead });
        }
        let listeners = listeners(work, gateway, &addresses, &mut taken);
        doors.push(Door { gateway, addresses, listeners });
    }
    attach_all(work, &mut doors);
    let remedy = "name a Secret that does in the listener's tls.certificateRefs";
    for standing in doors.iter().flat_map(|door| &door.listeners) {
        if standing.listener.protocol == ListenerProtocol::Https {
            certificate::report_uncovered(work, &standing.listener, remedy);
        }
    }
    doors
        .into_iter()
        .map(|Door { gateway, addresses, listeners }| {
            let (namespace, name) = key_of(&gateway.metadata);
            EntryPoint {
                name: format!("{namespace}/{name}").into(),
                addresses,
                trust: Trust::default(),
                listeners: listeners.into_iter().map(|standing| standing.listener).collect(),
            }
        })
        .collect()
}

/// Whose a Gateway is, by its class.
pub(super) enum Class<'a> {
    Ours,
    Foreign {
        controller: &'a str,
    },
    /// There is no such class.
    Missing,
}

pub(super) fn class_of<'a>(snapshot: &'a Snapshot, config: &Config, gateway: &Gateway) -> Class<'a> {
    let name = gateway.spec.gateway_class_name.as_str();
    match snapshot.gateway_classes.iter().find(|class| key_of(&class.metadata).1 == name) {
        Some(class) if class.spec.controller_name == *config.gateway_api.controller => Class::Ours,
        Some(class) => Class::Foreign { controller: &class.spec.controller_name },
        None => Class::Missing,
    }
}

fn attach_all(work: &mut Work<'_>, doors: &mut [Door<'_>]) {
    let snapshot = work.snapshot;
    for route in &snapshot.http_routes {
        let HttpRouteSpec { parent_refs, hostnames, rules } = &route.spec;
        let claimant = Claimant::new("HTTPRoute", &route.metadata, parent_refs, hostnames);
        attach(work, claimant, doors, |work, source| http_route::translate(work, source, rules));
    }
    for route in &snapshot.grpc_routes {
        let GrpcRouteSpec { parent_refs, hostnames, .. } = &route.spec;
        let claimant = Claimant::new("GRPCRoute", &route.metadata, parent_refs, hostnames);
        attach(work, claimant, doors, |work, source| {
            let instead = "calls get what HTTPRoutes on its listeners answer, or 404, and only DNS knows its names";
            work.problem(source, Reason::NotServed { what: "its rules are".to_owned(), instead });
            Vec::new()
        });
    }
    for route in &snapshot.tls_routes {
        let TlsRouteSpec { parent_refs, hostnames, .. } = &route.spec;
        let claimant = Claimant::new("TLSRoute", &route.metadata, parent_refs, hostnames);
        attach(work, claimant, doors, |work, source| {
            let instead = "its listeners have no socket, and only DNS knows its names";
            work.problem(source, Reason::NotServed { what: "its rules are".to_owned(), instead });
            Vec::new()
        });
    }
}

fn addresses(work: &mut Work<'_>, gateway: &Gateway) -> Vec<IpAddr> {
    let source = object_name("Gateway", &gateway.metadata);
    let mut found = Vec::new();
    let before = work.problems.len();
    for address in &gateway.spec.addresses {
        let value = address.value.as_deref().unwrap_or_default();
        match (address.type_.as_deref().unwrap_or("IPAddress"), value.parse::<IpAddr>()) {
            // Every address is some other door's too.
            ("IPAddress", Ok(ip)) if ip.is_unspecified() => {
                work.problem(&source, invalid("addresses.value", value, "an address that clients can reach"));
            }
            ("IPAddress", Ok(ip)) if found.contains(&ip) => {}
            ("IPAddress", Ok(ip)) => found.push(ip),
            ("IPAddress", Err(_)) if value.is_empty() => {
                found.extend(work.config.gateway_api.address.filter(|ip| !found.contains(ip)));
            }
            ("IPAddress", Err(_)) => work.problem(&source, invalid("addresses.value", value, "an IP address")),
            (other, _) => {
                work.problem(&source, Reason::Unsupported { field: "address type".to_owned(), value: other.to_owned() })
            }
        }
    }
    if gateway.spec.addresses.is_empty() {
        found.extend(work.config.gateway_api.address);
    }
    // Where one was wrong, that has been said.
    if found.is_empty() && work.problems.len() == before {
        work.problem(&source, Reason::NoAddress);
    }
    found
}

fn listeners<'a>(
    work: &mut Work<'a>,
    gateway: &'a Gateway,
    addresses: &[IpAddr],
    taken: &mut BTreeMap<SocketAddr, String>,
) -> Vec<Standing<'a>> {
    let source = object_name("Gateway", &gateway.metadata);
    let mut standing = Vec::new();
    for spec in &gateway.spec.listeners {
        let Some(protocol) = protocol(spec) else {
            let mode =
                spec.tls.as_ref().and_then(|tls| tls.mode.as_deref()).map(|mode| format!(" with tls mode {mode}"));
            let value = format!("{}{}", spec.protocol, mode.unwrap_or_default());
            work.problem(&source, Reason::Unsupported { field: format!("listener {} protocol", spec.name), value });
            continue;
        };
        let hostname = match spec.hostname.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => match HostPattern::parse(text, Labels::OneOrMore) {
                Ok(hostname) => Some(hostname),
                Err(error) => {
                    work.problem(&source, Reason::InvalidHost { text: text.to_owned(), error });
                    continue;
                }
            },
        };
        if spec.port == 0 {
            let field = format!("listener {} port", spec.name);
            work.problem(&source, invalid(&field, "0", "a port from 1 to 65535"));
            continue;
        }
        if let Some(other) = gateway.spec.listeners.iter().find(|other| conflict(spec, other)) {
            let field = format!("listener {}", spec.name);
            let value = format!("port {} and hostname {:?}", spec.port, spec.hostname.as_deref().unwrap_or_default());
            work.problem(&source, invalid(&field, &value, &format!("what tells it from listener {}", other.name)));
            continue;
        }
        let sockets = match protocol {
            ListenerProtocol::Http { .. } | ListenerProtocol::Https => claim(work, &source, spec, addresses, taken),
            // Nobody is to go without a socket for one that is not opened.
            _ => Some(Vec::new()),
        };
        let Some(sockets) = sockets else { continue };
        let certificates = match protocol {
            ListenerProtocol::Http { .. } => Vec::new(),
            ListenerProtocol::Https => certificates(work, &source, spec),
            _ => {
                let instead = "it has no socket, and only DNS knows the names of its routes";
                work.problem(&source, Reason::NotServed { what: format!("listener {} is", spec.name), instead });
                if tls_mode(spec) == "Terminate" { certificates(work, &source, spec) } else { Vec::new() }
            }
        };
        if spec.tls.as_ref().is_some_and(|tls| tls.frontend_validation.is_some()) {
            let what = format!("tls.frontendValidation of listener {} is", spec.name);
            let instead = "clients are asked for a certificate only where spec.tls.frontend of the Gateway says so";
            work.problem(&source, Reason::NotServed { what, instead });
        }
        let default_certificate = certificates.first().cloned();
        let client_validation = match protocol {
            ListenerProtocol::Https => client_validation::for_port(work, &source, gateway, spec.port),
            _ => None,
        };
        let listener = Listener {
            name: spec.name.as_str().into(),
            port: spec.port,
            sockets,
            protocol,
            hostname,
            certificates,
            default_certificate,
            client_validation,
            routes: Vec::new(),
        };
        standing.push(Standing { spec, listener });
    }
    standing
}

fn protocol(spec: &gateway_api::Listener) -> Option<ListenerProtocol> {
    match (spec.protocol.as_str(), tls_mode(spec)) {
        ("HTTP", _) => Some(ListenerProtocol::Http { redirect_to_https: None }),
        ("HTTPS", "Terminate") => Some(ListenerProtocol::Https),
        ("TLS", "Passthrough") => Some(ListenerProtocol::TlsPassthrough),
        ("TLS", "Terminate") => Some(ListenerProtocol::TlsTerminate),
        _ => None,
    }
}

fn tls_mode(spec: &gateway_api::Listener) -> &str {
    spec.tls.as_ref().and_then(|tls| tls.mode.as_deref()).unwrap_or("Terminate")
}

/// Whether no connection could tell two listeners of a Gateway apart; then both lose (`Gateway.spec.listeners`).
fn conflict(one: &gateway_api::Listener, other: &gateway_api::Listener) -> bool {
    let host = |listener: &gateway_api::Listener| {
        listener.hostname.as_deref().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase()
    };
    let (a, b) = (told_by(one), told_by(other));
    let same_socket = one.port == other.port && (a == ToldBy::Datagram) == (b == ToldBy::Datagram);
    let same = one.name == other.name || (same_socket && (a != b || host(one) == host(other)));
    same && !std::ptr::eq(one, other)
}

/// What tells a listener's connections from those of others on its port.
#[derive(PartialEq, Eq)]
enum ToldBy {
    /// They are none, and UDP's ports are not TCP's.
    Datagram,
    Host,
    ServerName,
    Nothing,
}

fn told_by(listener: &gateway_api::Listener) -> ToldBy {
    match listener.protocol.as_str() {
        "HTTP" => ToldBy::Host,
        "HTTPS" | "TLS" => ToldBy::ServerName,
        "UDP" => ToldBy::Datagram,
        _ => ToldBy::Nothing,
    }
}

/// Listeners of one Gateway share sockets; two entry points never do.
fn claim(
    work: &mut Work<'_>,
    source: &ObjectName,
    spec: &gateway_api::Listener,
    addresses: &[IpAddr],
    taken: &mut BTreeMap<SocketAddr, String>,
) -> Option<Vec<SocketAddr>> {
    let owner = source.to_string();
    let sockets: Vec<SocketAddr> = addresses.iter().map(|address| SocketAddr::new(*address, spec.port)).collect();
    for socket in &sockets {
        let holder = taken.iter().find(|(other, winner)| **winner != owner && config::clash(**other, *socket));
        if let Some((_, winner)) = holder {
            let reason = Reason::SocketTaken {
                listener: format!("listener {}", spec.name),
                socket: socket.to_string(),
                winner: winner.clone(),
            };
            work.problem(source, reason);
            return None;
        }
    }
    taken.extend(sockets.iter().map(|socket| (*socket, owner.clone())));
    Some(sockets)
}

fn certificates(work: &mut Work<'_>, source: &ObjectName, spec: &gateway_api::Listener) -> Vec<Arc<Certificate>> {
    let mut found = Vec::new();
    if spec.tls.as_ref().is_none_or(|tls| tls.certificate_refs.is_empty()) {
        let field = format!("listener {} tls.certificateRefs", spec.name);
        work.problem(source, invalid(&field, "", "the Secret of a certificate"));
    }
    let own = source.namespace.to_string();
    for reference in spec.tls.iter().flat_map(|tls| &tls.certificate_refs) {
        let (group, kind) =
            (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Secret"));
        let namespace = reference.namespace.as_deref().unwrap_or(&own);
        let from = From { group: GROUP, kind: "Gateway", namespace: &own };
        let to = To { group, kind, namespace, name: &reference.name };
        if (group, kind) != ("", "Secret") {
            let field = format!("listener {} certificateRef kind", spec.name);
            work.problem(source, Reason::Unsupported { field, value: format!("{group}/{kind}") });
        } else if !granted(&work.snapshot.reference_grants, &from, &to) {
            work.problem(source, Reason::NotGranted { target: format!("Secret {namespace}/{}", reference.name) });
        } else {
            found.extend(certificate::find(work, source, namespace, &reference.name));
        }
    }
    found
}
