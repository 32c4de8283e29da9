//! What a file may say, what it need not, and what is said of what is wrong.

use std::net::IpAddr;

use crate::{config::parse, model::ServiceName};

/// A file that is right, with the given lines in place of or after its own.
fn refusals(more: &str) -> Vec<String> {
    parse(&format!("entryPoints:\n  lan: {{addresses: [192.168.8.21], http: 80, https: 443}}\n{more}"))
        .err()
        .map(|error| error.refusals)
        .unwrap_or_default()
}

#[test]
fn a_minimal_file_gets_every_default() {
    let config = parse("entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}").expect("a right file");
    assert!(config.entry_points[0].default);
    assert_eq!(config.entry_points[0].listen, config.entry_points[0].addresses);
    assert_eq!(config.dns.listen.len(), 2);
    assert_eq!((config.drain.delay, config.drain.timeout), (3, 20));
    assert_eq!(config.state_directory, None);
}

#[test]
fn entry_points_keep_the_order_of_the_file() {
    let config = parse(
        "entryPoints: {zoo: {addresses: [10.0.0.1], http: 80}, lan: {addresses: [10.0.0.2], http: 80, default: true}}",
    )
    .expect("a right file");
    assert_eq!(config.entry_points.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["zoo", "lan"]);
    assert!(!config.entry_points[0].default && config.entry_points[1].default);
}

#[test]
fn the_example_is_right() {
    let text = include_str!("../../../../doorward.example.yaml");
    let config = parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.zones.len(), 2);
    assert!(config.default_certificate.is_some());
}

#[test]
fn services_for_gateways_are_wanted_by_naming_the_routers_own() {
    let config = |more: &str| {
        let text = format!("entryPoints: {{lan: {{addresses: [192.168.8.21], http: 80}}}}\n{more}");
        parse(&text).unwrap_or_else(|error| panic!("{error}")).gateway_api.service
    };
    assert_eq!(config(""), None);
    let least = config("gatewayApi: {service: {router: network/router}}").expect("it is there");
    assert_eq!(least.router, ServiceName::new("network", "router"));
    assert_eq!((least.ports, least.external_traffic_policy.name()), (20_000..=29_999, "Local"));
    assert_eq!(least.listen, ["0.0.0.0".parse::<IpAddr>().expect("an address")]);
    let most = "{router: a/b, ports: 7-9, listen: [0.0.0.0, '::'], externalTrafficPolicy: Cluster}";
    let most = config(&format!("gatewayApi: {{service: {most}}}")).expect("it is there");
    assert_eq!((most.ports, most.listen.len(), most.external_traffic_policy.name()), (7..=9, 2, "Cluster"));
}

