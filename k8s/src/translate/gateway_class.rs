//! GatewayClasses: which are ours, and what can be had by them.

use super::{Work, object_name, version};
use crate::{
    snapshot::Snapshot,
    status::{Condition, Desired, Status},
};

/// The features of Gateway API v1.7 that the router has, as its conformance suite calls them; sorted.
pub(super) const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayRouteHostnameIntersectionPrecedence",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetryCodes",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

pub(super) fn add_statuses(work: &mut Work<'_>) {
    let (snapshot, config) = (work.snapshot, work.config);
    for class in &snapshot.gateway_classes {
        if class.spec.controller_name != *config.gateway_api.controller {
            continue;
        }
        work.statuses.push(Desired {
            object: object_name("GatewayClass", &class.metadata),
            version: version(&class.metadata),
            status: Status::GatewayClass {
                conditions: [Condition::holds("Accepted")].into_iter().chain(supported_version(snapshot)).collect(),
                features: FEATURES.to_vec(),
            },
        });
    }
}

/// None where nobody knows of which release the CRDs are.
fn supported_version(snapshot: &Snapshot) -> Option<Condition> {
    let version = snapshot.bundle_version.as_deref()?;
    if version.starts_with("v1.7.") {
        return Some(Condition::holds("SupportedVersion"));
    }
    let message = format!("the CRDs are of Gateway API {version}; v1.7 is read");
    Some(Condition::fails("SupportedVersion", "UnsupportedVersion", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_release_of_the_crds_is_supported() {
        for (bundle, is_supported) in [
            (None, None),
            (Some("v1.7.0"), Some(true)),
            (Some("v1.7.3-rc.1"), Some(true)),
            (Some("v1.6.1"), Some(false)),
            (Some("v1.70.0"), Some(false)),
            (Some(""), Some(false)),
        ] {
            let snapshot = Snapshot { bundle_version: bundle.map(str::to_owned), ..Snapshot::default() };
            assert_eq!(supported_version(&snapshot).map(|it| it.is_true), is_supported, "{bundle:?}");
        }
    }

    #[test]
    fn features_are_sorted_and_there_once() {
        assert!(FEATURES.is_sorted_by(|a, b| a < b));
    }
}
