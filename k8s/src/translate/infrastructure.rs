//! What gives a Gateway its addresses, and the router its sockets for them.
//!
//! Without `gatewayApi.service` the addresses are those of the spec, and they are bound as they are. With it each
//! Gateway has a Service of type LoadBalancer: the Service's status has the addresses, and its `targetPort`s are the
//! record of which container port stands for which port of which Gateway. All replicas read it there and so open the
//! same ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use ring::digest::{SHA256, digest};

use super::{
    Work,
    filter::invalid,
    gateway::{Class, class_of},
    key_of,
};
use crate::{
    config::{Config, GatewayApiConfig, GatewayServiceConfig},
    gateway_api::{GROUP, Gateway, GatewayAddress, Listener},
    model::{ObjectName, ServiceName},
    problem::Reason,
    snapshot::Snapshot,
    status::{Address, Condition},
};

/// Whom the label `app.kubernetes.io/managed-by` of a Gateway's Service names.
pub(crate) const MANAGED_BY: &str = "doorward";
/// A Service's name is a DNS label (RFC 1035), and a label's value is as long at most.
const LONGEST: usize = 63;

/// What carries the data of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Of a listener's protocol, as the Gateway API writes it. None: it is not one of the API's.
    pub(super) fn of(protocol: &str) -> Option<Self> {
        match protocol {
            "HTTP" | "HTTPS" | "TCP" | "TLS" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            _ => None,
        }
    }

    /// As a Service writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// A Gateway of ours, and the ports that its Service is to have: those of its own listeners and of the ListenerSets
/// that it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayPorts {
    pub gateway: Arc<Gateway>,
    pub ports: BTreeSet<(u16, Transport)>,
}

impl GatewayPorts {
    pub(crate) fn new<'a>(gateway: Arc<Gateway>, listeners: impl Iterator<Item = &'a Listener>) -> Self {
        let port = |listener: &Listener| Some((listener.port, Transport::of(&listener.protocol)?));
        let ports = listeners.filter_map(port).filter(|(port, _)| *port != 0).collect();
        Self { gateway, ports }
    }
}

/// How a Gateway is reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Infrastructure<'a> {
    /// Where clients reach it: what its status says, and DNS answers.
    pub(super) addresses: Vec<Address>,
    /// The conditions of that name, as far as addresses and parameters go.
    pub(super) accepted: Condition,
    pub(super) programmed: Condition,
    pub(super) problems: Vec<Reason>,
    bound: Bound<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Bound<'a> {
    Addresses(Vec<IpAddr>),
    ContainerPorts { listen: &'a [IpAddr], ports: BTreeMap<(u16, Transport), u16> },
}

impl Infrastructure<'_> {
    /// What the router opens for a port of the Gateway. None: the Service has no container port for it yet.
    pub(super) fn sockets(&self, port: u16, transport: Transport) -> Option<Vec<SocketAddr>> {
        let (ips, port) = match &self.bound {
            Bound::Addresses(ips) => (ips.as_slice(), port),
            Bound::ContainerPorts { listen, ports } => (*listen, *ports.get(&(port, transport))?),
        };
        Some(ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    }

    /// The addresses that are no host names, which is all that DNS answers.
    pub(super) fn ips(&self) -> Vec<IpAddr> {
        let ip = |address: &Address| match address {
            Address::Ip(ip) => Some(*ip),
            Address::Hostname(_) => None,
        };
        self.addresses.iter().filter_map(ip).collect()
    }
}

/// Container ports that the Services of two Gateways record. Nobody has such a port until one of them gets another:
/// who may write Services would else take the requests of whatever Gateway is younger than his own.
pub(super) fn contested<'g>(
    config: &GatewayApiConfig,
    services: &[Arc<Service>],
    gateways: impl Iterator<Item = &'g Arc<Gateway>>,
) -> BTreeSet<u16> {
    let Some(own) = &config.service else { return BTreeSet::new() };
    let mut given = BTreeSet::new();
    let ports = gateways.filter_map(|gateway| service_of(services, gateway)).flat_map(|service| {
        let numbers: BTreeSet<u16> = container_ports(service, own).into_values().collect();
        numbers
    });
    ports.filter(|number| !given.insert(*number)).collect()
}

