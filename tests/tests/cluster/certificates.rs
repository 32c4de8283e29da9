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
fn a_replaced_secret_is_served_at_the_next_handshake() {
    let doorward = Doorward::start("");
    let web = doorward.cluster.backend("web");
    let ingress = ingress("app", "app.home.example", "web")
        .replace("  rules:", "  tls: [{hosts: [app.home.example], secretName: app-tls}]\n  rules:");
    doorward.cluster.apply(&format!("{}{ingress}", service("web", &[web])));
    // The Ingress is first; its Secret comes later, as from cert-manager.
    eventually("the missing Secret", || match doorward.home.admin("router", "/problems") {
        problems if problems.contains("app-tls") => Ok(()),
        other => Err(other),
    });
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

    // Garbage is a problem, and the certificate that was served goes on being served.
    let garbage = ("not a certificate".to_owned(), "nor a key".to_owned());
    doorward.cluster.apply(&tls_secret("default", "app-tls", &garbage));
    let (problem, _) = eventually("the problem", || match doorward.home.admin("router", "/problems") {
        problems if problems.contains("app-tls") => Ok(problems),
        other => Err(other),
    });
    println!("{problem}");
}

/// The names in the certificate that is served for app.home.example.
fn served(doorward: &Doorward) -> String {
    let script = format!(
        "openssl s_client -connect {} -servername app.home.example </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName 2>&1",
        doorward.home.socket(21, HTTPS)
    );
    output(Command::new("sh").args(["-c", &script]))
}
