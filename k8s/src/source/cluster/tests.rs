//! What of a cluster is a snapshot, and when it comes.

use serde_json::json;

use super::*;

const KINDS: Kinds = Kinds { tls: false, endpoints: true, dns_endpoints: false };

fn service(name: &str, port: i32) -> Listed {
    let json = json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": port}]}});
    Ok(serde_json::from_value::<Service>(json).expect("a Service").into())
}

fn slice(address: &str) -> Listed {
    let json = json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
    });
    Ok(serde_json::from_value::<EndpointSlice>(json).expect("an EndpointSlice").into())
}

/// A collector of Services and EndpointSlices: where reports go in, and updates come out.
fn collector() -> (mpsc::Sender<Report>, mpsc::Receiver<Update>) {
    let (sender, reports) = mpsc::channel(16);
    let (updates, received) = mpsc::channel(16);
    let waiting = Waiting::new(BTreeSet::from([Kind::Service, Kind::EndpointSlice]), Known::new());
    tokio::spawn(collect(reports, waiting, KINDS, updates));
    (sender, received)
}

fn route(name: &str) -> HttpRoute {
    let json = json!({"metadata": {"name": name, "namespace": "default"}, "spec": {}});
    serde_json::from_value(json).expect("an HTTPRoute")
}

fn route_names(snapshot: &crate::snapshot::Snapshot) -> Vec<&str> {
    snapshot.http_routes.iter().filter_map(|route| route.metadata.name.as_deref()).collect()
}

async fn report(to: &mpsc::Sender<Report>, kind: Kind, what: What) {
    assert!(to.send(Report { kind, what }).await.is_ok(), "the collector has ended");
}

