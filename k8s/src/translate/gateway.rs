//! Gateways to entry points, and what their status says.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Work,
    attachment::{Claimant, Door, attach},
    certificate::{self, Role},
    condition,
    conflict::Claims,
    grpc_route, http_route,
    infrastructure::{self, GatewayPorts},
    key_of,
    listener::{self, Taken, certificate_of},
    listener_set, object_name, overlap, stream_route, version,
};
use crate::{
    config::{self, Config},
    gateway_api::{Gateway, GrpcRouteSpec, HttpRouteSpec, StreamRouteSpec, TlsRouteSpec},
    model::{EntryPoint, ListenerProtocol, Trust, ValidationMode},
    problem::Reason,
    snapshot::Snapshot,
    status::{Condition, Desired, Status},
};

/// One entry point for each Gateway of our classes, oldest first. `before` have their sockets already.
pub(super) fn translate(work: &mut Work<'_>, before: &[EntryPoint]) -> Vec<EntryPoint> {
    let (snapshot, config) = (work.snapshot, work.config);
    let connections = before
        .iter()
        .flat_map(|entry| entry.listeners.iter().map(move |listener| (entry, listener)))
        .flat_map(|(entry, listener)| {
            listener.sockets.iter().map(|socket| (*socket, format!("entry point {}", entry.name)))
        })
        .chain(config::both_families(config.admin.router).map(|socket| (socket, "the admin port".to_owned())))
        .collect();
    let mut taken = Taken { connections, ..Taken::default() };
    let mut doors: Vec<Door<'_>> = Vec::new();
    let ours = snapshot.gateways.iter().filter(|gateway| matches!(class_of(snapshot, config, gateway), Class::Ours));
    let contested = infrastructure::contested(&config.gateway_api, &snapshot.services, ours);
    for gateway in &snapshot.gateways {
        match class_of(snapshot, config, gateway) {
            Class::Ours => doors.push(door(work, gateway, &contested, &mut taken)),
            Class::Foreign { .. } => {}
            Class::Missing => {
                let source = object_name("Gateway", &gateway.metadata);
                let class = gateway.spec.gateway_class_name.clone();
                work.problem(&source, Reason::GatewayClassMissing { class });
            }
        }
    }
    listener_set::report_missing(work);
    attach_all(work, &mut doors);
    let remedy = "name a Secret that does in the listener's tls.certificateRefs";
    for listener in doors.iter().flat_map(|door| &door.listeners).filter_map(|standing| standing.listener.as_ref()) {
        if listener.protocol == ListenerProtocol::Https {
            certificate::report_uncovered(work, listener, remedy);
        }
    }
    for door in &doors {
        let sets = door.sets.iter().map(|set| set.status(door));
        work.statuses.extend(sets.chain([status(door)]));
        let listeners = door.listeners.iter().map(|standing| standing.spec);
        work.gateway_ports.push(GatewayPorts::new(Arc::clone(door.gateway), listeners));
    }
    doors.into_iter().filter(|door| door.infrastructure.accepted.is_true).map(entry_point).collect()
}

