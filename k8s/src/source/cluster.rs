//! Watches a cluster: one task per kind, one collector that keeps order.

mod bundle;
mod seen;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use k8s_openapi::api::{
    core::v1::{Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};
use kube::{Api, Client, runtime::watcher};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use self::seen::Seen;
use super::{
    Followed, Kinds, Update,
    object::{Key, Kind, Object, Store, object_name},
};
use crate::{
    cluster_trust_bundle::ClusterTrustBundle,
    config_map::ConfigMap,
    external_dns::DnsEndpoint,
    gateway_api::{
        BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ReferenceGrant, TcpRoute, TlsRoute,
        UdpRoute,
    },
    model::{ObjectName, ServiceName},
    problem::{Problem, Reason},
    status::observed::Observed,
};

/// Set when a kind was listed or changed; in seconds since 1970, by kind.
pub const LAST_EVENT: &str = "doorward_watch_last_event_timestamp_seconds";
/// A snapshot follows the last of several changes by this much …
const HOLD_OFF: Duration = Duration::from_millis(50);
/// … and the first one by no more than this.
const HOLD_OFF_MOST: Duration = Duration::from_millis(500);
/// So long a kind that can be done without may fail to be listed after everything else was.
const PATIENCE: Duration = Duration::from_secs(30);
/// After this long the log says which kinds are still waited for.
const SLOW: Duration = Duration::from_secs(10);

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
    /// The kind was never listed, and the API server answers with this error; None where it gives no answer.
    Failing(Option<String>),
    /// The cluster does not have the kind, or does not let us read an optional one.
    Absent,
    /// Of the Gateway API's CRDs, whatever the kind.
    BundleVersion(Option<String>),
}

/// A list comes in pieces of so many objects. Each is held whole, with all that nobody reads of it, and what was
/// needed once a program keeps.
const PAGE: u32 = 100;

/// An object, or the name and the fault of one that cannot be decoded.
type Listed = Result<Object, (Key, String)>;

/// Objects of the last known state, by kind.
pub(super) type Known = BTreeMap<Kind, Vec<Object>>;

