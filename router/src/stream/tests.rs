//! Real sockets, from the model to the backend and back.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use k8s::model::{ListenerProtocol, Target};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::hello::tests::hello;
use crate::{
    fixture::{ask, attach, backend, backend_of, certificate, router, tls, validation, within},
    listen::Limits,
};

const TLS: u16 = 8443;
const TCP: u16 = 9000;

/// How a connection ends that begins with a handshake: what was read, and the error, if it is no plain end.
async fn rejected(address: SocketAddr, server_name: &str) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(&hello(server_name, &[])).await.expect("written");
    let mut read = Vec::new();
    let ended = within(stream.read_to_end(&mut read)).await;
    (read, ended.err().map(|error| error.kind()))
}

#[tokio::test]
async fn the_most_specific_name_chooses_between_https_and_tls_that_is_handed_on() {
    let mut router = router(Limits::default(), 1);
    let (own, theirs) = (certificate(&["*.home.example", "any.example"]), certificate(&["*.home.example"]));
    let [one, other] = [backend("one", Some(&theirs)).await, backend("other", Some(&theirs)).await];
    let (one, other) = (router.backend("one", None, &[one]), router.backend("other", None, &[other]));
    router.listener(TLS, ListenerProtocol::Https, None).default_certificate = Some(Arc::clone(&own));
    let listener = router.listener(TLS, ListenerProtocol::TlsPassthrough, Some("*.home.example"));
    attach(listener, 1, &["*.home.example"], &[(1, other)]);
    attach(listener, 2, &["a.home.example"], &[(1, one)]);
    router.listener(TLS, ListenerProtocol::Https, Some("web.home.example")).certificates = vec![Arc::clone(&own)];
    router.apply().await;

    let address = router.socket(TLS);
    for (name, expected) in [("a.home.example", "one"), ("b.home.example", "other")] {
        let client = tls(address, name, &theirs, &[]).await.expect("the backend's own certificate");
        assert_eq!(ask(client, "hello").await.expect("an answer"), format!("{expected} as {name}: hello"));
    }
    let line = router.logged_all(2).await.remove(0);
    assert_eq!(
        (&line["protocol"], &line["route"], &line["server_name"], &line["backend"], &line["listener"]),
        (
            &"tls passthrough".into(),
            &"Route default/r2".into(),
            &"a.home.example".into(),
            &"default/one:1".into(),
            &"*.home.example-8443".into()
        ),
        "{line}"
    );
    for version in ["http/1.1", "h2"] {
        let client = tls(address, "web.home.example", &own, &[version]).await.expect("the listener's certificate");
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(version.as_bytes()));
    }
    // Browsers use a connection for every name that its certificate has; this one's names lead elsewhere.
    for (name, host, expected) in [
        ("web.home.example", "web.home.example", "404"),
        ("any.example", "any.example", "404"),
        ("any.example", "a.home.example", "421"),
    ] {
        let mut client = tls(address, name, &own, &["http/1.1"]).await.expect("a handshake");
        client.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await.expect("written");
        let mut status = [0; 12];
        within(client.read_exact(&mut status)).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&status), format!("HTTP/1.1 {expected}"), "{host}");
    }
}

