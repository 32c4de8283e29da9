//! What the backends of an Ingress speak: annotations of ingress-nginx, where appProtocol of a Service is not used.

use k8s_openapi::api::networking::v1::Ingress;

use super::{Work, annotation, filter::invalid, object_name};
use crate::{
    model::{ObjectName, Protocol, Target},
    problem::Reason,
};

const PROTOCOL: &str = "nginx.ingress.kubernetes.io/backend-protocol";
const VERIFY: &str = "nginx.ingress.kubernetes.io/proxy-ssl-verify";

pub(super) const ANNOTATIONS: [&str; 2] = [PROTOCOL, VERIFY];

/// None leaves it to the Service.
pub(super) fn of_ingress(work: &mut Work<'_>, ingress: &Ingress) -> Option<Protocol> {
    let text = annotation(&ingress.metadata, PROTOCOL)?;
    match text.trim().to_ascii_lowercase().as_str() {
        "http" => Some(Protocol::Http),
        // nginx verifies nothing either unless it is asked to.
        "https" | "grpcs" => Some(Protocol::Https),
        "grpc" => Some(Protocol::H2c),
        "auto_http" => None,
        _ => {
            let reason = invalid(&format!("annotation {PROTOCOL}"), text, "HTTP, HTTPS, GRPC, GRPCS or AUTO_HTTP");
            work.problem(&object_name("Ingress", &ingress.metadata), reason);
            None
        }
    }
}

/// Whether only verified backends may get anything.
pub(super) fn is_verified(ingress: &Ingress) -> bool {
    annotation(&ingress.metadata, VERIFY).is_some_and(|text| !text.trim().eq_ignore_ascii_case("off"))
}

/// What an Ingress that wants its backends verified gets where nothing says by whom: not an unverified one. Who does
/// not watch what TLS needs, and so sends nothing anywhere, does not know.
pub(super) fn verified(work: &mut Work<'_>, source: &ObjectName, target: Target) -> Target {
    let Target::Backend(id) = &target else { return target };
    let is_verified = work.backends.get(id).is_some_and(|backend| backend.validation.is_some());
    if is_verified || !work.certificates.are_watched() {
        return target;
    }
    let reason = Reason::NotVerified { annotation: VERIFY, service: id.service.clone() };
    let target = Target::Invalid(reason.to_string().into());
    work.problem(source, reason);
    target
}
