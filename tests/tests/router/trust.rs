//! Who is believed about the client, and what the backend is told.

use tests::{
    Home,
    home::{classes, ingress_of, service},
};

use crate::{Backends, field};

#[test]
fn the_lan_believes_nobody_and_the_tunnel_believes_its_sources() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    home.apply(
        "app.yaml",
        &format!("{}{}{}", classes(), service("web", &[web]), ingress_of("external", "app", "app.home.example", "web")),
    );
    let _router = home.start("router");
    let forged = [
        "-H",
        "CF-Connecting-IP: 203.0.113.7",
        "-H",
        "X-Forwarded-For: 1.1.1.1",
        "-H",
        "X_Forwarded_For: 2.2.2.2",
        "-H",
        "X-Forwarded-Proto: https",
        "-H",
        "X-authentik-username: root",
        "-H",
        "Remote-User: root",
        "-H",
        "CF-Ray: abc",
    ];
    let asked = |door: u8| home.curl(door, &[forged.as_slice(), &["http://app.home.example/"]].concat());

    let lan = asked(21);
    assert_eq!(field(&lan, "/headers/x-forwarded-for"), "127.0.0.1", "{lan}");
    assert_eq!(field(&lan, "/headers/x-real-ip"), "127.0.0.1");
    assert_eq!(field(&lan, "/headers/x-forwarded-proto"), "http");
    assert_eq!(field(&lan, "/headers/x-forwarded-host"), "app.home.example");
    for name in ["cf-connecting-ip", "cf-ray", "x-authentik-username", "remote-user", "x_forwarded_for"] {
        assert_eq!(field(&lan, &format!("/headers/{name}")), "", "{name}\n{lan}");
    }
    assert_eq!(field(&lan, "/headers/x-request-id").len(), 16);

    let tunnel = asked(23);
    assert_eq!(field(&tunnel, "/headers/x-forwarded-for"), "203.0.113.7", "{tunnel}");
    assert_eq!(field(&tunnel, "/headers/x-forwarded-proto"), "https");
    assert_eq!(field(&tunnel, "/headers/cf-ray"), "abc");
    assert_eq!(field(&tunnel, "/headers/x-authentik-username"), "", "identity is nobody's to assert but ours");
}