#[test]
fn every_refusal_names_its_path_and_what_was_expected() {
    for (more, expected) in [
        ("zones: [a..b]", "zones[0]: found \"a..b\", expected a domain such as home.example"),
        ("zones: [a.example, A.example.]", "zones[1]: a.example is already a zone; name each zone once"),
        ("zones: [{name: a.example, ttl: 90000}]", "zones[0].ttl: found 90000, expected seconds from 0 to 86400"),
        (
            "ingress: {classes: {external: tunel}}",
            "ingress.classes.external: found \"tunel\", expected an entry point: lan",
        ),
        (
            "defaultCertificate: home-tls",
            "defaultCertificate: found \"home-tls\", expected namespace/name of a TLS Secret",
        ),
        (
            "admin: {router: '192.168.8.21:80'}",
            "admin.router: 192.168.8.21:80 is taken by entryPoints.lan.http (192.168.8.21:80); choose another port or address",
        ),
        (
            "gatewayApi: {address: 0.0.0.0}",
            "gatewayApi.address: found 0.0.0.0, expected an address that clients can reach",
        ),
        (
            "gatewayApi: {service: {router: router}}",
            "gatewayApi.service.router: found \"router\", expected namespace/name of the Service that selects the router's pods",
        ),
        ("gatewayApi: {service: {}}", "gatewayApi.service: missing field `router` at line 3, column 23"),
        (
            "gatewayApi: {service: {router: a/b, port: 1-2}}",
            "gatewayApi.service.port: unknown field `port`, expected one of router, ports, listen, externalTrafficPolicy at line 3, column 37; did you mean `ports`?",
        ),
        (
            "gatewayApi: {service: {router: a/b, ports: 9-8}}",
            "gatewayApi.service.ports: found \"9-8\", expected ports such as 20000-29999",
        ),
        (
            "gatewayApi: {service: {router: a/b, ports: 400-500}}",
            "gatewayApi.service.ports: 443 is taken by entryPoints.lan.https; choose ports that nothing else has",
        ),
        (
            "gatewayApi: {service: {router: a/b, ports: 9154-9154}}",
            "gatewayApi.service.ports: 9154 is taken by admin.router; choose ports that nothing else has",
        ),
        (
            "gatewayApi: {service: {router: a/b, listen: []}}",
            "gatewayApi.service.listen: is empty, expected what the router binds, such as 0.0.0.0",
        ),
        (
            "gatewayApi: {service: {router: a/b, externalTrafficPolicy: local}}",
            "gatewayApi.service.externalTrafficPolicy: found \"local\", expected Local or Cluster",
        ),
        (
            "gatewayApi: {address: 10.0.0.1, service: {router: a/b}}",
            "gatewayApi.address: is for a router that binds it; with gatewayApi.service the load balancer gives addresses: remove one of the two",
        ),
        ("gatewayApi: {address: '::'}", "gatewayApi.address: found ::, expected an address that clients can reach"),
        (
            "dns: {addresses: ['::']}",
            "dns.addresses[0]: found ::, expected an address that clients can reach; what to bind belongs in `listen`",
        ),
        (
            "dns: {addresses: [192.168.8.22, 192.168.8.22]}",
            "dns.addresses[1]: 192.168.8.22 is there already; name each address once",
        ),
        (
            "  b: {addresses: [10.0.0.1, 10.0.0.1], http: 80}",
            "entryPoints.b.addresses[1]: 10.0.0.1 is there already; name each address once",
        ),
        (
            "  b: {addresses: [10.0.0.1], http: 80, listen: {addresses: ['::', 10.0.0.2, '::'], http: 81}}",
            "entryPoints.b.listen.addresses[2]: :: is there already; name each address once",
        ),
        (
            "dns: {listen: ['192.168.8.22:53', '0.0.0.0:53', '[::]:53']}",
            "dns.listen[1]: 0.0.0.0:53 is taken by dns.listen[0] (192.168.8.22:53); choose another port or address",
        ),
        (
            "dns: {listen: ['0.0.0.0:5353']}\nadmin: {gateway: '127.0.0.1:5353'}",
            "admin.gateway: 127.0.0.1:5353 is taken by dns.listen[0] (0.0.0.0:5353); choose another port or address",
        ),
        (
            "dns: {listen: ['0.0.0.0:5353']}\nadmin: {gateway: '[::]:5353'}",
            "admin.gateway: 0.0.0.0:5353 is taken by dns.listen[0] (0.0.0.0:5353); choose another port or address",
        ),
        (
            "  b: {addresses: [192.168.8.21], http: 80}",
            "entryPoints.b.http: 192.168.8.21:80 is taken by entryPoints.lan.http (192.168.8.21:80); choose another port or address",
        ),
        (
            "  b: {addresses: [192.168.8.21], https: 443, listen: {addresses: [0.0.0.0], https: 8443}}",
            "entryPoints.b.https: clients reach entryPoints.lan.https at 192.168.8.21:443 already; choose another port or address",
        ),
        (
            "  b: {addresses: [10.0.0.1], http: 80, https: 80, listen: {http: 8080}}",
            "entryPoints.b.https: clients reach entryPoints.b.http at 10.0.0.1:80 already; choose another port or address",
        ),
        ("stateDirectory: state", "stateDirectory: found \"state\", expected a path that begins with /"),
        ("dns: {listen: [53]}", "dns.listen[0]: found \"53\", expected an address with a port, such as 0.0.0.0:9153"),
    ] {
        assert_eq!(refusals(more), [expected], "{more}");
    }
}

