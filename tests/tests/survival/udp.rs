//! Datagrams that are long, or no queries, and addresses that only the kernel knows.

use std::net::SocketAddr;

use tests::dns::{A, Asker, option, query, said, with_edns};

use crate::{APP, Survivor, connect};

#[test]
fn a_query_may_be_as_long_as_a_datagram() {
    let mut survivor = Survivor::start();
    let asker = survivor.asker(20);
    for padding in [100, 450, 512, 1200, 1500, 4096, 9000, 20_000, 65_000] {
        let query = with_edns(query(1, APP, A), 4096, &option(12, &vec![0; padding]));
        let answer = asker.exchange(&query);
        assert_eq!(said(&answer), survivor.right(), "{padding} bytes of padding");
        assert!(answer.len() <= 512, "{padding} bytes of padding are not sent back: {}", answer.len());
    }
    // What is announced is longer than what comes.
    let mut cut_short = with_edns(query(2, APP, A), 4096, &option(12, &[0; 1400]));
    cut_short.truncate(1000);
    assert_eq!(said(&asker.exchange(&cut_short)), "FormErr");
    survivor.assert_unharmed();
}

#[test]
fn responses_are_counted_and_never_answered() {
    let mut survivor = Survivor::start();
    let right = survivor.right();
    // Two servers that take each other's errors for queries would go on for ever.
    let mut response = query(7, APP, A);
    response[2] |= 0x80;
    let refusal = [0, 7, 0x80, 5, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut asker = survivor.asker(20);
    for _ in 0..100 {
        for _ in 0..16 {
            asker.socket().send(&response).expect("sent");
            asker.socket().send(&response[..11]).expect("sent");
            asker.socket().send(&refusal).expect("sent");
            asker.socket().send(&[]).expect("sent");
        }
        // The first answer to come is the one to this.
        assert_eq!(asker.ask(APP, A), right);
    }
    let n_sent = 100 * 16 * 4;
    assert_eq!(survivor.metric("doorward_dns_dropped_total{reason=\"no query\"}"), n_sent);
    survivor.assert_unharmed();
}

#[test]
fn bound_to_all_addresses_it_answers_from_the_one_that_was_asked() {
    let mut survivor = Survivor::start_wide();
    let port = survivor.server.port();
    for last in [22, 30, 31, 200] {
        let server = survivor.home.socket(last, port);
        for client in [20, last] {
            // A connected socket gets nothing from another address.
            let mut asker = Asker::new(survivor.home.socket(client, 0), server);
            for _ in 0..50 {
                assert_eq!(asker.ask(APP, A), survivor.right(), "{server}");
            }
            assert_eq!(said(&asker.exchange(&query(9, "example.org", A))), "Refused");
        }
    }
    let loopback: SocketAddr = ([127, 0, 0, 1], port).into();
    assert_eq!(Asker::new(([127, 0, 0, 1], 0).into(), loopback).ask(APP, A), survivor.right());
    drop(connect(([127, 0, 0, 1], 0).into(), loopback));
    survivor.assert_unharmed();
}

#[test]
fn clients_that_are_gone_before_their_answer_comes_change_nothing() {
    for mut survivor in [Survivor::start(), Survivor::start_wide()] {
        let query = query(1, APP, A);
        for number in 0..500 {
            let asker = survivor.asker(20);
            for _ in 0..5 {
                asker.socket().send(&query).expect("sent");
            }
            // More than the kernel keeps for a server that is busy would be lost, and an answer with it.
            if number % 20 == 0 {
                survivor.assert_answers_udp(21);
            }
        }
        // The network has told the server of each, which is not the server's concern.
        survivor.assert_answers_udp(20);
        survivor.assert_answers_udp(21);
        survivor.assert_unharmed();
    }
}
