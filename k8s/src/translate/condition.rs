//! What a problem says in the conditions of the object it is of. Problems are the one source of both.

use super::listener::Fault;
use crate::problem::{Problem, Reason};

/// What speaks against a condition of a listener.
pub(super) fn of_listener(reason: &Reason, condition: &str) -> Option<Fault> {
    let word = match (condition, reason) {
        ("ResolvedRefs", Reason::NotGranted { .. }) => "RefNotPermitted",
        ("ResolvedRefs", Reason::KindUnsupported { what, .. }) if what == CA_REFERENCE => "InvalidCACertificateKind",
        ("ResolvedRefs", Reason::KindUnsupported { .. }) => "InvalidCertificateRef",
        ("ResolvedRefs", Reason::AuthoritiesInvalid { .. }) => "InvalidCACertificateRef",
        ("ResolvedRefs", Reason::SecretMissing { .. } | Reason::SecretInvalid { .. }) => "InvalidCertificateRef",
        ("ResolvedRefs", Reason::RouteKindInvalid { .. }) => "InvalidRouteKinds",
        ("ResolvedRefs", Reason::InvalidValue { field, .. }) if field.ends_with("certificateRefs") => {
            "InvalidCertificateRef"
        }
        ("Accepted", Reason::NoAuthority { .. }) => "NoValidCACertificate",
        _ => return None,
    };
    Some(Fault::new(word, reason.to_string()))
}

/// In a [`Reason::KindUnsupported`], what refers to the certificates of authorities.
pub(super) const CA_REFERENCE: &str = "caCertificateRef";

/// Why not all references of a route lead somewhere.
pub(super) fn unresolved<'p>(mut problems: impl Iterator<Item = &'p Problem>) -> Option<Fault> {
    problems.find_map(|problem| {
        let word = match &problem.reason {
            Reason::ServiceMissing { .. } | Reason::ServicePortMissing { .. } => "BackendNotFound",
            Reason::KindUnsupported { .. } => "InvalidKind",
            Reason::NotGranted { .. } | Reason::ExternalNameNotAllowed { .. } => "RefNotPermitted",
            _ => return None,
        };
        Some(Fault::new(word, problem.reason.to_string()))
    })
}

/// Why some of what a route says cannot be had.
pub(super) fn unsupported<'p>(mut problems: impl Iterator<Item = &'p Problem>) -> Option<Fault> {
    problems.find_map(|problem| {
        let word = match &problem.reason {
            Reason::Unsupported { .. } | Reason::InvalidValue { .. } | Reason::InvalidHost { .. } => "UnsupportedValue",
            Reason::FiltersIncompatible { .. } => "IncompatibleFilters",
            _ => return None,
        };
        Some(Fault::new(word, problem.reason.to_string()))
    })
}

/// Why a Gateway has no certificate to show to backends.
pub(super) fn of_client_certificate(problems: &[Problem]) -> Option<Fault> {
    problems.iter().find_map(|problem| {
        let word = match &problem.reason {
            Reason::NotGranted { .. } => "RefNotPermitted",
            Reason::KindUnsupported { .. } | Reason::SecretMissing { .. } | Reason::SecretInvalid { .. } => {
                "InvalidClientCertificateRef"
            }
            _ => return None,
        };
        Some(Fault::new(word, problem.reason.to_string()))
    })
}

/// Why a BackendTLSPolicy cannot take effect: what speaks against `ResolvedRefs`, and against `Accepted`.
pub(super) fn of_policy(reasons: &[Reason]) -> (Option<Fault>, Option<Fault>) {
    let unresolved = reasons.iter().find_map(|reason| {
        let word = match reason {
            Reason::KindUnsupported { .. } => "InvalidKind",
            Reason::AuthoritiesInvalid { .. } | Reason::SecretMissing { .. } => "InvalidCACertificateRef",
            _ => return None,
        };
        Some(Fault::new(word, reason.to_string()))
    });
    let accepted = match &unresolved {
        Some(fault) => Some(Fault::new("NoValidCACertificate", fault.message.clone())),
        None => reasons.first().map(|reason| Fault::new("Invalid", reason.to_string())),
    };
    (unresolved, accepted)
}
