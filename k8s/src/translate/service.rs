//! A reference to a Service's port, resolved to a backend.

use std::{fmt, sync::Arc};

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
    /// Of a port for datagrams. All others are for connections.
    Udp(u16),
}

impl PortRef<'_> {
    /// What else there is to say of a backend that takes datagrams: its port of this number is not that of connections.
    fn datagrams(self) -> Option<Protocol> {
        matches!(self, Self::Udp(_)).then_some(Protocol::Udp)
    }

    fn means(self, port: &ServicePort) -> bool {
        let transport = if matches!(self, Self::Udp(_)) { "UDP" } else { "TCP" };
        port.protocol.as_deref().unwrap_or("TCP") == transport
            && match self {
                Self::Name(name) => port.name.as_deref() == Some(name),
                Self::Number(number) | Self::Udp(number) => port.port == i32::from(number),
            }
    }

    fn list(self, ports: &[ServicePort]) -> String {
        let transport = if matches!(self, Self::Udp(_)) { "UDP" } else { "TCP" };
        let ports = ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == transport);
        let texts: Vec<String> = ports
            .map(|port| match port.name.as_deref() {
                Some(name) => format!("{} ({name})", port.port),
                None => port.port.to_string(),
            })
            .collect();
        if texts.is_empty() { format!("no {transport} port") } else { format!("only {}", texts.join(", ")) }
    }
}

impl fmt::Display for PortRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Number(number) | Self::Udp(number) => write!(f, "{number}"),
        }
    }
}

/// What is spoken to a Service.
#[derive(Clone, Copy)]
pub(super) enum Spoken {
    /// What it says itself.
    Declared,
    /// This, whatever it says.
    Always(Protocol),
    /// HTTP/2, in TLS if it says so.
    Grpc,
}

impl Spoken {
    fn of(self, declared: Protocol) -> Protocol {
        match (self, declared) {
            (Self::Always(protocol), _) => protocol,
            (Self::Grpc, Protocol::Http) => Protocol::H2c,
            (Self::Declared | Self::Grpc, declared) => declared,
        }
    }
}

/// The backend, added to the model; or an invalid target that answers 500, and a problem of `owner`.
pub(super) fn resolve(
    work: &mut Work<'_>,
    owner: &ObjectName,
    namespace: &str,
    name: &str,
    port: PortRef<'_>,
    spoken: Spoken,
) -> Target {
    let found = find(work, namespace, name, port).and_then(|(backend, port_name)| {
        // There is no TLS in datagrams that a policy could speak of.
        let validation = match backend.protocol {
            Protocol::Udp => None,
            _ => backend_tls_policy::of_port(work, &backend.id.service, port_name.as_deref())?,
        };
        Ok(Backend { validation, ..backend })
    });
    match found {
        Ok(mut backend) => {
            let spoken = spoken.of(backend.protocol);
            if spoken != backend.protocol {
                backend.id.spoken = Some(spoken);
                backend.protocol = spoken;
            }
            if let Some(service) = work.services.get(&(namespace, name)).copied() {
                backend.health_check = health_check(work, service);
            }
            Target::Backend(work.backend(backend))
        }
        Err(reason) => {
            let target = Target::Invalid(reason.to_string().into());
            work.problem(owner, reason);
            target
        }
    }
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
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let found = ports.iter().find(|candidate| port.means(candidate));
    let Some((found, number)) = found.and_then(|port| Some((port, u16::try_from(port.port).ok()?))) else {
        let (port, available) = (port.to_string(), port.list(ports));
        return Err(Reason::ServicePortMissing { service: service_name, port, available });
    };
    let backend = Backend {
        id: BackendId { service: service_name, port: number, spoken: port.datagrams() },
        protocol: port.datagrams().unwrap_or_else(|| protocol(found.app_protocol.as_deref())),
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
    let declared = ports.iter().find(|candidate| port.means(candidate));
    let number = match (declared, port) {
        (Some(declared), _) => u16::try_from(declared.port).ok(),
        (None, PortRef::Number(number) | PortRef::Udp(number)) => Some(number),
        (None, PortRef::Name(_)) => None,
    };
    let Some(number) = number else {
        let (port, available) = (port.to_string(), port.list(ports));
        return Err(Reason::ServicePortMissing { service: name, port, available });
    };
    let host = spec.and_then(|spec| spec.external_name.as_deref()).unwrap_or_default();
    let backend = Backend {
        id: BackendId { service: name, port: number, spoken: port.datagrams() },
        protocol: port.datagrams().unwrap_or_else(|| protocol(declared.and_then(|port| port.app_protocol.as_deref()))),
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

/// In any case, as people write it so. What is not known is spoken to as HTTP, which is right for `http`,
/// `kubernetes.io/ws` and nothing at all.
fn protocol(app_protocol: Option<&str>) -> Protocol {
    match app_protocol.unwrap_or_default().to_ascii_lowercase().as_str() {
        "kubernetes.io/h2c" | "h2c" | "grpc" => Protocol::H2c,
        "https" | "kubernetes.io/wss" | "wss" | "grpcs" => Protocol::Https,
        _ => Protocol::Http,
    }
}
