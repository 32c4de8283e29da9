//! Every watched object at one instant, in a fixed order.

use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

use k8s_openapi::api::{
    core::v1::{Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};

use crate::{
    cluster_trust_bundle::ClusterTrustBundle,
    config_map::ConfigMap,
    external_dns::DnsEndpoint,
    gateway_api::{
        BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ReferenceGrant, TcpRoute, TlsRoute,
        UdpRoute,
    },
    model::ServiceName,
    problem::Problem,
};

/// What `translate` reads. Each list is ordered by age, then namespace, then name, so that the
/// same objects always give the same model and the older of two claims comes first.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub ingress_classes: Vec<Arc<IngressClass>>,
    pub ingresses: Vec<Arc<Ingress>>,
    pub gateway_classes: Vec<Arc<GatewayClass>>,
    pub gateways: Vec<Arc<Gateway>>,
    pub listener_sets: Vec<Arc<ListenerSet>>,
    pub http_routes: Vec<Arc<HttpRoute>>,
    pub grpc_routes: Vec<Arc<GrpcRoute>>,
    pub tls_routes: Vec<Arc<TlsRoute>>,
    /// Empty where they are not watched, like the UDPRoutes: they have no names.
    pub tcp_routes: Vec<Arc<TcpRoute>>,
    pub udp_routes: Vec<Arc<UdpRoute>>,
    pub reference_grants: Vec<Arc<ReferenceGrant>>,
    pub namespaces: Vec<Arc<Namespace>>,
    pub services: Vec<Arc<Service>>,
    /// Empty where they are not watched.
    pub dns_endpoints: Vec<Arc<DnsEndpoint>>,
    /// Empty where they are not watched, like the bundles.
    pub backend_tls_policies: Vec<Arc<BackendTlsPolicy>>,
    pub cluster_trust_bundles: Vec<Arc<ClusterTrustBundle>>,
    pub config_maps: Vec<Arc<ConfigMap>>,
    /// Only Secrets of type `kubernetes.io/tls`. None where Secrets are not watched at all.
    pub secrets: Option<Vec<Arc<Secret>>>,
    /// By the Service they belong to (label `kubernetes.io/service-name`).
    pub endpoint_slices: BTreeMap<ServiceName, Vec<Arc<EndpointSlice>>>,
    /// Which release the Gateway API's CRDs are of: `v1.7.0`. None where it is not known, or not asked for.
    pub bundle_version: Option<String>,
    /// Objects and files that could not be read; whatever was last read of them is above.
    pub problems: Vec<Problem>,
    /// When the cluster was like this, where this is the last known state of one that is not listed yet.
    pub as_of: Option<SystemTime>,
}

/// How much there is of what, and nothing that is in a Secret.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("ingresses", &self.ingresses.len())
            .field("gateways", &self.gateways.len())
            .field("http_routes", &self.http_routes.len())
            .field("services", &self.services.len())
            .field("secrets", &self.secrets.as_ref().map(Vec::len))
            .field("problems", &self.problems)
            .field("as_of", &self.as_of)
            .finish_non_exhaustive()
    }
}
