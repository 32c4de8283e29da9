//! A reference of a route or a filter to the Service that is to be asked.

use super::{
    Work,
    filter::invalid,
    reference_grant::{From, To, granted},
    service::{self, PortRef, Spoken},
};
use crate::{
    gateway_api::{BackendObjectReference, GROUP},
    model::{ObjectName, Target},
    problem::Reason,
};

/// The backend, or an invalid target with a problem of `source`. Kind, grant, existence, port: in the order in which
/// the API has them judged.
pub(super) fn resolve(
    work: &mut Work<'_>,
    source: &ObjectName,
    reference: &BackendObjectReference,
    spoken: Spoken,
) -> Target {
    let (group, kind) =
        (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Service"));
    let own = source.namespace.to_string();
    let namespace = reference.namespace.as_deref().unwrap_or(&own);
    let from = From { group: GROUP, kind: source.kind, namespace: &own };
    let to = To { group, kind, namespace, name: &reference.name };
    let reason = if (group, kind) != ("", "Service") {
        let (what, group, kind) = ("backendRef".to_owned(), group.to_owned(), kind.to_owned());
        Reason::KindUnsupported { what, group, kind }
    } else if !granted(&work.snapshot.reference_grants, &from, &to) {
        Reason::NotGranted { target: format!("Service {namespace}/{}", reference.name) }
    } else if let Some(port) = reference.port {
        let port = if source.kind == "UDPRoute" { PortRef::Udp(port) } else { PortRef::Number(port) };
        return service::resolve(work, source, namespace, &reference.name, port, spoken);
    } else {
        invalid("backendRef port", "none", "the port of the Service")
    };
    let target = Target::Invalid(reason.to_string().into());
    work.problem(source, reason);
    target
}
