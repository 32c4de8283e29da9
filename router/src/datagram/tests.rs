//! Real sockets, from the model to the backend and back.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use k8s::model::{ListenerProtocol, Target};
use proptest::prelude::*;
use tokio::net::UdpSocket;

use super::{IN_A_ROW, Limits, SHORTEST, patience};
use crate::{
    fixture::{Router, attach, router, within},
    listen::{self, App},
};

const PORT: u16 = 5300;

/// A backend that sends back what it gets, with its name before it.
async fn echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((count, client)) = socket.recv_from(&mut buffer).await {
            let answer = [name.as_bytes(), b": ", &buffer[..count]].concat();
            socket.send_to(&answer, client).await.expect("sent");
        }
    });
    address
}

async fn client(of: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    socket.connect(of).await.expect("connected");
    socket
}

async fn ask(client: &UdpSocket, say: &[u8]) -> io::Result<String> {
    client.send(say).await?;
    let mut buffer = vec![0; 65_535];
    let count = within(client.recv(&mut buffer)).await?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

/// Until an answer comes: a datagram may be lost as things change.
async fn ask_until_answered(client: &UdpSocket) -> String {
    within(async {
        let mut buffer = [0; 100];
        loop {
            let _ = client.send(b"again").await;
            let answer = tokio::time::timeout(Duration::from_millis(20), client.recv(&mut buffer)).await;
            if let Ok(Ok(count)) = answer {
                return String::from_utf8_lossy(&buffer[..count]).into_owned();
            }
        }
    })
    .await
}

fn with(datagrams: Limits) -> listen::Limits {
    listen::Limits { datagrams, ..listen::Limits::default() }
}

/// A router with one UDP listener for these backends, each with its weight.
async fn serving(limits: Limits, targets: &[(&'static str, u32)]) -> Router<impl App> {
    let mut router = router(with(limits), 1);
    let mut weighted = Vec::new();
    for (name, weight) in targets {
        let address = echo(name).await;
        weighted.push((*weight, router.backend(name, None, &[address])));
    }
    attach(router.listener(PORT, ListenerProtocol::Udp, None), 1, &[], &weighted);
    router.apply().await;
    router
}

#[tokio::test]
async fn each_client_gets_its_own_answers_whole_and_stays_with_its_endpoint() {
    let mut router = serving(Limits::default(), &[("a", 1), ("b", 1)]).await;
    // TCP has the same port for itself.
    router.listener(PORT, ListenerProtocol::Tcp, None);
    router.apply().await;
    let clients = [client(router.socket(PORT)).await, client(router.socket(PORT)).await];
    let mut names = Vec::new();
    for (client, word) in clients.iter().zip(["one", "two"]) {
        let name = ask(client, word.as_bytes()).await.expect("an answer")[..1].to_owned();
        names.push(name);
    }
    for _ in 0..20 {
        for ((client, word), name) in clients.iter().zip(["one", "two"]).zip(&names) {
            assert_eq!(ask(client, word.as_bytes()).await.expect("an answer"), format!("{name}: {word}"));
        }
    }
    let long = "x".repeat(65_000);
    assert_eq!(ask(&clients[0], long.as_bytes()).await.expect("an answer"), format!("{}: {long}", names[0]));
    assert_eq!(ask(&clients[0], b"").await.expect("an answer"), format!("{}: ", names[0]));
}

#[tokio::test]
async fn clients_are_spread_by_weight_and_only_the_oldest_route_gets_any() {
    let mut router = serving(Limits::default(), &[("three", 3), ("none", 0), ("one", 1)]).await;
    let younger = echo("younger").await;
    let younger = router.backend("younger", None, &[younger]);
    attach(&mut router.model.entry_points[0].listeners[0], 2, &[], &[(1, younger)]);
    router.apply().await;
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..200 {
        let answer = ask(&client(router.socket(PORT)).await, b"").await.expect("an answer");
        *counts.entry(answer).or_default() += 1;
    }
    let of = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert_eq!(of("three: ") + of("one: "), 200, "{counts:?}");
    assert!((15..=85).contains(&of("one: ")), "{counts:?}");
}

#[tokio::test]
async fn who_is_silent_is_forgotten_and_reported() {
    let idle = Duration::from_millis(100);
    let router = serving(Limits { idle, ..Limits::default() }, &[("a", 1)]).await;
    let client = client(router.socket(PORT)).await;
    assert_eq!(ask(&client, b"hello").await.expect("an answer"), "a: hello");
    let line = router.logged().await;
    assert_eq!(
        (
            &line["protocol"],
            &line["route"],
            &line["backend"],
            &line["bytes_received"],
            &line["bytes_sent"],
            &line["error"]
        ),
        (&"udp".into(), &"Route default/r1".into(), &"default/a:1".into(), &5.into(), &8.into(), &().into()),
        "{line}"
    );
    let endpoints = router.cells.values().flat_map(|cell| cell.endpoints().to_vec());
    assert_eq!(endpoints.map(|endpoint| endpoint.in_flight()).collect::<Vec<_>>(), [0]);
    assert_eq!(ask(&client, b"back").await.expect("an answer"), "a: back");
}

#[tokio::test]
async fn there_are_so_many_clients_and_who_has_a_place_keeps_it() {
    let router = serving(Limits { sessions: 2, ..Limits::default() }, &[("a", 1)]).await;
    let clients = [client(router.socket(PORT)).await, client(router.socket(PORT)).await];
    for client in &clients {
        assert_eq!(ask(client, b"hello").await.expect("an answer"), "a: hello");
    }
    let third = client(router.socket(PORT)).await;
    third.send(b"hello").await.expect("sent");
    // The socket's datagrams are read in their order: when this one is answered, that one was refused.
    assert_eq!(ask(&clients[0], b"still").await.expect("an answer"), "a: still");
    assert_eq!(third.try_recv(&mut [0; 8]).expect_err("nothing").kind(), io::ErrorKind::WouldBlock);
    // With all places taken, one is soon free.
    assert_eq!(ask_until_answered(&third).await, "a: again");

    let router = serving(Limits { of_one_client: 1, ..Limits::default() }, &[("a", 1)]).await;
    let clients = [client(router.socket(PORT)).await, client(router.socket(PORT)).await];
    assert_eq!(ask(&clients[0], b"hello").await.expect("an answer"), "a: hello");
    clients[1].send(b"hello").await.expect("sent");
    assert_eq!(ask(&clients[0], b"still").await.expect("an answer"), "a: still");
    assert_eq!(clients[1].try_recv(&mut [0; 8]).expect_err("nothing").kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn an_endpoint_that_refuses_or_is_gone_is_left_for_another() {
    let mut router = serving(Limits { idle: Duration::from_secs(2), ..Limits::default() }, &[]).await;
    let gone = UdpSocket::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    let target = router.backend("web", None, &[gone]);
    router.model.entry_points[0].listeners[0].routes.clear();
    attach(&mut router.model.entry_points[0].listeners[0], 1, &[], &[(1, target)]);
    router.apply().await;
    let client = client(router.socket(PORT)).await;
    client.send(b"hello").await.expect("sent");
    assert_eq!(router.logged().await["error"], "the backend refuses datagrams");

    let [a, b] = [echo("a").await, echo("b").await];
    let Target::Backend(id) =
        router.model.entry_points[0].listeners[0].routes[0].route.rules[0].backends[0].target.clone()
    else {
        panic!("a backend")
    };
    router.endpoints = vec![(id.clone(), gone), (id.clone(), a)];
    router.apply().await;
    assert_eq!(ask_until_answered(&client).await, "a: again");
    router.endpoints = vec![(id, b)];
    router.apply().await;
    within(async {
        // Though it is never silent.
        while ask_until_answered(&client).await != "b: again" {}
    })
    .await;
}

/// Until so many are there; how many were new each time when it was this task's turn.
async fn counts_by_turn(socket: &std::net::UdpSocket, all: usize) -> Vec<usize> {
    let (mut counts, mut buffer) = (Vec::new(), [0; 8]);
    within(async {
        while counts.iter().sum::<usize>() < all {
            tokio::task::yield_now().await;
            counts.push(std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count());
        }
    })
    .await;
    counts
}

/// Everything here is on one thread.
#[tokio::test]
async fn whoever_sends_without_a_pause_leaves_others_their_turn() {
    let plain = || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("set");
        socket
    };
    let (client, backend) = (plain(), plain());
    let mut router = router(with(Limits::default()), 1);
    let target = router.backend("a", None, &[backend.local_addr().expect("bound")]);
    attach(router.listener(PORT, ListenerProtocol::Udp, None), 1, &[], &[(1, target)]);
    router.apply().await;
    client.connect(router.socket(PORT)).expect("connected");
    client.send(b"first").expect("sent");
    let mut buffer = [0; 8];
    let (_, router_side) = within(async {
        loop {
            match backend.recv_from(&mut buffer) {
                Ok(received) => return received,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let many = 3 * IN_A_ROW;
    for _ in 0..many {
        client.send(b"there").expect("sent");
    }
    let there = counts_by_turn(&backend, many).await;
    for _ in 0..many {
        backend.send_to(b"back", router_side).expect("sent");
    }
    let back = counts_by_turn(&client, many).await;
    for counts in [there, back] {
        assert!(counts.iter().all(|count| *count < many), "{counts:?}");
    }
}

#[tokio::test]
async fn what_leads_nowhere_is_told_once() {
    let mut router = router(with(Limits::default()), 1);
    let target = Target::Invalid("Service gone is not there".into());
    attach(router.listener(PORT, ListenerProtocol::Udp, None), 1, &[], &[(1, target)]);
    router.apply().await;
    let client = client(router.socket(PORT)).await;
    for _ in 0..5 {
        client.send(b"hello").await.expect("sent");
    }
    assert_eq!(router.logged().await["error"], "Service gone is not there");
    within(async {
        while !router.series.render().contains("result=\"failed\"} 5") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(router.log.take().is_empty());
}

#[tokio::test]
async fn an_answer_comes_from_the_address_that_was_asked_where_the_socket_has_all_of_them() {
    let mut router = router(with(Limits::default()), 1);
    let a = echo("a").await;
    let target = router.backend("a", None, &[a]);
    // A port that nobody else has on any address.
    let free = UdpSocket::bind("0.0.0.0:0").await.expect("a free port").local_addr().expect("bound").port();
    let listener = router.listener(free, ListenerProtocol::Udp, None);
    listener.sockets = vec![SocketAddr::from(([0, 0, 0, 0], free))];
    attach(listener, 1, &[], &[(1, target)]);
    router.apply().await;
    for last in [1, 2] {
        // Connected, it takes no answer from elsewhere.
        let client = client(SocketAddr::from(([127, 9, 9, last], free))).await;
        assert_eq!(ask(&client, b"hello").await.expect("an answer"), "a: hello");
        let long = "x".repeat(60_000);
        assert_eq!(ask(&client, long.as_bytes()).await.expect("larger than a packet"), format!("a: {long}"));
    }
}

#[tokio::test]
async fn a_socket_is_free_as_soon_as_it_is_closed_and_a_router_that_leaves_hears_out_its_clients() {
    let mut router = serving(Limits::default(), &[("a", 1)]).await;
    let client = client(router.socket(PORT)).await;
    assert_eq!(ask(&client, b"hello").await.expect("an answer"), "a: hello");
    let listeners = std::mem::take(&mut router.model.entry_points[0].listeners);
    router.apply().await;
    drop(std::net::UdpSocket::bind(router.socket(PORT)).expect("free"));
    assert!(router.logged().await["error"].is_null());
    router.model.entry_points[0].listeners = listeners;
    router.apply().await;

    // A backend that answers when it is told to.
    let slow = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let id = router.cells.keys().next().expect("one").clone();
    router.endpoints = vec![(id, slow.local_addr().expect("bound"))];
    router.apply().await;
    client.send(b"question").await.expect("sent");
    let mut buffer = [0; 20];
    let (_, router_side) = within(slow.recv_from(&mut buffer)).await.expect("a question");
    let leaving = tokio::spawn(router.listeners.leave());
    tokio::task::yield_now().await;
    slow.send_to(b"answer", router_side).await.expect("sent");
    let count = within(client.recv(&mut buffer)).await.expect("an answer");
    assert_eq!(&buffer[..count], b"answer");
    within(leaving).await.expect("it left");
}

#[test]
fn no_socket_of_datagrams_takes_the_places_of_connections() {
    let of_room = |places| {
        let Limits { sessions, of_one_client, .. } = Limits::default().of_room(places);
        (sessions, of_one_client)
    };
    assert_eq!([500_000, 480, 1].map(of_room), [(8_192, 4_096), (120, 60), (1, 1)]);
}

proptest! {
    #[test]
    fn the_more_there_are_the_less_may_each_be_silent(taken in 0..100_usize, places in 1..100_usize) {
        let idle = Duration::from_secs(60);
        let at = |taken| patience(idle, taken, places);
        prop_assert!(at(taken) <= idle && at(taken) >= SHORTEST);
        prop_assert!(at(taken + 1) <= at(taken));
        prop_assert_eq!(at(places / 2), idle);
        prop_assert_eq!(at(places.max(2)), SHORTEST);
        prop_assert_eq!(patience(Duration::from_millis(5), taken, places), Duration::from_millis(5), "never more");
    }
}