#[tokio::test]
async fn what_has_no_listener_no_route_or_no_backend_is_rejected_without_an_alert() {
    let mut router = router(Limits::default(), 1);
    let certificate = certificate(&["*.home.example"]);
    let invalid = Target::Invalid("Service gone is not there".into());
    let (none, well) = (router.backend("none", None, &[]), backend("well", None).await);
    let well = router.backend("well", None, &[well]);
    for (protocol, kind) in [(ListenerProtocol::TlsPassthrough, "p"), (ListenerProtocol::TlsTerminate, "t")] {
        for (name, targets) in [
            ("invalid", vec![(1, invalid.clone())]),
            ("nobody", vec![(1, none.clone())]),
            ("weightless", vec![(0, well.clone())]),
            ("backendless", Vec::new()),
        ] {
            let hostname = format!("{name}.{kind}.example");
            let listener = router.listener(TLS, protocol, Some(&hostname));
            listener.certificates = vec![Arc::clone(&certificate)];
            attach(listener, 1, &[&hostname], &targets);
        }
        router.listener(TLS, protocol, Some(&format!("routeless.{kind}.example")));
        let listener = router.listener(TLS, protocol, Some(&format!("narrow.{kind}.example")));
        attach(listener, 1, &["other.example"], &[(1, well.clone())]);
    }
    let certless = router.listener(TLS, ListenerProtocol::TlsTerminate, Some("certless.t.example"));
    attach(certless, 1, &[], &[(1, well)]);
    router.apply().await;

    let mut names = vec!["unknown.example".to_owned(), "certless.t.example".to_owned()];
    for name in ["invalid", "nobody", "weightless", "backendless", "routeless", "narrow"] {
        names.extend(["p", "t"].map(|kind| format!("{name}.{kind}.example")));
    }
    for name in names {
        let (read, error) = rejected(router.socket(TLS), &name).await;
        assert!(read.is_empty(), "{name}: {read:?}");
        assert!(matches!(error, None | Some(io::ErrorKind::ConnectionReset)), "{name}: {error:?}");
        assert!(router.logged().await["error"].is_string(), "{name}");
    }
    // Of no name, there is no listener for it.
    assert_eq!(rejected(router.socket(TLS), "127.0.0.1").await.0, b"");
}

