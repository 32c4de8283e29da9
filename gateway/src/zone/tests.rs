//! RFC 4592 and precedence, on zones built from small models.

use k8s::{
    config,
    model::{Attachment, EntryPoint, HostPattern, Labels, Listener, ListenerProtocol, Model, Route, Trust},
};
use proptest::prelude::*;

use super::*;

/// Zones that serve `names` (each `entry-point-address name`).
fn zones(domains: &str, served: &[(&str, &str)]) -> Zones {
    let config = config::parse(&format!(
        "zones: [{domains}]\nentryPoints: {{lan: {{addresses: [192.168.8.21], http: 80}}}}\ndns: {{addresses: [192.168.8.22]}}"
    ))
    .expect("a right configuration");
    let entry_points = served
        .iter()
        .map(|(address, name)| EntryPoint {
            name: (*address).into(),
            addresses: vec![address.parse().expect("an address")],
            trust: Trust::default(),
            listeners: vec![Listener {
                name: "http".into(),
                port: 80,
                sockets: Vec::new(),
                protocol: ListenerProtocol::Http { redirect_to_https: None },
                hostname: None,
                certificates: Vec::new(),
                default_certificate: None,
                routes: vec![Attachment {
                    hostnames: vec![HostPattern::parse(name, Labels::OneOrMore).expect("a pattern")],
                    route: Arc::new(Route {
                        source: ObjectName::new("Ingress", "default", name),
                        created: 0,
                        rules: Vec::new(),
                        falls_through: false,
                    }),
                }],
            }],
        })
        .collect();
    Zones::build(&Model { entry_points, ..Model::default() }, &config, 1)
}

fn wire(name: &str) -> WireName {
    WireName::from_labels(name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes))
}

/// `a 192.168.8.21`, `nodata`, `nxdomain` or `out of zone`.
fn said(zones: &Zones, name: &str) -> String {
    match zones.lookup(wire(name).as_bytes()) {
        Lookup::Found { node, .. } if node.has_addresses() => {
            let addresses: Vec<String> =
                node.v4.iter().map(ToString::to_string).chain(node.v6.iter().map(ToString::to_string)).collect();
            format!("a {}", addresses.join(" "))
        }
        Lookup::Found { .. } => "nodata".to_owned(),
        Lookup::Missing { .. } => "nxdomain".to_owned(),
        Lookup::OutOfZone => "out of zone".to_owned(),
    }
}

fn check(served: &[&str], expected: &[(&str, &str)]) {
    let served: Vec<(&str, &str)> = served.iter().map(|name| ("192.168.8.21", *name)).collect();
    let zones = zones("home.example", &served);
    for (name, answer) in expected {
        assert_eq!(said(&zones, name), *answer, "{name}");
    }
}

#[test]
fn a_served_name_has_the_routers_address_and_others_do_not_exist() {
    check(
        &["grafana.home.example"],
        &[
            ("grafana.home.example", "a 192.168.8.21"),
            ("GRAFANA.home.EXAMPLE", "a 192.168.8.21"),
            ("nothing.home.example", "nxdomain"),
            ("below.grafana.home.example", "nxdomain"),
            ("home.example", "nodata"),
            ("ns.home.example", "a 192.168.8.22"),
            ("example", "out of zone"),
            ("ahome.example", "out of zone"),
            ("", "out of zone"),
        ],
    );
}

#[test]
fn names_between_a_served_name_and_the_apex_exist_without_records() {
    check(
        &["a.b.c.home.example"],
        &[("b.c.home.example", "nodata"), ("c.home.example", "nodata"), ("x.c.home.example", "nxdomain")],
    );
}

#[test]
fn a_wildcard_answers_at_any_depth_below_its_closest_encloser() {
    check(
        &["*.home.example"],
        &[
            ("a.home.example", "a 192.168.8.21"),
            ("a.b.home.example", "a 192.168.8.21"),
            ("*.home.example", "a 192.168.8.21"),
            ("home.example", "nodata"),
        ],
    );
}

#[test]
fn a_wildcard_never_covers_what_exists_nor_what_lies_below_it() {
    check(
        &["*.home.example", "app.media.home.example", "grafana.home.example"],
        &[
            ("media.home.example", "nodata"),
            ("other.media.home.example", "nxdomain"),
            ("below.grafana.home.example", "nxdomain"),
            ("free.home.example", "a 192.168.8.21"),
        ],
    );
}

#[test]
fn the_first_entry_point_that_serves_a_name_gives_its_address() {
    let zones = zones("home.example", &[("192.168.8.21", "a.home.example"), ("192.168.8.23", "a.home.example")]);
    assert_eq!(said(&zones, "a.home.example"), "a 192.168.8.21");
    let Lookup::Found { node, .. } = zones.lookup(wire("a.home.example").as_bytes()) else { panic!("found") };
    assert_eq!(node.claims.len(), 2);
}

#[test]
fn the_longest_zone_that_holds_a_name_answers_for_it() {
    let zones = zones(
        "home.example, lab.home.example",
        &[("192.168.8.21", "a.lab.home.example"), ("192.168.8.21", "*.home.example")],
    );
    assert_eq!(said(&zones, "b.lab.home.example"), "nxdomain");
    assert_eq!(said(&zones, "b.home.example"), "a 192.168.8.21");
}

/// RFC 4592 read word for word: slow, and obviously right.
fn naive(served: &[String], name: &str) -> &'static str {
    let apex = "z";
    let exists = |name: &str| {
        name == apex || name == "ns.z" || served.iter().any(|it| it == name || it.ends_with(&format!(".{name}")))
    };
    if name == "ns.z" || served.iter().any(|it| it == name) {
        return "a";
    }
    if exists(name) {
        return "nodata";
    }
    let mut encloser = name;
    while !exists(encloser) {
        encloser = encloser.split_once('.').expect("the apex exists").1;
    }
    if served.iter().any(|it| *it == format!("*.{encloser}")) { "a" } else { "nxdomain" }
}

proptest! {
    #[test]
    fn lookup_agrees_with_a_naive_reading_of_rfc_4592(
        served in prop::collection::vec("(\\*\\.)?([ab]\\.){0,3}z", 0..6),
        asked in "([abc]\\.){0,4}z",
    ) {
        let pairs: Vec<(&str, &str)> = served.iter().map(|name| ("192.168.8.21", name.as_str())).collect();
        let zones = zones("z", &pairs);
        let said = said(&zones, &asked);
        let kind = said.split(' ').next().unwrap_or_default();
        prop_assert_eq!(kind, naive(&served, &asked), "{:?} asked for {}", served, asked);
    }
}
