//! The watch of one kind: list, follow, and begin again after whatever fails.

use std::time::Duration;

use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::watcher::{self, Event},
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, time::Instant};
use tracing::{info, warn};

use super::{Listed, Report, What, seen::Seen};
use crate::{
    model::ObjectName,
    source::{
        Followed,
        object::{Kind, Object, key, object_name},
    },
    status::observed::{Observation, Observed},
};

/// 1 while a kind's watch stands, 0 while the API server does not answer or refuses, by kind.
const CONNECTED: &str = "doorward_watch_connected";

/// How soon a kind whose CRD is missing is asked for again.
const ABSENT_RETRY: Duration = Duration::from_secs(1);
/// A kind that was there is taken for gone after so many such answers in a row: one alone may be from an API
/// server that has just started, or from what stands in front of it.
const ABSENT_SURE: u32 = 3;
/// One that is known only from before this program started is asked for this long: both may have started with it.
const RESTORED_SURE: Duration = Duration::from_secs(60);
/// The API server ends a watch after this many seconds, and one that stays silent for longer is a connection
/// whose other end has lost its power. kube's own limit of five minutes is long for endpoints.
const WATCH_SECONDS: u32 = 30;
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// Lists and watches one kind for ever. `was_known`: the cluster had the kind when it was last seen. `observed`: where
/// the statuses go, which are no part of the objects.
pub(super) async fn watch<K>(
    api: Api<Seen<K>>,
    kind: Kind,
    was_known: bool,
    config: watcher::Config,
    followed: Followed,
    observed: Option<Observed>,
    reports: mpsc::Sender<Report>,
) where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Into<Object> + Send + 'static,
    K::DynamicType: Default + Clone,
{
    let follow = || watcher::watcher(api.clone(), config.clone().timeout(WATCH_SECONDS)).boxed();
    let mut stream = follow();
    let observed = observed.filter(|_| Observed::is_of(kind));
    let (mut list, mut observations) = (Vec::new(), Vec::new());
    let mut standing = Standing { was_known, ..Standing::default() };
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
                    say::<K>(kind, standing.failure, &error);
                }
                followed.set(kind, standing.is_present == Some(false));
                let what = if is_absent { Some(What::Absent) } else { standing.failing(&error) };
                if let Some(what) = what
                    && reports.send(Report { kind, what }).await.is_err()
                {
                    return;
                }
                tokio::time::sleep(wait).await;
                // A watch that goes on says nothing of itself, and nothing of what it has missed. A list does.
                stream = follow();
                continue;
            }
            Ok(Event::Init) => {
                (list, observations) = (Vec::new(), Vec::new());
                None
            }
            Ok(Event::InitApply(object)) => {
                observations.extend(observed.as_ref().and_then(|_| observation(kind, &object)));
                list.push(listed(object));
                None
            }
            Ok(Event::InitDone) => {
                since = Some(Instant::now());
                if let Some(observed) = &observed {
                    observed.set_all(kind.name(), std::mem::take(&mut observations));
                }
                Some(What::Listed(std::mem::take(&mut list)))
            }
            Ok(Event::Apply(object)) => {
                if let Some(observed) = &observed
                    && let Some((name, observation)) = observation(kind, &object)
                {
                    observed.set(name, observation);
                }
                Some(What::Applied(listed(object)))
            }
            Ok(Event::Delete(object)) => {
                let key = key(object.meta());
                if let Some(observed) = &observed {
                    observed.remove(&object_name(kind, &key));
                }
                Some(What::Deleted(key))
            }
        };
        let Some(what) = what else { continue };
        connected.set(1.0);
        followed.set(kind, true);
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
    /// Objects of it are served that were read before this program started.
    was_known: bool,
    /// What failed last. A list alone is no recovery: the watch after it may fail each time.
    failure: Option<Failure>,
    /// Failures of the same sort in a row.
    repeated: u32,
    /// For how long the kind was refused or unknown, without another answer in between.
    refused_for: Duration,
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
        let is_often = self.repeated >= ABSENT_SURE;
        let is_unknown = self.is_present.is_none() && (!self.was_known || self.refused_for >= RESTORED_SURE);
        let is_sure = self.is_present == Some(true) && is_often;
        let (is_absent, wait) = match failure {
            Failure::NoSuchKind => (is_unknown || is_sure, ABSENT_RETRY),
            // Rights that are taken away for a moment must not take the objects away.
            Failure::Forbidden { optional } => (optional && is_unknown, RETRY_MOST),
            Failure::Lost => {
                (false, RETRY_FIRST.saturating_mul(2u32.saturating_pow(self.repeated - 1)).min(RETRY_MOST))
            }
        };
        self.refused_for = if failure == Failure::Lost { Duration::ZERO } else { self.refused_for + wait };
        if is_absent {
            self.is_present = Some(false);
        }
        Reaction { is_news, is_absent, wait }
    }

    /// What is said of a kind while nobody knows what of it the cluster has.
    fn failing(&self, error: &watcher::Error) -> Option<What> {
        self.is_present.is_none().then(|| What::Failing(is_an_answer(error).then(|| error.to_string())))
    }

    /// To be called with everything that comes. Returns whether that is news after a failure.
    fn is_followed(&mut self) -> bool {
        self.is_present = Some(true);
        std::mem::take(&mut self.is_said)
    }
}

