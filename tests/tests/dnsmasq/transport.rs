//! Long answers, and what dnsmasq may add to its queries.

use tests::dnsmasq::{Client, Dnsmasq, Gateway, LAN, PATIENT, Settings, has};

use crate::{forward, home};

#[test]
fn an_answer_too_long_for_a_datagram_arrives_whole_by_tcp() {
    let home = home();
    for (count, last) in [(60, 53), (100, 54)] {
        let addresses: Vec<String> = (1..=count).map(|n| format!("192.168.9.{n}")).collect();
        let settings = Settings { addresses: addresses.join(", "), ..Settings::default() };
        let gateway = Gateway::start_with(&home, 22, &settings);
        let dnsmasq = Dnsmasq::start(&home, last, &forward(&[&gateway]));
        let mut expected = addresses;
        expected.sort();
        let expected = format!("NOERROR {}", expected.join(" "));
        // An address takes 16 bytes: 60 fit in what EDNS allows, 100 nowhere.
        for (number, (payload, by_tcp)) in
            [(None, true), (Some(1232), count > 70), (Some(4096), count > 70)].into_iter().enumerate()
        {
            let client = Client { payload, ..PATIENT };
            let question = format!("app-{number}.apps.home.example A");
            for _ in 0..2 {
                let answer = client.ask(dnsmasq.address(), &question);
                let what = format!("{count} addresses for {payload:?}\n{}", dnsmasq.last_words());
                assert_eq!(answer, expected, "{what}");
                assert_eq!(answer.by_tcp, by_tcp, "{what}");
            }
        }
        let answer = PATIENT.ask_tcp(dnsmasq.address(), "grafana.home.example A");
        assert_eq!(answer, expected, "by TCP from the start");
    }
}

#[test]
fn queries_that_name_their_clients_network_are_answered() {
    let home = home();
    let gateway = Gateway::start(&home, 22);
    let lines = [forward(&[&gateway]), vec!["add-subnet=32,128".to_owned(), "add-mac".to_owned()]].concat();
    answers(&Dnsmasq::start(&home, 53, &lines));
}

#[test]
fn queries_in_mixed_case_are_answered_in_the_same() {
    let home = home();
    let gateway = Gateway::start(&home, 22);
    let mut lines = forward(&[&gateway]);
    // What comes with 2.91 drops an answer whose question is spelled in another way.
    if has("--do-0x20-encode") {
        lines.push("do-0x20-encode".to_owned());
    }
    let dnsmasq = Dnsmasq::start(&home, 53, &lines);
    answers(&dnsmasq);
    // And what clients spell so themselves.
    assert_eq!(dnsmasq.ask("PhoTos.HOME.eXample A"), format!("NOERROR {LAN}"));
    assert_eq!(dnsmasq.ask("photos.home.example A"), format!("NOERROR {LAN}"));
}

fn answers(dnsmasq: &Dnsmasq) {
    for (question, expected) in [
        ("grafana.home.example A", format!("NOERROR {LAN}")),
        ("grafana.home.example AAAA", "NOERROR".to_owned()),
        ("grafana.home.example HTTPS", "NOERROR".to_owned()),
        ("x.apps.home.example A", format!("NOERROR {LAN}")),
        ("missing.home.example A", "NXDOMAIN".to_owned()),
    ] {
        for _ in 0..2 {
            assert_eq!(dnsmasq.ask(question), expected, "{question}\n{}", dnsmasq.last_words());
        }
    }
}
