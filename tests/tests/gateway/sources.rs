//! Every kind of object that asks for a name, from the manifest that a person would apply to the answer.

use tests::{
    Home,
    home::{classes, ingress, ingress_of, service},
};

use crate::records;

/// A Gateway `network/edge` at `.24` for plain HTTP and for TLS that is passed through, and a route of each kind.
fn routes(home: &Home) -> String {
    let route = |kind: &str, section: &str, hostnames: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {}, namespace: network}}
spec:
  parentRefs: [{{name: edge, sectionName: {section}}}]
  hostnames: [{hostnames}]
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
---
",
            kind.to_lowercase()
        )
    };
    [
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: doorward}}
spec: {{controllerName: doorward.dev/gateway}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: network}}
spec:
  gatewayClassName: doorward
  addresses: [{{value: {}}}]
  listeners:
  - {{name: http, port: 80, protocol: HTTP}}
  - {{name: named, port: 80, protocol: HTTP, hostname: '*.named.home.example'}}
  - {{name: tls, port: 8883, protocol: TLS, tls: {{mode: Passthrough}}}}
---
",
            home.address(24)
        ),
        route("HTTPRoute", "http", "photos.home.example, '*.preview.home.example'"),
        route("GRPCRoute", "http", "api.home.example"),
        route("TLSRoute", "tls", "mqtt.home.example"),
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: inherits, namespace: network}
spec: {parentRefs: [{name: edge, sectionName: named}], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
"
        .to_owned(),
    ]
    .concat()
}

fn check(home: &Home, expected: &[(&str, &[&str])]) {
    for (question, answers) in expected {
        let words: Vec<&str> = question.split(' ').collect();
        let found = records(home, &words);
        let owner = words[0];
        let expected: Vec<String> = answers.iter().map(|answer| format!("{owner}. {answer}")).collect();
        assert_eq!(found, expected, "{question}");
    }
}

#[test]
fn ingresses_and_routes_of_every_kind_have_the_address_of_their_door() {
    let home = Home::new();
    let outside = ingress_of("external", "outside", "outside.home.example", "web");
    home.apply("apps.yaml", &[classes(), service("web", &[]), outside].concat());
    home.apply("grafana.yaml", &ingress("grafana", "Grafana.Home.Example", "web"));
    home.apply("routes.yaml", &routes(&home));
    let _gateway = home.start("gateway");
    let (lan, edge) = (format!("30 IN A {}", home.address(21)), format!("30 IN A {}", home.address(24)));
    check(
        &home,
        &[
            ("grafana.home.example", &[&lan]),
            // The tunnel serves it too; at home nobody goes around by the Internet.
            ("outside.home.example", &[&lan]),
            ("photos.home.example", &[&edge]),
            ("pull-42.preview.home.example", &[&edge]),
            ("api.home.example", &[&edge]),
            ("mqtt.home.example", &[&edge]),
            ("whatever.named.home.example", &[&edge]),
        ],
    );
}

#[test]
fn a_service_has_the_names_of_its_annotation_and_the_address_of_its_load_balancer() {
    let home = Home::new();
    home.configure_dns("home.example, lab.example", "allowedAddresses: [192.168.8.30/31, 'fd00:8::30']", "");
    home.apply(
        "services.yaml",
        "apiVersion: v1
kind: Service
metadata:
  name: mosquitto
  namespace: iot
  annotations: {external-dns.alpha.kubernetes.io/hostname: 'mosquitto.home.example, *.iot.home.example'}
spec: {type: LoadBalancer, ports: [{port: 1883}]}
status: {loadBalancer: {ingress: [{ip: 192.168.8.30}, {ip: 'fd00:8::30'}]}}
---
apiVersion: v1
kind: Service
metadata:
  name: plex
  namespace: media
  annotations:
    coredns.io/hostname: plex
    external-dns.alpha.kubernetes.io/hostname: not-this-one.home.example
    external-dns.alpha.kubernetes.io/ttl: 2m
spec: {type: LoadBalancer, externalIPs: [192.168.8.31], ports: [{port: 32400}]}
status: {loadBalancer: {ingress: [{ip: 192.168.8.30}]}}
---
",
    );
    let _gateway = home.start("gateway");
    check(
        &home,
        &[
            ("mosquitto.home.example A", &["30 IN A 192.168.8.30"]),
            ("mosquitto.home.example AAAA", &["30 IN AAAA fd00:8::30"]),
            ("kitchen.iot.home.example A", &["30 IN A 192.168.8.30"]),
            ("plex.home.example A", &["120 IN A 192.168.8.31"]),
            ("plex.lab.example A", &["120 IN A 192.168.8.31"]),
            ("not-this-one.home.example A", &[]),
            ("plex.media.home.example A", &[]),
        ],
    );
}

