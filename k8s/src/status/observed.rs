//! What stands in the cluster now: the status of every object that has one of ours, off the data path.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::core::ObjectMeta;
use serde_json::Value;
use tokio::sync::Notify;

use crate::{model::ObjectName, source::Kind};

/// Filled by the watches, read by whoever writes statuses. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Observed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    all: Mutex<All>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct All {
    observations: BTreeMap<ObjectName, Arc<Observation>>,
    /// Since they were last taken.
    changed: BTreeSet<ObjectName>,
}

/// One object as it was last seen. As text a status takes a fifth of what it would take as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    pub uid: Box<str>,
    /// 0 where the kind has none.
    pub generation: i64,
    pub resource_version: Box<str>,
    /// JSON; empty where there is none.
    pub status: Box<str>,
}

impl Observation {
    pub fn new(metadata: &ObjectMeta, status: &Value) -> Self {
        Self {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            generation: metadata.generation.unwrap_or_default(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            status: if status.is_null() { "".into() } else { status.to_string().into() },
        }
    }

    /// Null where there is none.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.status).unwrap_or_default()
    }

    /// Of the same object, as it was before. Versions are numbers since Kubernetes 1.35, and were in every API server
    /// before; where they are not, what comes later counts.
    fn is_older_than(&self, other: &Self) -> bool {
        let number = |observation: &Self| observation.resource_version.parse::<u64>().ok();
        self.uid == other.uid && number(self).zip(number(other)).is_some_and(|(mine, others)| mine < others)
    }
}

impl Observed {
    /// Whether objects of the kind are observed: those with a status that is written, and Services, which Events are
    /// about.
    pub fn is_of(kind: Kind) -> bool {
        match kind {
            Kind::BackendTlsPolicy
            | Kind::Gateway
            | Kind::GatewayClass
            | Kind::GrpcRoute
            | Kind::HttpRoute
            | Kind::Ingress
            | Kind::ListenerSet
            | Kind::Service
            | Kind::TcpRoute
            | Kind::TlsRoute
            | Kind::UdpRoute => true,
            Kind::ClusterTrustBundle
            | Kind::ConfigMap
            | Kind::DnsEndpoint
            | Kind::EndpointSlice
            | Kind::IngressClass
            | Kind::Namespace
            | Kind::ReferenceGrant
            | Kind::Secret => false,
        }
    }

    /// One object, unless a later version of it was seen already.
    pub fn set(&self, name: ObjectName, observation: Observation) {
        let mut all = self.lock();
        let known = all.observations.get(&name);
        if known.is_some_and(|known| **known == observation || observation.is_older_than(known)) {
            return;
        }
        all.observations.insert(name.clone(), Arc::new(observation));
        all.changed.insert(name);
        self.0.woken.notify_one();
    }

    pub fn remove(&self, name: &ObjectName) {
        let mut all = self.lock();
        if all.observations.remove(name).is_some() {
            all.changed.insert(name.clone());
            self.0.woken.notify_one();
        }
    }

    /// All objects of a kind.
    pub fn set_all(&self, kind: &'static str, list: Vec<(ObjectName, Observation)>) {
        let list: BTreeMap<ObjectName, Observation> = list.into_iter().collect();
        let mut all = self.lock();
        let All { observations, changed } = &mut *all;
        observations.retain(|name, _| {
            let stays = name.kind != kind || list.contains_key(name);
            if !stays {
                changed.insert(name.clone());
            }
            stays
        });
        for (name, observation) in list {
            if observations.get(&name).is_none_or(|known| **known != observation) {
                observations.insert(name.clone(), Arc::new(observation));
                changed.insert(name);
            }
        }
        self.0.woken.notify_one();
    }

    pub fn get(&self, name: &ObjectName) -> Option<Arc<Observation>> {
        self.lock().observations.get(name).cloned()
    }

    pub fn names(&self) -> Vec<ObjectName> {
        self.lock().observations.keys().cloned().collect()
    }

    /// Returns when something has changed since it was last taken. For one reader.
    pub async fn changed(&self) {
        while self.lock().changed.is_empty() {
            self.0.woken.notified().await;
        }
    }

    pub fn take_changed(&self) -> BTreeSet<ObjectName> {
        std::mem::take(&mut self.lock().changed)
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName::new("HTTPRoute", "default", name)
    }

    fn version(resource_version: &str) -> Observation {
        Observation { uid: "1".into(), resource_version: resource_version.into(), ..Observation::default() }
    }

    fn changed(observed: &Observed) -> Vec<String> {
        observed.take_changed().iter().map(|name| name.name.to_string()).collect()
    }

    #[test]
    fn what_differs_is_said_once() {
        let observed = Observed::default();
        observed.set(name("a"), version("1"));
        observed.set_all("HTTPRoute", vec![(name("a"), version("1")), (name("b"), version("2"))]);
        assert_eq!(changed(&observed), ["a", "b"]);
        observed.set(name("a"), version("1"));
        observed.set_all("HTTPRoute", vec![(name("a"), version("1")), (name("b"), version("2"))]);
        observed.set_all("Gateway", Vec::new());
        assert!(changed(&observed).is_empty());
        observed.set_all("HTTPRoute", vec![(name("b"), version("3"))]);
        assert_eq!(changed(&observed), ["a", "b"]);
        assert_eq!(observed.names(), [name("b")]);
        observed.remove(&name("b"));
        assert_eq!((changed(&observed), observed.names()), (vec!["b".to_owned()], Vec::new()));
    }

    #[test]
    fn an_event_that_comes_late_does_not_undo_what_an_answer_has_told() {
        let observed = Observed::default();
        for (told, then) in [("9", "9"), ("10", "10"), ("8", "10"), ("opaque", "opaque")] {
            observed.set(name("a"), version(told));
            assert_eq!(&*observed.get(&name("a")).expect("it is there").resource_version, then);
        }
        // A new object of that name, in a cluster that was restored.
        observed.set(name("a"), Observation { uid: "2".into(), ..version("3") });
        assert_eq!(&*observed.get(&name("a")).expect("it is there").resource_version, "3");
    }
}
