//! TLS Secrets come, are replaced, and turn out to be garbage.

use std::{process::Command, time::Instant};

use tests::{
    certificate,
    cluster::times,
    eventually,
    home::{HTTPS, ingress, service},
    output, tls_secret,
};

use crate::Doorward;

#[test]
fn a_replaced_secret_is_served_and_the_default_certificate_where_it_turns_bad() {
    let doorward = Doorward::start("defaultCertificate: default/home-tls");
    let web = doorward.cluster.backend("web");
    doorward.cluster.apply(&tls_secret("default", "home-tls", &certificate(&["*.home.example"])));
    let ingress = ingress("app", "app.home.example", "web")
        .replace("  rules:", "  tls: [{hosts: [app.home.example], secretName: app-tls}]\n  rules:");
    doorward.cluster.apply(&format!("{}{ingress}", service("web", &[web])));
    let problems_become = |what: &str, right: fn(&str) -> bool| {
        eventually(what, || match doorward.home.admin("router", "/problems") {
            problems if right(&problems) => Ok(()),
            other => Err(other),
        });
    };
    // The Ingress is first; its Secret comes later, as from cert-manager.
    problems_become("the missing Secret", |all| all.contains("app-tls, which does not exist"));
    let took = (0..5)
        .map(|round| {
            let name = format!("round-{round}.example");
            let secret = tls_secret("default", "app-tls", &certificate(&["app.home.example", &name]));
            let started = Instant::now();
            doorward.cluster.apply(&secret);
            eventually("the new certificate", || match served(&doorward) {
                names if names.contains(&name) => Ok(()),
                other => Err(other),
            });
            started.elapsed()
        })
        .collect();
    println!(
        "FIGURE Secret replaced until a handshake serves it, with the start of kubectl and openssl: {}",
        times(took)
    );
    assert_eq!(doorward.backend("https://app.home.example/"), "web");

    // Garbage is a problem, and the last good certificate stays: a hand that slips must not cost a host its visitors.
    problems_become("no problem", |all| !all.contains("app-tls"));
    let garbage = ("not a certificate".to_owned(), "nor a key".to_owned());
    doorward.cluster.apply(&tls_secret("default", "app-tls", &garbage));
    problems_become("the bad Secret", |all| all.contains("app-tls, whose tls.crt holds no certificate in PEM form"));
    assert!(served(&doorward).contains("round-4.example"));
    assert_eq!(doorward.backend("https://app.home.example/"), "web");
}

/// The names in the certificate that is served for app.home.example.
fn served(doorward: &Doorward) -> String {
    let script = format!(
        "openssl s_client -connect {} -servername app.home.example </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName 2>&1",
        doorward.home.socket(21, HTTPS)
    );
    output(Command::new("sh").args(["-c", &script]))
}
