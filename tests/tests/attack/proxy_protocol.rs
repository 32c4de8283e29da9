//! Peers that say by the PROXY protocol whose connection they pass on.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use tests::{eventually, raw::read_all};

use crate::{
    Besieged,
    frames::tls,
    recorder::{Recorder, until_seen},
    replace_in_configuration,
};

/// The peer that is believed, and another one.
const LISTED: u8 = 50;
const STRANGER: u8 = 51;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: app.home.example\r\nConnection: close\r\n\r\n";

fn start() -> (Besieged, Recorder) {
    Besieged::before(|home| {
        let trust = format!("https: 8443, trust: {{proxyProtocol: [{}/32]}}}}", home.address(LISTED));
        replace_in_configuration(home, "https: 8443}", &trust);
        Recorder::answering(home)
    })
}

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, addresses].concat()
}

/// The client that the backend was last told of.
fn forwarded_for(recorder: &Recorder) -> String {
    let text = recorder.text().to_lowercase();
    let named = text.rsplit("x-forwarded-for: ").next().and_then(|rest| rest.split("\r\n").next());
    named.unwrap_or_default().to_owned()
}

#[test]
fn the_client_is_the_one_that_a_listed_peer_names() {
    let (mut besieged, recorder) = start();
    let v4 = [203, 0, 113, 7, 192, 168, 8, 21, 0x30, 0x39, 1, 187];
    let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], &[0; 16][..], &[0x30, 0x39, 1, 187]].concat();
    let itself = besieged.home.address(LISTED).to_string();
    for (header, client) in [
        (b"PROXY TCP4 203.0.113.9 192.168.8.21 12345 80\r\n".to_vec(), "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), &*itself),
        (v2(1, 0x11, &v4), "203.0.113.7"),
        (v2(1, 0x11, &[&v4[..], &[4, 0, 1, 0]].concat()), "203.0.113.7"),
        (v2(1, 0x21, &v6), "2001:db8::7"),
        (v2(0, 0, &[]), &*itself),
    ] {
        let what = String::from_utf8_lossy(&header).into_owned();
        let mut stream = besieged.connect(LISTED);
        stream.write_all(&[&*header, REQUEST.as_bytes()].concat()).expect("sent");
        let answer = read_all(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200"), "{what:?}: {answer}");
        assert_eq!(forwarded_for(&recorder), client, "{what:?}");

        let mut stream = besieged.connect_tls(LISTED);
        stream.write_all(&header).expect("sent");
        let mut stream = tls(&besieged, stream, b"http/1.1");
        stream.write_all(REQUEST.as_bytes()).and_then(|()| stream.flush()).expect("sent");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200", "{what:?} before TLS");
        assert_eq!(forwarded_for(&recorder), client, "{what:?} before TLS");
    }
    // The log is written a moment later.
    eventually("a line for each request", || {
        match besieged.router.log().matches("\"remote_addr\":\"203.0.113.7\"").count() {
            4 => Ok(()),
            n_lines => Err(n_lines),
        }
    });
    besieged.assert_unharmed();
}

#[test]
fn a_listed_peer_that_names_nobody_is_refused_and_others_are_as_ever() {
    let (mut besieged, recorder) = start();
    let ended = |mut stream: TcpStream| {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut rest);
        rest.is_empty()
    };
    for header in [&b""[..], b"PROXY TCP4 203.0.113.9\r\n", b"PROXY TCP4 a b c d\r\n", &v2(1, 0x11, &[0; 3])] {
        let mut stream = besieged.connect(LISTED);
        stream.write_all(&[header, REQUEST.as_bytes()].concat()).expect("sent");
        assert!(ended(stream), "{:?}", String::from_utf8_lossy(header));
    }
    let refused = besieged.metric("doorward_connections_refused_total", &["no_proxy_header"]);
    assert_eq!((refused, recorder.seen().len()), (4, 0));

    let mut stream = besieged.connect(STRANGER);
    stream.write_all(REQUEST.as_bytes()).expect("sent");
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 200"));
    until_seen(&recorder, "the request", |seen| seen.len() == 1);
    assert_eq!(forwarded_for(&recorder), besieged.home.address(STRANGER).to_string());

    let mut stream = besieged.connect(STRANGER);
    stream.write_all(b"PROXY TCP4 203.0.113.9 192.168.8.21 12345 80\r\n").expect("sent");
    stream.write_all(REQUEST.as_bytes()).expect("sent");
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 400"));
    assert_eq!(recorder.n_requests(), 1, "{}", recorder.text());
    besieged.assert_unharmed();
}