#[test]
fn a_dnsendpoint_has_records_of_every_type_and_static_records_come_before_them() {
    let home = Home::new();
    home.configure_dns(
        "home.example",
        "allowedAddresses: [192.168.8.0/24], records: [
  {name: nas.home.example, type: A, targets: [192.168.8.50, 192.168.8.51], ttl: 300},
  {name: '*.static.home.example', type: AAAA, targets: ['fd00:8::50']},
  {name: mail.home.example, type: MX, targets: [10 nas.home.example]}]",
        "",
    );
    home.apply(
        "records.yaml",
        "apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: records, namespace: network}
spec:
  endpoints:
  - {dnsName: printer.home.example, recordType: A, recordTTL: 60, targets: [192.168.8.40]}
  - {dnsName: printer.home.example, recordType: AAAA, targets: ['fd00:8::40']}
  - {dnsName: www.home.example, recordType: CNAME, targets: [nas.home.example]}
  - {dnsName: home.example, recordType: MX, targets: [10 nas.home.example, 20 printer.home.example]}
  - {dnsName: _ldap._tcp.home.example, recordType: SRV, targets: [0 5 389 nas.home.example]}
  - {dnsName: home.example, recordType: TXT, targets: ['v=spf1 -all']}
  - {dnsName: 40.8.168.192.home.example, recordType: PTR, targets: [printer.home.example]}
  - {dnsName: nas.home.example, recordType: A, targets: [192.168.8.99]}
---
",
    );
    let _gateway = home.start("gateway");
    check(
        &home,
        &[
            ("printer.home.example A", &["60 IN A 192.168.8.40"]),
            ("www.home.example CNAME", &["30 IN CNAME nas.home.example."]),
            ("home.example MX", &["30 IN MX 10 nas.home.example.", "30 IN MX 20 printer.home.example."]),
            ("_ldap._tcp.home.example SRV", &["30 IN SRV 0 5 389 nas.home.example."]),
            ("home.example TXT", &["30 IN TXT \"v=spf1 -all\""]),
            ("40.8.168.192.home.example PTR", &["30 IN PTR printer.home.example."]),
            ("nas.home.example A", &["300 IN A 192.168.8.50", "300 IN A 192.168.8.51"]),
            ("any.static.home.example AAAA", &["30 IN AAAA fd00:8::50"]),
            ("mail.home.example MX", &["30 IN MX 10 nas.home.example."]),
        ],
    );
    // fd00:8::40 is allowed by no network.
    assert!(records(&home, &["printer.home.example", "AAAA"]).is_empty());
    // Who asks for a mail server asks for its address next.
    let said = home.dig(&["+noall", "+additional", "home.example", "MX"]);
    assert!(said.contains("192.168.8.40") && said.contains("192.168.8.50"), "{said}");
}

#[test]
fn an_address_that_nobody_allows_is_not_answered_and_that_is_told_everywhere() {
    let home = Home::new();
    home.apply(
        "rogue.yaml",
        "apiVersion: v1
kind: Service
metadata:
  name: rogue
  namespace: media
  annotations: {external-dns.alpha.kubernetes.io/hostname: rogue.home.example}
spec: {type: LoadBalancer, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}
---
",
    );
    let _gateway = home.start("gateway");
    assert!(records(&home, &["rogue.home.example"]).is_empty());
    let why = "address 203.0.113.9 is not in dns.allowedAddresses of the configuration";
    let problems = home.admin("gateway", "/problems");
    assert!(problems.contains(&format!("Service media/rogue: {why}")), "{problems}");
    let explained = home.admin("gateway", "/explain?name=rogue.home.example&format=text");
    assert!(
        explained.contains(&format!("withheld: Service media/rogue names rogue.home.example: {why}")),
        "{explained}"
    );
}
