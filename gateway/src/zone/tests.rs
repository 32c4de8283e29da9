//! RFC 4592 and precedence, on zones built from small models.

use k8s::model::{NameClaim, RecordData};
use proptest::prelude::*;

use super::*;
use crate::fixture;

/// Zones that serve `names` (each `entry-point-address name`).
fn zones(domains: &str, served: &[(&str, &str)]) -> Zones {
    let config = fixture::config(&format!("zones: [{domains}]\ndns: {{addresses: [192.168.8.22]}}"));
    Zones::build(&fixture::claims(served), &config, None, 1)
}

fn wire(name: &str) -> WireName {
    WireName::from_text(name)
}

/// `a 192.168.8.21`, `nodata`, `nxdomain` or `out of zone`.
fn said(zones: &Zones, name: &str) -> String {
    match zones.lookup(wire(name).as_bytes()) {
        Lookup::Found { node, .. } if !node.rrsets.is_empty() => {
            let data: Vec<String> =
                node.rrsets.iter().flat_map(|rrset| rrset.data.iter().map(ToString::to_string)).collect();
            data.join(" ").replace("A ", "a ")
        }
        Lookup::Found { .. } => "nodata".to_owned(),
        Lookup::Missing { .. } => "nxdomain".to_owned(),
        Lookup::Denied { apex, exists: false } => format!("denied in {apex}"),
        Lookup::Denied { apex, exists: true } => format!("nothing of its own in {apex}"),
        Lookup::OutOfZone => "out of zone".to_owned(),
    }
}

fn check(served: &[&str], expected: &[(&str, &str)]) {
    check_in("home.example", served, expected);
}

fn check_in(domains: &str, served: &[&str], expected: &[(&str, &str)]) {
    let served: Vec<(&str, &str)> = served.iter().map(|name| ("192.168.8.21", *name)).collect();
    let zones = zones(domains, &served);
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
            ("a.example", "out of zone"),
            ("ahome.example", "out of zone"),
            ("", "out of zone"),
        ],
    );
}

