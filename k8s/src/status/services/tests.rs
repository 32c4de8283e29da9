//! What is written for Gateways, and that nothing is where all is well.

use serde_json::{Value, json};

use super::*;
use crate::{
    gateway_api::GROUP,
    source::{self, Kinds, manifest},
};

const ROUTER: &str = "
{apiVersion: v1, kind: Service, metadata: {name: router, namespace: network}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: router-1, namespace: network, labels: {kubernetes.io/service-name: router}}
addressType: IPv4
ports: [{name: admin, port: 9154}]
endpoints:
- {addresses: [10.69.1.8], conditions: {ready: true, serving: true, terminating: false}, nodeName: ogg, zone: shed, targetRef: {kind: Pod, name: router-b, namespace: network}}
- {addresses: [10.69.0.7], conditions: {ready: false}, nodeName: weatherwax, deprecatedTopology: {a: b}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: router-2, namespace: network, labels: {kubernetes.io/service-name: router}}
addressType: IPv6
endpoints: [{addresses: ['fd00::7']}]
";

/// A cluster, and what was written to it.
struct Lab {
    config: Config,
    manifests: String,
    written: AllWritten,
}

impl Lab {
    fn new(more: &str) -> Self {
        let service = "{router: network/router, ports: 20000-20003}";
        let entry_point = "entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}";
        let config = crate::config::parse(&format!("{entry_point}\ngatewayApi: {{service: {service}}}"));
        let classes = ["doorward.dev/gateway", "example.com/other"].map(|controller| {
            let name = controller.split(['.', '/']).next().unwrap_or_default();
            format!("{{apiVersion: {GROUP}/v1, kind: GatewayClass, metadata: {{name: {name}}}, spec: {{controllerName: {controller}}}}}")
        });
        let manifests = format!("{ROUTER}---\n{}\n---\n{}\n---\n{more}", classes[0], classes[1]);
        Self { config: config.expect("a right file"), manifests, written: AllWritten::new() }
    }

    fn add(&mut self, manifests: &str) {
        self.manifests.push_str(&format!("\n---\n{manifests}"));
    }

    fn own(&self) -> &GatewayServiceConfig {
        self.config.gateway_api.service.as_ref().expect("it is set")
    }

    fn seen(&self) -> Seen {
        let kinds = Kinds { tls: true, endpoints: true, dns_endpoints: false };
        let snapshot = source::snapshot(manifest::read(&self.manifests).expect("right manifests"), kinds);
        let ours = snapshot.gateways.iter().filter(|gateway| gateway.spec.gateway_class_name == "doorward");
        let gateways = ours.map(|gateway| GatewayPorts::new(Arc::clone(gateway), gateway.spec.listeners.iter()));
        Seen::new(&snapshot, &self.config, gateways.collect())
    }

    fn plan(&self) -> Vec<Action> {
        plan(&self.seen(), &self.written, self.own()).actions
    }

    /// What is written now, as the API server would keep it: with a uid, and with fields of its own.
    fn write(&mut self) -> Vec<Value> {
        let actions = self.plan();
        actions.iter().map(|action| self.perform(action)).collect()
    }

    fn perform(&mut self, action: &Action) -> Value {
        let mut object = match action {
            Action::Apply { service, .. } => serde_json::to_value(service),
            Action::ApplySlice(slice) => serde_json::to_value(slice),
            Action::Delete { .. } => panic!("{action:?}"),
        }
        .expect("JSON");
        let written = object.clone();
        let metadata = &mut object["metadata"];
        metadata["uid"] = format!("uid-of-{}", metadata["name"].as_str().expect("a name")).into();
        if object["kind"] == "Service" {
            object["metadata"]["annotations"]["metallb.universe.tf/ip-allocated-from-pool"] = "pool".into();
            object["spec"]["clusterIP"] = "10.96.0.9".into();
            object["spec"]["ipFamilies"] = json!(["IPv4"]);
            object["spec"]["ports"]
                .as_array_mut()
                .expect("ports")
                .iter_mut()
                .for_each(|port| port["nodePort"] = 30_000.into());
            object["spec"]["ports"].as_array_mut().expect("ports").reverse();
        }
        self.add(&object.to_string());
        written
    }
}

fn owner(name: &str) -> Owner {
    ("shop".to_owned(), format!("uid-{name}"))
}

