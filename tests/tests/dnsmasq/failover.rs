//! Two gateways, one of them gone.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use tests::{
    SetAtTheEnd,
    dnsmasq::{Dnsmasq, Gateway, LAN, RETRYING},
};

use crate::{forward, home};

/// dnsmasq asks all its servers again after 50 queries.
const QUERIES: u32 = 120;

#[test]
fn one_of_two_gateways_killed_costs_no_answer() {
    let home = home();
    let mut gateways = [Some(Gateway::start(&home, 22)), Some(Gateway::start(&home, 25))];
    let lines = forward(&gateways.each_ref().map(|it| it.as_ref().expect("both run")));
    let dnsmasq = Dnsmasq::start(&home, 53, &lines);
    let mut number = 0;
    let mut ask_all = |when: &str| {
        let mut retried = 0;
        for _ in 0..QUERIES {
            number += 1;
            // A new name each time: no answer comes out of the cache.
            let question = format!("app-{number}.apps.home.example A");
            let answer = RETRYING.ask(dnsmasq.address(), &question);
            assert_eq!(answer, format!("NOERROR {LAN}"), "{question}, {when}\n{}", dnsmasq.last_words());
            retried += usize::from(answer.tries > 1);
        }
        // Silence is noticed by the client's second packet alone; after that the other one is preferred.
        assert!(retried <= 2, "{retried} of {QUERIES} clients had to ask again, {when}");
    };
    ask_all("both run");
    for (index, last) in [(0, 22), (1, 25)] {
        gateways[index] = None;
        ask_all("one is gone");
        gateways[index] = Some(Gateway::start(&home, last));
        ask_all("it is back");
    }
}

#[test]
fn clients_notice_nothing_of_a_gateway_that_is_killed_and_started_under_load() {
    let home = home();
    let gateways = [Gateway::start(&home, 22), Gateway::start(&home, 25)];
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
        let first = Gateway::start(&home, 22);
        more(200);
        drop(second);
        more(200);
        let _second = Gateway::start(&home, 25);
        more(100);
        drop(end);
        drop(first);
        clients.map(|client| client.join().expect("no client panics")).concat()
    });
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", dnsmasq.last_words());
}
