//! The Gateway API's CRDs come when everything runs, and go again.

use tests::{
    cluster::Cluster,
    eventually,
    home::{ingress, service},
};

use super::{GATEWAY, lab, route};
use crate::Doorward;

#[test]
fn crds_that_come_late_are_followed_and_their_end_takes_nothing_else_away() {
    without_crds();
    let doorward = Doorward::start("");
    let web = doorward.cluster.backend("web");
    doorward.cluster.apply(&format!("{}{}", service("web", &[web]), ingress("app", "app.home.example", "web")));
    let by_ingress = || {
        eventually("the Ingress", || match doorward.backend("http://app.home.example/").as_str() {
            "web" => Ok(()),
            other => Err(other.to_owned()),
        });
    };
    by_ingress();
    lab(&["crds"]);
    doorward.cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    let at = "http://gateway.home.example:8088/";
    doorward.cluster.apply(&[GATEWAY, &route("web")].concat());
    let door = doorward.home.address(24).to_string();
    let by_gateway = |wanted: (&str, &str)| {
        let (_, took) = eventually("the Gateway", || {
            match (doorward.addresses("gateway.home.example"), doorward.backend_at(24, at)) {
                (address, backend) if (address.as_str(), backend.as_str()) == wanted => Ok(()),
                other => Err((other, doorward.home.admin("router", "/problems"))),
            }
        });
        took
    };
    let took = by_gateway((&door, "web"));
    println!("FIGURE CRDs installed and a Gateway applied until DNS and HTTP answer: {} ms", took.as_millis());
    by_ingress();

    without_crds();
    by_gateway(("NXDOMAIN", "000"));
    by_ingress();
}

/// The CRDs, and with them every object of theirs.
fn without_crds() {
    let cluster = Cluster::new();
    let all = cluster.kubectl(&["get", "crd", "-o", "name"]);
    for crd in all.lines().filter(|line| line.contains("gateway.networking.k8s.io")) {
        cluster.kubectl(&["delete", crd]);
    }
}