#[test]
fn single_labels_and_reverse_names_of_private_addresses_are_denied_unless_a_zone_holds_them() {
    check_in(
        "home, 8.168.192.in-addr.arpa",
        &["a.home"],
        &[
            ("nas", "denied in "),
            ("home", "nodata"),
            ("a.home", "a 192.168.8.21"),
            ("1.2.3.10.in-addr.arpa", "denied in 10.in-addr.arpa"),
            ("10.in-addr.arpa", "nothing of its own in 10.in-addr.arpa"),
            // A zone of ours lies below it.
            ("168.192.in-addr.arpa", "nothing of its own in 168.192.in-addr.arpa"),
            ("4.3.16.172.in-addr.arpa", "denied in 16.172.in-addr.arpa"),
            ("4.3.31.172.IN-ADDR.ARPA", "denied in 31.172.in-addr.arpa"),
            ("4.3.32.172.in-addr.arpa", "out of zone"),
            ("4.3.x.172.in-addr.arpa", "out of zone"),
            ("1.7.168.192.in-addr.arpa", "denied in 168.192.in-addr.arpa"),
            ("1.8.168.192.in-addr.arpa", "nxdomain"),
            ("1.8.169.192.in-addr.arpa", "out of zone"),
            ("1.0.d.f.ip6.arpa", "denied in d.f.ip6.arpa"),
            ("1.0.c.f.ip6.arpa", "out of zone"),
            ("arpa", "nothing of its own in "),
            ("in-addr.arpa", "out of zone"),
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
fn an_object_that_wants_the_name_servers_name_has_it() {
    check(&["ns.home.example"], &[("ns.home.example", "a 192.168.8.21")]);
    check(&["*.home.example", "a.ns.home.example"], &[("ns.home.example", "a 192.168.8.22")]);
}

#[test]
fn the_longest_zone_that_holds_a_name_answers_for_it() {
    check_in(
        "home.example, lab.home.example",
        &["a.lab.home.example", "*.home.example"],
        &[("b.lab.home.example", "nxdomain"), ("b.home.example", "a 192.168.8.21")],
    );
}

#[test]
fn names_between_a_zone_and_one_inside_it_exist_without_records() {
    check_in(
        "home.example, a.b.home.example, z.a.b.home.example",
        &["app.a.b.home.example", "*.home.example"],
        &[
            ("b.home.example", "nodata"),
            ("c.b.home.example", "nxdomain"),
            ("c.home.example", "a 192.168.8.21"),
            ("a.b.home.example", "nodata"),
            ("app.a.b.home.example", "a 192.168.8.21"),
            ("z.a.b.home.example", "nodata"),
        ],
    );
}

/// The pointers of `dns.reverse`: of each address, its names or that it has none, and the zone that says so.
fn check_pointers(more_zones: &str, claims: &[NameClaim], expected: &[(&str, &str)]) {
    let config = fixture::config(&format!("zones: [home.example{more_zones}]\ndns: {{reverse: true}}"));
    let zones = Zones::build(claims, &config, None, 1);
    for (address, name) in expected {
        let owner = name_of_address(address.parse().expect("an address"));
        let found = match zones.lookup(owner.as_bytes()) {
            Lookup::Found { zone, node, .. } => {
                let names = node.rrsets.iter().flat_map(|rrset| rrset.data.iter().map(ToString::to_string));
                format!("{} in {}", names.collect::<Vec<_>>().join(" "), zone.apex)
            }
            Lookup::Missing { zone } => format!("none in {}", zone.apex),
            Lookup::Denied { .. } | Lookup::OutOfZone => "none".to_owned(),
        };
        assert_eq!(found, *name, "{address}");
    }
}

#[test]
fn an_address_is_called_by_the_first_name_that_is_answered_with_it() {
    let a = |name: &str, last: u8| fixture::records(name, [RecordData::A([192, 168, 8, last].into())]);
    let mut claims = fixture::claims(&[
        ("default/edge=192.168.8.61", "one.home.example"),
        // Its Gateway has the name of another one, and that name the other one's address.
        ("media/edge=192.168.8.62", "*.two.home.example"),
        ("media/edge=192.168.8.62", "two.home.example"),
        ("media/edge=192.168.8.62", "three.home.example"),
        ("media/wild=192.168.8.66", "one.home.example"),
        ("media/taken=192.168.8.69", "four.home.example"),
    ]);
    claims.extend([
        a("nas.home.example", 63),
        // Outranked by what comes before them.
        NameClaim { object: ObjectName::new("DNSEndpoint", "x", "y"), ..a("nas.home.example", 64) },
        NameClaim { object: ObjectName::new("DNSEndpoint", "x", "y"), ..a("nas.home.example", 65) },
        a("other.home.example", 65),
        a("*.wild.home.example", 67),
        a("outside.example", 68),
        // A door's name that an object has.
        a("taken.home.example", 70),
    ]);
    check_pointers(
        "",
        &claims,
        &[
            ("192.168.8.21", "PTR lan.home.example. in 8.168.192.in-addr.arpa"),
            ("192.168.8.61", "PTR edge.home.example. in 8.168.192.in-addr.arpa"),
            ("192.168.8.62", "PTR two.home.example. in 8.168.192.in-addr.arpa"),
            ("192.168.8.63", "PTR nas.home.example. in 8.168.192.in-addr.arpa"),
            ("192.168.8.64", "none in 8.168.192.in-addr.arpa"),
            ("192.168.8.65", "PTR other.home.example. in 8.168.192.in-addr.arpa"),
            ("192.168.8.66", "PTR wild.home.example. in 8.168.192.in-addr.arpa"),
            ("192.168.8.67", "none in 8.168.192.in-addr.arpa"),
            ("192.168.8.68", "none in 8.168.192.in-addr.arpa"),
            ("192.168.8.69", "PTR four.home.example. in 8.168.192.in-addr.arpa"),
            ("192.168.8.70", "PTR taken.home.example. in 8.168.192.in-addr.arpa"),
        ],
    );
}

#[test]
fn in_a_zone_of_the_configuration_addresses_have_their_names_in_that_zone() {
    let a = |name: &str, third: u8, last: u8| fixture::records(name, [RecordData::A([192, 168, third, last].into())]);
    let ptr = |name: &str, target: &str| fixture::records(name, [RecordData::Ptr(target.parse().expect("a name"))]);
    let claims = [
        a("a.home.example", 8, 50),
        a("b.home.example", 8, 51),
        a("c.home.example", 9, 50),
        a("c.home.example", 9, 51),
        ptr("51.8.168.192.in-addr.arpa", "mine.home.example"),
    ];
    check_pointers(
        ", 168.192.in-addr.arpa, 50.9.168.192.in-addr.arpa",
        &claims,
        &[
            ("192.168.8.21", "PTR lan.home.example. in 168.192.in-addr.arpa"),
            ("192.168.8.50", "PTR a.home.example. in 168.192.in-addr.arpa"),
            // Whoever writes one knows why.
            ("192.168.8.51", "PTR mine.home.example. in 168.192.in-addr.arpa"),
            ("192.168.8.52", "none in 168.192.in-addr.arpa"),
            ("192.168.9.50", "PTR c.home.example. in 50.9.168.192.in-addr.arpa"),
            ("192.168.9.51", "PTR c.home.example. in 168.192.in-addr.arpa"),
        ],
    );
    check_pointers(
        ", 50.9.168.192.in-addr.arpa",
        &claims,
        &[
            ("192.168.9.50", "PTR c.home.example. in 50.9.168.192.in-addr.arpa"),
            ("192.168.9.51", "PTR c.home.example. in 9.168.192.in-addr.arpa"),
        ],
    );
}

/// RFC 4592 read word for word: slow, and obviously right.
fn naive(apexes: &[&str], served: &[String], name: &str) -> &'static str {
    let is_below = |name: &str, above: &str| name.ends_with(&format!(".{above}"));
    let apex_of = |name: &str| {
        let holding = apexes.iter().filter(|apex| name == **apex || is_below(name, apex));
        *holding.max_by_key(|apex| apex.len()).expect("one zone holds all names")
    };
    let apex = apex_of(name);
    let mut with_address: Vec<String> = served.iter().filter(|it| apex_of(it) == apex).cloned().collect();
    let name_server = format!("ns.{apex}");
    let is_name_server = name == name_server && !with_address.contains(&name_server);
    with_address.push(name_server);
    let has_address = |name: &str| with_address.iter().any(|it| it == name);
    let is_above_any = |name: &str| with_address.iter().any(|it| is_below(it, name));
    let is_above_a_zone = |name: &str| apexes.iter().any(|it| is_below(it, name));
    let exists = |name: &str| name == apex || has_address(name) || is_above_any(name) || is_above_a_zone(name);

    if is_name_server {
        return "a 192.168.8.22";
    }
    if has_address(name) {
        return "a 192.168.8.21";
    }
    if exists(name) {
        return "nodata";
    }
    let mut encloser = name;
    while !exists(encloser) {
        encloser = encloser.split_once('.').expect("the apex exists").1;
    }
    if has_address(&format!("*.{encloser}")) { "a 192.168.8.21" } else { "nxdomain" }
}

proptest! {
    #[test]
    fn lookup_agrees_with_a_naive_reading_of_rfc_4592(
        served in prop::collection::vec("(\\*\\.)?((a|b|ns)\\.){0,4}z", 0..6),
        asked in "((a|b|c|ns)\\.){0,5}z",
        nested in any::<bool>(),
    ) {
        let apexes: &[&str] = if nested { &["z", "a.b.z"] } else { &["z"] };
        let pairs: Vec<(&str, &str)> = served.iter().map(|name| ("192.168.8.21", name.as_str())).collect();
        let zones = zones(&apexes.join(", "), &pairs);
        prop_assert_eq!(said(&zones, &asked), naive(apexes, &served, &asked), "{:?} asked for {}", served, asked);
    }
}