fn gateway(name: &str, age: u8, spec: &str) -> String {
    let metadata =
        format!("{{name: {name}, namespace: shop, uid: uid-{name}, creationTimestamp: '2026-01-0{age}T00:00:00Z'}}");
    format!(
        "{{apiVersion: {GROUP}/v1, kind: Gateway, metadata: {metadata}, spec: {{gatewayClassName: doorward, {spec}}}}}\n---\n"
    )
}

fn listeners(ports: &[(u16, &str)]) -> String {
    let listener =
        |(port, protocol): &(u16, &str)| format!("{{name: l{port}-{protocol}, port: {port}, protocol: {protocol}}}");
    format!("listeners: [{}]", ports.iter().map(listener).collect::<Vec<_>>().join(", "))
}

/// `80/TCP→20000` and so on, in the order of the container ports.
fn mapping(service: &Value) -> Vec<String> {
    let ports = service["spec"]["ports"].as_array().expect("ports").iter();
    ports
        .map(|port| {
            format!("{}/{}→{}", port["port"], port["protocol"].as_str().unwrap_or_default(), port["targetPort"])
        })
        .collect()
}

#[test]
fn a_gateway_gets_a_service_of_its_own_with_the_routers_endpoints_and_then_nothing_more_is_written() {
    let infrastructure = "infrastructure: {labels: {team: a}, annotations: {lbipam.cilium.io/ips: 10.9.9.9, note: b}}";
    let addresses = "addresses: [{value: 192.168.8.40}]";
    let ports = listeners(&[(443, "HTTPS"), (443, "TLS"), (80, "HTTP"), (53, "UDP"), (53, "TCP"), (1, "SMOKE")]);
    let mut lab = Lab::new(&gateway("web", 1, &format!("{infrastructure}, {addresses}, {ports}")));
    lab.config.gateway_api.service.as_mut().expect("it is set").ports = 20_000..=20_009;
    let written = lab.write();
    let [service] = &written[..] else { panic!("{written:#?}") };
    let metadata = &service["metadata"];
    assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("web-doorward"), &json!("shop")));
    assert_eq!(
        metadata["labels"],
        json!({
            "app.kubernetes.io/managed-by": "doorward", "team": "a",
            "gateway.networking.k8s.io/gateway-name": "web", "gateway.networking.k8s.io/gateway-class-name": "doorward",
        })
    );
    let annotation = |name: &str| metadata["annotations"][name].as_str().unwrap_or_default();
    for (name, value) in [
        ("doorward.dev/gateway", "shop/web"),
        ("io.cilium/lb-ipam-ips", "192.168.8.40"),
        ("lbipam.cilium.io/ips", "10.9.9.9"),
        ("metallb.io/loadBalancerIPs", "192.168.8.40"),
        ("metallb.universe.tf/loadBalancerIPs", "192.168.8.40"),
        ("note", "b"),
    ] {
        assert_eq!(annotation(name), value, "{name}");
    }
    let owner = json!([{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "web", "uid": "uid-web", "controller": true}]);
    assert_eq!(metadata["ownerReferences"], owner);
    let spec = &service["spec"];
    assert_eq!(
        (&spec["type"], &spec["externalTrafficPolicy"], &spec["selector"]),
        (&json!("LoadBalancer"), &json!("Local"), &Value::Null)
    );
    assert_eq!(mapping(service), ["53/TCP→20000", "53/UDP→20001", "80/TCP→20002", "443/TCP→20003"]);

    let written = lab.write();
    let [slice] = &written[..] else { panic!("{written:#?}") };
    let metadata = &slice["metadata"];
    assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("web-doorward-ipv4"), &json!("shop")));
    assert_eq!(
        metadata["labels"],
        json!({"kubernetes.io/service-name": "web-doorward", "endpointslice.kubernetes.io/managed-by": "doorward.dev"})
    );
    assert_eq!(metadata["ownerReferences"][0]["uid"], "uid-of-web-doorward");
    assert_eq!(slice["ports"][1], json!({"name": "udp-53", "port": 20_001, "protocol": "UDP"}));
    assert_eq!(
        slice["endpoints"],
        json!([
            {"addresses": ["10.69.0.7"], "conditions": {"ready": false}, "nodeName": "weatherwax"},
            {
                "addresses": ["10.69.1.8"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "ogg", "zone": "shed", "targetRef": {"kind": "Pod", "name": "router-b", "namespace": "network"},
            },
        ])
    );
    assert_eq!(lab.plan(), []);
    // What is not in the spec any more goes, though the object shows nobody whose it was.
    lab.manifests = lab.manifests.replacen(", note: b", "", 1);
    assert!(matches!(&lab.plan()[..], [Action::Apply { service, .. }] if service.metadata.uid.is_some()));
}

