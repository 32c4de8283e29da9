//! Why a name does not resolve, in every way in which one may not: the reason says what there is to change.

use tests::{
    Home,
    home::{classes, ingress, ingress_of, service},
};

use crate::ask;

const OBJECTS: &str = "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: v1
kind: Service
metadata: {name: pending, namespace: media, annotations: {coredns.io/hostname: pending}}
spec: {type: LoadBalancer, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: inner, namespace: media, annotations: {coredns.io/hostname: inner}}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: plex, namespace: media}
spec: {type: LoadBalancer, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 192.168.8.30}]}}
---
apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: records, namespace: network}
spec:
  endpoints:
  - {dnsName: typo.home.example, recordType: a, targets: [192.168.8.30]}
  - {dnsName: number.home.example, recordType: A, targets: [192.168.8.300]}
  - {dnsName: field.home.example, recordType: A, target: [192.168.8.30]}
  - {dnsName: tunnel.home.example, recordType: CNAME, targets: [0815.cfargotunnel.com]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: doorward}
spec: {controllerName: doorward.dev/gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: envoy}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: network}
spec:
  gatewayClassName: doorward
  addresses: [{value: 127.0.8.24}]
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: '*.lab.example'}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: lab-tls}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: theirs, namespace: network}
spec: {gatewayClassName: envoy, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: nowhere, namespace: network}
spec: {gatewayClassName: doorward, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
";

fn route(kind: &str, namespace: &str, name: &str, parent: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{parentRefs: [{{namespace: network, {parent}}}], hostnames: [{name}.home.example], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}
---
"
    )
}

fn home() -> Home {
    let home = Home::new();
    home.configure_dns("home.example, lab.example", "allowedAddresses: [192.168.8.30]", "");
    home.apply("objects.yaml", OBJECTS);
    let unclassed = ingress("unclassed", "unclassed.home.example", "web").replace("  ingressClassName: internal\n", "");
    home.apply(
        "apps.yaml",
        &[
            classes(),
            service("web", &[]),
            unclassed,
            ingress_of("nginx", "foreign", "foreign.home.example", "web"),
            ingress_of("intrenal", "misspelt", "misspelt.home.example", "web"),
            ingress("space", "spa ce.home.example", "web"),
            ingress("elsewhere", "app.example.net", "web"),
            ingress("wild", "*.apps.home.example", "web"),
            ingress("deep", "a.b.apps.home.example", "web"),
            route("HTTPRoute", "network", "theirs", "name: theirs"),
            route("HTTPRoute", "network", "orphan", "name: egde"),
            route("HTTPRoute", "network", "mismatch", "name: edge, sectionName: http"),
            route("HTTPRoute", "media", "intruder", "name: edge, sectionName: https"),
            route("HTTPRoute", "network", "unsectioned", "name: edge, sectionName: web"),
            route("TLSRoute", "network", "passed", "name: edge, sectionName: https"),
            route("HTTPRoute", "network", "addressless", "name: nowhere"),
        ]
        .concat(),
    );
    home
}

