//! "No such name" and "no such record": how long they are believed, and what they must not hide.

use tests::{
    dnsmasq::{Dnsmasq, Gateway, LAN, PATIENT, Settings, outlive},
    eventually,
    home::ingress,
};

use crate::{forward, home};

/// What clients ask beside addresses: browsers, mail servers, resolvers that validate.
const OTHER_TYPES: [&str; 9] = ["AAAA", "HTTPS", "SVCB", "TXT", "MX", "DS", "SRV", "CAA", "DNSKEY"];

#[test]
fn no_such_name_and_no_such_record_are_asked_once_and_believed() {
    let home = home();
    // So long that all is asked before anything is forgotten.
    let settings = Settings { ttl: 60, negative_ttl: 60, ..Settings::default() };
    let gateway = Gateway::start_with(&home, 22, &settings);
    let dnsmasq = Dnsmasq::start(&home, 53, &forward(&[&gateway]));
    let before = gateway.answered();
    for _ in 0..20 {
        assert_eq!(dnsmasq.ask("new.home.example A"), "NXDOMAIN");
        assert_eq!(dnsmasq.ask("grafana.home.example AAAA"), "NOERROR");
        assert_eq!(dnsmasq.ask("grafana.home.example HTTPS"), "NOERROR");
        assert_eq!(dnsmasq.ask("grafana.home.example A"), format!("NOERROR {LAN}"));
    }
    assert_eq!(dnsmasq.sent_to(gateway.address()).len(), 4, "{:?}", dnsmasq.sent_to(gateway.address()));
    // An answer is counted once it is sent.
    eventually("the count of four", || match gateway.answered() - before {
        4 => Ok(()),
        other => Err(other),
    });
}

#[test]
fn no_such_name_is_believed_for_its_ttl_and_no_longer() {
    let home = home();
    // The default: a new name is seen six seconds after it was made.
    let settings = Settings { negative_ttl: 5, ..Settings::default() };
    let gateway = Gateway::start_with(&home, 22, &settings);
    let dnsmasq = Dnsmasq::start(&home, 53, &forward(&[&gateway]));
    assert_eq!(dnsmasq.ask("new.home.example A"), "NXDOMAIN");
    home.apply("new.yaml", &ingress("new", "new.home.example", "web"));
    gateway.comes_to_answer("new.home.example A", &format!("NOERROR {LAN}"));
    outlive(5);
    assert_eq!(dnsmasq.ask("new.home.example A"), format!("NOERROR {LAN}"), "{}", dnsmasq.last_words());
}

#[test]
fn questions_of_other_types_do_not_hide_the_address() {
    let home = home();
    let gateway = Gateway::start(&home, 22);
    let dnsmasq = Dnsmasq::start(&home, 53, &forward(&[&gateway]));
    for kind in OTHER_TYPES {
        // A name of its own for each, which nobody has asked for before.
        let name = format!("{kind}.apps.home.example");
        assert_eq!(dnsmasq.ask(&format!("{name} {kind}")), "NOERROR", "{name}");
        assert_eq!(dnsmasq.ask(&format!("{name} A")), format!("NOERROR {LAN}"), "{name}");
    }
    for kind in OTHER_TYPES {
        assert_eq!(dnsmasq.ask(&format!("photos.home.example {kind}")), "NOERROR", "{kind}");
    }
    assert_eq!(dnsmasq.ask("photos.home.example A"), format!("NOERROR {LAN}"));
}

#[test]
fn questions_of_other_types_for_a_missing_name_do_not_hide_it_once_it_is_made() {
    let home = home();
    let gateway = Gateway::start(&home, 22);
    let dnsmasq = Dnsmasq::start(&home, 53, &forward(&[&gateway]));
    for kind in OTHER_TYPES {
        assert_eq!(dnsmasq.ask(&format!("new-{kind}.home.example {kind}")), "NXDOMAIN", "{kind}");
    }
    let made: String = OTHER_TYPES
        .iter()
        .map(|kind| kind.to_lowercase())
        .map(|kind| ingress(&kind, &format!("new-{kind}.home.example"), "web"))
        .collect();
    home.apply("new.yaml", &made);
    let last = OTHER_TYPES[OTHER_TYPES.len() - 1].to_lowercase();
    gateway.comes_to_answer(&format!("new-{last}.home.example A"), &format!("NOERROR {LAN}"));
    outlive(1);
    for kind in OTHER_TYPES {
        assert_eq!(dnsmasq.ask(&format!("new-{kind}.home.example A")), format!("NOERROR {LAN}"), "{kind}");
        assert_eq!(dnsmasq.ask(&format!("new-{kind}.home.example {kind}")), "NOERROR", "{kind}");
    }
}

#[test]
fn both_kinds_of_address_asked_at_once_are_one_answer_and_one_nothing() {
    let home = home();
    let gateway = Gateway::start(&home, 22);
    let dnsmasq = Dnsmasq::start(&home, 53, &forward(&[&gateway]));
    for round in 0..30 {
        let name = format!("app-{round}.apps.home.example");
        let (v4, v6) = (format!("{name} A"), format!("{name} AAAA"));
        // musl takes NXDOMAIN of either for the end of the name.
        let (a, aaaa) = match round % 2 {
            0 => PATIENT.ask_together(dnsmasq.address(), [&v4, &v6]).into(),
            _ => {
                let [aaaa, a] = PATIENT.ask_together(dnsmasq.address(), [&v6, &v4]);
                (a, aaaa)
            }
        };
        assert_eq!(a, format!("NOERROR {LAN}"), "{name}");
        assert_eq!(aaaa, "NOERROR", "{name}");
        let missing = [format!("no-{round}.home.example A"), format!("no-{round}.home.example AAAA")];
        let answers = PATIENT.ask_together(dnsmasq.address(), [&missing[0], &missing[1]]);
        assert_eq!(answers, ["NXDOMAIN", "NXDOMAIN"], "{missing:?}");
    }
}