#[test]
fn ports_that_are_given_stay_and_new_ones_are_the_lowest_that_nobody_has() {
    let mut lab = Lab::new(&gateway("a", 1, &listeners(&[(80, "HTTP")])));
    lab.add(&gateway("b", 2, &listeners(&[(80, "HTTP")])));
    let written = lab.write();
    assert_eq!(written.iter().map(mapping).collect::<Vec<_>>(), [["80/TCP→20000"], ["80/TCP→20001"]]);
    // An older Gateway comes after, and one of the others has another port.
    lab.add(&gateway("c", 0, &listeners(&[(80, "HTTP")])).replace("2026-01-00", "2025-01-01"));
    lab.manifests = lab.manifests.replace("name: l80-HTTP, port: 80", "name: l80-HTTP, port: 8080");
    let services: Vec<_> = lab.write().into_iter().filter(|it| it["kind"] == "Service").collect();
    // What was b's 80 may still have connections: nobody gets its container port now, and too few are left.
    let found: Vec<_> =
        services.iter().map(|it| (it["metadata"]["name"].as_str().expect("a name"), mapping(it))).collect();
    assert_eq!(
        found,
        [("c-doorward", vec!["8080/TCP→20002".to_owned()]), ("a-doorward", vec!["8080/TCP→20003".to_owned()])]
    );
}

#[test]
fn a_gateway_that_gets_no_container_port_any_more_is_named() {
    let many = listeners(&[(1, "TCP"), (2, "TCP"), (3, "TCP"), (4, "TCP")]);
    let lab = Lab::new(&[gateway("a", 1, &many), gateway("b", 2, &listeners(&[(80, "HTTP")]))].concat());
    let Plan { actions, without_ports } = plan(&lab.seen(), &lab.written, lab.own());
    assert_eq!((actions.len(), without_ports), (1, vec![ObjectName::new("Gateway", "shop", "b")]));
}

