//! Validation of DNSSEC, while the public zone of the same name is signed.

use tests::dnsmasq::{Client, Dnsmasq, Gateway, LAN, PATIENT, SignedInternet, knows_negative_trust_anchors, version};

use crate::{forward, home};

const VALIDATING: Client = Client { dnssec: true, ..PATIENT };

#[test]
fn names_of_the_zone_resolve_behind_a_dnsmasq_that_validates() {
    let home = home();
    let internet = SignedInternet::start(&home, 9);
    let gateway = Gateway::start(&home, 22);
    let lines = [vec![internet.line()], internet.validation().to_vec(), forward(&[&gateway])].concat();
    let dnsmasq = Dnsmasq::start(&home, 53, &lines);
    public_names_validate(&dnsmasq);
    for client in [PATIENT, VALIDATING] {
        for (question, expected) in names(&gateway) {
            let answer = client.ask(dnsmasq.address(), question);
            // 2.93 can do nothing with our unsigned denial of DS, and fails with all names (pi-hole/FTL#3103):
            // with it, as for the apex from 2.91 on, it takes what the next test shows.
            if version() != (2, 93) || answer != "SERVFAIL" {
                assert_eq!(answer, expected, "{question}\n{}", dnsmasq.last_words());
            }
        }
    }
    if version() < (2, 91) {
        for (question, expected) in apex() {
            assert_eq!(dnsmasq.ask(question), expected, "{question}\n{}", dnsmasq.last_words());
        }
    }
}

#[test]
fn with_a_negative_trust_anchor_the_whole_zone_resolves_and_nobody_asks_us_for_ds() {
    let home = home();
    let internet = SignedInternet::start(&home, 9);
    let gateway = Gateway::start(&home, 22);
    let mut lines = [vec![internet.line()], internet.validation().to_vec(), forward(&[&gateway])].concat();
    // A version without them does not validate what it hears from the server of a domain.
    if knows_negative_trust_anchors() {
        lines.push("trust-anchor=home.example".to_owned());
    }
    let dnsmasq = Dnsmasq::start(&home, 53, &lines);
    for (question, expected) in names(&gateway).into_iter().chain(apex()) {
        let answer = VALIDATING.ask(dnsmasq.address(), question);
        assert_eq!(answer, expected, "{question}\n{}", dnsmasq.last_words());
        assert!(!answer.authentic, "{question}: nobody has signed this");
    }
    let sent = dnsmasq.sent_to(gateway.address());
    let of_its_own: Vec<&String> = sent.iter().filter(|query| query.contains(' ')).collect();
    assert!(!sent.is_empty() && of_its_own.is_empty(), "{of_its_own:?} among {sent:?}");
    public_names_validate(&dnsmasq);
}

fn names(gateway: &Gateway) -> Vec<(&'static str, String)> {
    vec![
        ("grafana.home.example A", format!("NOERROR {LAN}")),
        ("grafana.home.example AAAA", "NOERROR".to_owned()),
        ("grafana.home.example HTTPS", "NOERROR".to_owned()),
        ("photos.home.example AAAA", "NOERROR".to_owned()),
        ("photos.home.example A", format!("NOERROR {LAN}")),
        ("x.apps.home.example A", format!("NOERROR {LAN}")),
        ("x.y.apps.home.example A", format!("NOERROR {LAN}")),
        ("missing.home.example A", "NXDOMAIN".to_owned()),
        ("ns.home.example A", format!("NOERROR {}", gateway.address().ip())),
    ]
}

fn apex() -> Vec<(&'static str, String)> {
    let nothing = ["home.example A", "home.example AAAA", "home.example TXT", "home.example HTTPS"];
    let nothing = nothing.map(|question| (question, "NOERROR".to_owned()));
    nothing.into_iter().chain([("home.example NS", "NOERROR ns.home.example.".to_owned())]).collect()
}

/// It does validate, and finds nothing wrong with others.
fn public_names_validate(dnsmasq: &Dnsmasq) {
    let answer = VALIDATING.ask(dnsmasq.address(), "www.shop.com A");
    assert!(answer == "NOERROR 203.0.113.10" && answer.authentic, "{answer:?}\n{}", dnsmasq.last_words());
}
