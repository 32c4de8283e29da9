//! The Services of Gateways: one of type LoadBalancer for each, in its namespace, which leads to the router.
//!
//! A Service selects pods of its own namespace only. So a Gateway's selects none, and has the endpoints of the router's
//! own Service (`gatewayApi.service.router`), copied into EndpointSlices of its own. [`plan`] says what is to be
//! written, and [`keep`] writes it while this replica leads. Kubernetes removes the Service of a Gateway that is gone
//! by its owner, and the EndpointSlices with it.

mod desired;
mod endpoints;
mod refusals;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use tokio::time::Instant;

pub(super) use self::{refusals::tell, write::keep};
use crate::{
    config::{Config, GatewayServiceConfig},
    gateway_api::Gateway,
    model::{ObjectName, ServiceName},
    snapshot::Snapshot,
    translate::{
        GatewayPorts, Transport,
        infrastructure::{container_ports, is_foreign, owner_of, service_of},
        key_of,
    },
};

/// So long the container ports of a Gateway that is gone are not given to another, where nobody has seen its Service.
const UNSEEN: Duration = Duration::from_secs(60);

/// What the cluster has and asks for, as far as it bears on the Services of Gateways.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Oldest first. Those of our classes.
    gateways: Vec<GatewayPorts>,
    /// Of other controllers' classes.
    foreign: Vec<Arc<Gateway>>,
    /// Those that bear our label, and the router's own.
    services: Vec<Arc<Service>>,
    /// Of these Services.
    slices: BTreeMap<ServiceName, Vec<Arc<EndpointSlice>>>,
}

impl Seen {
    /// `gateways`: what translation made of the snapshot.
    pub fn new(snapshot: &Snapshot, config: &Config, gateways: Vec<GatewayPorts>) -> Self {
        let Some(own) = &config.gateway_api.service else { return Self::default() };
        let services: Vec<_> = snapshot
            .services
            .iter()
            .filter(|it| owner_of(it).is_some() || name_of(it) == own.router)
            .cloned()
            .collect();
        let slices = services.iter().map(|service| {
            let name = name_of(service);
            let slices = snapshot.endpoint_slices.get(&name).cloned().unwrap_or_default();
            (name, slices)
        });
        let foreign = snapshot.gateways.iter().filter(|gateway| is_foreign(snapshot, config, gateway)).cloned();
        Self { gateways, foreign: foreign.collect(), slices: slices.collect(), services }
    }

    /// Returns whether it is of interest here that a Service has these EndpointSlices now.
    pub fn set_slices(&mut self, service: &ServiceName, slices: &[Arc<EndpointSlice>]) -> bool {
        let Some(known) = self.slices.get_mut(service) else { return false };
        let is_news = known != slices;
        slices.clone_into(known);
        is_news
    }
}

/// Which container port stands for which port of a Gateway.
type Numbers = BTreeMap<(u16, Transport), u16>;

/// What was written of a Gateway's container ports.
#[derive(Clone, Debug)]
struct Written {
    numbers: Numbers,
    at: Instant,
}

type AllWritten = BTreeMap<Owner, Written>;

/// Of a Gateway: its namespace and uid. In another namespace a Service that names it is not its own.
type Owner = (String, String);

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// As it is to be. One with a uid is there already.
    Apply {
        gateway: ObjectName,
        owner: Owner,
        service: Box<Service>,
    },
    ApplySlice(Box<EndpointSlice>),
    /// Its Gateway is another controller's now.
    Delete {
        service: ServiceName,
        uid: String,
    },
}

#[derive(Debug, Default)]
struct Plan {
    /// What there is to write, in this order. Nothing where all is as it should be.
    actions: Vec<Action>,
    /// Gateways whose Services lack ports, as no container port is left for these.
    without_ports: Vec<ObjectName>,
}

