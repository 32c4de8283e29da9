//! Messages that nobody sends in good faith, a million of them if need be: `SURVIVAL_MESSAGES=1000000`.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    thread,
};

use hickory_proto::op::{Message, MessageType};
use tests::{
    dns::{A, AAAA, Random, TXT, framed, option, query, read_framed, said, with_edns},
    eventually,
};

use crate::{APP, Survivor, setting};

const MESSAGES: usize = 200_000;
/// After so many, all of the program that is ever used is in memory.
const WARM_UP: usize = 40_000;
/// As many as the queue of a socket holds in any case.
const BATCH: u16 = 64;
/// The ids of good queries are above those of all others.
const GOOD: u16 = 0x8000;
/// A header: less of a message says nothing.
const HEADER: usize = 12;
/// In KiB.
const GROWTH: u64 = 2048;

#[test]
fn malformed_datagrams_change_nothing_for_others_and_leave_no_memory_behind() {
    println!("FIGURE {}", storm(Survivor::start(), setting("SURVIVAL_MESSAGES", MESSAGES)));
}

/// Bound to all addresses, the kernel says more of a datagram, and may hand over many at once.
#[test]
fn malformed_datagrams_to_any_address_change_nothing_either() {
    println!("FIGURE {}", storm(Survivor::start_wide(), setting("SURVIVAL_MESSAGES", MESSAGES) / 4));
}

/// What became of the memory.
fn storm(mut survivor: Survivor, n_messages: usize) -> String {
    let send_half_each = |seed: u64, n_messages: usize| {
        thread::scope(|scope| {
            let halves = [50, 60].map(|client| {
                scope.spawn({
                    let survivor = &survivor;
                    move || send(survivor, client, seed + u64::from(client), n_messages / 2)
                })
            });
            halves.map(|half| half.join().expect("no panic")).iter().sum::<usize>()
        })
    };
    send_half_each(0, WARM_UP);
    let before = survivor.gateway.memory();
    let answered = send_half_each(1000, n_messages);
    let after = survivor.gateway.memory();
    assert!(after < before + GROWTH, "{before} KiB have become {after}");
    survivor.assert_unharmed();
    format!("{n_messages} malformed datagrams, {answered} answered: resident {before} KiB before, {after} KiB after")
}

/// Sends damaged messages in batches, each closed by a good query: what answers it has answered the batch, as a
/// socket is served in order. Returns how many were answered.
fn send(survivor: &Survivor, client: u8, seed: u64, n_messages: usize) -> usize {
    let mut random = Random::new(seed);
    // More than one, so that all of the server's sockets have their share.
    let askers: Vec<_> = (0..8).map(|number| survivor.asker(client + number)).collect();
    let right = survivor.right();
    let mut buffer = vec![0; 1 << 16];
    let mut n_answered = 0;
    for (number, asker) in (0..n_messages.div_ceil(usize::from(BATCH))).zip(askers.iter().cycle()) {
        let socket = asker.socket();
        let mut waiting: Vec<Option<Vec<u8>>> = (0..BATCH).map(|id| Some(damaged(&mut random, id))).collect();
        for message in waiting.iter().flatten() {
            socket.send(message).expect("sent");
        }
        let good = GOOD | u16::try_from(number % usize::from(GOOD)).expect("less");
        socket.send(&query(good, APP, A)).expect("sent");
        loop {
            let length = socket.recv(&mut buffer).expect("an answer");
            let answer = &buffer[..length];
            let id = id(answer);
            if id == good {
                assert_eq!(said(answer), right);
                break;
            }
            let query = waiting.get_mut(usize::from(id)).and_then(Option::take).expect("one answer to one query");
            check(&query, answer);
            assert!(answer.len() <= 1232, "{query:02x?}");
            n_answered += 1;
        }
        let silent = waiting.iter().flatten().find(|message| wants_answer(message));
        assert!(silent.is_none(), "no answer to {silent:02x?}");
    }
    n_answered
}

