//! What the Internet says of the same names.

use tests::dnsmasq::{Dnsmasq, Gateway, Internet, LAN, PATIENT, RETRYING};

use crate::{at, forward, home};

const TYPES: [&str; 8] = ["HTTPS", "SVCB", "A", "AAAA", "TXT", "MX", "DS", "CAA"];

#[test]
fn the_public_records_of_our_names_reach_nobody() {
    let home = home();
    let internet = Internet::start(&home, 9);
    let gateway = Gateway::start(&home, 22);
    let lines = [forward(&[&gateway]), vec![format!("server={}", at(internet.address()))]].concat();
    let dnsmasq = Dnsmasq::start(&home, 53, &lines);
    // For others it is asked, and the keys that a browser would use come through.
    assert_eq!(dnsmasq.ask("shop.example A"), format!("NOERROR {}", Internet::ADDRESS));
    assert!(dnsmasq.ask("shop.example HTTPS").text().contains("ech="), "{:?}", dnsmasq.ask("shop.example HTTPS"));
    assert_eq!(internet.asked(), ["shop.example. A", "shop.example. HTTPS"]);

    for (name, is_there) in [
        ("grafana.home.example", true),
        ("x.apps.home.example", true),
        ("home.example", true),
        ("missing.home.example", false),
        ("x.grafana.home.example", false),
    ] {
        for kind in TYPES {
            // The apex's DS is its parent's to give, and from 2.92 on dnsmasq knows that.
            if (name, kind) == ("home.example", "DS") {
                continue;
            }
            let expected = match (kind, is_there) {
                ("A", true) if name != "home.example" => format!("NOERROR {LAN}"),
                (_, true) => "NOERROR".to_owned(),
                (_, false) => "NXDOMAIN".to_owned(),
            };
            assert_eq!(dnsmasq.ask(&format!("{name} {kind}")), expected, "{name} {kind}");
        }
    }
    assert_eq!(internet.asked(), [""; 0]);
}

#[test]
fn nor_do_they_while_the_gateway_is_not_ready_or_away() {
    let home = home();
    let internet = Internet::start(&home, 9);
    let gateway = Gateway::start_without_cluster(&home, 22);
    let lines = [forward(&[&gateway]), vec![format!("server={}", at(internet.address()))]].concat();
    let dnsmasq = Dnsmasq::start(&home, 53, &lines);
    for kind in TYPES {
        assert_eq!(PATIENT.ask(dnsmasq.address(), &format!("grafana.home.example {kind}")), "REFUSED", "{kind}");
    }
    drop(gateway);
    for kind in ["A", "HTTPS"] {
        let client = tests::dnsmasq::Client { tries: 3, ..RETRYING };
        assert_eq!(client.ask(dnsmasq.address(), &format!("grafana.home.example {kind}")), "no answer", "{kind}");
    }
    assert_eq!(internet.asked(), [""; 0]);
}
