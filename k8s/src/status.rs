//! What is written back to the cluster: what the status of each object should say.
//!
//! Translation computes [`Desired`] for every object of ours; whoever leads compares it with what stands there and
//! patches what differs. Whatever happens here, requests are served.

mod events;
pub mod leader;
pub mod observed;
mod patch;
pub mod services;
mod target;
pub mod writer;

use std::{net::IpAddr, sync::Arc};

use kube::Client;
use tokio::{sync::watch, task::JoinSet};

use self::{leader::Campaign, observed::Observed, target::Cluster};
use crate::{config::Config, gateway_api::ParentReference, model::ObjectName, problem::Problem};

/// What is to be said of all objects, at one instant.
#[derive(Debug, Default)]
pub struct Findings {
    /// By object, each once.
    statuses: Vec<Desired>,
    /// Sorted.
    pub problems: Vec<Problem>,
}

impl Findings {
    pub fn new(mut statuses: Vec<Desired>, problems: Vec<Problem>) -> Self {
        statuses.sort_by(|a, b| a.object.cmp(&b.object));
        Self { statuses, problems }
    }

    fn of(&self, object: &ObjectName) -> Option<&Desired> {
        let place = self.statuses.binary_search_by(|it| it.object.cmp(object)).ok()?;
        self.statuses.get(place)
    }
}

/// Where the newest of it goes.
#[derive(Default)]
pub struct Newest {
    /// None until there was a first translation.
    pub findings: watch::Sender<Option<Arc<Findings>>>,
    pub services: watch::Sender<services::Seen>,
}

/// What runs beside everything else, and writes to the cluster while this replica leads.
#[must_use]
pub struct Writing {
    campaign: Campaign,
    _tasks: JoinSet<()>,
}

/// Begins to write what comes by `newest`.
pub fn start(client: Client, observed: Observed, config: &Config, newest: &Newest) -> Writing {
    let controller = Arc::clone(&config.gateway_api.controller);
    let me = leader::identity();
    let campaign = Campaign::start(client.clone(), leader::lease_name(&controller), me.clone());
    let mut tasks = JoinSet::new();
    let leadership = || campaign.leadership.clone();
    let mut findings = newest.findings.subscribe();
    if let Some(own) = &config.gateway_api.service {
        let (refusals, told) = (watch::Sender::default(), watch::Sender::default());
        let found = std::mem::replace(&mut findings, told.subscribe());
        tasks.spawn(services::tell(found, refusals.subscribe(), told));
        tasks.spawn(services::keep(client.clone(), own.clone(), newest.services.subscribe(), leadership(), refusals));
    }
    tasks.spawn(events::publish(
        client.clone(),
        observed.clone(),
        findings.clone(),
        leadership(),
        Arc::clone(&controller),
        me,
    ));
    tasks.spawn(writer::write(Cluster(client), observed, findings, leadership(), controller));
    Writing { campaign, _tasks: tasks }
}

impl Writing {
    /// Writes no more, and lets another replica begin at once.
    pub async fn leave(self) {
        self.campaign.leave().await;
    }
}

/// What the status of one object should say, the parts that are ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Desired {
    pub object: ObjectName,
    pub version: Version,
    pub status: Status,
}

/// What of an object was translated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// Another object may have had its name before.
    pub uid: Box<str>,
    /// The `observedGeneration` of every condition. 0 for a manifest that was never in a cluster.
    pub generation: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    GatewayClass {
        conditions: Vec<Condition>,
        /// Names of Gateway API features, sorted.
        features: Vec<&'static str>,
    },
    Gateway {
        conditions: Vec<Condition>,
        addresses: Vec<Address>,
        /// One for each listener of the spec.
        listeners: Vec<ListenerStatus>,
        /// How many ListenerSets are accepted.
        listener_sets: usize,
    },
    ListenerSet {
        conditions: Vec<Condition>,
        listeners: Vec<ListenerStatus>,
    },
    /// Of a route: one for each of its parents that is ours. Entries of other controllers stay as they are.
    Route {
        parents: Vec<ParentStatus>,
    },
    /// Of a BackendTLSPolicy: one for each Gateway of ours that reaches its Services.
    Policy {
        ancestors: Vec<ParentStatus>,
    },
    /// Where clients reach an Ingress.
    Ingress {
        addresses: Vec<IpAddr>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// `Accepted`, `Programmed` …
    pub kind: &'static str,
    pub is_true: bool,
    /// In PascalCase.
    pub reason: &'static str,
    pub message: String,
}

impl Condition {
    /// Whose reason is its own name: that everything is well.
    pub fn holds(kind: &'static str) -> Self {
        Self { kind, is_true: true, reason: kind, message: String::new() }
    }

    pub fn fails(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, is_true: false, reason, message: message.into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Ip(IpAddr),
    Hostname(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerStatus {
    pub name: String,
    pub supported_kinds: Vec<&'static str>,
    /// How many routes it has accepted, whether their backends are there or not.
    pub attached_routes: usize,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParentStatus {
    /// As the object has it.
    pub parent: ParentReference,
    pub conditions: Vec<Condition>,
}