/// The container ports that a Service records stay, and new ones are the lowest that are free: those that `written`
/// has are not, though the Service does not show them yet.
fn plan(seen: &Seen, written: &AllWritten, config: &GatewayServiceConfig) -> Plan {
    let mut without_ports = Vec::new();
    let mut actions: Vec<Action> = seen.foreign.iter().filter_map(|gateway| deletion(seen, gateway)).collect();
    let mut free = Free::new(seen, written, config);
    let mut kept = BTreeSet::new();
    for GatewayPorts { gateway, ports } in &seen.gateways {
        let service = service_of(&seen.services, gateway);
        let is_leaving = gateway.metadata.deletion_timestamp.is_some()
            || service.is_some_and(|service| service.metadata.deletion_timestamp.is_some());
        let Some(uid) = gateway.metadata.uid.as_deref().filter(|_| !is_leaving) else { continue };
        let owner = (key_of(&gateway.metadata).0.to_owned(), uid.to_owned());
        let recorded = recorded(service, written.get(&owner), config);
        let mut numbers = Numbers::new();
        for port in ports {
            // Of two that have the same the older one keeps it.
            let number = recorded.get(port).copied().filter(|number| kept.insert(*number)).or_else(|| free.take());
            numbers.extend(number.map(|number| (*port, number)));
        }
        if numbers.len() < ports.len() {
            without_ports.push(name_of_gateway(gateway));
        }
        // There is no Service without a port; one that is there keeps its address until there is a port again.
        if numbers.is_empty() {
            continue;
        }
        let wanted = desired::service(gateway, service, &numbers, config);
        if service.is_none_or(|service| desired::differs(service, &wanted)) {
            actions.push(Action::Apply { gateway: name_of_gateway(gateway), owner, service: Box::new(wanted) });
        }
        let router =
            seen.slices.get(&config.router).filter(|_| seen.services.iter().any(|it| name_of(it) == config.router));
        // Without the router's own Service nobody knows its endpoints: that is no reason to forget them.
        if let (Some(service), Some(router)) = (service, router) {
            let known = seen.slices.get(&name_of(service)).map(Vec::as_slice).unwrap_or_default();
            let slices = endpoints::slices(service, &numbers, router, config);
            let changed = slices.into_iter().filter(|slice| endpoints::is_to_be_written(known, slice));
            actions.extend(changed.map(|slice| Action::ApplySlice(Box::new(slice))));
        }
    }
    Plan { actions, without_ports }
}

/// What was written last is what counts: the watch need not show it yet, and whoever may write a Service could else
/// take the container port of another Gateway.
fn recorded(service: Option<&Service>, written: Option<&Written>, config: &GatewayServiceConfig) -> Numbers {
    match (written, service) {
        (Some(written), _) => written.numbers.clone(),
        (None, Some(service)) => container_ports(service, config),
        (None, None) => Numbers::new(),
    }
}

/// Container ports that nobody has, the lowest first.
struct Free<'a> {
    taken: BTreeSet<u16>,
    rest: Box<dyn Iterator<Item = u16> + 'a>,
}

impl<'a> Free<'a> {
    /// Also those are taken that a Gateway has no use for any more: connections may still come in by them.
    fn new(seen: &'a Seen, written: &'a AllWritten, config: &'a GatewayServiceConfig) -> Self {
        let ours = seen.services.iter().filter(|service| owner_of(service).is_some());
        let recorded = ours.flat_map(|service| container_ports(service, config).into_values());
        let unseen = written.values().flat_map(|written| written.numbers.values().copied());
        Self { taken: recorded.chain(unseen).collect(), rest: Box::new(config.ports.clone()) }
    }

    fn take(&mut self) -> Option<u16> {
        self.rest.by_ref().find(|number| !self.taken.contains(number))
    }
}

fn deletion(seen: &Seen, gateway: &Gateway) -> Option<Action> {
    let service = service_of(&seen.services, gateway)?;
    let uid = service.metadata.uid.clone().filter(|_| service.metadata.deletion_timestamp.is_none())?;
    Some(Action::Delete { service: name_of(service), uid })
}

/// Forgets what was written of Gateways that are gone.
fn forget(written: &mut AllWritten, seen: &Seen, now: Instant) {
    let there: BTreeSet<&str> = seen.gateways.iter().filter_map(|it| it.gateway.metadata.uid.as_deref()).collect();
    written.retain(|(_, uid), Written { at, .. }| there.contains(&**uid) || now.duration_since(*at) <= UNSEEN);
}

fn name_of_gateway(gateway: &Gateway) -> ObjectName {
    let (namespace, name) = key_of(&gateway.metadata);
    ObjectName::new("Gateway", namespace, name)
}

fn name_of(service: &Service) -> ServiceName {
    let (namespace, name) = key_of(&service.metadata);
    ServiceName::new(namespace, name)
}

#[cfg(test)]
mod tests;
