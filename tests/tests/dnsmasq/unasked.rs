//! Queries for what nobody told us of: Pi-hole's conditional forwarding sends us single labels and addresses of the LAN.

use tests::dnsmasq::{Client, Dnsmasq, Gateway, Internet, LAN, PATIENT, SignedInternet, version};

use crate::{at, conditional_forward, forward, home};

const VALIDATING: Client = Client { dnssec: true, ..PATIENT };

#[test]
fn single_labels_and_addresses_of_the_lan_are_denied_and_disturb_nothing() {
    let home = home();
    let internet = Internet::start(&home, 9);
    let gateway = Gateway::start(&home, 22);
    let lines =
        [conditional_forward(gateway.address()).to_vec(), vec![format!("server={}", at(internet.address()))]].concat();
    let dnsmasq = Dnsmasq::start(&home, 53, &lines);
    for number in 0..1000 {
        let question = match number % 4 {
            0 => format!("{}.8.168.192.in-addr.arpa PTR", number / 4),
            1 => format!("wpad-{number} A"),
            2 => format!("printer-{number} AAAA"),
            _ => format!("nas-{number} HTTPS"),
        };
        assert_eq!(dnsmasq.ask(&question), "NXDOMAIN", "{question}\n{}", dnsmasq.last_words());
    }
    assert_eq!(internet.asked(), [""; 0]);
    assert_eq!(dnsmasq.sent_to(gateway.address()).len(), 1000, "each is asked once");
    assert_eq!(dnsmasq.ask("grafana.home.example A"), format!("NOERROR {LAN}"));
    assert_eq!(dnsmasq.ask("shop.example A"), format!("NOERROR {}", Internet::ADDRESS));
}

#[test]
fn the_zone_resolves_after_a_thousand_questions_that_we_refuse() {
    let home = home();
    let gateway = Gateway::start(&home, 22);
    let theirs = format!("server=/elsewhere.example/{}", at(gateway.address()));
    let dnsmasq = Dnsmasq::start(&home, 53, &[forward(&[&gateway]), vec![theirs]].concat());
    for number in 0..1000 {
        let question = format!("app-{number}.elsewhere.example A");
        assert_eq!(dnsmasq.ask(&question), "REFUSED", "{question}\n{}", dnsmasq.last_words());
        if number % 100 == 0 {
            let question = format!("app-{number}.apps.home.example A");
            assert_eq!(dnsmasq.ask(&question), format!("NOERROR {LAN}"), "{question}\n{}", dnsmasq.last_words());
        }
    }
    assert_eq!(dnsmasq.ask("grafana.home.example A"), format!("NOERROR {LAN}"));
    let packets = dnsmasq.sent_to(gateway.address()).len();
    assert!(packets <= 2100, "{packets} for a little more than a thousand questions");
}

#[test]
fn addresses_of_the_lan_are_denied_behind_a_dnsmasq_that_validates() {
    let home = home();
    let internet = SignedInternet::start(&home, 9);
    let gateway = Gateway::start(&home, 22);
    let settings = [vec![internet.line()], internet.validation().to_vec()].concat();
    // Pi-hole sets it, so that no such question leaves the house.
    let settings = [settings, vec!["bogus-priv".to_owned()], conditional_forward(gateway.address()).to_vec()].concat();
    let dnsmasq = Dnsmasq::start(&home, 53, &settings);
    for number in 1..50 {
        let question = format!("{number}.8.168.192.in-addr.arpa PTR");
        for client in [PATIENT, VALIDATING] {
            let answer = client.ask(dnsmasq.address(), &question);
            assert_eq!(answer, "NXDOMAIN", "{question}\n{}", dnsmasq.last_words());
        }
    }
}

#[test]
fn top_level_domains_still_validate() {
    let home = home();
    let internet = SignedInternet::start(&home, 9);
    let gateway = Gateway::start(&home, 22);
    let lines =
        [conditional_forward(gateway.address()).to_vec(), vec![internet.line()], internet.validation().to_vec()]
            .concat();
    let dnsmasq = Dnsmasq::start(&home, 53, &lines);
    for _ in 0..2 {
        // dnsmasq asks for the keys of com, and who vouches for them: two questions about a single label.
        let answer = VALIDATING.ask(dnsmasq.address(), "www.shop.com A");
        assert!(answer == "NOERROR 203.0.113.10" && answer.authentic, "{answer:?}\n{}", dnsmasq.last_words());
        assert_eq!(VALIDATING.ask(dnsmasq.address(), "nothing.com A"), "NXDOMAIN", "{}", dnsmasq.last_words());
        assert_eq!(dnsmasq.ask("wpad A"), "NXDOMAIN", "{}", dnsmasq.last_words());
    }
    let sent = dnsmasq.sent_to(gateway.address());
    assert!(sent.iter().all(|query| query == "wpad"), "{sent:?}");
}

#[test]
fn clients_that_validate_get_what_they_need_of_top_level_domains() {
    let home = home();
    let internet = SignedInternet::start(&home, 9);
    let gateway = Gateway::start(&home, 22);
    let one_line = forward(&[&gateway]);
    let mut forwarding = vec![("server=/home.example/", one_line)];
    // 2.90 without DNSSEC sends these questions to us as it does all about single labels, and nothing that
    // we could say of them would do. There, the one line above is the way to forward a zone.
    if version() >= (2, 91) {
        forwarding.push(("conditional forwarding", conditional_forward(gateway.address()).to_vec()));
    }
    for (last, (how, lines)) in (53..).zip(forwarding) {
        let dnsmasq = Dnsmasq::start(&home, last, &[lines, vec![internet.line()]].concat());
        for question in ["com DS", "com DNSKEY", "com DS"] {
            let answer = VALIDATING.ask(dnsmasq.address(), question);
            assert!(answer.text().starts_with("NOERROR "), "{how}: {question}: {answer:?}\n{}", dnsmasq.last_words());
        }
        assert_eq!(dnsmasq.sent_to(gateway.address()), [""; 0], "{how}");
    }
}
