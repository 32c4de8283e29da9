//! The part about the Gateway API, from the shape of the file to [`GatewayApiConfig`].

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
};

use super::{
    Config, ExternalTrafficPolicy, GatewayApiConfig, GatewayServiceConfig,
    check::{Refusals, each_once, namespaced, ports},
    file,
};
use crate::model::ServiceName;

const PORTS: RangeInclusive<u16> = 20_000..=29_999;

pub(super) fn check_gateway_api(gateway_api: file::GatewayApi, refusals: &mut Refusals) -> GatewayApiConfig {
    let file::GatewayApi { controller, address, service } = gateway_api;
    if let Some(address) = address.filter(IpAddr::is_unspecified) {
        refusals.push(format!("gatewayApi.address: found {address}, expected an address that clients can reach"));
    }
    if address.is_some() && service.is_some() {
        refusals.push(
            "gatewayApi.address: is for a router that binds it; with gatewayApi.service the load balancer gives \
             addresses: remove one of the two"
                .to_owned(),
        );
    }
    GatewayApiConfig {
        controller: controller.as_deref().unwrap_or("doorward.dev/gateway").into(),
        address,
        service: service.and_then(|service| check_service(service, refusals)),
    }
}

fn check_service(service: file::GatewayService, refusals: &mut Refusals) -> Option<GatewayServiceConfig> {
    let file::GatewayService { router, ports, listen, external_traffic_policy } = service;
    let path = "gatewayApi.service";
    let listen = listen.unwrap_or_else(|| vec![Ipv4Addr::UNSPECIFIED.into()]);
    if listen.is_empty() {
        refusals.push(format!("{path}.listen: is empty, expected what the router binds, such as 0.0.0.0"));
    }
    let external_traffic_policy = match external_traffic_policy.as_deref() {
        None => ExternalTrafficPolicy::default(),
        Some("Cluster") => ExternalTrafficPolicy::Cluster,
        Some("Local") => ExternalTrafficPolicy::Local,
        Some(other) => {
            refusals.push(format!("{path}.externalTrafficPolicy: found {other:?}, expected Local or Cluster"));
            ExternalTrafficPolicy::default()
        }
    };
    let listen = each_once(&format!("{path}.listen"), listen, refusals);
    let ports = ports.map_or(PORTS, |text| check_range(&format!("{path}.ports"), &text, refusals));
    let router = namespaced(&format!("{path}.router"), &router, "the Service that selects the router's pods", refusals);
    let (namespace, name) = router?;
    Some(GatewayServiceConfig { router: ServiceName::new(namespace, name), ports, listen, external_traffic_policy })
}

fn check_range(path: &str, text: &str, refusals: &mut Refusals) -> RangeInclusive<u16> {
    let range =
        text.split_once('-').and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    match range.filter(|(first, last)| 0 < *first && first <= last) {
        Some((first, last)) => first..=last,
        None => {
            refusals.push(format!("{path}: found {text:?}, expected ports such as 20000-29999"));
            PORTS
        }
    }
}

/// A port that has its use already could be given to a Gateway.
pub(super) fn check_container_ports(config: &Config, refusals: &mut Refusals) {
    let Some(service) = &config.gateway_api.service else { return };
    let of_doors = ports(config).map(|(path, _, port)| (path, port.listen));
    let all = of_doors.chain([("admin.router".to_owned(), config.admin.router.port())]);
    for (path, port) in all.filter(|(_, port)| service.ports.contains(port)) {
        refusals
            .push(format!("gatewayApi.service.ports: {port} is taken by {path}; choose ports that nothing else has"));
    }
}