async fn snapshot(updates: &mut mpsc::Receiver<Update>) -> Arc<crate::snapshot::Snapshot> {
    match updates.recv().await {
        Some(Update::Snapshot(snapshot)) => snapshot,
        other => panic!("not a snapshot: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_snapshot_waits_for_every_kind_and_a_missing_one_counts_as_listed() {
    let (reports, mut updates) = collector();
    report(&reports, Kind::Service, What::Listed(vec![service("web", 80)])).await;
    assert!(tokio::time::timeout(HOLD_OFF * 3, updates.recv()).await.is_err(), "slices are not listed yet");
    report(&reports, Kind::EndpointSlice, What::Absent).await;
    assert_eq!(snapshot(&mut updates).await.services.len(), 1);
}

/// Where reports on Services and HTTPRoutes go in; an HTTPRoute is known from before.
fn collector_of_routes(known: &[&str]) -> (mpsc::Sender<Report>, mpsc::Receiver<Update>) {
    let (sender, reports) = mpsc::channel(16);
    let (updates, received) = mpsc::channel(16);
    let known = known.iter().map(|name| route(name).into()).collect::<Vec<Object>>();
    let waiting =
        Waiting::new(BTreeSet::from([Kind::Service, Kind::HttpRoute]), Known::from([(Kind::HttpRoute, known)]));
    tokio::spawn(collect(reports, waiting, KINDS, updates));
    (sender, received)
}

#[tokio::test(start_paused = true)]
async fn an_optional_kind_that_keeps_failing_holds_up_the_rest_for_half_a_minute() {
    for known in [&[][..], &["known"]] {
        let (reports, mut updates) = collector_of_routes(known);
        let failing = || What::Failing(Some("conversion webhook failed".to_owned()));
        report(&reports, Kind::HttpRoute, failing()).await;
        tokio::time::sleep(PATIENCE * 4).await;
        report(&reports, Kind::Service, What::Listed(vec![service("web", 80)])).await;
        // It counts from when all the others are listed.
        assert!(tokio::time::timeout(PATIENCE - HOLD_OFF, updates.recv()).await.is_err(), "it is waited for");
        report(&reports, Kind::HttpRoute, failing()).await;
        let seen = snapshot(&mut updates).await;
        assert_eq!((seen.services.len(), route_names(&seen)), (1, known.to_vec()));
        let problems: Vec<String> = seen.problems.iter().map(ToString::to_string).collect();
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.starts_with("Cluster HTTPRoute: ") && problem.contains("conversion webhook failed"));
        // It goes on as it should once it can.
        report(&reports, Kind::HttpRoute, failing()).await;
        report(&reports, Kind::HttpRoute, What::Listed(vec![Ok(route("new").into())])).await;
        let seen = snapshot(&mut updates).await;
        assert_eq!((route_names(&seen), seen.problems.len()), (vec!["new"], 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_gives_no_answer_is_waited_for() {
    let (reports, mut updates) = collector_of_routes(&[]);
    report(&reports, Kind::Service, What::Listed(Vec::new())).await;
    report(&reports, Kind::HttpRoute, What::Failing(Some("overloaded".to_owned()))).await;
    report(&reports, Kind::HttpRoute, What::Failing(None)).await;
    assert!(tokio::time::timeout(PATIENCE * 100, updates.recv()).await.is_err(), "nobody says there are none");
    report(&reports, Kind::HttpRoute, What::Absent).await;
    assert!(snapshot(&mut updates).await.problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_every_cluster_has_is_waited_for() {
    let (reports, mut updates) = collector_of_routes(&[]);
    report(&reports, Kind::HttpRoute, What::Failing(Some("conversion webhook failed".to_owned()))).await;
    assert!(tokio::time::timeout(PATIENCE * 100, updates.recv()).await.is_err(), "Services are not listed");
}

#[tokio::test(start_paused = true)]
async fn no_service_is_spoken_to_before_it_is_known_which_policies_there_are() {
    let (reports, from) = mpsc::channel(16);
    let (updates, mut received) = mpsc::channel(16);
    let waiting = Waiting::new(BTreeSet::from([Kind::Service, Kind::BackendTlsPolicy]), Known::new());
    tokio::spawn(collect(from, waiting, Kinds { tls: true, ..KINDS }, updates));
    report(&reports, Kind::Service, What::Listed(vec![service("web", 80)])).await;
    report(&reports, Kind::BackendTlsPolicy, What::Failing(Some("forbidden".to_owned()))).await;
    assert!(tokio::time::timeout(PATIENCE * 100, received.recv()).await.is_err(), "they may be listed yet");
    report(&reports, Kind::BackendTlsPolicy, What::Absent).await;
    assert_eq!(snapshot(&mut received).await.services.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn several_changes_are_one_snapshot_and_endpoints_are_none() {
    let (reports, mut updates) = collector();
    report(&reports, Kind::EndpointSlice, What::Listed(vec![slice("10.0.0.1")])).await;
    report(&reports, Kind::Service, What::Listed(Vec::new())).await;
    assert!(snapshot(&mut updates).await.services.is_empty());
    for port in 1..=5 {
        report(&reports, Kind::Service, What::Applied(service(&format!("web-{port}"), port))).await;
    }
    report(&reports, Kind::EndpointSlice, What::Applied(slice("10.0.0.2"))).await;
    // Endpoints overtake the routes that are held off, and name the one Service whose they are.
    match updates.recv().await {
        Some(Update::Endpoints { service, slices }) => {
            assert_eq!((service, slices.len()), (ServiceName::new("default", "web"), 1));
        }
        other => panic!("not endpoints: {other:?}"),
    }
    assert_eq!(snapshot(&mut updates).await.services.len(), 5);
    assert!(tokio::time::timeout(HOLD_OFF * 3, updates.recv()).await.is_err(), "nothing more has changed");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_decoded_stays_as_it_was_and_is_a_problem() {
    let (reports, mut updates) = collector();
    report(&reports, Kind::EndpointSlice, What::Absent).await;
    report(&reports, Kind::Service, What::Listed(vec![service("web", 80)])).await;
    snapshot(&mut updates).await;
    let broken = Err((("default".into(), "web".into()), "ports: expected a list".to_owned()));
    report(&reports, Kind::Service, What::Applied(broken)).await;
    let seen = snapshot(&mut updates).await;
    assert_eq!(seen.services.len(), 1);
    assert!(seen.problems.iter().any(|problem| problem.to_string().contains("Service default/web")));
    // Mended, it is no problem any more; a new list without it takes it away.
    report(&reports, Kind::Service, What::Applied(service("web", 81))).await;
    assert!(snapshot(&mut updates).await.problems.is_empty());
    report(&reports, Kind::Service, What::Listed(Vec::new())).await;
    assert!(snapshot(&mut updates).await.services.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_never_readable_is_no_problem_once_it_is_gone() {
    let (reports, mut updates) = collector();
    let broken = || Err((("default".into(), "web-1".into()), "endpoints: expected a list".to_owned()));
    report(&reports, Kind::EndpointSlice, What::Listed(vec![broken()])).await;
    report(&reports, Kind::Service, What::Listed(Vec::new())).await;
    assert_eq!(snapshot(&mut updates).await.problems.len(), 1);
    report(&reports, Kind::EndpointSlice, What::Listed(Vec::new())).await;
    assert!(snapshot(&mut updates).await.problems.is_empty());
    // An object of endpoints that turns unreadable is said too, though endpoints alone are no snapshot.
    report(&reports, Kind::EndpointSlice, What::Applied(broken())).await;
    assert_eq!(snapshot(&mut updates).await.problems.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_as_before_says_nothing() {
    let (reports, mut updates) = collector();
    for (kind, listed) in [(Kind::EndpointSlice, slice("10.0.0.1")), (Kind::Service, service("web", 80))] {
        report(&reports, kind, What::Listed(vec![listed])).await;
    }
    snapshot(&mut updates).await;
    for (kind, listed) in [(Kind::EndpointSlice, slice("10.0.0.1")), (Kind::Service, service("web", 80))] {
        report(&reports, kind, What::Listed(vec![listed])).await;
    }
    assert!(tokio::time::timeout(HOLD_OFF * 3, updates.recv()).await.is_err(), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_says_what_it_said_is_the_same_one() {
    let (reports, mut updates) = collector();
    report(&reports, Kind::EndpointSlice, What::Absent).await;
    report(&reports, Kind::Service, What::Listed(vec![service("web", 80)])).await;
    let before = snapshot(&mut updates).await;
    report(&reports, Kind::Service, What::Applied(service("web", 80))).await;
    report(&reports, Kind::Service, What::Applied(service("other", 80))).await;
    let after = snapshot(&mut updates).await;
    assert_eq!(after.services.len(), 2);
    assert!(after.services.iter().any(|service| Arc::ptr_eq(service, &before.services[0])));
}
