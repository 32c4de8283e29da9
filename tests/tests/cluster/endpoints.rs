//! Endpoints change, and requests go to the new ones.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use tests::{
    PATIENCE,
    cluster::times,
    home::{HTTP, ingress, service, slices},
};

use crate::Doorward;

#[test]
fn an_endpoint_change_is_followed_without_compiling_routes() {
    let doorward = Doorward::start("");
    let backends = ["red", "blue"].map(|name| (name, doorward.cluster.backend(name)));
    doorward.cluster.apply(&format!(
        "{}{}",
        service("web", &[backends[0].1]),
        ingress("app", "app.home.example", "web")
    ));
    tests::eventually("the first endpoint", || match doorward.backend("http://app.home.example/").as_str() {
        "red" => Ok(()),
        other => Err(other.to_owned()),
    });
    let swaps = || doorward.router.log().matches("routes changed").count();
    let before = swaps();
    assert!(before > 0);
    let api = doorward.cluster.api();
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices/web-0", doorward.cluster.namespace());
    let took: Vec<Duration> = (1..=20)
        .map(|round| {
            let (name, endpoint) = backends[round % 2];
            let patch = serde_json::json!({
                "endpoints": [{"addresses": [endpoint.ip()], "conditions": {"ready": true}}],
                "ports": [{"port": endpoint.port(), "name": "", "protocol": "TCP"}],
            });
            let accepted = api.patch(&path, &patch.to_string());
            ask_until(&doorward, name);
            accepted.elapsed()
        })
        .collect();
    println!(
        "FIGURE EndpointSlice accepted by the API server until a request goes to the new endpoint: {}",
        times(took)
    );
    assert_eq!(swaps(), before, "routes were compiled anew");
    doorward.cluster.delete(&slices("web", &[backends[0].1]));
    tests::eventually("no endpoint", || match doorward.backend("http://app.home.example/").as_str() {
        "503" => Ok(()),
        other => Err(other.to_owned()),
    });
}

/// Asks over one connection, without a client's start, until `name` answers.
fn ask_until(doorward: &Doorward, name: &str) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(doorward.home.socket(21, HTTP)).expect("the router listens");
    let mut buffer = vec![0; 16 << 10];
    loop {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("the router reads");
        let mut answer = String::new();
        while !answer.ends_with("}\n") && !answer.ends_with("}\n\r\n0\r\n\r\n") {
            let read = stream.read(&mut buffer).expect("the router answers");
            assert!(read > 0, "the router has closed: {answer}");
            answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        if answer.contains(&format!("\"backend\": \"{name}\"")) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{name} never answers; instead: {answer}");
    }
}