#[test]
fn impossible_entry_points_are_refused() {
    for (entry, expected) in [
        ("{addresses: [10.0.0.1]}", "has neither `http` nor `https`"),
        ("{addresses: [], http: 80}", "entryPoints.x.addresses: is empty"),
        ("{addresses: [0.0.0.0], http: 80}", "expected an address that clients can reach"),
        ("{addresses: [10.0.0.1], https: 443, redirectToHttps: true}", "needs both `http` and `https`"),
        ("{addresses: [10.0.0.1], http: 80, listen: {https: 8443}}", "has no `https` port"),
        ("{addresses: [10.0.0.1], http: 80, listen: {http: 0}}", "expected a port from 1 to 65535"),
        ("{addresses: [10.0.0.1], http: 80, trust: {clientAddress: cf-connecting-ip}}", "believed from nobody"),
        ("{addresses: [10.0.0.1], http: 80, trust: {sources: [lan]}}", "expected an address or a network"),
        (
            "{addresses: [10.0.0.1], http: 80, trust: {sources: ['fd00::1/64']}}",
            "entryPoints.x.trust.sources[0]: found \"fd00::1/64\", expected the address fd00::1 or the network fd00::/64",
        ),
        (
            "{addresses: [10.0.0.1], http: 80, trust: {sources: [10.0.0.9], clientAddress: ''}}",
            "entryPoints.x.trust.clientAddress: found \"\", expected a header name",
        ),
        (
            "{addresses: [10.0.0.1], http: 80, listen: {addresses: []}}",
            "entryPoints.x.listen.addresses: is empty, expected at least one address to bind",
        ),
    ] {
        let error = parse(&format!("entryPoints: {{x: {entry}}}")).expect_err(entry).to_string();
        assert!(error.contains(expected), "{entry}\n{error}");
    }
}

#[test]
fn the_name_of_an_entry_point_needs_no_escaping_anywhere() {
    let named = |name: &str| {
        let text = format!("entryPoints: {{{name}: {{addresses: [10.0.0.1], http: 80}}}}");
        parse(&text).err().map(|error| error.refusals).unwrap_or_default()
    };
    for name in ["lan", "LAN-2", "guest_net", "a.b", "'5'"] {
        assert_eq!(named(name), Vec::<String>::new(), "{name}");
    }
    for (name, shown) in [
        ("'a b'", r#""a b""#),
        ("network/home", r#""network/home""#),
        (r#"'a"}'"#, r#""a\"}""#),
        (r#""a\nb""#, r#""a\nb""#),
        ("straße", r#""straße""#),
        ("''", r#""""#),
    ] {
        let expected = format!(
            "entryPoints: found the name {shown}, expected one of letters, digits, `-`, `_` and `.`, such as `lan`"
        );
        assert_eq!(named(name), [expected], "{name}");
    }
}

#[test]
fn programs_doors_and_families_that_share_a_port_are_no_clash() {
    for more in [
        "  b: {addresses: [192.168.8.23], http: 80, https: 443}",
        "  b: {addresses: [192.168.8.21], http: 81}",
        "dns: {listen: ['192.168.8.21:80']}",
        "dns: {listen: ['0.0.0.0:53', '[::]:53', '0.0.0.0:5353']}",
        "dns: {listen: ['0.0.0.0:0', '0.0.0.0:0']}\nadmin: {gateway: '0.0.0.0:0', router: '0.0.0.0:0'}",
    ] {
        assert_eq!(refusals(more), Vec::<String>::new(), "{more}");
    }
}

#[test]
fn what_does_not_fit_is_named_with_its_path_its_line_and_the_nearest_key() {
    let lan = "entryPoints:\n  lan: {addresses: [192.168.8.21], http: 80}\n";
    for (text, expected) in [
        (
            "entryPoints:\n  lan:\n    addresses: [192.168.8.21]\n    htpp: 80\n",
            &["entryPoints.lan.htpp: ", "line 4", "did you mean `http`?"][..],
        ),
        (&format!("{lan}zones:\n- name: a.example\n  tll: 30\n"), &["zones[0].tll: ", "line 5", "did you mean `ttl`?"]),
        (&format!("{lan}zones:\n- a.example\n- {{name: b.example, ttl: soon}}\n"), &["zones[1].ttl: ", "line 5"]),
        (&format!("{lan}zones:\n- {{ttl: 30}}\n"), &["zones[0]: ", "missing field `name`", "line 4"]),
        (&format!("{lan}zones: [[a.example]]\n"), &["zones[0]: ", "a domain such as home.example", "line 3"]),
        (&format!("{lan}zones: []\nzones: []\n"), &["duplicate mapping key `zones` is not allowed", "line 4"]),
        (&format!("{lan}zones: [5]\n"), &["zones[0]: ", "a domain such as home.example", "line 3"]),
    ] {
        let error = parse(text).expect_err(text).to_string();
        for part in expected {
            assert!(error.contains(part), "no {part:?} in {error}");
        }
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    assert_eq!(refusals("zones: [a..b]\ndefaultCertificate: x").len(), 2);
}
