//! The router's endpoints, for the Service of a Gateway.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::core::ObjectMeta;

use super::{Numbers, desired::port_name};
use crate::{config::GatewayServiceConfig, translate::key_of};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "doorward.dev");
/// The API takes no more in one.
const MOST: usize = 1000;

/// One for each family that the router listens on. `router`: the slices of the router's own Service.
pub(super) fn slices(
    service: &Service,
    numbers: &Numbers,
    router: &[Arc<EndpointSlice>],
    config: &GatewayServiceConfig,
) -> Vec<EndpointSlice> {
    let (namespace, name) = key_of(&service.metadata);
    let families =
        [("IPv4", config.listen.iter().any(IpAddr::is_ipv4)), ("IPv6", config.listen.iter().any(IpAddr::is_ipv6))];
    let labels = [(SERVICE_NAME, name), MANAGED_BY].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: name.to_owned(),
        uid: service.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let ports: Vec<EndpointPort> = numbers
        .iter()
        .map(|((port, transport), number)| EndpointPort {
            name: Some(port_name(*port, *transport)),
            port: Some((*number).into()),
            protocol: Some(transport.name().to_owned()),
            app_protocol: None,
        })
        .collect();
    let slice = |family: &str| EndpointSlice {
        address_type: family.to_owned(),
        endpoints: endpoints(router, family),
        metadata: ObjectMeta {
            name: Some(format!("{name}-{}", family.to_ascii_lowercase())),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.clone().into()),
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        ports: Some(ports.clone()),
    };
    families.into_iter().filter(|(_, is_listened_on)| *is_listened_on).map(|(family, _)| slice(family)).collect()
}

/// Of one family, by their addresses. A pod that moves between slices may be in two of them for a moment.
fn endpoints(router: &[Arc<EndpointSlice>], family: &str) -> Vec<Endpoint> {
    let of_family = router.iter().filter(|slice| slice.address_type == family);
    let copy = |endpoint: &Endpoint| Endpoint {
        addresses: endpoint.addresses.clone(),
        conditions: endpoint.conditions.clone(),
        node_name: endpoint.node_name.clone(),
        target_ref: endpoint.target_ref.clone(),
        zone: endpoint.zone.clone(),
        ..Endpoint::default()
    };
    let by_address: BTreeMap<_, _> = of_family
        .flat_map(|slice| &slice.endpoints)
        .map(|endpoint| (endpoint.addresses.clone(), copy(endpoint)))
        .collect();
    by_address.into_values().take(MOST).collect()
}

/// Whether none of those that are there is like it. One of its name that is not ours stays as it is.
pub(super) fn is_to_be_written(there: &[Arc<EndpointSlice>], wanted: &EndpointSlice) -> bool {
    let Some(slice) = there.iter().find(|slice| slice.metadata.name == wanted.metadata.name) else { return true };
    let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0));
    let owner =
        |slice: &EndpointSlice| slice.metadata.owner_references.iter().flatten().map(|it| it.uid.clone()).next();
    let is_ours = label.is_some_and(|by| by == MANAGED_BY.1);
    let is_same = slice.endpoints == wanted.endpoints
        && slice.ports == wanted.ports
        && slice.address_type == wanted.address_type
        && owner(slice) == owner(wanted);
    is_ours && !is_same
}