#[test]
fn malformed_messages_over_tcp_end_their_own_connection_at_most() {
    let n_messages = setting("SURVIVAL_MESSAGES", MESSAGES) / 5;
    let mut survivor = Survivor::start();
    let talk = |seed: u64, n_messages: usize| {
        thread::scope(|scope| {
            for client in [50, 51] {
                let survivor = &survivor;
                scope.spawn(move || converse(survivor, client, seed + u64::from(client), n_messages / 2));
            }
        });
    };
    talk(0, WARM_UP / 5);
    let before = survivor.gateway.memory();
    talk(1000, n_messages);
    let after = survivor.gateway.memory();
    println!("FIGURE {n_messages} malformed messages over TCP: resident {before} KiB before, {after} KiB after");
    assert!(after < before + GROWTH, "{before} KiB have become {after}");
    eventually("the end of every connection", || match survivor.metric("doorward_dns_tcp_connections") {
        0 => Ok(()),
        open => Err(open),
    });
    survivor.assert_unharmed();
}

fn converse(survivor: &Survivor, client: u8, seed: u64, n_messages: usize) {
    let mut random = Random::new(seed);
    let right = survivor.right();
    let mut n_sent = 0;
    while n_sent < n_messages {
        let mut stream = survivor.connect(client);
        // Those that are answered, with a good one among them.
        let mut sent: Vec<Vec<u8>> =
            std::iter::repeat_with(|| damaged(&mut random, 0)).filter(|it| wants_answer(it)).take(30).collect();
        sent.push(query(GOOD, APP, A));
        let mut bytes: Vec<u8> = sent.iter().flat_map(|message| framed(message)).collect();
        n_sent += sent.len();
        let is_cut_off = random.below(2) == 0;
        if is_cut_off {
            // And something that ends the connection, before its end or at once.
            n_sent += 1;
            bytes.extend(match random.below(5) {
                0 => vec![0, 0],
                1 => vec![0],
                2 => [vec![0xFF, 0xFF], random.bytes(20)].concat(),
                3 => framed(&random.bytes(5)),
                _ => {
                    let mut response = query(1, APP, A);
                    response[2] |= 0x80;
                    [framed(&response), random.bytes(300)].concat()
                }
            });
        }
        stream.write_all(&bytes).expect("written");
        let _ = stream.shutdown(Shutdown::Write);
        let mut received = Vec::new();
        match stream.read_to_end(&mut received) {
            Ok(_) => {}
            // What the server had not read when it closed takes with it what this side had not read.
            Err(error) if is_cut_off && error.kind() == ErrorKind::ConnectionReset => continue,
            Err(error) => panic!("{error}"),
        }
        let mut rest = &received[..];
        for message in &sent {
            let answer = read_framed(&mut rest).unwrap_or_else(|error| panic!("{error}: {message:02x?}"));
            check(message, &answer);
            if id(message) == GOOD {
                assert_eq!(said(&answer), right);
            }
        }
        assert!(rest.is_empty(), "no more than was asked for");
    }
}