#[tokio::test]
async fn tls_that_ends_here_has_its_bytes_in_the_clear_behind_it_and_the_one_protocol_that_is_offered() {
    let mut router = router(Limits::default(), 1);
    let certificate = certificate(&["a.home.example"]);
    let plain = backend("plain", None).await;
    let target = router.backend("plain", None, &[plain]);
    let listener = router.listener(TLS, ListenerProtocol::TlsTerminate, None);
    listener.certificates = vec![Arc::clone(&certificate)];
    attach(listener, 1, &["a.home.example"], &[(1, target)]);
    router.apply().await;

    for (offered, agreed) in [(&[][..], None), (&["mqtt"], Some(&b"mqtt"[..])), (&["h2", "http/1.1"], None)] {
        let client = tls(router.socket(TLS), "a.home.example", &certificate, offered).await.expect("a handshake");
        assert_eq!(client.get_ref().1.alpn_protocol(), agreed);
        let long = "x".repeat(300_000);
        assert_eq!(ask(client, &long).await.expect("an answer"), format!("plain: {long}"));
        let line = router.logged().await;
        assert_eq!(
            (&line["protocol"], &line["bytes_received"], &line["bytes_sent"], &line["error"], &line["upstream"]),
            (&"tls".into(), &300_000.into(), &300_007.into(), &().into(), &plain.to_string().into()),
            "{line}"
        );
    }
    let metrics = router.series.render();
    assert!(
        metrics
            .contains("doorward_streams_total{entry_point=\"default/edge\",route=\"default/r1\",result=\"ended\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_backend_that_is_to_be_verified_is_and_gets_nothing_where_it_is_somebody_else() {
    let mut router = router(Limits::default(), 1);
    let own = certificate(&["*.home.example"]);
    let [theirs, others] = [certificate(&["db.internal"]), certificate(&["db.internal"])];
    let address = backend("db", Some(&theirs)).await;
    let good = router.backend("good", Some(validation(&theirs, "db.internal")), &[address]);
    let other_authority = router.backend("authority", Some(validation(&others, "db.internal")), &[address]);
    let other_name = router.backend("name", Some(validation(&theirs, "cache.internal")), &[address]);
    let listener = router.listener(TLS, ListenerProtocol::TlsTerminate, None);
    listener.certificates = vec![Arc::clone(&own)];
    for (created, name, target) in [(1, "good", &good), (2, "authority", &other_authority), (3, "name", &other_name)] {
        attach(listener, created, &[&format!("{name}.home.example")], &[(1, target.clone())]);
    }
    // TCP in the clear is put into TLS, and a client's own TLS is not.
    attach(router.listener(TCP, ListenerProtocol::Tcp, None), 4, &[], &[(1, good.clone())]);
    attach(router.listener(TLS, ListenerProtocol::TlsPassthrough, Some("db.internal")), 5, &[], &[(1, other_name)]);
    router.apply().await;

    let client = tls(router.socket(TLS), "good.home.example", &own, &[]).await.expect("a handshake");
    assert_eq!(ask(client, "hello").await.expect("an answer"), "db as db.internal: hello");
    let client = TcpStream::connect(router.socket(TCP)).await.expect("a connection");
    assert_eq!(ask(client, "hello").await.expect("an answer"), "db as db.internal: hello");
    let client = tls(router.socket(TLS), "db.internal", &theirs, &[]).await.expect("the backend's own certificate");
    assert_eq!(ask(client, "hello").await.expect("an answer"), "db as db.internal: hello");
    router.logged_all(3).await;
    for name in ["authority.home.example", "name.home.example"] {
        let client = tls(router.socket(TLS), name, &own, &[]).await.expect("a handshake");
        assert!(ask(client, "hello").await.is_err(), "{name}");
        assert_eq!(router.logged().await["error"], "the backend's TLS handshake fails", "{name}");
    }
}

#[tokio::test]
async fn no_client_takes_a_backend_from_others_by_a_protocol_that_it_does_not_speak() {
    let mut router = router(Limits::default(), 1);
    let (own, theirs) = (certificate(&["a.home.example"]), certificate(&["db.internal"]));
    let db = backend_of("db", Some(&theirs), &["mqtt"]).await;
    let target = router.backend("db", Some(validation(&theirs, "db.internal")), &[db]);
    let listener = router.listener(TLS, ListenerProtocol::TlsTerminate, None);
    listener.certificates = vec![Arc::clone(&own)];
    attach(listener, 1, &[], &[(1, target)]);
    router.apply().await;
    let client = tls(router.socket(TLS), "a.home.example", &own, &["odd"]).await.expect("a handshake");
    assert!(ask(client, "hello").await.is_err());
    assert_eq!(router.logged().await["error"], "the backend speaks no protocol that the client offers");
    let endpoints = router.cells.values().flat_map(|cell| cell.endpoints().to_vec());
    assert_eq!(endpoints.map(|endpoint| endpoint.ejection.until()).collect::<Vec<_>>(), [0]);
    let client = tls(router.socket(TLS), "a.home.example", &own, &["mqtt"]).await.expect("a handshake");
    assert_eq!(ask(client, "hello").await.expect("an answer"), "db as db.internal: hello");
}

#[tokio::test]
async fn weights_are_kept_and_only_the_oldest_route_of_a_tcp_listener_gets_anything() {
    let mut router = router(Limits::default(), 1);
    let [three, one, none, younger] = [
        backend("three", None).await,
        backend("one", None).await,
        backend("none", None).await,
        backend("younger", None).await,
    ];
    let three = router.backend("three", None, &[three]);
    let one = router.backend("one", None, &[one]);
    let none = router.backend("none", None, &[none]);
    let younger = router.backend("younger", None, &[younger]);
    let listener = router.listener(TCP, ListenerProtocol::Tcp, None);
    attach(listener, 1, &[], &[(3, three), (0, none), (1, one)]);
    attach(listener, 2, &[], &[(1, younger)]);
    router.apply().await;

    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..200 {
        let stream = TcpStream::connect(router.socket(TCP)).await.expect("a connection");
        *counts.entry(ask(stream, "").await.expect("an answer")).or_default() += 1;
    }
    let of = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert_eq!(of("three: ") + of("one: "), 200, "{counts:?}");
    // One in a hundred million is further away from a quarter.
    assert!((15..=85).contains(&of("one: ")), "{counts:?}");
}

#[tokio::test]
async fn an_endpoint_that_takes_no_connection_is_left_for_another_and_left_alone() {
    let mut router = router(Limits::default(), 1);
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    let well = backend("well", None).await;
    let target = router.backend("web", None, &[gone, well]);
    let dead = router.backend("dead", None, &[gone]);
    attach(router.listener(TCP, ListenerProtocol::Tcp, None), 1, &[], &[(1, target)]);
    attach(router.listener(TCP + 1, ListenerProtocol::Tcp, None), 2, &[], &[(1, dead)]);
    router.listener(TCP + 2, ListenerProtocol::Tcp, None);
    router.apply().await;
    for _ in 0..20 {
        let stream = TcpStream::connect(router.socket(TCP)).await.expect("a connection");
        assert_eq!(ask(stream, "hello").await.expect("an answer"), "well: hello");
    }
    let cell = router.cells.values().find(|cell| &*cell.backend.id.service.name == "web").expect("a cell");
    let endpoints = cell.endpoints();
    assert!(endpoints.iter().any(|it| it.address == gone && it.ejection.until() > 0));
    router.logged_all(20).await;

    let port = |port| router.socket(port);
    for (port, why) in [(port(TCP + 1), "the backend refuses the connection"), (port(TCP + 2), "no route")] {
        let mut stream = TcpStream::connect(port).await.expect("a connection");
        let read = within(stream.read(&mut [0; 8])).await;
        assert_eq!(read.expect_err("a reset").kind(), io::ErrorKind::ConnectionReset);
        let line = router.logged().await;
        assert!(line["error"].as_str().is_some_and(|error| error.starts_with(why)), "{line}");
    }
    within(async {
        while endpoints.iter().any(|it| it.in_flight() > 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A router with one TCP listener, and the two ends of a tunnel through it.
macro_rules! tunnel {
    ($router:ident, $client:ident, $backend:ident, $limits:expr) => {
        let mut $router = router($limits, 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = $router.backend("held", None, &[listener.local_addr().expect("bound")]);
        attach($router.listener(TCP, ListenerProtocol::Tcp, None), 1, &[], &[(1, target)]);
        $router.apply().await;
        let mut $client = TcpStream::connect($router.socket(TCP)).await.expect("a connection");
        let (mut $backend, _) = within(listener.accept()).await.expect("a connection");
        exchange(&mut $client, &mut $backend).await;
    };
}

/// That bytes go both ways.
async fn exchange(client: &mut TcpStream, backend: &mut TcpStream) {
    one_way(client, backend).await;
    one_way(backend, client).await;
}

async fn one_way(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"ping").await.expect("written");
    let mut read = [0; 4];
    within(to.read_exact(&mut read)).await.expect("carried");
    assert_eq!(&read, b"ping");
}

#[tokio::test]
async fn either_side_may_end_first_and_hears_the_other_out() {
    tunnel!(router, client, backend, Limits::default());
    backend.shutdown().await.expect("closed");
    assert_eq!(within(client.read(&mut [0; 8])).await.expect("an end"), 0);
    client.write_all(b"still here").await.expect("written");
    let mut read = [0; 10];
    within(backend.read_exact(&mut read)).await.expect("carried");
    drop(client);
    assert_eq!(within(backend.read(&mut read)).await.expect("an end"), 0);
    let line = router.logged().await;
    assert_eq!((&line["error"], &line["bytes_received"], &line["bytes_sent"]), (&().into(), &14.into(), &4.into()));
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    for client_resets in [true, false] {
        tunnel!(router, client, backend, Limits::default());
        let (resetting, mut other) = if client_resets { (client, backend) } else { (backend, client) };
        SockRef::from(&resetting).set_linger(Some(Duration::ZERO)).expect("set");
        drop(resetting);
        let error = within(other.read(&mut [0; 8])).await.expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let line = router.logged().await;
        let who = if client_resets { "the client has gone" } else { "the backend has gone" };
        assert!(line["error"].as_str().is_some_and(|error| error.starts_with(who)), "{line}");
    }
}

#[tokio::test]
async fn a_side_that_is_slow_stops_the_other_and_loses_nothing() {
    tunnel!(router, client, backend, Limits::default());
    let sent: Vec<u8> = (0..20_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut at = 0;
    // Until nobody on the way takes more.
    while let Ok(count) = client.try_write(&sent[at..]) {
        at += count;
        tokio::task::yield_now().await;
    }
    assert!(at < sent.len());
    let mut read = Vec::new();
    let both = async {
        tokio::try_join!(
            async {
                client.write_all(&sent[at..]).await?;
                client.shutdown().await
            },
            backend.read_to_end(&mut read)
        )
    };
    within(both).await.expect("carried");
    assert!(read == sent);
    drop(router);
}

#[tokio::test]
async fn tls_that_is_cut_short_stays_so_on_the_other_side() {
    let mut router = router(Limits::default(), 1);
    let (own, theirs) = (certificate(&["a.home.example"]), certificate(&["db.internal"]));
    let db = backend("db", Some(&theirs)).await;
    let db = router.backend("db", Some(validation(&theirs, "db.internal")), &[db]);
    let listener = router.listener(TLS, ListenerProtocol::TlsTerminate, None);
    listener.certificates = vec![Arc::clone(&own)];
    attach(listener, 1, &[], &[(1, db)]);
    router.apply().await;
    let mut client = tls(router.socket(TLS), "a.home.example", &own, &[]).await.expect("a handshake");
    client.write_all(b"half of wh").await.expect("written");
    client.get_mut().0.shutdown().await.expect("closed");
    // The backend leaves without an answer or a farewell, and that too is passed on.
    let error = within(client.read(&mut [0; 8])).await.expect_err("no farewell");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_tunnel_outlives_its_route_and_its_socket_until_the_router_leaves() {
    tunnel!(router, client, backend, Limits::default());
    let address = router.socket(TCP);
    router.model.entry_points[0].listeners[0].routes.clear();
    router.apply().await;
    exchange(&mut client, &mut backend).await;
    router.model.entry_points[0].listeners.clear();
    router.apply().await;
    let refused = TcpStream::connect(address).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    exchange(&mut client, &mut backend).await;

    let log = router.log;
    within(router.listeners.leave()).await;
    for stream in [&mut client, &mut backend] {
        let error = within(stream.read(&mut [0; 8])).await.expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(log.take()[0]["error"], "the router has closed it");
}

#[tokio::test]
async fn one_client_has_as_many_connections_as_it_may() {
    tunnel!(router, client, backend, Limits { of_one_client: 1, ..Limits::default() });
    let mut second = TcpStream::connect(router.socket(TCP)).await.expect("a connection");
    assert!(matches!(within(second.read(&mut [0; 8])).await, Ok(0) | Err(_)));
    exchange(&mut client, &mut backend).await;
}

#[tokio::test]
async fn who_begins_no_handshake_is_not_waited_for() {
    let mut router = router(Limits { handshake: Duration::from_millis(50), ..Limits::default() }, 1);
    let target = router.backend("none", None, &[]);
    attach(router.listener(TLS, ListenerProtocol::TlsPassthrough, None), 1, &[], &[(1, target)]);
    router.apply().await;
    for say in [&b""[..], b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(router.socket(TLS)).await.expect("a connection");
        stream.write_all(say).await.expect("written");
        assert!(matches!(within(stream.read(&mut [0; 8])).await, Ok(0) | Err(_)), "{say:?}");
    }
}