#[test]
fn what_was_written_counts_before_the_watch_shows_it() {
    let mut lab = Lab::new(&gateway("a", 1, &listeners(&[(80, "HTTP")])));
    let numbers = Numbers::from([((80, Transport::Tcp), 20_000)]);
    lab.written.insert(owner("gone"), Written { numbers, at: Instant::now() });
    let written = lab.write();
    assert_eq!(mapping(&written[0]), ["80/TCP→20001"]);
    let numbers = Numbers::from([((80, Transport::Tcp), 20_003)]);
    let now = Instant::now();
    lab.written.insert(owner("a"), Written { numbers, at: now });
    let Some(Action::Apply { service, .. }) = lab.plan().into_iter().next() else { panic!("the Service has another") };
    assert_eq!(container_ports(&service, lab.own()).into_values().collect::<Vec<_>>(), [20_003]);
    // Of a Gateway that nobody sees for a while.
    let left = |lab: &Lab, now| {
        let mut written = lab.written.clone();
        forget(&mut written, &lab.seen(), now);
        written.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(left(&lab, now), [owner("a"), owner("gone")]);
    assert_eq!(left(&lab, now + UNSEEN + UNSEEN), [owner("a")]);
}

#[test]
fn whoever_writes_a_service_takes_no_container_port_of_another_gateway() {
    let mut lab = Lab::new(&gateway("a", 1, &listeners(&[(80, "HTTP")])));
    lab.add(&gateway("b", 2, &listeners(&[(80, "HTTP")])));
    for action in lab.plan() {
        let Action::Apply { owner, service, .. } = &action else { continue };
        let numbers = container_ports(service, lab.own());
        lab.written.insert(owner.clone(), Written { numbers, at: Instant::now() });
        lab.perform(&action);
    }
    lab.write();
    assert_eq!(lab.plan(), []);
    // As the owner of the older one writes it.
    lab.manifests = lab.manifests.replace("20000", "20001");
    let services: Vec<_> = lab.write().into_iter().filter(|it| it["kind"] == "Service").collect();
    assert_eq!(services.iter().map(mapping).collect::<Vec<_>>(), [["80/TCP→20000"]]);
}

#[test]
fn of_two_gateways_with_the_same_container_port_the_younger_one_gets_another() {
    let mut lab = Lab::new(&gateway("a", 2, &listeners(&[(80, "HTTP")])));
    lab.add(&gateway("b", 1, &listeners(&[(80, "HTTP")])));
    lab.write();
    lab.manifests = lab.manifests.replace("20001", "20000");
    let changed: Vec<_> = lab.write().into_iter().filter(|it| it["kind"] == "Service").collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(
        (&changed[0]["metadata"]["name"], mapping(&changed[0])),
        (&json!("a-doorward"), vec!["80/TCP→20001".to_owned()])
    );
}

#[test]
fn the_service_of_a_gateway_that_is_anothers_now_is_deleted_and_no_other() {
    let mut lab = Lab::new(&gateway("a", 1, &listeners(&[(80, "HTTP")])));
    lab.write();
    let service = ServiceName::new("shop", "a-doorward");
    let class = |lab: &mut Lab, old: &str, new: &str| {
        lab.manifests = lab.manifests.replace(&format!("gatewayClassName: {old}"), &format!("gatewayClassName: {new}"));
    };
    class(&mut lab, "doorward", "example");
    assert_eq!(lab.plan(), [Action::Delete { service, uid: "uid-of-a-doorward".to_owned() }]);
    // A class that is not there for a moment makes nobody homeless.
    class(&mut lab, "example", "missing");
    assert_eq!(lab.plan(), []);
}

#[test]
fn what_is_not_ours_or_is_leaving_is_left_alone() {
    let ports = listeners(&[(80, "HTTP")]);
    // The writer finds it there, and refuses.
    let foreign = "{apiVersion: v1, kind: Service, metadata: {name: a-doorward, namespace: shop, uid: f}}";
    let lab = Lab::new(&format!("{}{foreign}", gateway("a", 1, &ports)));
    assert!(matches!(&lab.plan()[..], [Action::Apply { service, .. }] if service.metadata.uid.is_none()));
    let leaving = gateway("a", 1, &ports).replace("uid:", "deletionTimestamp: '2026-02-01T00:00:00Z', uid:");
    assert_eq!(Lab::new(&leaving).plan(), []);
    assert_eq!(Lab::new(&gateway("a", 1, &listeners(&[(80, "SMOKE")]))).plan(), []);
    // Nor are endpoints forgotten where the router's own Service is gone.
    let mut lab = Lab::new(&gateway("a", 1, &ports));
    lab.write();
    lab.write();
    lab.manifests = lab.manifests.replace("name: router, namespace: network", "name: other, namespace: network");
    assert_eq!(lab.plan(), []);
}

#[test]
fn endpoints_follow_the_routers_own_at_once() {
    let mut lab = Lab::new(&gateway("a", 1, &listeners(&[(80, "HTTP")])));
    lab.write();
    lab.write();
    let mut seen = lab.seen();
    let router = ServiceName::new("network", "router");
    let slices: Vec<_> = seen.slices[&router].clone();
    assert!(!seen.set_slices(&router, &slices));
    assert!(!seen.set_slices(&ServiceName::new("network", "stranger"), &slices));
    assert!(seen.set_slices(&router, &[]));
    let actions = plan(&seen, &lab.written, lab.own()).actions;
    assert!(matches!(&actions[..], [Action::ApplySlice(slice)] if slice.endpoints.is_empty()), "{actions:?}");
    // Whoever has changed one of ours sees it mended; one of another's making stays.
    let own = ServiceName::new("shop", "a-doorward");
    let change = |change: &dyn Fn(&mut EndpointSlice)| {
        let mut seen = lab.seen();
        let mut slice = (*seen.slices[&own][0]).clone();
        change(&mut slice);
        seen.set_slices(&own, &[Arc::new(slice)]);
        plan(&seen, &lab.written, lab.own()).actions.len()
    };
    assert_eq!(change(&|slice| slice.endpoints.clear()), 1);
    assert_eq!(change(&|slice| slice.ports = None), 1);
    assert_eq!(change(&|slice| (slice.endpoints, slice.metadata.labels) = (Vec::new(), None)), 0);
}
