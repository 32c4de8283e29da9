//! Watches a cluster: one task per kind, one collector that keeps order.

mod watch;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use k8s_openapi::api::{
    core::v1::{Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};
use kube::{Api, Client, core::DeserializeGuard, runtime::watcher};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{
    Kinds, Update,
    object::{Key, Kind, Object, Store, object_name},
};
use crate::{
    external_dns::DnsEndpoint,
    gateway_api::{Gateway, GatewayClass, GrpcRoute, HttpRoute, ReferenceGrant, TlsRoute},
    model::ServiceName,
    problem::{Problem, Reason},
};

/// Set when a kind was listed or changed; in seconds since 1970, by kind.
pub const LAST_EVENT: &str = "doorward_watch_last_event_timestamp_seconds";
/// A snapshot follows the last of several changes by this much …
const HOLD_OFF: Duration = Duration::from_millis(50);
/// … and the first one by no more than this.
const HOLD_OFF_MOST: Duration = Duration::from_millis(500);
/// What a kind's task tells the collector.
struct Report {
    kind: Kind,
    what: What,
}

enum What {
    /// The whole of the kind as it is now.
    Listed(Vec<Listed>),
    Applied(Listed),
    Deleted(Key),
    /// The cluster does not have the kind, or does not let us read an optional one.
    Absent,
}

/// An object, or the name and the fault of one that cannot be decoded.
type Listed = Result<Object, (Key, String)>;

/// From the cluster this runs in, or the one KUBECONFIG names. Ends when the receiver is gone.
///
/// `known`: kinds that the cluster had when its last known state was written.
pub(super) async fn follow(
    client: Client,
    kinds: Kinds,
    known: BTreeSet<Kind>,
    updates: mpsc::Sender<Update>,
) -> anyhow::Result<()> {
    let (sender, reports) = mpsc::channel(256);
    let mut expected = BTreeSet::new();
    let mut watches = JoinSet::new();
    let all = watcher::Config::default();
    macro_rules! follow {
        ($type:ty, $kind:expr, $config:expr) => {
            expected.insert($kind);
            watches.spawn(watch::watch(
                Api::<DeserializeGuard<$type>>::all(client.clone()),
                $kind,
                known.contains(&$kind),
                $config,
                sender.clone(),
            ));
        };
    }
    follow!(Gateway, Kind::Gateway, all.clone());
    follow!(GatewayClass, Kind::GatewayClass, all.clone());
    follow!(GrpcRoute, Kind::GrpcRoute, all.clone());
    follow!(HttpRoute, Kind::HttpRoute, all.clone());
    follow!(Ingress, Kind::Ingress, all.clone());
    follow!(IngressClass, Kind::IngressClass, all.clone());
    follow!(Namespace, Kind::Namespace, all.clone());
    follow!(ReferenceGrant, Kind::ReferenceGrant, all.clone());
    follow!(Service, Kind::Service, all.clone());
    follow!(TlsRoute, Kind::TlsRoute, all.clone());
    if kinds.secrets {
        follow!(Secret, Kind::Secret, all.clone().fields("type=kubernetes.io/tls"));
    }
    if kinds.dns_endpoints {
        follow!(DnsEndpoint, Kind::DnsEndpoint, all.clone());
    }
    if kinds.endpoints {
        follow!(EndpointSlice, Kind::EndpointSlice, all);
    }
    drop(sender);
    tokio::select! {
        ended = collect(reports, expected, kinds, updates) => ended,
        // They end with the collector, or by a panic; without one of them a kind would stand still.
        _ = watches.join_next() => anyhow::bail!("a watch has ended"),
    }
}

pub(super) async fn client() -> anyhow::Result<Client> {
    let config = kube::Config::infer()
        .await
        .context("no cluster: neither in-cluster credentials nor KUBECONFIG; name a directory with --manifests to run without one")?;
    Ok(Client::try_from(config)?)
}

/// Keeps the store, and sends what changed: endpoints at once, the rest held off.
async fn collect(
    mut reports: mpsc::Receiver<Report>,
    expected: BTreeSet<Kind>,
    kinds: Kinds,
    updates: mpsc::Sender<Update>,
) -> anyhow::Result<()> {
    let mut store = Store::default();
    let mut waiting = expected;
    // When the first and the last change came that no snapshot shows yet.
    let mut pending: Option<(Instant, Instant)> = None;
    loop {
        let due =
            pending.map(|(first, last)| (last + HOLD_OFF).min(first + HOLD_OFF_MOST)).filter(|_| waiting.is_empty());
        tokio::select! {
            () = updates.closed() => return Ok(()),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                pending = None;
                if updates.send(Update::Snapshot(Arc::new(store.snapshot(kinds)))).await.is_err() {
                    return Ok(());
                }
            }
            report = reports.recv() => {
                let Some(Report { kind, what }) = report else { anyhow::bail!("every watch has ended") };
                metrics::gauge!(LAST_EVENT, "kind" => kind.name()).set(seconds_since_1970());
                let first_list = matches!(what, What::Listed(_) | What::Absent) && waiting.remove(&kind);
                if first_list && !waiting.is_empty() {
                    let names: Vec<_> = waiting.iter().map(|kind| kind.name()).collect();
                    tracing::debug!(kind = kind.name(), still_waiting_for = ?names, "listed");
                }
                let change = apply(&mut store, kind, what);
                if first_list || change.in_snapshot {
                    let now = Instant::now();
                    pending = Some((pending.map_or(now, |(first, _)| first), now));
                }
                // The first snapshot has the endpoints of all.
                for service in change.endpoints.into_iter().filter(|_| waiting.is_empty() && !first_list) {
                    let slices = store.slices_of(&service);
                    if updates.send(Update::Endpoints { service, slices }).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// What a report has changed.
#[derive(Default)]
struct Change {
    /// Something that only a new snapshot shows.
    in_snapshot: bool,
    /// Services whose EndpointSlices are others.
    endpoints: BTreeSet<ServiceName>,
}

impl Change {
    fn of(&mut self, object: &Object) {
        match object.kind() {
            Kind::EndpointSlice => self.endpoints.extend(object.slice_of()),
            _ => self.in_snapshot = true,
        }
    }
}

fn apply(store: &mut Store, kind: Kind, what: What) -> Change {
    let mut change = Change::default();
    match what {
        What::Listed(objects) => {
            let keys: BTreeSet<Key> = objects
                .iter()
                .map(|listed| match listed {
                    Ok(object) => object.key(),
                    Err((key, _)) => key.clone(),
                })
                .collect();
            let gone: Vec<Key> = store.keys(kind).filter(|key| !keys.contains(key)).collect();
            for key in gone {
                delete(store, kind, &key, &mut change);
            }
            for listed in objects {
                put(store, kind, listed, &mut change);
            }
        }
        What::Applied(listed) => put(store, kind, listed, &mut change),
        What::Deleted(key) => delete(store, kind, &key, &mut change),
        What::Absent => return apply(store, kind, What::Listed(Vec::new())),
    }
    change
}

/// An object that cannot be decoded stays as it was last read.
fn put(store: &mut Store, kind: Kind, listed: Listed, change: &mut Change) {
    match listed {
        Ok(object) => {
            change.in_snapshot |= store.problems.contains_key(&object_name(kind, &object.key()));
            let old = store.apply(object.clone());
            if old.as_ref() != Some(&object) {
                old.iter().chain([&object]).for_each(|object| change.of(object));
            }
        }
        Err((key, error)) => {
            let name = object_name(kind, &key);
            let problem = Problem::new(&name, Reason::Unreadable { error });
            change.in_snapshot |= store.problems.get(&name) != Some(&problem);
            store.problems.insert(name, problem);
        }
    }
}

fn delete(store: &mut Store, kind: Kind, key: &Key, change: &mut Change) {
    change.in_snapshot |= store.problems.contains_key(&object_name(kind, key));
    store.delete(kind, key).iter().for_each(|object| change.of(object));
}

fn seconds_since_1970() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |age| age.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KINDS: Kinds = Kinds { secrets: false, endpoints: true, dns_endpoints: false };

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
        tokio::spawn(collect(reports, BTreeSet::from([Kind::Service, Kind::EndpointSlice]), KINDS, updates));
        (sender, received)
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

    #[tokio::test]
    async fn the_first_snapshot_waits_for_every_kind_and_a_missing_one_counts_as_listed() {
        let (reports, mut updates) = collector();
        report(&reports, Kind::Service, What::Listed(vec![service("web", 80)])).await;
        assert!(tokio::time::timeout(HOLD_OFF * 3, updates.recv()).await.is_err(), "slices are not listed yet");
        report(&reports, Kind::EndpointSlice, What::Absent).await;
        assert_eq!(snapshot(&mut updates).await.services.len(), 1);
    }

    #[tokio::test]
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

    #[tokio::test]
    async fn an_object_that_cannot_be_decoded_stays_as_it_was_and_is_a_problem() {
        let (reports, mut updates) = collector();
        report(&reports, Kind::EndpointSlice, What::Absent).await;
        report(&reports, Kind::Service, What::Listed(vec![service("web", 80)])).await;
        snapshot(&mut updates).await;
        let broken = Err((("default".to_owned(), "web".to_owned()), "ports: expected a list".to_owned()));
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

    #[tokio::test]
    async fn an_object_that_was_never_readable_is_no_problem_once_it_is_gone() {
        let (reports, mut updates) = collector();
        let broken = || Err((("default".to_owned(), "web-1".to_owned()), "endpoints: expected a list".to_owned()));
        report(&reports, Kind::EndpointSlice, What::Listed(vec![broken()])).await;
        report(&reports, Kind::Service, What::Listed(Vec::new())).await;
        assert_eq!(snapshot(&mut updates).await.problems.len(), 1);
        report(&reports, Kind::EndpointSlice, What::Listed(Vec::new())).await;
        assert!(snapshot(&mut updates).await.problems.is_empty());
        // An object of endpoints that turns unreadable is said too, though endpoints alone are no snapshot.
        report(&reports, Kind::EndpointSlice, What::Applied(broken())).await;
        assert_eq!(snapshot(&mut updates).await.problems.len(), 1);
    }

    #[tokio::test]
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
}
