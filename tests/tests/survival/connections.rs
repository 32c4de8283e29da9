//! Thousands of connections that want nothing: `SURVIVAL_CONNECTIONS=5000`.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use tests::{
    SetAtTheEnd,
    dns::{A, framed, query, read_framed, said},
    eventually,
};

use crate::{APP, Survivor, allow_files, configure, home, setting};

/// All that may be open at a time, those of forwarders included.
const MOST: usize = 256 + 64;
/// What one client may have.
const MOST_OF_ONE: usize = 32;
const FORWARDER: u8 = 15;
const STRANGER: u8 = 16;
const ONE_OF_THE_CROWD: u8 = 30;

/// What a client does with its connection.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Idle,
    /// Has ended its half, and does not read.
    HalfClosed,
    /// Has announced a message, of which nothing comes.
    Announced,
    /// A byte at a time, again and again.
    Trickle,
}

/// Asks once; None where the server has closed instead.
fn ask(stream: &mut TcpStream) -> Option<String> {
    let asked = stream.write_all(&framed(&query(7, APP, A))).and_then(|()| read_framed(stream));
    match asked {
        Ok(answer) => Some(said(&answer)),
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
            panic!("neither an answer nor an end: {error}")
        }
        Err(_) => None,
    }
}

#[test]
fn thousands_of_connections_leave_udp_and_forwarders_alone() {
    let n_connections = setting("SURVIVAL_CONNECTIONS", 5000);
    allow_files(n_connections + 1000);
    let home = home();
    configure(&home, "dns: {", &format!("dns: {{forwarders: [{}], ", home.address(FORWARDER)));
    let mut survivor = Survivor::start_in(home);
    let right = survivor.right();
    let n_files = survivor.gateway.open_files();
    let quiet = latencies(&survivor, &AtomicBool::new(true), 2000);

    let is_over = AtomicBool::new(false);
    let busy = thread::scope(|scope| {
        let end = SetAtTheEnd(&is_over);
        let busy = scope.spawn(|| latencies(&survivor, &is_over, 2000));
        // Half of them from one address, which gets its share, and half from two hundred.
        let mut crowd: Vec<(TcpStream, Manner)> = Vec::new();
        let manners = [Manner::Idle, Manner::HalfClosed, Manner::Announced, Manner::Trickle];
        for (number, manner) in (0..n_connections).zip(manners.into_iter().cycle()) {
            let last = if number < n_connections / 2 { 0 } else { u8::try_from(number % 200).expect("small") };
            let mut stream = survivor.connect(ONE_OF_THE_CROWD + last);
            // The server may have closed it already.
            let _ = match manner {
                Manner::Idle | Manner::Trickle => Ok(()),
                Manner::HalfClosed => stream.shutdown(Shutdown::Write),
                Manner::Announced => stream.write_all(&[0x10]),
            };
            crowd.push((stream, manner));
            if number % 100 == 0 {
                assert!(survivor.gateway.open_files() <= n_files + MOST + 10, "{}", survivor.gateway.open_files());
            }
        }
        // The server ends what is idle, so that a slow machine needs more of them to keep all places taken.
        let (told, _) = eventually("an answer for the forwarder while strangers are refused", || {
            let is_full = |survivor: &Survivor| ask(&mut survivor.connect(STRANGER)).is_none();
            for number in 0..2 * MOST {
                if is_full(&survivor) {
                    break;
                }
                let last = ONE_OF_THE_CROWD + u8::try_from(number % 200).expect("small");
                crowd.push((survivor.connect(last), Manner::Idle));
            }
            trickle(&mut crowd);
            let told = ask(&mut survivor.connect(FORWARDER));
            if is_full(&survivor) { Ok(told) } else { Err("a stranger has found a place") }
        });
        assert_eq!(told.as_ref(), Some(&right), "the forwarder's answer");
        let open = survivor.metric("doorward_dns_tcp_connections");
        assert!(open <= MOST as u64, "{open}");
        assert!(survivor.metric("doorward_dns_tcp_refused_total") > (n_connections - MOST) as u64 / 2);
        assert!(survivor.gateway.open_files() <= n_files + MOST + 10, "{}", survivor.gateway.open_files());
        for _ in 0..50 {
            trickle(&mut crowd);
        }
        drop(end);
        busy.join().expect("every answer was right")
    });
    println!(
        "FIGURE UDP answers, each after the last: p99 {:?} alone, {:?} among {n_connections} TCP connections ({} answers, all right)",
        p99(quiet),
        p99(busy.clone()),
        busy.len()
    );

    eventually("a place for a stranger", || match ask(&mut survivor.connect(STRANGER)) {
        Some(told) if told == right => Ok(()),
        other => Err(other),
    });
    eventually("closed files", || match survivor.gateway.open_files() {
        few if few <= n_files + 10 => Ok(()),
        many => Err(many),
    });
    survivor.assert_unharmed();
}

/// One byte more from each of those that are slow; some have been closed.
fn trickle(crowd: &mut [(TcpStream, Manner)]) {
    for (stream, manner) in crowd {
        if *manner == Manner::Trickle {
            let _ = stream.write(&[0]);
        }
    }
}

/// How long each UDP answer took: `least` of them, and more until it is over.
fn latencies(survivor: &Survivor, is_over: &AtomicBool, least: usize) -> Vec<Duration> {
    let right = survivor.right();
    let mut asker = survivor.asker(20);
    let mut all = Vec::new();
    while all.len() < least || !is_over.load(Relaxed) {
        let started = Instant::now();
        assert_eq!(asker.ask(APP, A), right);
        all.push(started.elapsed());
    }
    all
}

fn p99(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() * 99 / 100]
}

#[test]
fn one_client_gets_its_share_of_connections_and_what_it_gives_back() {
    let mut survivor = Survivor::start();
    let right = Some(survivor.right());
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..MOST_OF_ONE {
        let mut stream = survivor.connect(STRANGER);
        assert_eq!(ask(&mut stream), right);
        open.push(stream);
    }
    assert_eq!(ask(&mut survivor.connect(STRANGER)), None, "one too many");
    assert_eq!(ask(&mut survivor.connect(ONE_OF_THE_CROWD)), right, "another client");
    open.pop();
    eventually("the place that was given back", || match ask(&mut survivor.connect(STRANGER)) {
        told if told == right => Ok(()),
        other => Err(other),
    });
    assert_eq!(ask(&mut open[0]), right, "those that are open stay so");
    survivor.assert_unharmed();
}

#[test]
fn who_asks_without_end_and_never_reads_costs_no_memory_and_holds_up_nobody() {
    let mut survivor = Survivor::start();
    survivor.assert_answers_udp(20);
    let before = survivor.gateway.memory();
    let mut deaf = survivor.connect(STRANGER);
    // Until neither side's buffers take any more.
    deaf.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let queries: Vec<u8> = (0..1000).flat_map(|id| framed(&query(id, APP, A))).collect();
    while deaf.write_all(&queries).is_ok() {}
    let after = survivor.gateway.memory();
    assert!(after < before + 4096, "{before} KiB have become {after}");
    survivor.assert_answers_udp(20);
    assert_eq!(ask(&mut survivor.connect(STRANGER)), Some(survivor.right()));
    // Nobody waits for ever: what was asked in vain is over when it has been quiet for long enough.
    eventually("the end of the connection", || {
        // Who reads after all gets what is in the buffers, and then the end.
        match survivor.metric("doorward_dns_tcp_connections") {
            0 => Ok(()),
            open => Err(open),
        }
    });
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest);
    survivor.assert_unharmed();
}
