//! What a Gateway's addresses, sockets and verdicts are, without and with Services.

use super::*;
use crate::config::ExternalTrafficPolicy;

fn bind(address: Option<&str>) -> GatewayApiConfig {
    let address = address.map(|ip| ip.parse().expect("an address"));
    GatewayApiConfig { controller: "doorward.dev/gateway".into(), address, service: None }
}

fn with_services() -> GatewayApiConfig {
    let service = GatewayServiceConfig {
        router: ServiceName::new("network", "router"),
        ports: 20_000..=20_009,
        listen: vec!["0.0.0.0".parse().expect("an address")],
        external_traffic_policy: ExternalTrafficPolicy::Local,
    };
    GatewayApiConfig { service: Some(service), ..bind(None) }
}

fn gateway(spec: &str) -> Gateway {
    let metadata = "metadata: {name: web, namespace: shop, uid: u-1}";
    serde_saphyr::from_str(&format!("{{{metadata}, spec: {{gatewayClassName: doorward{spec}}}}}")).expect("a Gateway")
}

/// The Service of that Gateway, with what is told of it in place of its labels, its ports and what it was given.
fn service(uid: &str, ports: &str, given: &str) -> Arc<Service> {
    let owner =
        format!("{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, name: web, uid: {uid}, controller: true}}");
    let labels = "{app.kubernetes.io/managed-by: doorward}";
    let metadata = format!("{{name: web-doorward, namespace: shop, labels: {labels}, ownerReferences: [{owner}]}}");
    let text = format!(
        "{{metadata: {metadata}, spec: {{ports: [{ports}]}}, status: {{loadBalancer: {{ingress: [{given}]}}}}}}"
    );
    Arc::new(serde_saphyr::from_str(&text).expect("a Service"))
}

#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    addresses: Vec<String>,
    accepted: &'static str,
    programmed: &'static str,
}

fn verdict(config: &GatewayApiConfig, services: &[Arc<Service>], spec: &str) -> Verdict {
    let Infrastructure { addresses, accepted, programmed, .. } = of(config, services, &BTreeSet::new(), &gateway(spec));
    let text = |address: &Address| match address {
        Address::Ip(ip) => ip.to_string(),
        Address::Hostname(name) => name.clone(),
    };
    Verdict {
        addresses: addresses.iter().map(text).collect(),
        accepted: accepted.reason,
        programmed: programmed.reason,
    }
}