/// Of a Gateway of ours.
pub(super) fn of<'a>(
    config: &'a GatewayApiConfig,
    services: &[Arc<Service>],
    contested: &BTreeSet<u16>,
    gateway: &Gateway,
) -> Infrastructure<'a> {
    let mut refused = Vec::new();
    if let Some(parameters) = gateway.spec.infrastructure.as_ref().and_then(|it| it.parameters_ref.as_ref()) {
        let value = format!("{} {}", parameters.kind, parameters.name);
        let reason = Reason::Unsupported { field: "infrastructure.parametersRef".to_owned(), value };
        refused.push(("InvalidParameters", reason));
    }
    let Asked { ips, any, wrong, unsupported } = asked(&gateway.spec.addresses);
    refused.extend(unsupported.into_iter().map(|reason| ("UnsupportedAddress", reason)));
    let mut failed: Vec<(&'static str, Reason)> =
        wrong.into_iter().map(|reason| ("AddressNotUsable", reason)).collect();
    // What may come by itself in a moment is said in the conditions alone.
    let mut pending: Vec<(&'static str, Reason)> = Vec::new();
    let (addresses, bound) = match &config.service {
        None => {
            let mut found = ips;
            found.extend(config.address.filter(|ip| any && !found.contains(ip)));
            // Where one was wrong, that has been said.
            if found.is_empty()
                && failed.is_empty()
                && refused.iter().all(|(reason, _)| *reason != "UnsupportedAddress")
            {
                failed.push(("AddressNotAssigned", Reason::NoAddress));
            }
            (found.iter().copied().map(Address::Ip).collect(), Bound::Addresses(found))
        }
        Some(own) => {
            let service = service_of(services, gateway);
            let Given { addresses, failures, is_pending } = given(service, services, gateway, &ips);
            if is_pending { &mut pending } else { &mut failed }.extend(failures);
            let mut ports = service.map(|service| container_ports(service, own)).unwrap_or_default();
            ports.retain(|_, number| !contested.contains(number));
            (addresses, Bound::ContainerPorts { listen: &own.listen, ports })
        }
    };
    Infrastructure {
        addresses,
        accepted: condition("Accepted", refused.iter()),
        programmed: condition("Programmed", failed.iter().chain(&pending)),
        problems: refused.into_iter().chain(failed).map(|(_, reason)| reason).collect(),
        bound,
    }
}

/// The first reason counts, and all are told.
fn condition<'f>(kind: &'static str, failures: impl Iterator<Item = &'f (&'static str, Reason)>) -> Condition {
    let (words, texts): (Vec<_>, Vec<_>) = failures.map(|(word, reason)| (*word, reason.to_string())).unzip();
    words.first().map_or_else(|| Condition::holds(kind), |word| Condition::fails(kind, word, texts.join("; ")))
}

/// What `spec.addresses` asks for.
struct Asked {
    /// Each once.
    ips: Vec<IpAddr>,
    /// Whether it asks for one that others choose: by an entry without a value, or by saying nothing.
    any: bool,
    wrong: Vec<Reason>,
    /// Of another type than `IPAddress`.
    unsupported: Vec<Reason>,
}

fn asked(addresses: &[GatewayAddress]) -> Asked {
    let mut asked = Asked { ips: Vec::new(), any: addresses.is_empty(), wrong: Vec::new(), unsupported: Vec::new() };
    for address in addresses {
        let value = address.value.as_deref().unwrap_or_default();
        match (address.type_.as_deref().unwrap_or("IPAddress"), value.parse::<IpAddr>()) {
            // Every address is some other door's too.
            ("IPAddress", Ok(ip)) if ip.is_unspecified() => {
                asked.wrong.push(invalid("addresses.value", value, "an address that clients can reach"));
            }
            ("IPAddress", Ok(ip)) if asked.ips.contains(&ip) => {}
            ("IPAddress", Ok(ip)) => asked.ips.push(ip),
            ("IPAddress", Err(_)) if value.is_empty() => asked.any = true,
            ("IPAddress", Err(_)) => asked.wrong.push(invalid("addresses.value", value, "an IP address")),
            (other, _) => {
                let reason = Reason::Unsupported { field: "address type".to_owned(), value: other.to_owned() };
                asked.unsupported.push(reason);
            }
        }
    }
    asked
}

/// The addresses that `spec.addresses` names and that can be had by their look.
pub(crate) fn requested(gateway: &Gateway) -> Vec<IpAddr> {
    asked(&gateway.spec.addresses).ips
}

