//! A thousand routes on several Gateways: all are served, one that changes is followed, and what says nothing new
//! does nothing.

use serde_json::{Value, json};
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

    eventually("statuses that say what is", || match n_stale(&cluster) {
        0 => Ok(()),
        n_stale => Err(n_stale),
    });

    // Annotations that nobody reads, and then a change that shows when these were seen.
    let (before, written) = (compiled(), home.counted("router", STATUS_WRITES).expect("a count"));
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
    eventually("its status", || match n_stale(&cluster) {
        0 => Ok(()),
        n_stale => Err(n_stale),
    });
    let more = home.counted("router", STATUS_WRITES).expect("a count") - written;
    assert!((more - 1.0).abs() < f64::EPSILON, "{more} statuses were written for one that changed");
}

/// How many routes and Gateways have no status, or one of an older generation.
fn n_stale(cluster: &Cluster) -> usize {
    let all = cluster.kubectl(&["get", "httproutes,gateways", "-o", "json"]);
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let is_current = |object: &&Value| {
        let parents = object["status"]["parents"].as_array();
        let of_parents = parents.into_iter().flatten().filter_map(|parent| parent["conditions"].as_array()).flatten();
        let own = object["status"]["conditions"].as_array().into_iter().flatten();
        let mut generations = of_parents.chain(own).map(|condition| &condition["observedGeneration"]).peekable();
        generations.peek().is_some() && generations.all(|it| *it == object["metadata"]["generation"])
    };
    let objects = all["items"].as_array().expect("a list");
    assert_eq!(objects.len(), ROUTES + usize::from(GATEWAYS));
    objects.iter().filter(|object| !is_current(object)).count()
}

/// What the router counts them in.
const STATUS_WRITES: &str = "doorward_status_writes_total";
