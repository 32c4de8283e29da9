//! Sockets that die, and addresses that cannot be opened.

use std::time::Duration;

use super::*;

fn config() -> Config {
    let text =
        "entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}\ndns: {listen: ['127.0.0.1:0', '127.0.0.1:0']}";
    k8s::config::parse(text).expect("a right file")
}

pub(super) fn answering() -> Answering {
    let metrics = Arc::new(Metrics::new(&config(), n_sockets(&config())));
    Answering::new(SharedViews::default(), &config(), metrics)
}

async fn two_addresses() -> Listening {
    open(&config(), &answering()).await.expect("free ports")
}

async fn end_of(mut listening: Listening) -> String {
    let ended = tokio::time::timeout(Duration::from_secs(10), listening.ended()).await;
    let text = format!("{:#}", ended.expect("the end of one socket is the end"));
    listening.close().await;
    text
}

#[test]
fn ipv6_addresses_are_left_out_where_there_is_no_ipv6_and_another_address() {
    let (v4, v6): (SocketAddr, SocketAddr) = (([0, 0, 0, 0], 53).into(), ([0; 8], 53).into());
    for (addresses, speaks_ipv6, expected) in [
        (vec![v4, v6], true, Some(vec![v4, v6])),
        (vec![v6, v4], false, Some(vec![v4])),
        (vec![v6], true, Some(vec![v6])),
        (vec![v6], false, None),
    ] {
        assert_eq!(spoken("dns.listen", &addresses, speaks_ipv6).ok(), expected, "{addresses:?} {speaks_ipv6}");
    }
}

#[tokio::test]
async fn one_socket_that_has_died_is_the_end() {
    let listening = two_addresses().await;
    listening.is_closing.store(true, Relaxed);
    assert_eq!(end_of(listening).await, "a DNS socket was closed");

    let mut listening = two_addresses().await;
    listening.sockets.spawn(async { anyhow::bail!("UDP has died") });
    assert_eq!(end_of(listening).await, "UDP has died");
}

#[tokio::test]
async fn a_panic_in_a_sockets_task_is_the_end() {
    let mut listening = two_addresses().await;
    listening.sockets.spawn_blocking(|| panic!("on purpose"));
    assert!(end_of(listening).await.contains("panicked"));
}

#[tokio::test]
async fn a_tcp_socket_that_was_shut_down_is_the_end() {
    let mut listening = two_addresses().await;
    let listener = tcp::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let socket = socket2::SockRef::from(&listener).try_clone().expect("a second handle");
    let answering = answering();
    let admission = Arc::new(Admission::new(Vec::new()));
    let shard = answering.metrics.shard(0);
    listening.sockets.spawn(tcp::serve(listener, None, answering, shard, admission));
    socket.shutdown(std::net::Shutdown::Both).expect("it can be shut down");
    assert!(end_of(listening).await.contains("Invalid argument"));
}

#[test]
fn a_panic_over_one_query_is_counted_and_costs_one_answer() {
    let answering = answering();
    let client = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(answering.unharmed(b"query", client, || 1), Some(1));
    assert_eq!(answering.unharmed(b"query", client, || [1][b"query".len()]), None);
    assert_eq!(answering.metrics.panics.load(Relaxed), 1);
}
