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

/// In the order in which the API has them judged: kind, grant, existence, port. What is wrong is said as a problem of
/// `source`, too. `what` is the field.
pub(super) fn resolve(
    work: &mut Work<'_>,
    source: &ObjectName,
    what: &str,
    reference: &BackendObjectReference,
) -> Target {
    let spoken = if source.kind == "GRPCRoute" { Spoken::Grpc } else { Spoken::Declared };
    resolve_as(work, source, what, reference, spoken)
}

/// The same where more than the kind of the object says what is spoken.
pub(super) fn resolve_as(
    work: &mut Work<'_>,
    source: &ObjectName,
    what: &str,
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
        Reason::KindUnsupported { what: what.to_owned(), group: group.to_owned(), kind: kind.to_owned() }
    } else if !granted(&work.snapshot.reference_grants, &from, &to) {
        Reason::NotGranted { target: format!("Service {namespace}/{}", reference.name) }
    } else if let Some(port) = reference.port {
        let port = if source.kind == "UDPRoute" { PortRef::Udp(port) } else { PortRef::Number(port) };
        return service::resolve(work, source, namespace, &reference.name, port, spoken);
    } else {
        invalid(&format!("{what} port"), "none", "the port of the Service")
    };
    let target = Target::Invalid(reason.to_string().into());
    work.problem(source, reason);
    target
}
