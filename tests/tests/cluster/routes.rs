//! Ingresses come, change and go.

use std::time::Instant;

use tests::{
    cluster::times,
    home::{ingress, service},
};

use crate::Doorward;

const CERTIFICATE: &str = "defaultCertificate: default/home-tls";

#[test]
fn an_ingress_is_followed_from_its_creation_to_its_end() {
    let doorward = Doorward::start("");
    let [one, two] = ["one", "two"].map(|name| doorward.cluster.backend(name));
    doorward.cluster.apply(&format!("{}{}", service("one", &[one]), service("two", &[two])));
    assert_eq!(doorward.addresses("app.home.example"), "NXDOMAIN");
    assert_eq!(doorward.backend("http://app.home.example/"), "404");

    doorward.cluster.apply(&ingress("app", "app.home.example", "one"));
    eventually_http(&doorward, "app.home.example", &doorward.lan(), "one");

    // Another host and another backend: the old name goes as the new one comes.
    doorward.cluster.apply(&ingress("app", "new.home.example", "two"));
    eventually_http(&doorward, "new.home.example", &doorward.lan(), "two");
    eventually_http(&doorward, "app.home.example", "NXDOMAIN", "404");

    doorward.cluster.delete(&ingress("app", "new.home.example", "two"));
    eventually_http(&doorward, "new.home.example", "NXDOMAIN", "404");
}

#[test]
fn a_new_ingress_resolves_and_answers_over_https() {
    let doorward = Doorward::start(CERTIFICATE);
    let web = doorward.cluster.backend("web");
    let certificate = tests::certificate(&["*.home.example"]);
    doorward.cluster.apply(&format!(
        "{}{}",
        service("web", &[web]),
        tests::tls_secret("default", "home-tls", &certificate)
    ));
    let took = (0..10)
        .map(|number| {
            let name = format!("app-{number}.home.example");
            let started = Instant::now();
            doorward.cluster.apply(&ingress(&format!("app-{number}"), &name, "web"));
            doorward.eventually_served(&name, &doorward.lan(), "web");
            started.elapsed()
        })
        .collect();
    println!(
        "FIGURE Ingress applied until DNS and HTTPS answer, with the start of kubectl, dig and curl: {}",
        times(took)
    );
}

#[test]
fn an_external_name_is_served_by_both_doors_and_an_internal_one_by_the_lan_alone() {
    let doorward = Doorward::start("");
    let web = doorward.cluster.backend("web");
    let manifests = [
        service("web", &[web]),
        ingress("in", "in.home.example", "web"),
        tests::home::ingress_of("external", "out", "out.home.example", "web"),
    ];
    doorward.cluster.apply(&manifests.concat());
    eventually_http(&doorward, "out.home.example", &doorward.lan(), "web");
    eventually_http(&doorward, "in.home.example", &doorward.lan(), "web");
    assert_eq!(doorward.backend_at(23, "http://out.home.example/"), "web");
    assert_eq!(doorward.backend_at(23, "http://in.home.example/"), "404");
}

fn eventually_http(doorward: &Doorward, name: &str, address: &str, backend: &str) {
    let wanted = (address.to_owned(), backend.to_owned());
    let url = format!("http://{name}/");
    tests::eventually(name, || match (doorward.addresses(name), doorward.backend(&url)) {
        found if found == wanted => Ok(()),
        other => Err((other, doorward.home.admin("router", "/problems"))),
    });
}
