//! How clients divide what they send over TCP (RFC 7766), and how the answers come.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::Shutdown,
    time::{Duration, Instant},
};

use tests::dns::{A, framed, query, read_framed, said};

use crate::{APP, Survivor};

/// `n` queries with ids from 0, each with its length.
fn queries(n: u16) -> Vec<u8> {
    (0..n).flat_map(|id| framed(&query(id, APP, A))).collect()
}

/// The ids of `n` right answers.
fn ids(stream: &mut impl Read, n: u16, right: &str) -> BTreeSet<u16> {
    let mut ids = BTreeSet::new();
    for _ in 0..n {
        let answer = read_framed(stream).expect("an answer");
        assert_eq!(said(&answer), right);
        ids.insert(u16::from_be_bytes([answer[0], answer[1]]));
    }
    ids
}

#[test]
fn queries_in_one_write_are_all_answered() {
    let mut survivor = Survivor::start();
    let right = survivor.right();
    let mut stream = survivor.connect(20);
    stream.write_all(&queries(20)).expect("written");
    assert_eq!(ids(&mut stream, 20, &right), (0..20).collect());
    // And again, on the same connection.
    stream.write_all(&queries(1000)).expect("written");
    assert_eq!(ids(&mut stream, 1000, &right), (0..1000).collect());
    // As a stub resolver asks for addresses of both kinds.
    let mut pairs: Vec<Duration> = (0..100)
        .map(|_| {
            let started = Instant::now();
            stream.write_all(&queries(2)).expect("written");
            ids(&mut stream, 2, &right);
            started.elapsed()
        })
        .collect();
    pairs.sort_unstable();
    println!("FIGURE two queries in one write until both are answered: median {:?}", pairs[pairs.len() / 2]);
    survivor.assert_unharmed();
}

#[test]
fn a_query_may_come_in_pieces_of_any_size() {
    let mut survivor = Survivor::start();
    let right = survivor.right();
    let bytes = queries(2);
    // The length alone, half of it, all but a byte; and byte by byte.
    let pieces: Vec<Vec<usize>> =
        vec![vec![1], vec![2], vec![3], vec![bytes.len() / 2 + 1], (1..bytes.len()).collect()];
    for places in pieces {
        let mut stream = survivor.connect(20);
        let mut start = 0;
        for end in places.iter().copied().chain([bytes.len()]) {
            stream.write_all(&bytes[start..end]).expect("written");
            // In the meantime the server has read what there is.
            survivor.assert_answers_udp(21);
            start = end;
        }
        assert_eq!(ids(&mut stream, 2, &right), (0..2).collect(), "{places:?}");
    }
    survivor.assert_unharmed();
}

#[test]
fn an_answer_and_its_length_come_together() {
    let survivor = Survivor::start();
    let mut stream = survivor.connect(20);
    let mut buffer = [0; 4096];
    for id in 0..100 {
        stream.write_all(&framed(&query(id, APP, A))).expect("written");
        // Some clients read once, and take what they have for the whole.
        let length = stream.read(&mut buffer).expect("an answer");
        let announced = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
        assert_eq!(announced + 2, length);
        assert_eq!(said(&buffer[2..length]), survivor.right());
    }
}

#[test]
fn a_client_that_has_ended_its_half_gets_its_answers_and_the_end() {
    let survivor = Survivor::start();
    let right = survivor.right();
    for n in [0, 1, 20, 500] {
        let mut stream = survivor.connect(20);
        stream.write_all(&queries(n)).expect("written");
        stream.shutdown(Shutdown::Write).expect("open");
        assert_eq!(ids(&mut stream, n, &right), (0..n).collect());
        assert_eq!(stream.read(&mut [0]).expect("an end in good order"), 0);
    }
}
