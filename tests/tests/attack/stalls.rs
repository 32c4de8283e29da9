//! Clients that begin and do not go on: each ends after a while, or costs little for as long as it stays.

use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use tests::{
    PATIENCE, eventually,
    frames::{END_HEADERS, END_STREAM, INITIAL_WINDOW, RST_STREAM, WINDOW_UPDATE, frame, request},
};

use crate::{
    Besieged,
    bystander::served_meanwhile,
    floods::growth,
    frames::{Http2, Stream, tls},
};

/// As many as HTTP/2 lets a client have at once.
const STREAMS: u8 = 100;
/// What so many downloads may hold for clients that do not read, in KiB.
const DOWNLOADS: u64 = 48 << 10;
/// What a client may take that is given a minute for each of its reads and writes.
const MINUTES: Duration = Duration::from_secs(150);

/// The end of a connection on which nothing more is to come; a reset is one, too.
fn is_at_end(stream: &mut impl Read) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

#[test]
fn one_that_says_nothing_is_let_go() {
    let mut besieged = Besieged::start();
    let plain = besieged.connect(1);
    let before_tls = besieged.connect_tls(2);
    let mut in_hello = besieged.connect_tls(3);
    // A record of a handshake of which no more comes.
    in_hello.write_all(&[22, 3, 1, 2, 0, 1]).expect("sent");
    let mut in_preface = besieged.connect(4);
    in_preface.write_all(b"PRI * HTTP/2.0\r\n").expect("sent");
    let after_alpn = tls(&besieged, besieged.connect_tls(5), b"h2");
    let mut in_tls_preface = tls(&besieged, besieged.connect_tls(6), b"h2");
    in_tls_preface.write_all(b"PRI * HTTP/2.0\r\n").and_then(|()| in_tls_preface.flush()).expect("sent");
    let mut mute: [(&str, Box<dyn Read>); 6] = [
        ("in the clear", Box::new(plain)),
        ("before TLS", Box::new(before_tls)),
        ("within a ClientHello", Box::new(in_hello)),
        ("within a preface", Box::new(in_preface)),
        ("after TLS has agreed on HTTP/2", Box::new(after_alpn)),
        ("within a preface over TLS", Box::new(in_tls_preface)),
    ];
    served_meanwhile(&besieged, "mute clients", || {
        for (what, stream) in &mut mute {
            assert!(is_at_end(stream), "{what}: open after {PATIENCE:?}");
        }
    });
    let why = |why: &str| besieged.metric("doorward_connections_refused_total", &[&format!("why=\"{why}\"")]);
    assert_eq!((why("silent"), why("handshake_timeout")), (4, 2));
    besieged.assert_unharmed();
}

#[test]
fn clients_that_do_not_read_cost_little_and_hold_up_nobody() {
    let mut besieged = Besieged::start();
    let mut open: Vec<Box<dyn Stream>> = Vec::new();
    let takes_little = |what: &str, connect: &mut dyn FnMut()| {
        let grown = growth(&besieged.router, || {
            connect();
            until_full(&besieged);
        });
        println!("FIGURE {STREAMS} downloads that nobody reads, {what}: {grown} KiB");
        assert!(grown < DOWNLOADS, "{what}: {grown} KiB");
    };
    served_meanwhile(&besieged, "clients that do not read", || {
        for (what, window) in [("HTTP/2 without windows", 0), ("HTTP/2 with large windows", 1 << 30)] {
            takes_little(what, &mut || {
                let mut connection = Http2::h2c(&besieged, &[(INITIAL_WINDOW, window)]);
                // That of the connection, which settings do not change.
                let mut requests = frame(WINDOW_UPDATE, 0, 0, &window.max(1).to_be_bytes());
                for stream in (1..).step_by(2).take(usize::from(STREAMS)) {
                    requests.extend(request(END_HEADERS | END_STREAM, stream, "GET", "/endless", &[]));
                }
                connection.send(&requests);
                open.push(connection.0);
            });
        }
        takes_little("HTTP/1", &mut || {
            for last in 10..10 + STREAMS {
                let mut stream = besieged.connect(last);
                stream.write_all(b"GET /endless HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("sent");
                open.push(Box::new(stream));
            }
        });
    });
    drop(open);
    besieged.assert_unharmed();
}

/// Waits until the downloads that were asked for fill all buffers: then nothing more is taken from the backend.
fn until_full(besieged: &Besieged) {
    let (mut last, mut n_same) = (0_u64, 0);
    eventually("memory that stays", || {
        std::thread::sleep(Duration::from_millis(100));
        let now = besieged.router.memory();
        // The bystander's requests take some, and give it back.
        let is_same = std::mem::replace(&mut last, now).abs_diff(now) < 1 << 10;
        n_same = if is_same { n_same + 1 } else { 0 };
        if n_same > 5 { Ok(()) } else { Err(now) }
    });
}

#[test]
#[ignore = "takes a minute: cargo test -p tests --test attack -- --ignored"]
fn one_that_stops_within_a_request_is_let_go_after_a_minute() {
    let mut besieged = Besieged::start();
    let mut reader = besieged.connect(1);
    reader.write_all(b"GET /endless HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("sent");
    let mut sender = besieged.connect(2);
    let head = "POST /count HTTP/1.1\r\nHost: app.home.example\r\nContent-Length: 10\r\n\r\nhalf";
    sender.write_all(head.as_bytes()).expect("sent");
    let mut silent = tls(&besieged, besieged.connect_tls(3), b"http/1.1");
    let mut without_window = Http2::h2c(&besieged, &[(INITIAL_WINDOW, 0)]);
    without_window.send(&request(END_HEADERS | END_STREAM, 1, "GET", "/endless", &[]));

    let lines = |besieged: &Besieged| besieged.router.log().matches("\"request_id\"").count();
    tests::within(MINUTES, "the end of three requests", || match lines(&besieged) {
        3 => Ok(()),
        other => Err(other),
    });
    assert!(is_at_end(&mut reader), "it did not read");
    assert!(is_at_end(&mut sender), "it did not send");
    assert!(is_at_end(&mut silent), "it said nothing");
    let reset = std::iter::from_fn(|| without_window.receive().ok()).find(|(kind, ..)| *kind == RST_STREAM);
    assert!(reset.is_some(), "it gave no window");
    println!("{}", besieged.router.log());
    besieged.assert_unharmed();
}
