//! What a connection costs that waits for its next request.

use std::{
    io::{Read, Write},
    path::PathBuf,
};

use tests::{
    Home, Program,
    backend::Backends,
    binary, eventually,
    frames::{DATA, END_HEADERS, END_STREAM, request},
    home::app,
};

use crate::{
    Besieged,
    frames::{Http2, Stream, tls},
    secret,
};

/// Addresses that clients come from.
const CLIENTS: usize = 200;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: app.home.example\r\n\r\n";

type Open = fn(&Besieged, u8) -> Box<dyn Stream>;

/// What it may take in bytes, with room for the 2 MiB in which memory comes, and how it is opened.
const KINDS: [(&str, f64, Open); 4] = [
    ("in the clear", 6_000.0, |besieged, last| answered(Box::new(besieged.connect(last)))),
    ("TLS, HTTP/1", 14_000.0, |besieged, last| {
        answered(Box::new(tls(besieged, besieged.connect_tls(last), b"http/1.1")))
    }),
    ("TLS, HTTP/2", 52_000.0, |besieged, last| {
        let mut connection = Http2::over(Box::new(tls(besieged, besieged.connect_tls(last), b"h2")), &[]);
        connection.send(&request(END_HEADERS | END_STREAM, 1, "GET", "/", &[]));
        while !matches!(connection.receive().expect("an answer"), (DATA, END_STREAM, ..)) {}
        connection.0
    }),
    ("TLS without a request", 14_000.0, |besieged, last| {
        Box::new(tls(besieged, besieged.connect_tls(last), b"http/1.1"))
    }),
];

/// After one request and its answer.
fn answered(mut stream: Box<dyn Stream>) -> Box<dyn Stream> {
    stream.write_all(REQUEST).and_then(|()| stream.flush()).expect("sent");
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\n}\n") {
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the connection ends within {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
    stream
}

#[test]
#[ignore = "measures: ROUTER=FILE names a release build, CONNECTIONS=9000 how many"]
fn a_connection_that_waits_takes_little_memory() {
    let n_connections = std::env::var("CONNECTIONS").map_or(1000, |text| text.parse().expect("a number"));
    let program = std::env::var_os("ROUTER").map_or_else(|| binary("router"), PathBuf::from);
    for (kind, most, open) in KINDS {
        let (home, backends) = (Home::new(), Backends::new());
        home.configure("defaultCertificate: default/home-tls");
        home.apply("app.yaml", &[app(&[backends.start(&home, "web")]), secret(&home)].concat());
        let besieged = Besieged { router: home.ready("router", home.launch_file(&program)), backends, home };
        let open = |number: usize| open(&besieged, u8::try_from(30 + number % CLIENTS).expect("small"));
        // What the first ones take is there for all.
        let _first: Vec<_> = (0..100).map(open).collect();
        let before = settled(&besieged.router);
        let all: Vec<_> = (0..n_connections).map(open).collect();
        let after = settled(&besieged.router);
        let each = after.saturating_sub(before) as f64 * 1024.0 / all.len() as f64;
        println!(
            "FIGURE {kind}: {each:.0} bytes for each of {n_connections} connections, and {before} KiB before them"
        );
        assert!(each <= most, "{kind}: {each:.0} bytes");
    }
}

/// The memory in KiB, when it does not change any more.
fn settled(router: &Program) -> u64 {
    let mut last = 0;
    let (memory, _) = eventually("memory that stays", || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = router.memory();
        if std::mem::replace(&mut last, now) == now { Ok(now) } else { Err(now) }
    });
    memory
}
