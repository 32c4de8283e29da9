//! Names of addresses.

use tests::Home;

use crate::{apps, ask, records};

#[test]
fn addresses_have_names_where_that_is_wanted() {
    let home = Home::new();
    home.configure_dns(
        "home.example",
        "reverse: true, records: [{name: nas.home.example, type: A, targets: [192.168.8.50]}, {name: six.home.example, type: AAAA, targets: ['fd00:8::50']}]",
        "",
    );
    home.apply("apps.yaml", &apps());
    let _gateway = home.start("gateway");
    let [lan, dns, tunnel] = [21, 22, 23].map(|last| home.address(last).to_string());
    for (address, name) in
        [(&*lan, "lan"), (&dns, "ns"), (&tunnel, "tunnel"), ("192.168.8.50", "nas"), ("fd00:8::50", "six")]
    {
        let found = records(&home, &["-x", address]);
        assert!(
            found.len() == 1 && found[0].ends_with(&format!(" 30 IN PTR {name}.home.example.")),
            "{address}: {found:?}"
        );
    }
    // The name that an address has leads back to it.
    assert_eq!(ask(&home, &["lan.home.example"]), format!("NOERROR aa lan.home.example. A {lan}"));
    assert_eq!(ask(&home, &["-x", "192.168.8.51"]), "NXDOMAIN aa 8.168.192.in-addr.arpa. SOA");
    assert_eq!(ask(&home, &["-x", "192.168.9.51"]), "NXDOMAIN aa 168.192.in-addr.arpa. SOA");
    assert_eq!(ask(&home, &["-x", "203.0.113.1"]), "REFUSED");
    let (said, _) = home.command("gateway", &["explain", "192.168.8.50"]);
    assert!(said.starts_with("50.8.168.192.in-addr.arpa PTR: NOERROR"), "{said}");
}

#[test]
fn private_addresses_have_none_by_default() {
    let home = Home::new();
    home.configure_dns("home.example", "records: [{name: nas.home.example, type: A, targets: [192.168.8.50]}]", "");
    let _gateway = home.start("gateway");
    assert_eq!(ask(&home, &["-x", "192.168.8.50"]), "NXDOMAIN aa 168.192.in-addr.arpa. SOA");
    let (said, _) = home.command("gateway", &["explain", "192.168.8.50"]);
    assert!(said.contains("because: dns.reverse is off"), "{said}");
}

const GATEWAYS: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: doorward}
spec: {controllerName: doorward.dev/gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: network}
spec: {gatewayClassName: doorward, addresses: [{value: 127.0.8.61}], listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: media}
spec: {gatewayClassName: doorward, addresses: [{value: 127.0.8.62}], listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: network}
spec: {parentRefs: [{name: edge}], hostnames: [app.home.example], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: plex, namespace: media}
spec: {parentRefs: [{name: edge}], hostnames: [plex.home.example], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: late, namespace: media}
spec: {endpoints: [{dnsName: nas.home.example, recordType: A, targets: [192.168.8.64]}]}
";

#[test]
fn only_addresses_that_are_answered_have_names_and_those_are_answered_with_them() {
    let home = Home::new();
    home.configure_dns(
        "home.example",
        "reverse: true, allowedAddresses: [192.168.8.0/24], records: [{name: nas.home.example, type: A, targets: [192.168.8.50]}]",
        "",
    );
    home.apply("gateways.yaml", GATEWAYS);
    let _gateway = home.start("gateway");
    for (address, name) in [
        ("127.0.8.62", Some("edge.home.example.")),
        // The name `edge` is the other Gateway's.
        ("127.0.8.61", Some("app.home.example.")),
        ("192.168.8.50", Some("nas.home.example.")),
        // The configuration's own record comes before it.
        ("192.168.8.64", None),
    ] {
        let found = records(&home, &["-x", address]);
        let names: Vec<&str> = found.iter().filter_map(|record| record.split(" PTR ").nth(1)).collect();
        assert_eq!(names, Vec::from_iter(name), "{address}");
        if let Some(name) = name {
            let answered = records(&home, &[name]);
            assert!(answered.iter().any(|record| record.ends_with(&format!(" A {address}"))), "{answered:?}");
        }
    }
}

#[test]
fn a_zone_that_the_configuration_names_holds_the_names_of_its_addresses_and_hands_on_none() {
    let home = Home::new();
    let nobody = home.socket(66, 53);
    home.configure_dns(
        "home.example, 168.192.in-addr.arpa",
        &format!("reverse: true, forwardTo: \"{nobody}\", records: [{{name: nas.home.example, type: A, targets: [192.168.8.50]}}]"),
        "",
    );
    let _gateway = home.start("gateway");
    let found = records(&home, &["-x", "192.168.8.50"]);
    assert_eq!(found, ["50.8.168.192.in-addr.arpa. 30 IN PTR nas.home.example."]);
    for address in ["192.168.8.51", "192.168.9.51"] {
        assert_eq!(ask(&home, &["-x", address]), "NXDOMAIN aa 168.192.in-addr.arpa. SOA");
    }
}
