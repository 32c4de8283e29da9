//! What is wrong in the cluster is told, and stops nothing else.

use tests::{
    eventually,
    home::{ingress, service},
};

use crate::Doorward;

#[test]
fn every_wrong_object_is_a_problem_that_names_it_and_everything_else_is_served() {
    let doorward = Doorward::start("");
    let web = doorward.cluster.backend("web");
    doorward.cluster.apply(&format!("{}{}", service("web", &[web]), ingress("good", "good.home.example", "web")));
    let served = || {
        eventually("what is right", || match doorward.backend("http://good.home.example/").as_str() {
            "web" => Ok(()),
            other => Err(other.to_owned()),
        })
    };
    served();
    let wrong_port = ingress("wrong-port", "port.home.example", "web").replace("number: 80", "name: https");
    let missing_secret = ingress("missing-secret", "secret.home.example", "web")
        .replace("  rules:", "  tls: [{hosts: [secret.home.example], secretName: nowhere}]\n  rules:");
    let wrong = [
        ingress("missing-service", "missing.home.example", "nowhere"),
        wrong_port,
        missing_secret,
        ingress("thief", "good.home.example", "nowhere"),
    ];
    doorward.cluster.apply(&wrong.concat());
    let (problems, _) = eventually("the problems", || {
        let problems = doorward.home.admin("router", "/problems");
        let missing = ["missing-service", "wrong-port", "missing-secret", "thief"]
            .into_iter()
            .find(|name| !problems.contains(&format!("Ingress {}/{name}", doorward.cluster.namespace())));
        match missing {
            None => Ok(problems),
            Some(name) => Err((name, problems)),
        }
    });
    println!("{problems}");
    served();
    // An invalid backend is still a route: it answers 500, and its name resolves.
    assert_eq!(doorward.backend("http://missing.home.example/"), "500");
    assert_eq!(doorward.backend("http://port.home.example/"), "500");
    assert_eq!(doorward.addresses("missing.home.example"), doorward.lan());
    let explained = doorward.home.admin("router", "/explain?url=http://missing.home.example/");
    assert!(explained.contains("nowhere"), "{explained}");
}
