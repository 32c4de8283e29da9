//! A reference to a Service's port, resolved to a backend.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::{Work, annotation, backend_tls_policy, filter::invalid, object_name};
use crate::{
    model::{Addressing, Backend, BackendId, HealthCheck, ObjectName, Protocol, ServiceName, Target},
    problem::Reason,
};

/// A path that the router asks each endpoint for, at Services whose pods' readiness does not say enough.
pub(super) const HEALTH_CHECK: &str = "doorward.dev/health-check";

/// How an object names a Service's port.
#[derive(Clone, Copy)]
pub(super) enum PortRef<'a> {
    Name(&'a str),
    Number(u16),
}

/// The backend, added to the model; or an invalid target that answers 500, and a problem of `owner`.
/// `spoken`: what the route says that it speaks, whatever the Service says.
pub(super) fn resolve(
    work: &mut Work<'_>,
    owner: &ObjectName,
    namespace: &str,
    name: &str,
    port: PortRef<'_>,
    spoken: Option<Protocol>,
) -> Target {
    let found = find(work, namespace, name, port).and_then(|(backend, port_name)| {
        let validation = backend_tls_policy::of_port(work, &backend.id.service, port_name.as_deref())?;
        Ok(Backend { validation, ..backend })
    });
    match found {
        Ok(mut backend) => {
            if let Some(spoken) = spoken.filter(|spoken| *spoken != backend.protocol) {
                backend.id.spoken = Some(spoken);
                backend.protocol = spoken;
            }
            if let Some(service) = work.services.get(&(namespace, name)).copied() {
                backend.health_check = health_check(work, service);
            }
            Target::Backend(add(work, backend))
        }
        Err(reason) => {
            let target = Target::Invalid(reason.to_string().into());
            work.problem(owner, reason);
            target
        }
    }
}

/// Two names may be of one port, with a policy for one of them: what was to be verified stays so.
fn add(work: &mut Work<'_>, backend: Backend) -> BackendId {
    let id = backend.id.clone();
    let is_verified = |backend: &Backend| backend.validation.is_some();
    if is_verified(&backend) || !work.backends.get(&id).is_some_and(is_verified) {
        work.backends.insert(id.clone(), backend);
    }
    id
}

/// The backend as the Service alone says it, and the name of the port.
fn find(
    work: &Work<'_>,
    namespace: &str,
    name: &str,
    port: PortRef<'_>,
) -> Result<(Backend, Option<Arc<str>>), Reason> {
    let service_name = ServiceName::new(namespace, name);
    let Some(service) = work.services.get(&(namespace, name)) else {
        return Err(Reason::ServiceMissing { service: service_name });
    };
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        return external(work, service, service_name, port);
    }
    let ports: Vec<&ServicePort> =
        spec.and_then(|spec| spec.ports.as_ref()).into_iter().flatten().filter(|port| is_tcp(port)).collect();
    let found = ports.iter().copied().find(|candidate| match port {
        PortRef::Name(name) => candidate.name.as_deref() == Some(name),
        PortRef::Number(number) => candidate.port == i32::from(number),
    });
    let Some((found, number)) = found.and_then(|port| Some((port, u16::try_from(port.port).ok()?))) else {
        let wanted = match port {
            PortRef::Name(name) => format!("{name:?}"),
            PortRef::Number(number) => number.to_string(),
        };
        return Err(Reason::ServicePortMissing { service: service_name, port: wanted, available: list(&ports) });
    };
    let backend = Backend {
        id: BackendId { service: service_name, port: number, spoken: None },
        protocol: protocol(found.app_protocol.as_deref()),
        validation: None,
        addressing: Addressing::EndpointSlices { port_name: found.name.as_deref().unwrap_or_default().into() },
        uid: service.metadata.uid.as_deref().unwrap_or_default().into(),
        health_check: None,
    };
    Ok((backend, found.name.as_deref().map(Into::into)))
}

/// An ExternalName Service needs no ports: a number then stands for itself.
fn external(
    work: &Work<'_>,
    service: &Service,
    name: ServiceName,
    port: PortRef<'_>,
) -> Result<(Backend, Option<Arc<str>>), Reason> {
    if !work.config.external_name_services {
        return Err(Reason::ExternalNameNotAllowed { service: name });
    }
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let ports: Vec<&ServicePort> = ports.iter().filter(|port| is_tcp(port)).collect();
    let declared = ports.iter().copied().find(|candidate| match port {
        PortRef::Name(name) => candidate.name.as_deref() == Some(name),
        PortRef::Number(number) => candidate.port == i32::from(number),
    });
    let number = match (declared, port) {
        (Some(declared), _) => u16::try_from(declared.port).ok(),
        (None, PortRef::Number(number)) => Some(number),
        (None, PortRef::Name(_)) => None,
    };
    let Some(number) = number else {
        let PortRef::Name(wanted) = port else { return Err(Reason::ServiceMissing { service: name }) };
        return Err(Reason::ServicePortMissing { service: name, port: format!("{wanted:?}"), available: list(&ports) });
    };
    let host = spec.and_then(|spec| spec.external_name.as_deref()).unwrap_or_default();
    let backend = Backend {
        id: BackendId { service: name, port: number, spoken: None },
        protocol: protocol(declared.and_then(|port| port.app_protocol.as_deref())),
        validation: None,
        addressing: Addressing::ExternalName {
            host: host.trim_end_matches('.').to_ascii_lowercase().into(),
            port: number,
        },
        uid: service.metadata.uid.as_deref().unwrap_or_default().into(),
        health_check: None,
    };
    Ok((backend, declared.and_then(|port| port.name.as_deref()).map(Into::into)))
}

fn health_check(work: &mut Work<'_>, service: &Service) -> Option<HealthCheck> {
    let text = annotation(&service.metadata, HEALTH_CHECK)?;
    let path = text.trim();
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Some(HealthCheck { path: path.into() });
    }
    let field = format!("annotation {HEALTH_CHECK}");
    work.problem(&object_name("Service", &service.metadata), invalid(&field, text, "a path such as /healthz"));
    None
}

fn is_tcp(port: &ServicePort) -> bool {
    port.protocol.as_deref().unwrap_or("TCP") == "TCP"
}

/// In any case, as people write it so. What is not known is spoken to as HTTP, which is right for `http`,
/// `kubernetes.io/ws` and nothing at all.
fn protocol(app_protocol: Option<&str>) -> Protocol {
    match app_protocol.unwrap_or_default().to_ascii_lowercase().as_str() {
        "kubernetes.io/h2c" | "h2c" | "grpc" => Protocol::H2c,
        "https" | "kubernetes.io/wss" | "wss" | "grpcs" => Protocol::Https,
        _ => Protocol::Http,
    }
}

fn list(ports: &[&ServicePort]) -> String {
    if ports.is_empty() {
        return "no TCP port".to_owned();
    }
    let texts: Vec<String> = ports
        .iter()
        .map(|port| match port.name.as_deref() {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        })
        .collect();
    texts.join(", ")
}
