//! Answers that are served after their time: `use-stale-cache`, which Pi-hole calls the cache optimizer.
//!
//! The first question after an answer's end gets the old one, and makes dnsmasq ask; the next one gets the new one.

use tests::{
    Home,
    dnsmasq::{Answer, Dnsmasq, Gateway, LAN, outlive},
    eventually,
    home::ingress,
};

use crate::{forward, home};

#[test]
fn a_name_that_moves_is_seen_there_by_the_second_question() {
    let home = home();
    home.apply("moving.yaml", &moving("192.168.8.24"));
    let (gateway, dnsmasq) = start(&home);
    changes(&gateway, &dnsmasq, "moving.home.example A", ["NOERROR 192.168.8.24", "NOERROR 192.168.8.26"], || {
        home.apply("moving.yaml", &moving("192.168.8.26"));
    });
}

#[test]
fn a_name_that_is_made_is_seen_by_the_second_question() {
    let home = home();
    let (gateway, dnsmasq) = start(&home);
    let new = format!("NOERROR {LAN}");
    changes(&gateway, &dnsmasq, "new.home.example A", ["NXDOMAIN", &new], || {
        home.apply("new.yaml", &ingress("new", "new.home.example", "web"));
    });
}

#[test]
fn a_name_that_is_deleted_is_gone_by_the_second_question() {
    let home = home();
    home.apply("old.yaml", &ingress("old", "old.home.example", "web"));
    let (gateway, dnsmasq) = start(&home);
    let old = format!("NOERROR {LAN}");
    changes(&gateway, &dnsmasq, "old.home.example A", [&old, "NXDOMAIN"], || home.delete("old.yaml"));
}

fn start(home: &Home) -> (Gateway, Dnsmasq) {
    let gateway = Gateway::start(home, 22);
    let lines = [forward(&[&gateway]), vec!["use-stale-cache=3600".to_owned()]].concat();
    let dnsmasq = Dnsmasq::start(home, 53, &lines);
    (gateway, dnsmasq)
}

fn changes(gateway: &Gateway, dnsmasq: &Dnsmasq, question: &str, [old, new]: [&str; 2], change: impl FnOnce()) {
    assert_eq!(dnsmasq.ask(question), old);
    change();
    gateway.comes_to_answer(question, new);
    outlive(1);
    let asked = dnsmasq.sent_to(gateway.address()).len();
    let first = dnsmasq.ask(question);
    // After a stale answer dnsmasq makes NODATA of NXDOMAIN.
    let is_new = |answer: &Answer| *answer == new || (new == "NXDOMAIN" && *answer == "NOERROR");
    assert!(first == old || is_new(&first), "{first:?}");
    // The old one is not to be kept by anybody else.
    assert!(is_new(&first) || first.ttl.unwrap_or_default() == 0, "{first:?} for {:?} seconds", first.ttl);
    // dnsmasq asks after it has answered.
    eventually("a query", || match dnsmasq.sent_to(gateway.address()).len() {
        now if now > asked => Ok(()),
        now => Err(now),
    });
    eventually("its answer in dnsmasq", || dnsmasq.has_heard(question.trim_end_matches(" A")));
    let second = dnsmasq.ask(question);
    assert!(is_new(&second), "{second:?}\n{}", dnsmasq.last_words());
}

/// A route of a Gateway that has this address.
fn moving(address: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: doorward}}
spec: {{controllerName: doorward.dev/gateway}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: home, namespace: default}}
spec:
  gatewayClassName: doorward
  addresses: [{{value: {address}}}]
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: moving, namespace: default}}
spec:
  parentRefs: [{{name: home}}]
  hostnames: [moving.home.example]
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
"
    )
}