fn id(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

/// All that is no response, and has a header, has its answer.
fn wants_answer(message: &[u8]) -> bool {
    message.len() >= HEADER && message[2] & 0x80 == 0
}

/// # Panics
/// When `answer` is no right response to `query`, whatever that is.
fn check(query: &[u8], answer: &[u8]) {
    let message = Message::from_vec(answer).unwrap_or_else(|error| panic!("{error}: {query:02x?} {answer:02x?}"));
    assert!(wants_answer(query), "{query:02x?} {answer:02x?}");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(id(answer), id(query));
    // NOERROR, FORMERR, NXDOMAIN, NOTIMP, REFUSED, BADVERS.
    let code = u16::from(message.metadata.response_code);
    assert!([0, 1, 3, 4, 5, 16].contains(&code), "{query:02x?} {answer:02x?}");
    if message.queries.is_empty() {
        assert_eq!(answer.len(), HEADER, "{query:02x?} {answer:02x?}");
    } else {
        let end = HEADER + 1 + query[HEADER..].iter().position(|byte| *byte == 0).expect("the root ends a name") + 4;
        assert_eq!(answer.get(HEADER..end), query.get(HEADER..end), "the question as it was asked");
    }
}

/// A good query of any kind.
fn good(random: &mut Random) -> Vec<u8> {
    let names = [
        APP,
        "APP.hoMe.example",
        "x.apps.home.example",
        "*.apps.home.example",
        "apps.home.example",
        "home.example",
        "ns.home.example",
        "nothing.home.example",
        "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.home.example",
        "_acme-challenge.app.home.example",
        "9.8.168.192.in-addr.arpa",
        "id.server",
        "nas",
        "example.org",
        "",
    ];
    let kinds = [A, A, AAAA, TXT, 2, 5, 6, 12, 15, 33, 41, 43, 48, 65, 250, 251, 252, 255, 257, 0, 65_535];
    let mut message = query(0, random.one_of(&names), random.one_of(&kinds));
    if random.below(8) == 0 {
        let class_low = message.len() - 1;
        message[class_low] = random.one_of(&[0, 2, 3, 254, 255]);
    }
    let sizes = [0, 100, 512, 1232, 4096, 65_535];
    match random.below(4) {
        0 => message,
        1 => with_edns(message, random.one_of(&sizes), &[]),
        _ => {
            let n_options = random.below(4);
            let options: Vec<u8> = (0..n_options).flat_map(|_| any_option(random)).collect();
            with_edns(message, random.one_of(&sizes), &options)
        }
    }
}

/// NSID, subnet, cookie, keep-alive, padding, a key tag, or one that nobody knows.
fn any_option(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => option(3, &[]),
        1 => option(8, &[0, 1, 24, 0, 192, 168, 5]),
        2 => option(8, &[0, 2, 56, 0, 0xFD, 0, 0, 0, 0, 0, 1]),
        3 => option(10, &random.bytes(8)),
        4 => option(11, &[]),
        5 => option(12, &vec![0; random.below(300)]),
        6 => option(14, &[0, 1]),
        _ => {
            let (code, length) = (u16::from(random.byte()), random.below(40));
            option(code, &random.bytes(length))
        }
    }
}

/// A good query after some accidents, with that id.
fn damaged(random: &mut Random, id: u16) -> Vec<u8> {
    let mut message = good(random);
    for _ in 0..=random.below(3) {
        damage(random, &mut message);
    }
    message.truncate(65_000);
    message.iter_mut().zip(id.to_be_bytes()).for_each(|(byte, id)| *byte = id);
    message
}

fn damage(random: &mut Random, message: &mut Vec<u8>) {
    let length = message.len();
    let place = random.below(length);
    match random.below(12) {
        0 | 1 => {
            if let Some(byte) = message.get_mut(place) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => message.truncate(place),
        3 => {
            if let Some(byte) = message.get_mut(place) {
                *byte = random.byte();
            }
        }
        // A pointer: to itself, into the header, behind the end, into the name.
        4 => {
            let target = [place, 0, 12, length, 0x3FFF, random.below(0x4000)][random.below(6)];
            let pointer = (0xC000 | (target & 0x3FFF)).to_be_bytes();
            message.splice(place..(place + 2).min(length), pointer.into_iter().skip(pointer.len() - 2));
        }
        // A length, of a label or of anything else.
        5 => {
            if let Some(byte) = message.get_mut(place) {
                *byte = random.one_of(&[0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xFF]);
            }
        }
        // How many records there are.
        6 => {
            let count = 4 + 2 * random.below(4);
            if let Some([high, low]) = message.get_mut(count..count + 2) {
                (*high, *low) = random.one_of(&[(0, 0), (0, 1), (0, 2), (0, 255), (255, 255)]);
            }
        }
        7 => {
            let extra = random.below(30);
            message.extend(random.bytes(extra));
        }
        8 => {
            let extra = random.below(30);
            let bytes = random.bytes(extra);
            message.splice(place..place, bytes);
        }
        // The rest once more: two questions, two OPT records, or neither.
        9 => message.extend_from_within(place..),
        // The end is where options are.
        10 => {
            let place = length.saturating_sub(1 + random.below(24));
            if let Some(byte) = message.get_mut(place) {
                *byte = random.byte();
            }
        }
        _ => {
            if random.below(8) == 0 {
                let all = [0, 1, 11, 12, 13, 17, 64, 512, 513, 1232, 1500, 4096, 9000];
                let length = random.one_of(&all);
                *message = random.bytes(length);
            }
        }
    }
}
