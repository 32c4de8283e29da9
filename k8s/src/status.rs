//! What is written back to the cluster: what the status of each object should say.
//!
//! Translation computes [`Desired`] for every object of ours; whoever leads compares it with what stands there and
//! patches what differs.

pub mod observed;
pub mod services;

use std::net::IpAddr;

use crate::{gateway_api::ParentReference, model::ObjectName};

/// What the status of one object should say, the parts that are ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Desired {
    pub object: ObjectName,
    /// Of the object that was translated: the `observedGeneration` of every condition.
    pub generation: i64,
    pub status: Status,
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
