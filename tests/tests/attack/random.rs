//! Names, paths and fields that nobody has configured: they leave no series of metrics, and no more than short lines.

use std::{
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::TcpStream,
};

use tests::{
    eventually,
    frames::{END_HEADERS, END_STREAM, INITIAL_WINDOW, WINDOW_UPDATE, frame, request},
};

use crate::{
    Besieged,
    frames::{Http2, tls_to},
};

const REQUESTS: usize = 1000;
const NAMES: usize = 50;
/// Of one log line.
const BYTES: usize = 2 << 10;

/// Sixteen hexadecimal digits.
fn random() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

/// Asks on a connection that stays, until all of the answer is there.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("sent");
    let (mut answer, mut buffer) = (String::new(), [0; 32 << 10]);
    // Every page of the router ends with the request's id.
    while !(answer.contains("\nrequest ") && answer.ends_with('\n')) {
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the connection ends within {answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    answer
}

#[test]
fn nothing_grows_with_the_names_that_clients_invent() {
    let mut besieged = Besieged::start();
    let n_series = |besieged: &Besieged| {
        let metrics = besieged.home.admin("router", "/metrics");
        metrics.lines().filter(|line| !line.starts_with('#')).count()
    };
    // One of each kind that follows.
    let mut stream = besieged.connect(1);
    ask(&mut stream, "GET / HTTP/1.1\r\nHost: nothing.home.example\r\n\r\n");
    ask(&mut besieged.connect(1), "GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(besieged.home.status(21, "https://app.home.example/"), "200");
    let before = n_series(&besieged);

    for number in 0..REQUESTS {
        let (host, path) = (random(), random().repeat(1 + number % 500));
        let fields = format!("User-Agent: {}\r\nReferer: http://{host}.example/{path}", "\"\\\t\u{e4}".repeat(number));
        let request = match number % 4 {
            0 => format!("GET /{path}?{path} HTTP/1.1\r\nHost: {host}.example\r\n\r\n"),
            1 => format!("{} / HTTP/1.1\r\nHost: {host}.{host}.example\r\n{fields}\r\n\r\n", path.to_uppercase()),
            2 => format!("GET /{} HTTP/1.1\r\nHost: {host}.example\r\n{fields}\r\n\r\n", "\"".repeat(path.len())),
            _ => format!("GET /?{} HTTP/1.1\r\nHost: {host}.example\r\n{fields}\r\n\r\n", "\"<>%00".repeat(number)),
        };
        let answer = ask(&mut stream, &request);
        assert!(answer.contains("404 Not Found") || answer.contains(": close"), "{request}: {answer}");
        if answer.contains(": close") {
            stream = besieged.connect(1);
        }
    }
    for bytes in [
        "\u{1}\u{2}\u{1b}[31m\r\n\r\n",
        "GET /\u{1b}[2J HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \u{7}\r\n\r\n",
    ] {
        ask(&mut besieged.connect(1), bytes);
    }
    // The backend says everything again.
    let window: u32 = 1 << 24;
    let mut connection = Http2::h2c(&besieged, &[(INITIAL_WINDOW, window)]);
    connection.send(&frame(WINDOW_UPDATE, 0, 0, &window.to_be_bytes()));
    for stream in (1..).step_by(2).take(NAMES) {
        let fields = [("user-agent", &*"\"\u{e4}".repeat(1000)), ("referer", &*random().repeat(100))];
        connection.send(&request(
            END_HEADERS | END_STREAM,
            stream,
            &"M".repeat(3000),
            &format!("/{}", random().repeat(40)),
            &fields,
        ));
    }
    connection.settle();
    for _ in 0..NAMES {
        tls_to(&besieged, besieged.connect_tls(1), b"h2", &format!("{}.home.example", random()));
    }

    let (log, _) = eventually("all lines", || {
        let log = besieged.router.log();
        let n_lines = log.lines().filter(|line| line.contains("\"request_id\"")).count();
        if n_lines >= REQUESTS + NAMES + 6 { Ok(log) } else { Err(n_lines) }
    });
    assert_eq!(n_series(&besieged), before);
    let n_lines = log.lines().count();
    assert!(n_lines <= REQUESTS + 2 * NAMES + 20, "{n_lines} lines");
    let longest = log.lines().map(str::len).max().unwrap_or_default();
    println!("FIGURE the longest of {n_lines} log lines has {longest} bytes");
    assert!(longest <= BYTES, "{longest} bytes");
    let is_raw = |character: char| character.is_control() && character != '\n';
    assert!(!log.contains(is_raw), "a control character in {log:?}");
    for line in log.lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    besieged.assert_unharmed();
}