fn check(
    config: &GatewayApiConfig,
    services: &[Arc<Service>],
    spec: &str,
    addresses: &[&str],
    reasons: [&'static str; 2],
) {
    let [accepted, programmed] = reasons;
    let addresses = addresses.iter().map(|&text| text.to_owned()).collect();
    assert_eq!(verdict(config, services, spec), Verdict { addresses, accepted, programmed }, "{spec}");
}

const WELL: [&str; 2] = ["Accepted", "Programmed"];

#[test]
fn without_services_the_addresses_of_the_spec_are_bound() {
    let config = bind(Some("10.0.0.9"));
    for (spec, addresses, reasons) in [
        ("", &["10.0.0.9"][..], WELL),
        (", addresses: [{type: IPAddress}]", &["10.0.0.9"], WELL),
        (", addresses: [{value: 10.0.0.1}, {value: 10.0.0.1}, {}]", &["10.0.0.1", "10.0.0.9"], WELL),
        (", addresses: [{value: 0.0.0.0}]", &[], ["Accepted", "AddressNotUsable"]),
        (", addresses: [{value: ten}, {value: 10.0.0.1}]", &["10.0.0.1"], ["Accepted", "AddressNotUsable"]),
        (
            ", addresses: [{type: Hostname, value: a.example}, {value: 10.0.0.1}]",
            &["10.0.0.1"],
            ["UnsupportedAddress", "Programmed"],
        ),
    ] {
        check(&config, &[], spec, addresses, reasons);
    }
    check(&bind(None), &[], "", &[], ["Accepted", "AddressNotAssigned"]);
    let sockets = of(&config, &[], &BTreeSet::new(), &gateway("")).sockets(443, Transport::Tcp);
    assert_eq!(sockets, Some(vec!["10.0.0.9:443".parse().expect("a socket")]));
}

#[test]
fn with_services_the_addresses_are_those_the_service_was_given() {
    let config = with_services();
    let given = |text: &str| [service("u-1", "", text)];
    for (services, spec, addresses, reasons) in [
        (&given("")[..], "", &[][..], ["Accepted", "AddressNotAssigned"]),
        (&given("{ip: 10.0.0.7}"), "", &["10.0.0.7"], WELL),
        (&given("{ip: 10.0.0.7}"), ", addresses: [{type: IPAddress}]", &["10.0.0.7"], WELL),
        (&given("{hostname: lb.example}"), "", &["lb.example"], WELL),
        (&given("{ip: 10.0.0.7}"), ", addresses: [{value: 10.0.0.7}]", &["10.0.0.7"], WELL),
        (&given("{ip: 10.0.0.8}"), ", addresses: [{value: 10.0.0.7}]", &["10.0.0.8"], ["Accepted", "AddressNotUsable"]),
        (&given(""), ", addresses: [{value: 10.0.0.7}]", &[], ["Accepted", "AddressNotUsable"]),
        (&given(""), ", addresses: [{type: test/none, value: x}]", &[], ["UnsupportedAddress", "AddressNotAssigned"]),
    ] {
        check(&config, services, spec, addresses, reasons);
    }
}

#[test]
fn a_service_is_a_gateways_own_by_its_owner_and_label_and_not_by_its_name() {
    let config = with_services();
    let address = "{ip: 10.0.0.7}";
    let pending = ["Accepted", "AddressNotAssigned"];
    check(&config, &[], "", &[], pending);
    check(&config, &[service("u-2", "", address)], "", &[], pending);
    let foreign = |change: &dyn Fn(&mut Service)| {
        let mut foreign = (*service("u-1", "", address)).clone();
        change(&mut foreign);
        Arc::new(foreign)
    };
    check(&config, &[foreign(&|it| it.metadata.labels = None)], "", &[], pending);
    check(&config, &[foreign(&|it| it.metadata.namespace = Some("other".to_owned()))], "", &[], pending);
    check(&config, &[foreign(&|it| it.metadata.name = Some("old-name".to_owned()))], "", &["10.0.0.7"], WELL);
    assert_eq!(of(&config, &[], &BTreeSet::new(), &gateway("")).problems, [], "it comes in a moment");
    let infrastructure = of(&config, &[service("u-2", "", address)], &BTreeSet::new(), &gateway(""));
    assert_eq!(infrastructure.problems.len(), 1);
    assert!(infrastructure.programmed.message.contains("not its own"), "{}", infrastructure.programmed.message);
}

#[test]
fn the_sockets_are_the_container_ports_that_the_service_records() {
    let config = with_services();
    let ports = "{port: 80, targetPort: 20003}, {port: 53, protocol: UDP, targetPort: 20004}, {port: 81, targetPort: 8080}, {port: 82, targetPort: web}";
    let infrastructure = of(&config, &[service("u-1", ports, "")], &BTreeSet::new(), &gateway(""));
    let expected = |port| Some(vec![SocketAddr::from(([0, 0, 0, 0], port))]);
    assert_eq!(infrastructure.sockets(80, Transport::Tcp), expected(20_003));
    assert_eq!(infrastructure.sockets(53, Transport::Udp), expected(20_004));
    for (port, transport) in [(53, Transport::Tcp), (80, Transport::Udp), (81, Transport::Tcp), (82, Transport::Tcp)] {
        assert_eq!(infrastructure.sockets(port, transport), None, "{port}");
    }
}

#[test]
fn a_container_port_that_the_services_of_two_gateways_record_is_nobodys() {
    let config = with_services();
    let mut other = gateway("");
    (other.metadata.name, other.metadata.uid) = (Some("other".to_owned()), Some("u-2".to_owned()));
    let gateways = [gateway(""), other].map(Arc::new);
    let services = [
        service("u-1", "{port: 80, targetPort: 20003}, {port: 443, targetPort: 20004}", ""),
        service("u-2", "{port: 80, targetPort: 20003}, {port: 53, protocol: UDP, targetPort: 20005}", ""),
        // Its Gateway is not there.
        service("u-3", "{port: 80, targetPort: 20004}", ""),
    ];
    let contested = contested(&config, &services, gateways.iter());
    assert_eq!(contested, [20_003].into());
    let infrastructure = of(&config, &services, &contested, &gateways[0]);
    assert_eq!(infrastructure.sockets(80, Transport::Tcp), None);
    assert!(infrastructure.sockets(443, Transport::Tcp).is_some());
}

#[test]
fn parameters_are_refused_as_there_are_none() {
    let spec = ", infrastructure: {parametersRef: {group: example.com, kind: Options, name: mine}}";
    check(&bind(Some("10.0.0.9")), &[], spec, &["10.0.0.9"], ["InvalidParameters", "Programmed"]);
}

#[test]
fn any_name_of_a_gateway_gives_a_readable_name_that_fits() {
    let name = |gateway_name: &str| {
        let mut gateway = gateway("");
        gateway.metadata.name = Some(gateway_name.to_owned());
        service_name(&gateway)
    };
    assert_eq!(name("web"), "web-doorward");
    let long = "a".repeat(253);
    let odd = ["web.internal", "web-internal", "9lives", "1.2.3", &long, &long[1..], &format!("{}.b", &long[..54])];
    let names: Vec<String> = odd.iter().map(|odd| name(odd)).collect();
    for (odd, found) in odd.iter().zip(&names) {
        assert!(is_dns_label(found), "{odd}: {found}");
        assert_eq!(names.iter().filter(|other| *other == found).count(), 1, "{odd}: {found}");
    }
    assert!(names[0].starts_with("web-internal-doorward-") && names[2].starts_with("gateway-9lives-"), "{names:?}");
    assert_eq!(label_value("web.internal"), "web.internal");
    assert!(label_value(&long).len() <= LONGEST && label_value(&long) != label_value(&long[1..]));
}
