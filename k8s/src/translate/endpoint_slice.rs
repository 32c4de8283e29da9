//! EndpointSlices to the addresses of one backend.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::model::Endpoints;

/// The endpoints of a Service port by the port's name (empty for an unnamed one).
///
/// The port number is the slice's, which is the target port; slices of one Service may differ in
/// it. Addresses of both families count alike.
pub fn endpoints(slices: &[Arc<EndpointSlice>], port_name: &str) -> Endpoints {
    let mut ready = BTreeSet::new();
    let mut leaving = BTreeSet::new();
    for slice in slices {
        for port in slice.ports.iter().flatten().filter(|port| port.name.as_deref().unwrap_or_default() == port_name) {
            let Some(port) = port.port.and_then(|port| u16::try_from(port).ok()) else { continue };
            for endpoint in &slice.endpoints {
                let into = match state(endpoint) {
                    State::Ready => &mut ready,
                    State::ServingWhileTerminating => &mut leaving,
                    State::Out => continue,
                };
                // A slice of type FQDN has no addresses that parse.
                into.extend(endpoint.addresses.iter().filter_map(|address| {
                    address.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port))
                }));
            }
        }
    }
    let addresses = if ready.is_empty() { leaving } else { ready };
    Endpoints { addresses: addresses.into_iter().collect() }
}

enum State {
    Ready,
    /// Taken where nothing is ready (KEP-1669): better an answer from a pod that leaves than none.
    ServingWhileTerminating,
    Out,
}

/// Conditions that are not set mean ready, serving and not terminating.
fn state(endpoint: &Endpoint) -> State {
    let Some(conditions) = &endpoint.conditions else { return State::Ready };
    let ready = conditions.ready.unwrap_or(true);
    match (ready, conditions.serving.unwrap_or(ready), conditions.terminating.unwrap_or(false)) {
        (true, _, false) => State::Ready,
        (_, true, true) => State::ServingWhileTerminating,
        _ => State::Out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(yaml: &str) -> Vec<Arc<EndpointSlice>> {
        serde_saphyr::from_multiple(yaml).expect("EndpointSlices").into_iter().map(Arc::new).collect()
    }

    fn check(yaml: &str, port_name: &str, expected: &[&str]) {
        let found: Vec<_> = endpoints(&slices(yaml), port_name).addresses.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_ready_is_left_out_and_what_says_nothing_is_ready() {
        check(
            "{addressType: IPv4, metadata: {}, ports: [{port: 80}], endpoints: [{addresses: [10.0.0.2]}, {addresses: [10.0.0.1], conditions: {ready: true}}, {addresses: [10.0.0.3], conditions: {ready: false}}, {addresses: [10.0.0.4], conditions: {ready: true, terminating: true}}]}",
            "",
            &["10.0.0.1:80", "10.0.0.2:80"],
        );
    }

    #[test]
    fn where_nothing_is_ready_a_serving_pod_that_leaves_is_taken() {
        check(
            "{addressType: IPv4, metadata: {}, ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}, {addresses: [10.0.0.2], conditions: {ready: false, serving: false, terminating: true}}]}",
            "",
            &["10.0.0.1:80"],
        );
    }

    #[test]
    fn the_port_is_found_by_its_name_in_each_slice_and_both_families_count() {
        check(
            "{addressType: IPv4, metadata: {}, ports: [{name: web, port: 8080}, {name: metrics, port: 9090}], endpoints: [{addresses: [10.0.0.1]}]}\n---\n{addressType: IPv6, metadata: {}, ports: [{name: web, port: 8081}], endpoints: [{addresses: ['fd00::1']}, {addresses: ['fd00::1']}]}\n---\n{addressType: FQDN, metadata: {}, ports: [{name: web, port: 8081}], endpoints: [{addresses: ['nas.example']}]}",
            "web",
            &["10.0.0.1:8080", "[fd00::1]:8081"],
        );
    }
}
