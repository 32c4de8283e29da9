//! Many routes on several Gateways, as objects of the API: one app has a Service, an EndpointSlice and an HTTPRoute.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use serde_json::{Value, json};

use crate::{cluster::Api, raw};

/// Requests to the API server at a time.
const AT_A_TIME: usize = 8;
/// Requests to the router at a time.
const CLIENTS: usize = 4;

pub struct Many {
    pub namespace: String,
    /// Of the GatewayClass, which is cluster-wide.
    pub class: String,
    pub controller: String,
    /// One Gateway for each, which binds it.
    pub addresses: Vec<Ipv4Addr>,
    pub port: u16,
    pub n_routes: usize,
    /// Where all of them lead.
    pub backend: SocketAddr,
}

impl Many {
    /// Returns when the API server has all of them.
    ///
    /// # Panics
    /// When it does not take one.
    pub fn create(&self, api: &Api) {
        api.create("/apis/gateway.networking.k8s.io/v1/gatewayclasses", &self.class().to_string());
        let gateways = self.path("apis/gateway.networking.k8s.io/v1", "gateways");
        for number in 0..self.addresses.len() {
            api.create(&gateways, &self.gateway(number).to_string());
        }
        let services = self.path("api/v1", "services");
        let slices = self.path("apis/discovery.k8s.io/v1", "endpointslices");
        let routes = self.path("apis/gateway.networking.k8s.io/v1", "httproutes");
        side_by_side(AT_A_TIME, self.n_routes, |number| {
            api.create(&services, &self.service(number).to_string());
            api.create(&slices, &self.slice(number).to_string());
            api.create(&routes, &self.route(number).to_string());
        });
    }

    /// The numbers of those that are not answered by the backend, each asked once.
    pub fn unserved(&self) -> Vec<usize> {
        let unserved = Mutex::new(Vec::new());
        side_by_side(CLIENTS, self.n_routes, |number| {
            if self.status(number, &self.host(number)) != Some(200) {
                unserved.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            }
        });
        unserved.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the Gateway of a route answers to a request for `host`; None where nobody does.
    pub fn status(&self, number: usize, host: &str) -> Option<u16> {
        raw::status(SocketAddr::from((self.addresses[self.door(number)], self.port)), host)
    }

    /// A host that a route serves.
    pub fn host(&self, number: usize) -> String {
        self.hostnames(number)[0].replace('*', "any")
    }

    /// Where the API has a route.
    pub fn route_path(&self, number: usize) -> String {
        format!("{}/app-{number}", self.path("apis/gateway.networking.k8s.io/v1", "httproutes"))
    }

    /// The same of a Gateway.
    pub fn gateway_path(&self, number: usize) -> String {
        format!("{}/gateway-{number}", self.path("apis/gateway.networking.k8s.io/v1", "gateways"))
    }

    fn path(&self, group: &str, resource: &str) -> String {
        format!("/{group}/namespaces/{}/{resource}", self.namespace)
    }

    /// The Gateway that a route is on.
    fn door(&self, number: usize) -> usize {
        number % self.addresses.len()
    }

    fn class(&self) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": self.class},
            "spec": {"controllerName": self.controller},
        })
    }

    fn gateway(&self, number: usize) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": format!("gateway-{number}"), "namespace": self.namespace},
            "spec": {
                "gatewayClassName": self.class,
                "addresses": [{"value": self.addresses[number]}],
                "listeners": [{"name": "http", "protocol": "HTTP", "port": self.port}],
            },
        })
    }

    /// Without an address of its own, which costs the API server more than all else here.
    fn service(&self, number: usize) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("app-{number}"), "namespace": self.namespace},
            "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
        })
    }

    fn slice(&self, number: usize) -> Value {
        let name = format!("app-{number}");
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": name, "namespace": self.namespace,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [self.backend.ip()]}],
            "ports": [{"name": "http", "port": self.backend.port()}],
        })
    }

    fn route(&self, number: usize) -> Value {
        let backends = json!([{"name": format!("app-{number}"), "port": 80}]);
        let matches = [
            json!([{"path": {"type": "PathPrefix", "value": "/"}}]),
            json!([{"path": {"type": "PathPrefix", "value": "/api"}, "method": "GET"},
                   {"path": {"type": "PathPrefix", "value": "/api"}, "method": "POST"}]),
            json!([{"path": {"type": "Exact", "value": "/preview"},
                    "headers": [{"name": "x-version", "value": format!("v{}", number % 7)}]}]),
        ];
        let rules: Vec<Value> = matches
            .into_iter()
            .take(1 + number % 3)
            .map(|matches| json!({"matches": matches, "backendRefs": backends}))
            .collect();
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": format!("app-{number}"), "namespace": self.namespace},
            "spec": {
                "parentRefs": [{"name": format!("gateway-{}", self.door(number))}],
                "hostnames": self.hostnames(number),
                "rules": rules,
            },
        })
    }

    /// Most have one, some a second one, and some are wildcards.
    fn hostnames(&self, number: usize) -> Vec<String> {
        match number % 10 {
            3 => vec![format!("app-{number}.home.example"), format!("www.app-{number}.home.example")],
            7 => vec![format!("*.app-{number}.home.example")],
            _ => vec![format!("app-{number}.home.example")],
        }
    }
}

/// Calls `run` once for every number below `count`, on so many threads.
fn side_by_side(n_threads: usize, count: usize, run: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Relaxed)).filter(|number| *number < count) {
                    run(number);
                }
            });
        }
    });
}
