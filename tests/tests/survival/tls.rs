//! DNS over TLS (RFC 7858): who is served, with which certificate, and who waits for whom.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use tests::{
    Home, certificate,
    dns::{A, framed, query, read_framed, said},
    eventually,
};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{APP, Survivor, configure, connect, home};

const DOT: u16 = 8853;
const NAME: &str = "dns.home.example";

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A gateway with TLS, and the certificate that it has.
fn start() -> (Survivor, String) {
    let home = home();
    let issued = write_certificate(&home);
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| home.path(name).display().to_string());
    let listen = home.socket(22, DOT);
    let tls = format!("dns: {{tls: {{listen: [\"{listen}\"], certificate: {certificate}, key: {key}}}, ");
    configure(&home, "dns: {", &tls);
    (Survivor::start_in(home), issued)
}

/// Puts one in place, as it was issued just now.
fn write_certificate(home: &Home) -> String {
    let (certificate, key) = certificate(&[NAME]);
    home.write("tls.crt", &certificate);
    home.write("tls.key", &key);
    certificate
}

fn server(survivor: &Survivor) -> SocketAddr {
    survivor.home.socket(22, DOT)
}

/// A client with the address that ends in `last`, which trusts this certificate alone. The error is that of the handshake.
fn handshake(survivor: &Survivor, last: u8, trusted: &str) -> Result<Tls, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).expect("PEM")).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let name = ServerName::try_from(NAME).expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut stream = connect(survivor.home.socket(last, 0), server(survivor));
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|error| error.to_string())?;
    }
    Ok(StreamOwned::new(connection, stream))
}

fn assert_answers(survivor: &Survivor, stream: &mut Tls) {
    stream.write_all(&framed(&query(1, APP, A))).expect("written");
    assert_eq!(said(&read_framed(stream).expect("an answer")), survivor.right());
}

#[test]
fn queries_over_tls_are_answered_one_after_the_other_or_many_at_once() {
    let (mut survivor, certificate) = start();
    let mut stream = handshake(&survivor, 20, &certificate).expect("a handshake");
    assert_eq!(stream.conn.alpn_protocol(), Some(b"dot".as_slice()));
    assert_answers(&survivor, &mut stream);
    assert_answers(&survivor, &mut stream);
    let many: Vec<u8> = (0..100).flat_map(|id| framed(&query(id, APP, A))).collect();
    stream.write_all(&many).expect("written");
    for _ in 0..100 {
        assert_eq!(said(&read_framed(&mut stream).expect("an answer")), survivor.right());
    }
    stream.conn.send_close_notify();
    stream.flush().expect("sent");
    assert_eq!(stream.read(&mut [0]).unwrap_or_default(), 0, "the end");
    survivor.assert_unharmed();
}

#[test]
fn a_certificate_that_is_replaced_on_disk_is_served_and_open_connections_stay() {
    let (mut survivor, old) = start();
    let mut open = handshake(&survivor, 20, &old).expect("a handshake");
    // Half of a change is none.
    survivor.home.write("tls.crt", "-----BEGIN CERTIFICATE-----\nnot yet");
    eventually("the word about what cannot be read", || {
        let log = survivor.gateway.log();
        if log.contains("DNS over TLS keeps the certificate it had") { Ok(()) } else { Err(log) }
    });
    assert_answers(&survivor, &mut handshake(&survivor, 20, &old).expect("the certificate that it had"));

    let new = write_certificate(&survivor.home);
    let (mut stream, took) = eventually("the certificate", || {
        handshake(&survivor, 20, &new).map_err(|error| (error, survivor.gateway.log()))
    });
    println!("FIGURE certificate of DNS over TLS replaced on disk until a handshake has it: {} ms", took.as_millis());
    assert_answers(&survivor, &mut stream);
    assert!(handshake(&survivor, 20, &old).is_err(), "the old one is gone");
    // It may have been idle for longer than it could stay.
    let asked = open.write_all(&framed(&query(1, APP, A))).and_then(|()| read_framed(&mut open));
    assert!(asked.is_err() || asked.is_ok_and(|answer| said(&answer) == survivor.right()));
    survivor.assert_unharmed();
}

#[test]
fn handshakes_that_never_end_or_are_none_hold_up_nobody() {
    let (mut survivor, certificate) = start();
    let mut crowd: Vec<TcpStream> = Vec::new();
    for (number, last) in (30..34).flat_map(|last| (0..30).map(move |number| (number, last))) {
        let mut stream = connect(survivor.home.socket(last, 0), server(&survivor));
        // Nothing at all, the beginning of a ClientHello, or a query in the clear.
        let said: &[u8] = match number % 3 {
            0 => &[],
            1 => &[0x16, 3, 1, 2, 0, 1],
            _ => &framed(&query(1, APP, A)),
        };
        stream.write_all(said).expect("written");
        crowd.push(stream);
    }
    for last in [20, 21, 30] {
        assert_answers(&survivor, &mut handshake(&survivor, last, &certificate).expect("a handshake"));
    }
    survivor.assert_answers_udp(20);
    let mut plain = survivor.connect(30);
    plain.write_all(&framed(&query(1, APP, A))).expect("written");
    assert_eq!(said(&read_framed(&mut plain).expect("an answer")), survivor.right());
    drop(crowd);
    eventually("places that were given back", || match survivor.metric("doorward_dns_tcp_connections") {
        open @ 0..=1 => Ok(open),
        open => Err(open),
    });
    survivor.assert_unharmed();
}
