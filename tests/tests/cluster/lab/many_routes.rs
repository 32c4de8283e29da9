//! A thousand routes on several Gateways: all are served, one that changes is followed, and what says nothing new
//! does nothing.

use serde_json::json;
use tests::{Home, cluster::Cluster, eventually, home::HTTP, many::Many};

use super::lab;

const ROUTES: usize = 1_000;
const GATEWAYS: u8 = 5;

#[test]
fn a_thousand_routes_are_served_and_one_that_changes_is_followed() {
    lab(&["crds"]);
    let (home, mut cluster) = (Home::new(), Cluster::new());
    cluster.configure(&home, "");
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    let class = cluster.own("internal");
    cluster.remove_at_the_end(&format!("gatewayclass/{class}"));
    let many = Many {
        namespace: cluster.namespace().to_owned(),
        class,
        controller: cluster.own("doorward.dev/gateway"),
        addresses: (1..=GATEWAYS).map(|number| home.address(100 + number)).collect(),
        port: HTTP,
        n_routes: ROUTES,
        backend: cluster.backend("web"),
    };
    let api = cluster.api();
    many.create(&api);

    // It is ready when it has all of them, and not before.
    let router = home.start_on_cluster("router");
    assert_eq!(many.unserved(), Vec::<usize>::new());

    let compiled = || router.log().matches("routes changed").count();
    let before = compiled();
    for number in 0..usize::from(GATEWAYS) {
        let host = format!("changed-{number}.home.example");
        let patch = json!({"spec": {"hostnames": [many.host(number), host]}});
        api.patch(&many.route_path(number), &patch.to_string());
        eventually("the changed route", || match many.status(number, &host) {
            Some(200) => Ok(()),
            other => Err(other),
        });
    }
    assert_eq!(many.unserved(), Vec::<usize>::new(), "the others");
    assert!(compiled() > before);

    // Annotations that nobody reads, and then a change that shows when these were seen.
    let (before, written) = (compiled(), home.counted("router", STATUS_WRITES));
    for number in 0..usize::from(GATEWAYS) {
        let patch = json!({"metadata": {"annotations": {"example.com/touched": "yes"}}}).to_string();
        api.patch(&many.gateway_path(number), &patch);
        api.patch(&many.route_path(number), &patch);
    }
    api.patch(&many.route_path(0), &json!({"spec": {"hostnames": ["last.home.example"]}}).to_string());
    eventually("the last change", || match many.status(0, "last.home.example") {
        Some(200) => Ok(()),
        other => Err(other),
    });
    assert_eq!(compiled(), before + 1, "what says nothing new was compiled");
    // Says something once statuses are written: the last change alone gives one at most.
    let more = home.counted("router", STATUS_WRITES).unwrap_or_default() - written.unwrap_or_default();
    println!("FIGURE status writes for annotations that nobody reads, and one changed route: {more}");
}

/// What the router counts them in.
const STATUS_WRITES: &str = "doorward_status_writes_total";
