//! Watches a cluster: list and watch with backoff, one task per kind, one collector that keeps order.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::api::{
    core::v1::{Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};
use kube::{
    Api, Client, Resource,
    core::DeserializeGuard,
    runtime::watcher::{self, Event},
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tracing::{info, warn};

use super::{
    Kinds, Update,
    object::{Key, Kind, Object, Store, key, object_name},
};
use crate::{
    gateway_api::{Gateway, GatewayClass, HttpRoute, ReferenceGrant},
    model::ServiceName,
    problem::{Problem, Reason},
};

/// Set when a kind was listed or changed; in seconds since 1970, by kind.
pub const LAST_EVENT: &str = "doorward_watch_last_event_timestamp_seconds";
/// 1 while a kind's watch stands, 0 while the API server does not answer or refuses, by kind.
pub const CONNECTED: &str = "doorward_watch_connected";

/// A snapshot follows the last of several changes by this much …
const HOLD_OFF: Duration = Duration::from_millis(50);
/// … and the first one by no more than this.
const HOLD_OFF_MOST: Duration = Duration::from_millis(500);
/// How soon a kind whose CRD is missing is asked for again.
const ABSENT_RETRY: Duration = Duration::from_secs(1);
/// A kind that was there is taken for gone after so many such answers in a row: one alone may be from an API
/// server that has just started, or from what stands in front of it.
const ABSENT_SURE: u32 = 3;
/// The API server ends a watch after this many seconds, and one that stays silent for longer is a connection
/// whose other end has lost its power. kube's own limit of five minutes is long for endpoints.
const WATCH_SECONDS: u32 = 30;
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(5);

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
pub(super) async fn follow(client: Client, kinds: Kinds, updates: mpsc::Sender<Update>) -> anyhow::Result<()> {
    let (sender, reports) = mpsc::channel(256);
    let mut expected = BTreeSet::new();
    let mut watches = JoinSet::new();
    let all = watcher::Config::default().timeout(WATCH_SECONDS);
    macro_rules! watch {
        ($type:ty, $kind:expr, $config:expr) => {
            expected.insert($kind);
            watches.spawn(watch_kind(
                Api::<DeserializeGuard<$type>>::all(client.clone()),
                $kind,
                $config,
                sender.clone(),
            ));
        };
    }
    watch!(Gateway, Kind::Gateway, all.clone());
    watch!(GatewayClass, Kind::GatewayClass, all.clone());
    watch!(HttpRoute, Kind::HttpRoute, all.clone());
    watch!(Ingress, Kind::Ingress, all.clone());
    watch!(IngressClass, Kind::IngressClass, all.clone());
    watch!(Namespace, Kind::Namespace, all.clone());
    watch!(ReferenceGrant, Kind::ReferenceGrant, all.clone());
    watch!(Service, Kind::Service, all.clone());
    if kinds.secrets {
        watch!(Secret, Kind::Secret, all.clone().fields("type=kubernetes.io/tls"));
    }
    if kinds.endpoints {
        watch!(EndpointSlice, Kind::EndpointSlice, all);
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

/// Lists and watches one kind for ever.
async fn watch_kind<K>(
    api: Api<DeserializeGuard<K>>,
    kind: Kind,
    config: watcher::Config,
    reports: mpsc::Sender<Report>,
) where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Into<Object> + Send + 'static,
    K::DynamicType: Default + Clone,
{
    let follow = || watcher::watcher(api.clone(), config.clone()).boxed();
    let mut stream = follow();
    let mut list = Vec::new();
    let mut standing = Standing::default();
    // When the last list was complete, and with that the watch began.
    let mut since: Option<Instant> = None;
    let connected = metrics::gauge!(CONNECTED, "kind" => kind.name());
    while let Some(event) = stream.next().await {
        let what = match event {
            Err(error) => {
                connected.set(0.0);
                let stood = since.take().map_or(Duration::ZERO, |since| since.elapsed());
                let Reaction { is_news, is_absent, wait } = standing.failed(Failure::of(&error, kind), stood);
                if is_news {
                    say(kind, standing.failure, &error);
                }
                if is_absent && reports.send(Report { kind, what: What::Absent }).await.is_err() {
                    return;
                }
                tokio::time::sleep(wait).await;
                // A watch that goes on says nothing of itself, and nothing of what it has missed. A list does.
                stream = follow();
                continue;
            }
            Ok(Event::Init) => {
                list.clear();
                None
            }
            Ok(Event::InitApply(object)) => {
                list.push(listed(object));
                None
            }
            Ok(Event::InitDone) => {
                since = Some(Instant::now());
                Some(What::Listed(std::mem::take(&mut list)))
            }
            Ok(Event::Apply(object)) => Some(What::Applied(listed(object))),
            Ok(Event::Delete(object)) => Some(What::Deleted(key(object.meta()))),
        };
        let Some(what) = what else { continue };
        connected.set(1.0);
        if standing.is_followed() {
            info!(kind = kind.name(), "is followed again");
        }
        if reports.send(Report { kind, what }).await.is_err() {
            return;
        }
    }
}

/// How it stands with the watch of one kind. Pure.
#[derive(Debug, Default)]
struct Standing {
    /// What the collector was told last: a list, or that there is no such kind.
    is_present: Option<bool>,
    /// What failed last. A list alone is no recovery: the watch after it may fail each time.
    failure: Option<Failure>,
    /// Failures of the same sort in a row.
    repeated: u32,
    /// Whether a failure was news, and its end would be.
    is_said: bool,
}

/// What to do about a failure.
#[derive(Debug, PartialEq, Eq)]
struct Reaction {
    is_news: bool,
    /// The kind is to be taken for one that the cluster does not have.
    is_absent: bool,
    wait: Duration,
}

impl Standing {
    /// `stood`: how long the kind was followed before.
    fn failed(&mut self, failure: Failure, stood: Duration) -> Reaction {
        if stood >= Duration::from_secs(WATCH_SECONDS.into()) {
            self.failure = None;
        }
        let is_news = self.failure != Some(failure);
        self.is_said |= is_news;
        self.repeated = if is_news { 1 } else { self.repeated + 1 };
        self.failure = Some(failure);
        let is_unknown = self.is_present.is_none();
        let is_sure = self.is_present == Some(true) && self.repeated >= ABSENT_SURE;
        let (is_absent, wait) = match failure {
            Failure::NoSuchKind => (is_unknown || is_sure, ABSENT_RETRY),
            // Rights that are taken away for a moment must not take the objects away.
            Failure::Forbidden { optional } => (optional && is_unknown, RETRY_MOST),
            Failure::Lost => {
                (false, RETRY_FIRST.saturating_mul(2u32.saturating_pow(self.repeated - 1)).min(RETRY_MOST))
            }
        };
        if is_absent {
            self.is_present = Some(false);
        }
        Reaction { is_news, is_absent, wait }
    }

    /// To be called with everything that comes. Returns whether that is news after a failure.
    fn is_followed(&mut self) -> bool {
        self.is_present = Some(true);
        std::mem::take(&mut self.is_said)
    }
}

fn say(kind: Kind, failure: Option<Failure>, error: &watcher::Error) {
    let kind = kind.name();
    match failure {
        None => {}
        Some(Failure::NoSuchKind) => info!(kind, "the cluster does not have this kind; looking again every second"),
        Some(Failure::Forbidden { .. }) => warn!(kind, "may not be read; grant `list` and `watch` on it"),
        Some(Failure::Lost) => {
            warn!(kind, %error, "cannot be followed now; what is known stays in force");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// 404: the CRD is not installed.
    NoSuchKind,
    /// 403. Of a kind that a cluster need not have it is no reason to serve nothing.
    Forbidden { optional: bool },
    /// Anything else: gone, overloaded, a desynchronised watch.
    Lost,
}

impl Failure {
    fn of(error: &watcher::Error, kind: Kind) -> Self {
        let code = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
            _ => 0,
        };
        let optional = matches!(kind, Kind::Gateway | Kind::GatewayClass | Kind::HttpRoute | Kind::ReferenceGrant);
        match code {
            403 => Self::Forbidden { optional },
            404 if optional => Self::NoSuchKind,
            _ => Self::Lost,
        }
    }
}

/// Managed fields are often half of an object, and nobody here reads them.
fn listed<K: Resource + Into<Object>>(object: DeserializeGuard<K>) -> Listed {
    match object.0 {
        Ok(mut object) => {
            object.meta_mut().managed_fields = None;
            Ok(object.into())
        }
        Err(invalid) => Err((key(&invalid.metadata), invalid.error)),
    }
}

fn seconds_since_1970() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |age| age.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KINDS: Kinds = Kinds { secrets: false, endpoints: true };

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

    #[test]
    fn a_kind_that_was_there_is_not_given_up_for_one_answer() {
        let reaction = |standing: &mut Standing, failure| standing.failed(failure, Duration::ZERO).is_absent;
        let forbidden = Failure::Forbidden { optional: true };
        // Never seen: at once, and once.
        for failure in [Failure::NoSuchKind, forbidden] {
            let mut new = Standing::default();
            assert_eq!([failure; 3].map(|failure| reaction(&mut new, failure)), [true, false, false]);
        }
        let mut known = Standing::default();
        known.is_followed();
        assert_eq!([forbidden; 9].map(|failure| reaction(&mut known, failure)), [false; 9]);
        let no_such_kind = [Failure::NoSuchKind; 4].map(|failure| reaction(&mut known, failure));
        assert_eq!(no_such_kind, [false, false, true, false]);
        assert!(!reaction(&mut known, Failure::Lost) && !reaction(&mut known, Failure::NoSuchKind), "counted anew");
    }

    #[test]
    fn a_lost_api_server_is_asked_less_and_less_often_and_what_changes_is_news() {
        // A server that gives lists and refuses watches is lost as well.
        for gives_lists in [false, true] {
            let mut standing = Standing::default();
            let mut fail = |failure, stood| {
                let Reaction { is_news, wait, .. } = standing.failed(failure, stood);
                (is_news, wait, gives_lists && standing.is_followed())
            };
            let failures: Vec<_> = (0..50).map(|_| fail(Failure::Lost, Duration::ZERO)).collect();
            let waits: Vec<Duration> = failures.iter().map(|(_, wait, _)| *wait).collect();
            assert!(waits.is_sorted() && waits[0] == RETRY_FIRST && waits[49] == RETRY_MOST, "{waits:?}");
            let is_said = |(is_news, _, is_recovered): &&(bool, Duration, bool)| *is_news || *is_recovered;
            assert_eq!(failures.iter().filter(is_said).count(), 1, "once, and not each time");
            assert!(fail(Failure::Forbidden { optional: false }, Duration::ZERO).0);
            assert!(!fail(Failure::Forbidden { optional: false }, Duration::ZERO).0);
            let (is_news, wait, _) = fail(Failure::Lost, Duration::from_secs(60));
            assert!(is_news && wait == RETRY_FIRST, "a watch has stood for a while before");
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
