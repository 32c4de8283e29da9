//! How a Gateway's Service should look, and whether it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::OwnerReference, util::intstr::IntOrString},
};
use kube::{Resource, core::ObjectMeta};
use ring::digest::{SHA256, digest};

use super::Numbers;
use crate::{
    config::GatewayServiceConfig,
    gateway_api::Gateway,
    translate::{
        Transport,
        infrastructure::{MANAGED_BY, label_value, requested, service_name},
        key_of,
    },
};

/// Of the Gateway API: who made it is told by its Gateway and class (GEP-1762).
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
const GATEWAY_CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
/// The whole name, which a label has no room for.
const GATEWAY: &str = "doorward.dev/gateway";
/// What was last written: an object does not show what should not be in it any more.
const APPLIED: &str = "doorward.dev/applied";
/// By which MetalLB, since 0.15 and before, and Cilium, since 1.15 and before, are asked for addresses.
const REQUESTED: [&str; 4] = [
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/loadBalancerIPs",
    "lbipam.cilium.io/ips",
    "io.cilium/lb-ipam-ips",
];

/// As server-side apply takes it: what others write is not in it. With the uid of the one that is there.
pub(super) fn service(
    gateway: &Gateway,
    there: Option<&Service>,
    numbers: &Numbers,
    config: &GatewayServiceConfig,
) -> Service {
    let (namespace, name) = key_of(&gateway.metadata);
    let requested = requested(gateway);
    let (labels, annotations) = metadata(gateway, &requested);
    let owner = OwnerReference {
        api_version: Gateway::api_version(&()).into_owned(),
        kind: Gateway::kind(&()).into_owned(),
        name: name.to_owned(),
        uid: gateway.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let ports = numbers.iter().map(|((port, transport), number)| ServicePort {
        name: Some(port_name(*port, *transport)),
        port: (*port).into(),
        protocol: Some(transport.name().to_owned()),
        target_port: Some(IntOrString::Int((*number).into())),
        ..ServicePort::default()
    });
    let (ip_families, ip_family_policy) = families(&requested);
    let mut service = Service {
        metadata: ObjectMeta {
            name: Some(there.map_or_else(|| service_name(gateway), |it| key_of(&it.metadata).1.to_owned())),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some("LoadBalancer".to_owned()),
            external_traffic_policy: Some(config.external_traffic_policy.name().to_owned()),
            ports: Some(ports.collect()),
            ip_families,
            ip_family_policy,
            ..ServiceSpec::default()
        }),
        status: None,
    };
    let text = serde_json::to_vec(&service).unwrap_or_default();
    let sum: String = digest(&SHA256, &text).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    service.metadata.annotations.get_or_insert_default().insert(APPLIED.to_owned(), sum);
    service.metadata.uid = there.and_then(|there| there.metadata.uid.clone());
    service
}

/// Also of the ports in its EndpointSlices, which belong together by it.
pub(super) fn port_name(port: u16, transport: Transport) -> String {
    format!("{}-{port}", transport.name().to_ascii_lowercase())
}

type Texts = BTreeMap<String, String>;

/// Labels and annotations. Those of `spec.infrastructure` are taken over as they are, but for what tells whose it is.
fn metadata(gateway: &Gateway, requested: &[IpAddr]) -> (Texts, Texts) {
    let (namespace, name) = key_of(&gateway.metadata);
    let mut labels = Texts::new();
    let mut annotations = Texts::new();
    if !requested.is_empty() {
        let texts: Vec<String> = requested.iter().map(ToString::to_string).collect();
        annotations.extend(REQUESTED.map(|key| (key.to_owned(), texts.join(","))));
    }
    if let Some(infrastructure) = &gateway.spec.infrastructure {
        labels.extend(infrastructure.labels.clone());
        annotations.extend(infrastructure.annotations.clone());
    }
    labels.extend([
        ("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned()),
        (GATEWAY_NAME.to_owned(), label_value(name)),
        (GATEWAY_CLASS_NAME.to_owned(), label_value(&gateway.spec.gateway_class_name)),
    ]);
    annotations.insert(GATEWAY.to_owned(), format!("{namespace}/{name}"));
    (labels, annotations)
}

/// `ipFamilies` and `ipFamilyPolicy`. Where nothing of IPv6 is asked for it is the cluster that chooses.
fn families(requested: &[IpAddr]) -> (Option<Vec<String>>, Option<String>) {
    let (v4, v6) = ("IPv4".to_owned(), "IPv6".to_owned());
    match (requested.iter().any(IpAddr::is_ipv4), requested.iter().any(IpAddr::is_ipv6)) {
        (_, false) => (None, None),
        (false, true) => (Some(vec![v6]), Some("SingleStack".to_owned())),
        (true, true) => (Some(vec![v4, v6]), Some("RequireDualStack".to_owned())),
    }
}

/// Whether `service` has anything else where `wanted` says something. What the API server fills in and what load
/// balancers write is theirs.
pub(super) fn differs(service: &Service, wanted: &Service) -> bool {
    let Service { metadata: ObjectMeta { labels, annotations, owner_references, .. }, spec, .. } = wanted;
    let has_all = |has: &Option<Texts>, wanted: &Option<Texts>| {
        wanted.iter().flatten().all(|(key, value)| has.as_ref().is_some_and(|has| has.get(key) == Some(value)))
    };
    let has_owner = |wanted: &OwnerReference| {
        let mut owners = service.metadata.owner_references.iter().flatten();
        owners.any(|owner| owner.uid == wanted.uid && owner.controller == wanted.controller)
    };
    let (Some(has), Some(spec)) = (&service.spec, spec) else { return true };
    let is_or_any = |has: &Option<String>, wanted: &Option<String>| wanted.is_none() || has == wanted;
    let is_same = has_all(&service.metadata.labels, labels)
        && has_all(&service.metadata.annotations, annotations)
        && owner_references.iter().flatten().all(has_owner)
        && is_or_any(&has.type_, &spec.type_)
        && is_or_any(&has.external_traffic_policy, &spec.external_traffic_policy)
        && is_or_any(&has.ip_family_policy, &spec.ip_family_policy)
        && (spec.ip_families.is_none() || has.ip_families == spec.ip_families)
        && ports(has) == ports(spec);
    !is_same
}

/// In any order, and without what the API server adds to them.
fn ports(spec: &ServiceSpec) -> BTreeSet<(i32, String, Option<String>, Option<i32>)> {
    let port = |it: &ServicePort| {
        let target = match it.target_port {
            Some(IntOrString::Int(target)) => Some(target),
            _ => None,
        };
        (it.port, it.protocol.as_deref().unwrap_or("TCP").to_owned(), it.name.clone(), target)
    };
    spec.ports.iter().flatten().map(port).collect()
}