fn say<K: Resource>(kind: Kind, failure: Option<Failure>, error: &watcher::Error)
where
    K::DynamicType: Default,
{
    let kind = kind.name();
    let of = K::DynamicType::default();
    match failure {
        None => {}
        Some(Failure::NoSuchKind) => info!(kind, "the cluster does not have this kind; looking again every second"),
        Some(Failure::Forbidden { .. }) => {
            let (group, resource) = (K::group(&of), K::plural(&of));
            warn!(kind, %group, %resource, "may not be read; grant `list` and `watch` on it");
        }
        Some(Failure::Lost) => {
            warn!(kind, %error, "cannot be followed now; what is known stays in force");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// 404: the CRD is not installed.
    NoSuchKind,
    /// 403. Of a kind that can be done without it is no reason to serve nothing.
    Forbidden { optional: bool },
    /// Anything else: gone, overloaded, a desynchronised watch.
    Lost,
}

impl Failure {
    fn of(error: &watcher::Error, kind: Kind) -> Self {
        let code = match cause(error) {
            Some(kube::Error::Api(status)) => status.code,
            _ => 0,
        };
        match code {
            403 => Self::Forbidden { optional: is_optional(kind) },
            404 if may_be_missing(kind) => Self::NoSuchKind,
            _ => Self::Lost,
        }
    }
}

fn cause(error: &watcher::Error) -> Option<&kube::Error> {
    match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => Some(cause),
        _ => None,
    }
}

/// Whether the API server has answered, if with something that is of no use.
fn is_an_answer(error: &watcher::Error) -> bool {
    matches!(cause(error), Some(kube::Error::Api(_) | kube::Error::SerdeError(_)))
}

/// Whether a cluster may be without it: the CRDs of the Gateway API and of external-dns are somebody's to install,
/// and of an older release than is read here the routes have other versions, which is the same answer. Without a
/// right to ConfigMaps, or ClusterTrustBundles, nobody's authorities are known, and all that needs none is served.
fn may_be_missing(kind: Kind) -> bool {
    match kind {
        Kind::BackendTlsPolicy
        | Kind::ClusterTrustBundle
        | Kind::ConfigMap
        | Kind::DnsEndpoint
        | Kind::Gateway
        | Kind::GatewayClass
        | Kind::GrpcRoute
        | Kind::HttpRoute
        | Kind::ListenerSet
        | Kind::ReferenceGrant
        | Kind::TcpRoute
        | Kind::TlsRoute
        | Kind::UdpRoute => true,
        Kind::EndpointSlice | Kind::Ingress | Kind::IngressClass | Kind::Namespace | Kind::Secret | Kind::Service => {
            false
        }
    }
}

/// Whether something else can be served while the API server does not list it. Without its BackendTLSPolicies a
/// Service would be spoken to unverified, or in the clear: that none is there must be known, not supposed.
pub(super) fn is_optional(kind: Kind) -> bool {
    may_be_missing(kind) && kind != Kind::BackendTlsPolicy
}

fn listed<K: Into<Object>>(seen: Seen<K>) -> Listed {
    seen.object.map(Into::into).map_err(|unreadable| (key(&unreadable.metadata), unreadable.error))
}

/// None of an object that cannot be decoded: nothing is said of it.
fn observation<K: Resource>(kind: Kind, seen: &Seen<K>) -> Option<(ObjectName, Observation)> {
    let metadata = seen.object.as_ref().ok()?.meta();
    // The uid of a Service is all that anybody asks for.
    let status = if kind == Kind::Service { &serde_json::Value::Null } else { &seen.status };
    Some((object_name(kind, &key(metadata)), Observation::new(metadata, status)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::Ingress;
    use kube::core::Status;
    use serde_json::json;

    use super::*;
    use crate::gateway_api::HttpRoute;

    /// The object, and what is observed of it.
    fn read<K>(kind: Kind, generation: i64, version: &str, status: &serde_json::Value) -> (Object, Observation)
    where
        K: Resource + DeserializeOwned + Into<Object>,
    {
        let metadata = json!({
            "name": "app",
            "generation": generation,
            "resourceVersion": version,
            "managedFields": [{"manager": version}],
        });
        let seen = json!({"metadata": metadata, "spec": {"rules": []}, "status": status});
        let seen: Seen<K> = serde_json::from_value(seen).expect("an object");
        let observation = observation(kind, &seen).expect("it can be decoded").1;
        (listed(seen).expect("it can be decoded"), observation)
    }

    #[test]
    fn a_status_is_observed_and_changes_no_object_and_a_generation_does() {
        let reads = [read::<HttpRoute>, read::<Ingress>];
        for (read, kind) in reads.into_iter().zip([Kind::HttpRoute, Kind::Ingress]) {
            let (before, nothing) = read(kind, 1, "1", &json!(null));
            let (after, observation) =
                read(kind, 1, "2", &json!({"loadBalancer": {"ingress": [{"ip": "192.168.8.21"}]}}));
            assert!(before == after, "{before:?}");
            assert_eq!((&*nothing.resource_version, &*nothing.status, nothing.generation), ("1", "", 1));
            let status = r#"{"loadBalancer":{"ingress":[{"ip":"192.168.8.21"}]}}"#;
            assert_eq!((&*observation.resource_version, &*observation.status), ("2", status));
            assert!(read(kind, 2, "3", &json!(null)).0 != after, "{before:?}");
        }
    }

    fn refused(code: u16) -> watcher::Error {
        let status = Status::failure("no", "Refused").with_code(code);
        watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
    }

    #[test]
    fn policies_are_absent_where_there_is_no_such_kind_and_never_for_want_of_rights() {
        for (kind, code, is_absent) in [
            (Kind::HttpRoute, 404, true),
            (Kind::HttpRoute, 403, true),
            (Kind::BackendTlsPolicy, 404, true),
            (Kind::BackendTlsPolicy, 403, false),
            (Kind::BackendTlsPolicy, 503, false),
            (Kind::Service, 404, false),
            (Kind::Service, 403, false),
        ] {
            let (mut standing, error) = (Standing::default(), refused(code));
            let found = (0..100).any(|_| standing.failed(Failure::of(&error, kind), Duration::ZERO).is_absent);
            assert_eq!(found, is_absent, "{kind:?} {code}");
            // Why it is waited for is said.
            assert_eq!(standing.failing(&error).is_some(), !is_absent, "{kind:?} {code}");
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
        // Not seen yet, but what it was is served: it is waited for longer, if not for ever.
        for failures in [[Failure::NoSuchKind; 2], [forbidden; 2], [Failure::NoSuchKind, forbidden]] {
            let mut restored = Standing { was_known: true, ..Standing::default() };
            let mut waited = Duration::ZERO;
            let mut refuse = |restored: &mut Standing| {
                let mut absent_after = Vec::new();
                for failure in failures.into_iter().cycle().take(100) {
                    let Reaction { is_absent, wait, .. } = restored.failed(failure, Duration::ZERO);
                    absent_after.extend(is_absent.then_some(waited.as_secs()));
                    waited += wait;
                }
                absent_after
            };
            let absent_after = refuse(&mut restored);
            assert!(matches!(absent_after[..], [60..=65]), "{failures:?} {absent_after:?}");
        }
        let mut restored = Standing { was_known: true, ..Standing::default() };
        let refused = |standing: &mut Standing| (0..50).any(|_| reaction(standing, Failure::NoSuchKind));
        assert!(!refused(&mut restored) && !reaction(&mut restored, Failure::Lost) && !refused(&mut restored));
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
}