/// What a Gateway's Service has been given.
struct Given {
    addresses: Vec<Address>,
    /// What is missing of it.
    failures: Vec<(&'static str, Reason)>,
    /// Nothing has been given yet.
    is_pending: bool,
}

fn given(service: Option<&Service>, services: &[Arc<Service>], gateway: &Gateway, requested: &[IpAddr]) -> Given {
    let not_assigned = |why: String| vec![("AddressNotAssigned", Reason::AddressNotAssigned { why })];
    let namespace = key_of(&gateway.metadata).0;
    let Some(service) = service else {
        let name = service_name(gateway);
        let is_in_the_way = services.iter().any(|service| key_of(&service.metadata) == (namespace, &*name));
        let why = if is_in_the_way {
            format!("its Service would be {namespace}/{name}, and there is one of that name that is not its own")
        } else {
            format!("its Service {namespace}/{name} is not there yet")
        };
        return Given { addresses: Vec::new(), failures: not_assigned(why), is_pending: !is_in_the_way };
    };
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let mut addresses: Vec<Address> = Vec::new();
    for ingress in status.iter().flat_map(|status| status.ingress.iter().flatten()) {
        let address = match (ingress.ip.as_deref().map(str::parse), ingress.hostname.as_deref()) {
            (Some(Ok(ip)), _) => Address::Ip(ip),
            (_, Some(hostname)) if !hostname.is_empty() => Address::Hostname(hostname.to_owned()),
            _ => continue,
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let name = ServiceName::new(namespace, key_of(&service.metadata).1);
    // One that is asked for by name is not given another time: nothing says that it is still to come.
    let missing = requested.iter().filter(|ip| !addresses.contains(&Address::Ip(**ip)));
    let mut failures: Vec<(&'static str, Reason)> = missing
        .map(|ip| ("AddressNotUsable", Reason::AddressNotUsable { address: *ip, service: name.clone() }))
        .collect();
    if addresses.is_empty() && failures.is_empty() {
        failures = not_assigned(format!("no load balancer has given one to its Service {name}"));
    }
    let is_pending = addresses.is_empty();
    Given { addresses, failures, is_pending }
}

/// The router's own Service must be there, or Gateways have no endpoints.
pub(super) fn check_router(work: &mut Work<'_>) {
    let Some(own) = &work.config.gateway_api.service else { return };
    let ServiceName { namespace, name } = &own.router;
    if !work.services.contains_key(&(&**namespace, &**name)) {
        let key = ObjectName::new("Configuration", "", "gatewayApi.service.router");
        work.problem(&key, Reason::ServiceMissing { service: own.router.clone() });
    }
}

/// The Service that is there for a Gateway: whatever its name, it says so itself.
pub(crate) fn service_of<'a>(services: &'a [Arc<Service>], gateway: &Gateway) -> Option<&'a Service> {
    let namespace = &gateway.metadata.namespace;
    services
        .iter()
        .map(|service| &**service)
        .find(|service| service.metadata.namespace == *namespace && is_owned(service, gateway))
}

fn is_owned(service: &Service, gateway: &Gateway) -> bool {
    owner_of(service).is_some_and(|owner| Some(owner) == gateway.metadata.uid.as_deref())
}

/// The uid of the Gateway that a Service of ours is there for.
pub(crate) fn owner_of(service: &Service) -> Option<&str> {
    let is_ours =
        service.metadata.labels.as_ref()?.get("app.kubernetes.io/managed-by").is_some_and(|by| by == MANAGED_BY);
    let mut owners = service.metadata.owner_references.iter().flatten().filter(|owner| {
        owner.controller == Some(true)
            && owner.kind == "Gateway"
            && owner.api_version.split_once('/').is_some_and(|(group, _)| group == GROUP)
    });
    owners.next().map(|owner| owner.uid.as_str()).filter(|_| is_ours)
}

/// Whether a Gateway is another controller's by its class. One without a class is nobody's.
pub(crate) fn is_foreign(snapshot: &Snapshot, config: &Config, gateway: &Gateway) -> bool {
    matches!(class_of(snapshot, config, gateway), Class::Foreign { .. })
}

/// The container ports that a Service of ours records. Those that are not ours to give are none.
pub(crate) fn container_ports(service: &Service, own: &GatewayServiceConfig) -> BTreeMap<(u16, Transport), u16> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let record = |port: &ServicePort| {
        let transport = match port.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => Transport::Tcp,
            "UDP" => Transport::Udp,
            _ => return None,
        };
        let Some(IntOrString::Int(target)) = port.target_port else { return None };
        let target = u16::try_from(target).ok().filter(|target| own.ports.contains(target))?;
        Some(((u16::try_from(port.port).ok()?, transport), target))
    };
    ports.filter_map(record).collect()
}

/// What a Gateway's new Service is called (GEP-1762).
pub(crate) fn service_name(gateway: &Gateway) -> String {
    let (name, class) = (key_of(&gateway.metadata).1, &gateway.spec.gateway_class_name);
    let full = format!("{name}-{class}");
    if is_dns_label(&full) {
        return full;
    }
    let prefix = if full.starts_with(|c: char| c.is_ascii_lowercase()) { "" } else { "gateway-" };
    cut_with_hash(&format!("{prefix}{}", full.replace('.', "-")), &full)
}

/// A name as the value of a label: as it is, where it fits.
pub(crate) fn label_value(name: &str) -> String {
    if name.len() <= LONGEST { name.to_owned() } else { cut_with_hash(name, name) }
}

/// The beginning of `text`, and what tells it from others that begin so.
fn cut_with_hash(text: &str, hashed: &str) -> String {
    let hash: String = digest(&SHA256, hashed.as_bytes()).as_ref().iter().take(5).map(|b| format!("{b:02x}")).collect();
    let most = LONGEST - hash.len() - 1;
    let cut: String = text.chars().take(most).collect();
    format!("{}-{hash}", cut.trim_end_matches(['-', '.']))
}

fn is_dns_label(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= LONGEST
        && text.chars().all(is_inner)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests;
