//! Snapshot to model: every reference resolved, every problem found. Pure and total.

mod access;
mod affinity;
mod attachment;
mod authorities;
mod backend_protocol;
mod backend_ref;
mod backend_tls_policy;
mod certificate;
mod client_validation;
mod condition;
mod conflict;
mod cors;
mod endpoint_slice;
mod entry_point;
mod external_auth;
mod filter;
mod gateway;
mod gateway_class;
mod grpc_route;
mod http_route;
pub(crate) mod infrastructure;
mod ingress;
mod ingress_class;
mod listener;
mod listener_filter;
mod listener_set;
mod names;
mod overlap;
mod reading;
mod reference_grant;
mod service;
mod stream_route;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use k8s_openapi::api::core::v1::{Namespace, Service};

pub use self::{
    endpoint_slice::endpoints,
    infrastructure::{GatewayPorts, Transport},
    names::{Names, names},
};
use crate::{
    config::Config,
    model::{Backend, BackendId, Model, ObjectName},
    problem::{self, Problem, Reason},
    snapshot::Snapshot,
    status::{Desired, Version},
};

/// Whether translation reads an annotation of this name.
pub(crate) fn reads_annotation(name: &str) -> bool {
    let ours = [ingress_class::DEFAULT_CLASS, ingress_class::LEGACY_CLASS, service::HEALTH_CHECK];
    names::ANNOTATIONS.contains(&name)
        || affinity::ANNOTATIONS.contains(&name)
        || backend_protocol::ANNOTATIONS.contains(&name)
        || client_validation::ANNOTATIONS.contains(&name)
        || access::ANNOTATIONS.contains(&name)
        || ours.contains(&name)
}

/// What a snapshot asks for, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    pub model: Model,
    /// As [`problem::listed`] has them.
    pub problems: Vec<Problem>,
    /// One for each object that is ours to speak of.
    pub statuses: Vec<Desired>,
    /// Of each Gateway of ours, what it is to be reached by.
    pub gateway_ports: Vec<GatewayPorts>,
    pub last: Last,
}

/// What a translation leaves for the next one.
#[derive(Clone, Debug, Default)]
pub struct Last {
    good: certificate::LastGood,
    readings: reading::Known,
}

/// Never fails: what cannot take effect is left out or made to answer an error, and said in `problems`.
pub fn translate(snapshot: &Snapshot, config: &Config) -> Translation {
    let nothing = Last::default();
    translation(Work::new(snapshot, config, &nothing))
}

/// The same where something is served already, of the same configuration: a good certificate is replaced by a good one
/// only, and what has not changed is not read again.
pub fn translate_after(snapshot: &Snapshot, config: &Config, last: &Last) -> Translation {
    let mut work = Work::new(snapshot, config, last);
    work.readings.go_on_from(&last.readings, snapshot);
    translation(work)
}

fn translation(mut work: Work<'_>) -> Translation {
    let mut entry_points = entry_point::from_config(&mut work);
    entry_points.extend(gateway::translate(&mut work, &entry_points));
    infrastructure::check_router(&mut work);
    gateway_class::add_statuses(&mut work);
    backend_tls_policy::add_problems_and_statuses(&mut work);
    let Work { backends, certificates, problems, statuses, gateway_ports, readings, .. } = work;
    let model = Model { entry_points, backends: backends.into_iter().collect() };
    let last = Last { good: certificates.into_last_good(), readings: readings.into_known() };
    Translation { model, problems: problem::listed(problems), statuses, gateway_ports, last }
}

/// What every concern reads, and what they add to.
struct Work<'a> {
    snapshot: &'a Snapshot,
    config: &'a Config,
    services: HashMap<(&'a str, &'a str), &'a Service, RandomState>,
    namespaces: HashMap<&'a str, &'a Namespace>,
    certificates: certificate::Certificates<'a>,
    bundles: authorities::Bundles<'a>,
    policies: backend_tls_policy::Policies<'a>,
    client_validations: client_validation::OfPorts,
    readings: reading::Readings<'a>,
    backends: HashMap<BackendId, Backend, RandomState>,
    problems: Vec<Problem>,
    statuses: Vec<Desired>,
    gateway_ports: Vec<GatewayPorts>,
}

/// What comes of reading a part of an object, beside what it is read as.
#[derive(Clone, Debug, Default)]
struct Found {
    problems: Vec<Problem>,
    backends: Vec<Backend>,
}

impl<'a> Work<'a> {
    fn new(snapshot: &'a Snapshot, config: &'a Config, last: &'a Last) -> Self {
        let services = snapshot.services.iter().map(|service| (key_of(&service.metadata), &**service)).collect();
        let namespaces =
            snapshot.namespaces.iter().map(|namespace| (key_of(&namespace.metadata).1, &**namespace)).collect();
        let unreadable = backend_tls_policy::unreadable(&snapshot.backend_tls_policies);
        Self {
            snapshot,
            config,
            services,
            namespaces,
            certificates: certificate::Certificates::new(snapshot.secrets.as_deref(), &last.good),
            bundles: authorities::Bundles::new(snapshot),
            policies: backend_tls_policy::Policies::new(&snapshot.backend_tls_policies),
            client_validations: HashMap::new(),
            readings: reading::Readings::default(),
            backends: HashMap::default(),
            statuses: Vec::new(),
            gateway_ports: Vec::new(),
            problems: snapshot.problems.iter().cloned().chain(unreadable).collect(),
        }
    }

    fn problem(&mut self, object: &ObjectName, reason: Reason) {
        self.problems.push(Problem::new(object, reason));
    }

    /// Two names may be of one port, with a policy for one of them: what was to be verified stays so.
    fn backend(&mut self, backend: Backend) -> BackendId {
        // Most rules lead where another one does; then they have one name between them.
        match self.backends.get_key_value(&backend.id) {
            Some((id, known)) if *known == backend || (known.validation.is_some() && backend.validation.is_none()) => {
                id.clone()
            }
            _ => {
                let id = backend.id.clone();
                self.backends.insert(id.clone(), backend);
                id
            }
        }
    }

    /// Does `read`, and sets apart what it finds.
    fn finding<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, Found) {
        let problems = std::mem::take(&mut self.problems);
        let backends = std::mem::take(&mut self.backends);
        let result = read(self);
        let problems = std::mem::replace(&mut self.problems, problems);
        let backends = std::mem::replace(&mut self.backends, backends).into_values().collect();
        (result, Found { problems, backends })
    }

    /// As if it had been found now.
    fn found(&mut self, found: &Found) {
        self.problems.extend_from_slice(&found.problems);
        for backend in &found.backends {
            // The same one is there already, where several rules lead there.
            if self.backends.get(&backend.id) != Some(backend) {
                self.backend(backend.clone());
            }
        }
    }
}

/// Namespace and name; empty where not set.
pub(crate) fn key_of(metadata: &kube::core::ObjectMeta) -> (&str, &str) {
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn annotation<'a>(metadata: &'a kube::core::ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn object_name(kind: &'static str, metadata: &kube::core::ObjectMeta) -> ObjectName {
    let (namespace, name) = key_of(metadata);
    ObjectName::new(kind, namespace, name)
}

/// Seconds since 1970; 0 for a manifest that was never in a cluster.
fn created(metadata: &kube::core::ObjectMeta) -> i64 {
    metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

fn version(metadata: &kube::core::ObjectMeta) -> Version {
    Version {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        generation: metadata.generation.unwrap_or_default(),
    }
}