/// From the cluster this runs in, or the one KUBECONFIG names. Ends when the receiver is gone.
///
/// `known`: what the cluster had when its last known state was written. `observed`: where statuses go, if anybody reads
/// them.
pub(super) async fn follow(
    client: Client,
    kinds: Kinds,
    known: Known,
    followed: Followed,
    observed: Option<Observed>,
    updates: mpsc::Sender<Update>,
) -> anyhow::Result<()> {
    let (sender, reports) = mpsc::channel(256);
    let mut expected = BTreeSet::new();
    let mut watches = JoinSet::new();
    let all = watcher::Config::default().page_size(PAGE);
    macro_rules! follow {
        ($type:ty, $kind:expr, $config:expr) => {
            expected.insert($kind);
            watches.spawn(watch::watch(
                Api::<Seen<$type>>::all(client.clone()),
                $kind,
                known.contains_key(&$kind),
                $config,
                followed.clone(),
                observed.clone(),
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
    follow!(ListenerSet, Kind::ListenerSet, all.clone());
    follow!(Namespace, Kind::Namespace, all.clone());
    follow!(ReferenceGrant, Kind::ReferenceGrant, all.clone());
    follow!(Service, Kind::Service, all.clone());
    follow!(TlsRoute, Kind::TlsRoute, all.clone());
    if kinds.tls {
        follow!(BackendTlsPolicy, Kind::BackendTlsPolicy, all.clone());
        follow!(ClusterTrustBundle, Kind::ClusterTrustBundle, all.clone());
        follow!(ConfigMap, Kind::ConfigMap, all.clone());
        follow!(Secret, Kind::Secret, all.clone().fields("type=kubernetes.io/tls"));
    }
    if kinds.dns_endpoints {
        follow!(DnsEndpoint, Kind::DnsEndpoint, all.clone());
    }
    if kinds.endpoints {
        follow!(TcpRoute, Kind::TcpRoute, all.clone());
        follow!(UdpRoute, Kind::UdpRoute, all.clone());
        follow!(EndpointSlice, Kind::EndpointSlice, all);
    }
    if observed.is_some() {
        watches.spawn(bundle::follow(client.clone(), sender.clone()));
    }
    drop(sender);
    tokio::select! {
        ended = collect(reports, Waiting::new(expected, known), kinds, updates) => ended,
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

/// The kinds that the first snapshot waits for.
struct Waiting {
    kinds: BTreeSet<Kind>,
    known: Known,
    /// Those that the API server answers for with an error.
    failing: BTreeMap<Kind, String>,
    /// Since when there are only optional ones.
    only_optional_since: Option<Instant>,
    /// When it is to be said what is waited for.
    say_at: Option<Instant>,
}

impl Waiting {
    fn new(kinds: BTreeSet<Kind>, known: Known) -> Self {
        let say_at = Some(Instant::now() + SLOW);
        let mut waiting = Self { kinds, known, failing: BTreeMap::new(), only_optional_since: None, say_at };
        waiting.look();
        waiting
    }

    fn is_over(&self) -> bool {
        self.kinds.is_empty()
    }

    fn look(&mut self) {
        if self.kinds.iter().copied().all(watch::is_optional) {
            self.only_optional_since.get_or_insert_with(Instant::now);
        }
    }

    /// Returns whether it was waited for.
    fn listed(&mut self, kind: Kind) -> bool {
        let was_waited_for = self.kinds.remove(&kind);
        self.failing.remove(&kind);
        self.known.remove(&kind);
        if was_waited_for && !self.is_over() {
            tracing::debug!(kind = kind.name(), still_waiting_for = ?self.names(), "listed");
        }
        self.look();
        was_waited_for
    }

    fn failed(&mut self, kind: Kind, error: Option<String>) {
        match error.filter(|_| self.kinds.contains(&kind)) {
            Some(error) => self.failing.insert(kind, error),
            None => self.failing.remove(&kind),
        };
    }

    fn names(&self) -> Vec<&'static str> {
        self.kinds.iter().map(|kind| kind.name()).collect()
    }

    fn gives_up_at(&self) -> Option<Instant> {
        let is_failing = !self.is_over() && self.kinds.iter().all(|kind| self.failing.contains_key(kind));
        self.only_optional_since.filter(|_| is_failing).map(|since| since + PATIENCE)
    }

    /// When there is something to say or to give up.
    fn due(&self) -> Option<Instant> {
        self.say_at.filter(|_| !self.is_over()).into_iter().chain(self.gives_up_at()).min()
    }

    /// To be called when it is due. Gives up all kinds that fail, once they have done so for long enough: what was last
    /// known of them then stands in for them. Returns whether it did.
    fn give_up(&mut self, store: &mut Store) -> bool {
        let now = Instant::now();
        if self.say_at.is_some_and(|at| at <= now) {
            self.say_at = None;
            tracing::warn!(kinds = ?self.names(), failing = ?self.failing, "still waiting for these kinds to be listed");
        }
        if self.gives_up_at().is_none_or(|at| now < at) {
            return false;
        }
        for (kind, error) in std::mem::take(&mut self.failing) {
            tracing::warn!(kind = kind.name(), %error, "going on without a list of this kind; asking for it all the time");
            for object in self.known.remove(&kind).unwrap_or_default() {
                store.apply(object);
            }
            let name = name_of_all(kind);
            store.problems.insert(name.clone(), Problem::new(&name, Reason::KindNotListed { error }));
        }
        self.kinds.clear();
        true
    }
}

/// What a problem with all objects of a kind is a problem of.
fn name_of_all(kind: Kind) -> ObjectName {
    ObjectName::new("Cluster", "", kind.name())
}

/// Keeps the store, and sends what changed: endpoints at once, the rest held off.
async fn collect(
    mut reports: mpsc::Receiver<Report>,
    mut waiting: Waiting,
    kinds: Kinds,
    updates: mpsc::Sender<Update>,
) -> anyhow::Result<()> {
    let mut store = Store::default();
    // When the first and the last change came that no snapshot shows yet.
    let mut pending: Option<(Instant, Instant)> = None;
    loop {
        let due =
            pending.map(|(first, last)| (last + HOLD_OFF).min(first + HOLD_OFF_MOST)).filter(|_| waiting.is_over());
        let waiting_due = waiting.due();
        tokio::select! {
            () = updates.closed() => return Ok(()),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                pending = None;
                if updates.send(Update::Snapshot(Arc::new(store.snapshot(kinds)))).await.is_err() {
                    return Ok(());
                }
            }
            () = tokio::time::sleep_until(waiting_due.unwrap_or_else(Instant::now)), if waiting_due.is_some() => {
                if waiting.give_up(&mut store) {
                    pending.get_or_insert_with(|| (Instant::now(), Instant::now()));
                }
            }
            report = reports.recv() => {
                let Some(Report { kind, what }) = report else { anyhow::bail!("every watch has ended") };
                let what = match what {
                    What::Failing(error) => {
                        waiting.failed(kind, error);
                        continue;
                    }
                    What::BundleVersion(version) => {
                        store.bundle_version = version;
                        let now = Instant::now();
                        pending = Some((pending.map_or(now, |(first, _)| first), now));
                        continue;
                    }
                    what => what,
                };
                metrics::gauge!(LAST_EVENT, "kind" => kind.name()).set(seconds_since_1970());
                let is_list = matches!(what, What::Listed(_) | What::Absent);
                let first_list = is_list && waiting.listed(kind);
                let is_mended = is_list && store.problems.remove(&name_of_all(kind)).is_some();
                let change = apply(&mut store, kind, what);
                if first_list || is_mended || change.in_snapshot {
                    let now = Instant::now();
                    pending = Some((pending.map_or(now, |(first, _)| first), now));
                }
                // The first snapshot has the endpoints of all.
                for service in change.endpoints.into_iter().filter(|_| waiting.is_over() && !first_list) {
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
        What::Failing(_) | What::BundleVersion(_) => {}
        What::Absent => return apply(store, kind, What::Listed(Vec::new())),
    }
    change
}

/// An object that cannot be decoded stays as it was last read.
fn put(store: &mut Store, kind: Kind, listed: Listed, change: &mut Change) {
    match listed {
        Ok(object) => {
            let key = object.key();
            // One that says what it said before stays the same one, for those who compare.
            if store.get(kind, &key) == Some(&object) {
                change.in_snapshot |= store.problems.remove(&object_name(kind, &key)).is_some();
                return;
            }
            change.in_snapshot |= store.problems.contains_key(&object_name(kind, &key));
            let old = store.apply(object.clone());
            old.iter().chain([&object]).for_each(|object| change.of(object));
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
mod tests;
