//! `gateway` behind dnsmasq, as Pi-hole asks it. Each test names what a person at home would notice.

/// Validation of DNSSEC, while the public zone of the same name is signed.
#[path = "dnsmasq/dnssec.rs"]
mod dnssec;
/// Two gateways, one of them gone.
#[path = "dnsmasq/failover.rs"]
mod failover;
/// "No such name" and "no such record": how long they are believed, and what they must not hide.
#[path = "dnsmasq/negative.rs"]
mod negative;
/// What the Internet says of the same names.
#[path = "dnsmasq/public.rs"]
mod public;
/// Before a gateway has its objects, and the moment it has them.
#[path = "dnsmasq/readiness.rs"]
mod readiness;
/// Private addresses from an upstream server, where those are suspected.
#[path = "dnsmasq/rebind.rs"]
mod rebind;
/// Answers that are served after their time.
#[path = "dnsmasq/stale.rs"]
mod stale;
/// Long answers, and what dnsmasq may add to its queries.
#[path = "dnsmasq/transport.rs"]
mod transport;
/// Queries for what nobody told us of: single labels and addresses of the LAN.
#[path = "dnsmasq/unasked.rs"]
mod unasked;

use std::net::SocketAddr;

use tests::{
    Home,
    dnsmasq::Gateway,
    home::{classes, ingress, service},
};

/// A home that serves `grafana`, `photos` and a wildcard.
fn home() -> Home {
    let home = Home::new();
    let apps = [
        classes(),
        service("web", &[]),
        ingress("grafana", "grafana.home.example", "web"),
        ingress("photos", "photos.home.example", "web"),
        ingress("apps", "*.apps.home.example", "web"),
    ];
    home.apply("apps.yaml", &apps.concat());
    home
}

/// What stands in Pi-hole's `misc.dnsmasq_lines`, for each gateway.
fn forward(gateways: &[&Gateway]) -> Vec<String> {
    gateways.iter().map(|gateway| format!("server=/home.example/{}", at(gateway.address()))).collect()
}

/// What Pi-hole's conditional forwarding emits for a network, a server and a domain.
fn conditional_forward(to: SocketAddr) -> [String; 3] {
    let to = at(to);
    [format!("rev-server=192.168.8.0/24,{to}"), format!("server=/home.example/{to}"), format!("server=//{to}")]
}

/// As dnsmasq writes a socket.
fn at(address: SocketAddr) -> String {
    format!("{}#{}", address.ip(), address.port())
}
