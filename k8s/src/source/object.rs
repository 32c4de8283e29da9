//! One object of any watched kind, and a store of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};
use kube::{Resource, core::ObjectMeta};

use super::Kinds;
use crate::{
    cluster_trust_bundle::ClusterTrustBundle,
    config_map::ConfigMap,
    external_dns::DnsEndpoint,
    gateway_api::{
        BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ReferenceGrant, TcpRoute, TlsRoute,
        UdpRoute,
    },
    model::{ObjectName, ServiceName},
    problem::Problem,
    snapshot::Snapshot,
    translate::key_of,
};

macro_rules! kinds {
    ($($kind:ident $type:ty, $name:literal $(without $field:ident)?;)*) => {
        /// Every kind that is watched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($kind,)* }

        impl Kind {
            /// As the user writes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }

        /// An object of a watched kind.
        #[derive(Clone)]
        pub enum Object { $($kind(Arc<$type>),)* }

        impl PartialEq for Object {
            /// Most are the same ones, and then what they say need not be compared.
            fn eq(&self, other: &Self) -> bool {
                match (self, other) {
                    $((Self::$kind(this), Self::$kind(that)) => Arc::ptr_eq(this, that) || this == that,)*
                    _ => false,
                }
            }
        }

        impl Object {
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            pub fn metadata(&self) -> &ObjectMeta {
                match self { $(Self::$kind(object) => object.meta(),)* }
            }
        }

        $(impl From<$type> for Object {
            fn from(mut object: $type) -> Self {
                drop_what_nobody_reads(Kind::$kind, object.meta_mut());
                $(object.$field = None;)?
                Self::$kind(Arc::new(object))
            }
        })*
    };
}

kinds! {
    BackendTlsPolicy BackendTlsPolicy, "BackendTLSPolicy";
    ClusterTrustBundle ClusterTrustBundle, "ClusterTrustBundle";
    ConfigMap ConfigMap, "ConfigMap";
    DnsEndpoint DnsEndpoint, "DNSEndpoint";
    EndpointSlice EndpointSlice, "EndpointSlice";
    Gateway Gateway, "Gateway";
    GatewayClass GatewayClass, "GatewayClass";
    GrpcRoute GrpcRoute, "GRPCRoute";
    HttpRoute HttpRoute, "HTTPRoute";
    Ingress Ingress, "Ingress" without status;
    IngressClass IngressClass, "IngressClass";
    ListenerSet ListenerSet, "ListenerSet";
    Namespace Namespace, "Namespace";
    ReferenceGrant ReferenceGrant, "ReferenceGrant";
    Secret Secret, "Secret";
    Service Service, "Service";
    TcpRoute TcpRoute, "TCPRoute";
    TlsRoute TlsRoute, "TLSRoute";
    UdpRoute UdpRoute, "UDPRoute";
}

/// Who wrote which field, and what kubectl was last told, are each as large as the object itself; and an object of
/// which nothing changes that is read is the same object.
fn drop_what_nobody_reads(kind: Kind, metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.resource_version = None;
    if kind == Kind::ConfigMap {
        (metadata.annotations, metadata.labels) = (None, None);
    }
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Namespace (empty for cluster-wide kinds) and name.
pub(super) type Key = (Arc<str>, Arc<str>);

impl Object {
    pub(super) fn key(&self) -> Key {
        key(self.metadata())
    }

    pub(super) fn name(&self) -> ObjectName {
        object_name(self.kind(), &self.key())
    }

    /// The Service that an EndpointSlice belongs to.
    pub(super) fn slice_of(&self) -> Option<ServiceName> {
        match self {
            Self::EndpointSlice(slice) => service_of(slice),
            _ => None,
        }
    }
}

/// By its name: what is in a Secret is never shown.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

pub(super) fn key(metadata: &ObjectMeta) -> Key {
    let (namespace, name) = key_of(metadata);
    (namespace.into(), name.into())
}

pub(super) fn object_name(kind: Kind, (namespace, name): &Key) -> ObjectName {
    ObjectName { kind: kind.name(), namespace: Arc::clone(namespace), name: Arc::clone(name) }
}

fn service_of(slice: &EndpointSlice) -> Option<ServiceName> {
    Some(ServiceName::new(slice.metadata.namespace.as_deref()?, service_label(slice)?))
}

/// The name of the Service, which is in the slice's own namespace.
fn service_label(slice: &EndpointSlice) -> Option<&str> {
    slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name").map(String::as_str)
}

/// What is known now: objects by kind and name, and what could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Store {
    /// No kind is without any. Stores that come one after another share the kinds that are the same in both.
    objects: BTreeMap<Kind, Arc<BTreeMap<Key, Object>>>,
    pub(super) problems: BTreeMap<ObjectName, Problem>,
    /// Of the Gateway API's CRDs.
    pub(super) bundle_version: Option<String>,
}

impl Store {
    /// Returns what the object replaces.
    pub(super) fn apply(&mut self, object: Object) -> Option<Object> {
        let (kind, key) = (object.kind(), object.key());
        self.problems.remove(&object_name(kind, &key));
        Arc::make_mut(self.objects.entry(kind).or_default()).insert(key, object)
    }

    /// Returns what is gone.
    pub(super) fn delete(&mut self, kind: Kind, key: &Key) -> Option<Object> {
        self.problems.remove(&object_name(kind, key));
        let all = self.objects.get_mut(&kind).filter(|all| all.contains_key(key))?;
        let gone = Arc::make_mut(all).remove(key);
        if all.is_empty() {
            self.objects.remove(&kind);
        }
        gone
    }

    pub(super) fn get(&self, kind: Kind, key: &Key) -> Option<&Object> {
        self.objects.get(&kind)?.get(key)
    }

    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.get(&kind).into_iter().flat_map(|all| all.values())
    }

    /// Every object that is known of, whether it could be read or not.
    pub(super) fn keys(&self, kind: Kind) -> impl Iterator<Item = Key> {
        let unreadable = self.problems.keys().filter(move |name| name.kind == kind.name());
        let unreadable = unreadable.map(|name| (Arc::clone(&name.namespace), Arc::clone(&name.name)));
        self.of_kind(kind).map(Object::key).chain(unreadable)
    }

    /// All EndpointSlices of one Service.
    pub(super) fn slices_of(&self, service: &ServiceName) -> Vec<Arc<EndpointSlice>> {
        let first = (Arc::clone(&service.namespace), Arc::from(""));
        let in_namespace =
            self.objects.get(&Kind::EndpointSlice).into_iter().flat_map(|all| all.range(first.clone()..));
        in_namespace
            .take_while(|((namespace, _), _)| *namespace == service.namespace)
            .filter_map(|(_, object)| match object {
                Object::EndpointSlice(slice) if service_label(slice) == Some(&*service.name) => Some(Arc::clone(slice)),
                _ => None,
            })
            .collect()
    }

    /// Services whose EndpointSlices are not the same in both.
    pub(super) fn services_with_other_slices(&self, other: &Self) -> BTreeSet<ServiceName> {
        let (these, those) = (self.objects.get(&Kind::EndpointSlice), other.objects.get(&Kind::EndpointSlice));
        if these.zip(those).is_some_and(|(these, those)| Arc::ptr_eq(these, those)) {
            return BTreeSet::new();
        }
        let only_in = |a: Option<&Arc<BTreeMap<Key, Object>>>, b: Option<&Arc<BTreeMap<Key, Object>>>| {
            let all = a.into_iter().flat_map(|all| all.iter());
            let only = all.filter(|(key, slice)| b.and_then(|all| all.get(*key)) != Some(*slice));
            only.filter_map(|(_, slice)| slice.slice_of()).collect::<Vec<_>>()
        };
        only_in(these, those).into_iter().chain(only_in(those, these)).collect()
    }

    /// Whether they differ in anything but EndpointSlices.
    pub(super) fn routes_alike(&self, other: &Self) -> bool {
        let of_routes = |store: &Self| store.objects.keys().filter(|kind| **kind != Kind::EndpointSlice).count();
        let is_alike = |(kind, these): (&Kind, &Arc<BTreeMap<Key, Object>>)| {
            let those = other.objects.get(kind);
            *kind == Kind::EndpointSlice || those.is_some_and(|those| Arc::ptr_eq(these, those) || these == those)
        };
        self.problems == other.problems && of_routes(self) == of_routes(other) && self.objects.iter().all(is_alike)
    }

    pub(super) fn snapshot(&self, kinds: Kinds) -> Snapshot {
        let mut snapshot = Snapshot {
            secrets: kinds.tls.then(Vec::new),
            problems: self.problems.values().cloned().collect(),
            bundle_version: self.bundle_version.clone(),
            ..Snapshot::default()
        };
        // Each kind is ordered by namespace and name already, and of two that are as old the order stays.
        let mut objects: Vec<(i64, &Object)> = Vec::with_capacity(self.objects.values().map(|all| all.len()).sum());
        objects.extend(self.objects.values().flat_map(|all| all.values()).map(|object| {
            (object.metadata().creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()), object)
        }));
        objects.sort_by_key(|(created, _)| *created);
        for (_, object) in objects {
            match object {
                Object::BackendTlsPolicy(it) => {
                    if kinds.tls {
                        snapshot.backend_tls_policies.push(Arc::clone(it));
                    }
                }
                Object::ClusterTrustBundle(it) => {
                    if kinds.tls {
                        snapshot.cluster_trust_bundles.push(Arc::clone(it));
                    }
                }
                Object::ConfigMap(it) => {
                    if kinds.tls {
                        snapshot.config_maps.push(Arc::clone(it));
                    }
                }
                Object::DnsEndpoint(it) => {
                    if kinds.dns_endpoints {
                        snapshot.dns_endpoints.push(Arc::clone(it));
                    }
                }
                Object::EndpointSlice(slice) => {
                    if let Some(service) = service_of(slice).filter(|_| kinds.endpoints) {
                        snapshot.endpoint_slices.entry(service).or_default().push(Arc::clone(slice));
                    }
                }
                Object::Gateway(it) => snapshot.gateways.push(Arc::clone(it)),
                Object::GatewayClass(it) => snapshot.gateway_classes.push(Arc::clone(it)),
                Object::GrpcRoute(it) => snapshot.grpc_routes.push(Arc::clone(it)),
                Object::HttpRoute(it) => snapshot.http_routes.push(Arc::clone(it)),
                Object::Ingress(it) => snapshot.ingresses.push(Arc::clone(it)),
                Object::IngressClass(it) => snapshot.ingress_classes.push(Arc::clone(it)),
                Object::ListenerSet(it) => snapshot.listener_sets.push(Arc::clone(it)),
                Object::Namespace(it) => snapshot.namespaces.push(Arc::clone(it)),
                Object::ReferenceGrant(it) => snapshot.reference_grants.push(Arc::clone(it)),
                Object::Secret(it) => {
                    if let Some(secrets) =
                        snapshot.secrets.as_mut().filter(|_| it.type_.as_deref() == Some("kubernetes.io/tls"))
                    {
                        secrets.push(Arc::clone(it));
                    }
                }
                Object::Service(it) => snapshot.services.push(Arc::clone(it)),
                Object::TcpRoute(it) => snapshot.tcp_routes.push(Arc::clone(it)),
                Object::TlsRoute(it) => snapshot.tls_routes.push(Arc::clone(it)),
                Object::UdpRoute(it) => snapshot.udp_routes.push(Arc::clone(it)),
            }
        }
        snapshot
    }
}
