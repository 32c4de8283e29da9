//! Two gateways, one of them gone.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use tests::{
    SetAtTheEnd,
    dnsmasq::{Dnsmasq, Gateway, LAN, RETRYING},
    home::DNS,
};

use crate::{forward, home};

/// dnsmasq asks all its servers again after 50 queries.
const QUERIES: u32 = 120;
const FIRST: u8 = 22;
const SECOND: u8 = 25;

#[test]
fn one_of_two_gateways_killed_costs_no_answer() {
    let home = home();
    let mut gateways = [FIRST, SECOND].map(|last| Some(Gateway::start(&home, last)));
    let lines = forward(&gateways.each_ref().map(|it| it.as_ref().expect("both run")));
    let dnsmasq = Dnsmasq::start(&home, 53, &lines);
    let mut number = 0;
    // A new name each time: no answer comes out of the cache.
    let mut ask_all = |when: &str| -> Vec<String> {
        let names = (0..QUERIES).map(|_| {
            number += 1;
            let name = format!("app-{number}.apps.home.example");
            let answer = RETRYING.ask(dnsmasq.address(), &format!("{name} A"));
            assert_eq!(answer, format!("NOERROR {LAN}"), "{name}, {when}\n{}", dnsmasq.last_words());
            name
        });
        names.collect()
    };
    ask_all("both run");
    for (index, gone, other) in [(0, FIRST, SECOND), (1, SECOND, FIRST)] {
        gateways[index] = None;
        let asked = ask_all("one is gone");
        let sent = [gone, other].map(|last| dnsmasq.sent_to(home.socket(last, DNS)));
        // Silence is noticed by the client's second packet alone, which goes to both; after that the other one is preferred.
        let lost = asked.iter().filter(|name| {
            let [to_gone, to_other] = sent.each_ref().map(|sent| sent.iter().filter(|it| it == name).count());
            to_gone > to_other
        });
        let lost: Vec<&String> = lost.collect();
        assert!(lost.len() <= 2, "of {QUERIES}, first sent to nobody but the one that is gone: {lost:?}");
        gateways[index] = Some(Gateway::start(&home, gone));
        ask_all("it is back");
    }
}

#[test]
fn clients_notice_nothing_of_a_gateway_that_is_killed_and_started_under_load() {
    let home = home();
    let gateways = [Gateway::start(&home, FIRST), Gateway::start(&home, SECOND)];
    let dnsmasq = Dnsmasq::start(&home, 53, &forward(&gateways.each_ref()));
    let [first, second] = gateways;
    let (over, number) = (AtomicBool::new(false), AtomicU32::new(0));
    let load = || {
        let mut wrong = Vec::new();
        while !over.load(Relaxed) && number.load(Relaxed) < 50_000 {
            let question = format!("load-{}.apps.home.example A", number.fetch_add(1, Relaxed));
            let answer = RETRYING.ask(dnsmasq.address(), &question);
            if answer != format!("NOERROR {LAN}") {
                wrong.push((question, answer));
            }
        }
        wrong
    };
    let wrong = std::thread::scope(|scope| {
        let end = SetAtTheEnd(&over);
        let clients = [scope.spawn(load), scope.spawn(load)];
        let more = |count: u32| {
            let start = number.load(Relaxed);
            tests::eventually("queries", || match number.load(Relaxed) - start {
                done if done >= count => Ok(()),
                done => Err(done),
            });
        };
        more(100);
        drop(first);
        more(200);
        let first = Gateway::start(&home, FIRST);
        more(200);
        drop(second);
        more(200);
        let _second = Gateway::start(&home, SECOND);
        more(100);
        drop(end);
        drop(first);
        clients.map(|client| client.join().expect("no client panics")).concat()
    });
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", dnsmasq.last_words());
}
