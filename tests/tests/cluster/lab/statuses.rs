//! What is written back: by one of two routers, beside what others write, and not twice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Home, Program, cluster::Cluster, eventually, within};

use super::{GATEWAY, lab, route};

/// A lease runs out after a quarter of a minute, and a machine may be slow.
const TAKEOVER: Duration = Duration::from_secs(90);

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{port: 80}]}
";

fn get(cluster: &Cluster, what: &str) -> Value {
    serde_json::from_str(&cluster.kubectl(&["get", what, "-o", "json"])).expect("an object")
}

/// Waits until every condition that is ours is of the object's own generation, and `kind` has this reason.
fn judged(cluster: &Cluster, kind: &str, reason: &str) -> Duration {
    let (_, took) = eventually(reason, || {
        let route = get(cluster, "httproute/app");
        let all = route["status"]["parents"].as_array().cloned().unwrap_or_default();
        let ours = all.iter().find(|it| it["controllerName"] == cluster.own("doorward.dev/gateway")).cloned();
        let conditions = ours.and_then(|it| it["conditions"].as_array().cloned()).unwrap_or_default();
        let is_new = conditions.iter().all(|it| it["observedGeneration"] == route["metadata"]["generation"]);
        match conditions.iter().any(|it| it["type"] == kind && it["reason"] == reason) && is_new {
            true => Ok(()),
            false => Err(route["status"].clone()),
        }
    });
    took
}

/// The metrics of a router whose name begins so, sorted.
fn metrics(home: &Home, name: &str) -> Vec<String> {
    let metrics = home.admin("router", "/metrics");
    let mut found: Vec<String> = metrics.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect();
    found.sort();
    found
}

fn leads(home: &Home) -> bool {
    metrics(home, "doorward_leader ") == ["doorward_leader 1"]
}

fn eventually_leads(home: &Home, program: &Program) -> Duration {
    let (_, took) = within(TAKEOVER, "the lease", || if leads(home) { Ok(()) } else { Err(program.log()) });
    took
}

#[test]
fn one_of_two_routers_writes_statuses_beside_others_and_the_other_takes_over() {
    lab(&["crds"]);
    let mut cluster = Cluster::new();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    let (first, second) = (Home::new(), Home::new());
    cluster.configure(&first, "");
    cluster.configure(&second, "");
    let mut router = first.start_on_cluster("router");
    let took = eventually_leads(&first, &router);
    println!("FIGURE a single router is ready until it leads: {} ms", took.as_millis());
    let other = second.start_on_cluster("router");

    cluster.apply(&[GATEWAY, SERVICE].concat());
    cluster.apply(&route("web"));
    let took = judged(&cluster, "Accepted", "Accepted");
    println!("FIGURE an HTTPRoute applied until its status says so: {} ms", took.as_millis());
    let (class, _) = eventually("the class", || {
        let class = get(&cluster, &cluster.own("gatewayclass/internal"));
        match class["status"]["conditions"].as_array() {
            Some(conditions) if conditions.iter().any(|it| it["type"] == "SupportedVersion") => Ok(class),
            _ => Err(class),
        }
    });
    let supported = class["status"]["conditions"].as_array().expect("a list");
    assert!(supported.iter().any(|it| it["type"] == "SupportedVersion" && it["status"] == "True"), "{class}");
    assert!(!leads(&second), "{}", other.log());
    assert_eq!(metrics(&second, "doorward_status_writes_total"), Vec::<String>::new());

    others_keep_what_they_have_written(&cluster);
    nothing_is_written_twice(&cluster, &first);
    events_are_shown(&cluster, 1);

    // Who leaves gives the lease back.
    router.terminate();
    assert!(router.wait().success(), "{}", router.log());
    let took = eventually_leads(&second, &other);
    println!("FIGURE the leader has left until the other leads: {} ms", took.as_millis());
    cluster.apply(&route("web"));
    judged(&cluster, "ResolvedRefs", "ResolvedRefs");
    cluster.apply(&route("nowhere"));
    judged(&cluster, "ResolvedRefs", "BackendNotFound");
    // The new leader has met what the old one has said.
    events_are_shown(&cluster, 1);

    // Who is killed cannot.
    router = first.start_on_cluster("router");
    other.signal("KILL");
    let took = eventually_leads(&first, &router);
    println!("FIGURE the leader was killed until the other leads: {} ms", took.as_millis());
    cluster.apply(&route("web"));
    judged(&cluster, "ResolvedRefs", "ResolvedRefs");

    // A route that names us no more loses what we have said, and nothing else.
    cluster.apply(&route("web").replace("[{name: home}]", "[{name: elsewhere, namespace: kube-system}]"));
    eventually("our entry is gone", || match get(&cluster, "httproute/app")["status"]["parents"].clone() {
        parents if parents == json!([foreign()]) => Ok(()),
        other => Err(other),
    });
    let lease = cluster.own("lease/doorward.dev/gateway").replace("dev/gateway", "dev-gateway");
    cluster.kubectl(&["-n", "default", "delete", &lease]);
    cluster.delete(&[GATEWAY, SERVICE].concat());
}

fn foreign() -> Value {
    let reference = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "home"});
    let condition = json!({
        "type": "Accepted", "status": "False", "reason": "Pending", "message": "not yet", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    json!({"parentRef": reference, "controllerName": "example.com/other", "conditions": [condition]})
}

fn others_keep_what_they_have_written(cluster: &Cluster) {
    let add = json!([{"op": "add", "path": "/status/parents/0", "value": foreign()}]);
    cluster.kubectl(&["patch", "httproute/app", "--subresource=status", "--type=json", "-p", &add.to_string()]);
    cluster.apply(&route("nowhere"));
    judged(cluster, "ResolvedRefs", "BackendNotFound");
    let parents = get(cluster, "httproute/app")["status"]["parents"].clone();
    assert_eq!(parents[0], foreign());
    assert_eq!(parents.as_array().map(Vec::len), Some(2), "{parents}");
}

fn nothing_is_written_twice(cluster: &Cluster, leader: &Home) {
    let versions = || {
        let of = |what: &str| get(cluster, what)["metadata"]["resourceVersion"].clone();
        [of("httproute/app"), of("gateway/home"), of(&cluster.own("gatewayclass/internal"))]
    };
    let writes = || metrics(leader, "doorward_status_writes_total");
    // What was written comes back by the watch, and is looked at once more.
    let (before, _) = eventually("peace", || {
        let before = (versions(), writes());
        std::thread::sleep(Duration::from_millis(500));
        if before == (versions(), writes()) { Ok(before) } else { Err(before) }
    });
    let translated = || metrics(leader, "doorward_snapshot_timestamp_seconds");
    let then = translated();
    cluster.kubectl(&["label", "service/web", &format!("again=at-{}", std::process::id())]);
    eventually("another translation", || if translated() != then { Ok(()) } else { Err(then.clone()) });
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert_eq!((versions(), writes()), before);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn events_are_shown(cluster: &Cluster, count: usize) {
    let (said, _) = eventually("an Event", || match cluster.kubectl(&["describe", "httproute/app"]) {
        said if said.contains("ServiceMissing") => Ok(said),
        other => Err(other),
    });
    assert!(said.contains("Warning") && said.contains("nowhere, which does not exist"), "{said}");
    let events = get(cluster, "events");
    let about = events["items"].as_array().expect("a list").iter();
    let found = about.filter(|it| it["involvedObject"]["name"] == "app" && it["reason"] == "ServiceMissing").count();
    assert_eq!(found, count, "{events}");
}
