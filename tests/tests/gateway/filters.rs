//! What keeps names out of DNS: labels, and the filter of the configuration.

use tests::{
    Home,
    home::{classes, ingress, ingress_of, service},
};

use crate::{ask, records};

fn labelled(name: &str, labels: &str) -> String {
    let host = format!("{name}.home.example");
    ingress(name, &host, "web").replace("namespace: default}", &format!("namespace: default, labels: {{{labels}}}}}"))
}

fn check(home: &Home, expected: &[(&str, bool, &str)]) {
    for (name, is_answered, reason) in expected {
        let host = format!("{name}.home.example");
        assert_eq!(!records(home, &[&host]).is_empty(), *is_answered, "{name}");
        let explained = home.admin("gateway", &format!("/explain?name={host}&format=text"));
        assert!(explained.contains(reason), "{reason:?} is not in\n{explained}");
    }
}

#[test]
fn a_label_keeps_the_names_of_an_object_out_and_a_gateways_those_of_all_its_routes() {
    let home = Home::new();
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: photos, namespace: default}
spec: {parentRefs: [{name: home}], hostnames: [photos.home.example], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
";
    let gateway = home.gateway().replace("name: home,", "name: home, labels: {doorward.dev/ignore: 'true'},");
    home.apply(
        "apps.yaml",
        &[
            classes(),
            service("web", &[]),
            labelled("seen", "k8s-gateway.dns/ignore: 'false'"),
            labelled("ignored", "k8s-gateway.dns/ignore: 'true'"),
            gateway,
            route.to_owned(),
        ]
        .concat(),
    );
    let _gateway = home.start("gateway");
    check(
        &home,
        &[
            ("seen", true, "gives the answer"),
            ("ignored", false, "it has the label k8s-gateway.dns/ignore: \"true\""),
            ("photos", false, "its Gateway default/home has the label doorward.dev/ignore: \"true\""),
        ],
    );
    assert!(ask(&home, &["ignored.home.example"]).starts_with("NXDOMAIN aa"));
    assert_eq!(home.admin("gateway", "/problems"), "", "it is meant so");
}

#[test]
fn the_filter_of_the_configuration_chooses_classes_and_labels() {
    let home = Home::new();
    home.configure_dns(
        "home.example",
        "filter: {ingressClasses: [internal], gatewayClasses: [other], labels: ['app=web,tier!=test', visible]}",
        "",
    );
    let outside = ingress_of("external", "outside", "outside.home.example", "web");
    let outside = outside.replace("namespace: default}", "namespace: default, labels: {visible: ''}}");
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: photos, namespace: default, labels: {visible: ''}}
spec: {parentRefs: [{name: home}], hostnames: [photos.home.example], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
"
    .to_owned();
    home.apply(
        "apps.yaml",
        &[
            classes(),
            service("web", &[]),
            labelled("web", "app: web"),
            labelled("shown", "visible: ''"),
            labelled("test", "app: web, tier: test"),
            labelled("bare", ""),
            outside,
            home.gateway(),
            route,
        ]
        .concat(),
    );
    let _gateway = home.start("gateway");
    let by_labels = "dns.filter.labels of the configuration does not select its labels";
    check(
        &home,
        &[
            ("web", true, "gives the answer"),
            ("shown", true, "gives the answer"),
            ("test", false, by_labels),
            ("bare", false, by_labels),
            ("outside", false, "its IngressClass external is not in dns.filter.ingressClasses of the configuration"),
            (
                "photos",
                false,
                "its Gateway default/home is of class doorward, which is not in dns.filter.gatewayClasses",
            ),
        ],
    );
}