#[test]
fn every_reason_is_told() {
    let home = home();
    let _gateway = home.start("gateway");
    let explained = |name: &str| home.command("gateway", &["explain", name]).0;
    for (name, status, reason) in [
        ("nothing.home.example", "NXDOMAIN", "because: no object asks for this name, and no wildcard covers it"),
        (
            "unclassed.home.example",
            "NXDOMAIN",
            "it names no IngressClass, and none of this controller's is the default: set spec.ingressClassName to external or internal",
        ),
        (
            "foreign.home.example",
            "NXDOMAIN",
            "its IngressClass nginx belongs to another controller, k8s.io/ingress-nginx",
        ),
        ("misspelt.home.example", "NXDOMAIN", "its IngressClass intrenal does not exist"),
        ("space.home.example", "NXDOMAIN", "no object asks for this name"),
        (
            "spa.home.example",
            "NXDOMAIN",
            "a mistake that may be why: Ingress default/space: host \"spa ce.home.example\" has the character ' '",
        ),
        (
            "app.example.net",
            "REFUSED",
            "withheld: Ingress default/elsewhere names app.example.net: lies in no zone of the configuration",
        ),
        ("www.example.net", "REFUSED", "because: no zone holds this name; the zones are home.example, lab.example"),
        ("grafana", "NXDOMAIN", "because: a single label lies in no zone: ask for grafana.home.example"),
        ("home.example", "NOERROR", "because: the name of a zone has an address only where an object asks for it"),
        ("b.apps.home.example", "NOERROR", "it exists because names below it do, such as a.b.apps.home.example"),
        (
            "x.b.apps.home.example",
            "NXDOMAIN",
            "shadowed: *.apps.home.example of Ingress default/wild does not answer here, as b.apps.home.example exists",
        ),
        ("pending.home.example", "NXDOMAIN", "it has no address yet: no load balancer has given it one"),
        (
            "inner.home.example",
            "NXDOMAIN",
            "it is of type ClusterIP, and only one of type LoadBalancer has an address for clients",
        ),
        (
            "plex.media.home.example",
            "NXDOMAIN",
            "only names in its annotation coredns.io/hostname are answered: write it there",
        ),
        ("typo.home.example", "NXDOMAIN", "recordType is \"a\", expected one of A, AAAA, CNAME, MX, PTR, SRV, TXT"),
        ("number.home.example", "NXDOMAIN", "A target is \"192.168.8.300\", expected an IPv4 address"),
        ("field.home.example", "NXDOMAIN", "targets is \"\", expected at least one target"),
        ("tunnel.home.example", "NXDOMAIN", "the tunnel's name is for the Internet; inside, the entry point answers"),
        (
            "theirs.home.example",
            "NXDOMAIN",
            "its Gateway network/theirs is of class envoy, which belongs to another controller",
        ),
        ("orphan.home.example", "NXDOMAIN", "its Gateway network/egde does not exist"),
        ("mismatch.home.example", "NXDOMAIN", "none of its hostnames meets *.lab.example of listener http"),
        ("intruder.home.example", "NXDOMAIN", "listener https does not take routes from namespace media"),
        ("unsectioned.home.example", "NXDOMAIN", "it has no listener web"),
        (
            "passed.home.example",
            "NXDOMAIN",
            "listener https has the protocol HTTPS, which carries HTTPRoutes and GRPCRoutes only",
        ),
        (
            "addressless.home.example",
            "NOERROR",
            "HTTPRoute network/addressless asks for this name, and has no address on entry point network/nowhere",
        ),
    ] {
        let said = explained(name);
        assert!(said.contains(reason), "{reason:?} is not in\n{said}");
        assert!(ask(&home, &[name]).starts_with(status), "{name}: {}", ask(&home, &[name]));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_of_a_name_that_nobody_asks_for() {
    let home = home();
    home.apply("broken.yaml", "kind: [");
    let _gateway = home.start("gateway");
    let (said, _) = home.command("gateway", &["explain", "new.home.example"]);
    assert!(said.contains("a mistake that may be why: File") && said.contains("broken.yaml: cannot be read"), "{said}");
}

#[test]
fn aliases_in_a_circle_and_what_is_never_answered_are_told() {
    let home = Home::new();
    home.configure_dns(
        "home.example, lab.home.example",
        "records: [
  {name: here.home.example, type: CNAME, targets: [there.home.example]},
  {name: there.home.example, type: CNAME, targets: [here.home.example]}]",
        "",
    );
    let _gateway = home.start("gateway");
    for (question, expected) in [
        (
            &["here.home.example"][..],
            "because: aliases lead in a circle, back to here.home.example: clients get no address
because: Configuration dns.records gives CNAME
because: there.home.example: Configuration dns.records gives CNAME
zones: ",
        ),
        (&["here.home.example"], "here.home.example address: NODATA"),
        (&["home.example", "AXFR"], "because: transfers of zones (AXFR, IXFR) are refused"),
        (&["home.example", "TYPE65280"], "home.example TYPE65280: NODATA"),
        (&["lab.home.example", "DS"], "zone: home.example\nbecause: lab.home.example is a zone"),
    ] {
        let (said, _) = home.command("gateway", &[&["explain"], question].concat());
        assert!(said.contains(expected), "{question:?}: {expected:?} is not in\n{said}");
    }
    // The server answers from the zone above, too.
    assert_eq!(ask(&home, &["lab.home.example", "DS"]), "NOERROR aa home.example. SOA");
}