fn entry_point(door: Door<'_>) -> EntryPoint {
    let Door { source, infrastructure, client_certificate, listeners, .. } = door;
    EntryPoint {
        name: format!("{}/{}", source.namespace, source.name).into(),
        addresses: infrastructure.ips(),
        trust: Trust::default(),
        client_certificate,
        listeners: listeners
            .into_iter()
            .filter_map(|standing| {
                let is_accepted = standing.is_accepted();
                // Without one that nobody gets into, its requests would be another listener's.
                standing.listener.filter(|listener| is_accepted || listener.authorizers.is_err())
            })
            .collect(),
    }
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

fn door<'a>(work: &mut Work<'a>, gateway: &'a Arc<Gateway>, contested: &BTreeSet<u16>, taken: &mut Taken) -> Door<'a> {
    let source = Arc::new(object_name("Gateway", &gateway.metadata));
    let backend_tls = gateway.spec.tls.as_ref().and_then(|tls| tls.backend.as_ref());
    let reference = backend_tls.and_then(|backend| backend.client_certificate_ref.as_ref());
    let before = work.problems.len();
    let what = "tls.backend.clientCertificateRef";
    let client_certificate = reference.and_then(|it| certificate_of(work, &source, Role::Client, it, what));
    let unresolved = work.problems.get(before..).and_then(condition::of_client_certificate);
    let found = infrastructure::of(&work.config.gateway_api, &work.snapshot.services, contested, gateway);
    for reason in &found.problems {
        work.problem(&source, reason.clone());
    }
    let mut door = Door {
        gateway,
        source,
        client_certificate,
        unresolved,
        infrastructure: found,
        listeners: Vec::new(),
        claims: Claims::default(),
        sets: Vec::new(),
    };
    for spec in &gateway.spec.listeners {
        let source = Arc::clone(&door.source);
        let standing = listener::judge(work, &door, &source, spec, &gateway.spec.listeners, taken);
        door.listeners.push(standing);
    }
    door.claims.add(&door.listeners);
    listener_set::add(work, &mut door, taken);
    overlap::mark(&mut door.listeners);
    door
}

fn attach_all(work: &mut Work<'_>, doors: &mut [Door<'_>]) {
    let snapshot = work.snapshot;
    for route in &snapshot.http_routes {
        let HttpRouteSpec { parent_refs, hostnames, rules } = &route.spec;
        let claimant = Claimant::new("HTTPRoute", route, parent_refs, hostnames);
        attach(work, &claimant, doors, |work, source| http_route::translate(work, source, rules));
    }
    for route in &snapshot.grpc_routes {
        let GrpcRouteSpec { parent_refs, hostnames, rules } = &route.spec;
        let claimant = Claimant::new("GRPCRoute", route, parent_refs, hostnames);
        attach(work, &claimant, doors, |work, source| grpc_route::translate(work, source, rules));
    }
    for route in &snapshot.tls_routes {
        let TlsRouteSpec { parent_refs, hostnames, rules } = &route.spec;
        let claimant = Claimant::new("TLSRoute", route, parent_refs, hostnames);
        attach(work, &claimant, doors, |work, source| stream_route::translate(work, source, rules));
    }
    for route in &snapshot.tcp_routes {
        let StreamRouteSpec { parent_refs, rules } = &route.spec;
        let claimant = Claimant::new("TCPRoute", route, parent_refs, &[]);
        attach(work, &claimant, doors, |work, source| stream_route::translate(work, source, rules));
    }
    for route in &snapshot.udp_routes {
        let StreamRouteSpec { parent_refs, rules } = &route.spec;
        let claimant = Claimant::new("UDPRoute", route, parent_refs, &[]);
        attach(work, &claimant, doors, |work, source| stream_route::translate(work, source, rules));
    }
}

fn status(door: &Door<'_>) -> Desired {
    let own = door.own();
    let accepted = match &door.infrastructure.accepted {
        refused if !refused.is_true => refused.clone(),
        _ if own.iter().all(|it| it.is_valid()) => Condition::holds("Accepted"),
        // Those of its ListenerSets are its listeners, too.
        _ if door.listeners.iter().any(|it| it.is_accepted()) => Condition {
            reason: "ListenersNotValid",
            message: "some of its listeners are not valid".to_owned(),
            ..Condition::holds("Accepted")
        },
        _ => Condition::fails("Accepted", "ListenersNotValid", "none of its listeners is valid"),
    };
    let programmed = if !accepted.is_true {
        Condition::fails("Programmed", "Invalid", accepted.message.clone())
    } else if !door.infrastructure.programmed.is_true {
        door.infrastructure.programmed.clone()
    } else if door.listeners.iter().any(|it| it.is_programmed()) {
        Condition::holds("Programmed")
    } else {
        Condition::fails("Programmed", "Invalid", "none of its listeners is open")
    };
    let mut conditions = vec![accepted, programmed];
    if let Some(fault) = &door.unresolved {
        conditions.push(Condition::fails("ResolvedRefs", fault.reason, &fault.message));
    } else {
        conditions.push(Condition::holds("ResolvedRefs"));
    }
    let lets_anybody_in = |standing: &listener::Standing<'_>| {
        let validation = standing.listener.as_ref().and_then(|it| it.client_validation.as_ref());
        validation.is_some_and(|it| it.mode == ValidationMode::AllowInsecureFallback)
    };
    if door.listeners.iter().any(lets_anybody_in) {
        conditions.push(Condition {
            kind: "InsecureFrontendValidationMode",
            is_true: true,
            reason: "ConfigurationChanged",
            message: "clients get in with an invalid certificate, and with none".to_owned(),
        });
    }
    Desired {
        object: (*door.source).clone(),
        version: version(&door.gateway.metadata),
        status: Status::Gateway {
            conditions,
            addresses: door.infrastructure.addresses.clone(),
            listeners: own.iter().map(|it| it.status()).collect(),
            listener_sets: door.sets.iter().filter(|set| set.is_accepted(door)).count(),
        },
    }
}
