//! Why an object, or part of it, does not take effect, worded for the person who wrote it.
//!
//! Problems are data. They become log lines, metrics, `explain` output, Events and conditions.

use std::{fmt, net::IpAddr};

use serde::Serialize;

use crate::model::{HostPattern, InvalidHost, ObjectName, ServiceName};

/// One thing that is wrong with one object. Everything else is served all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    pub object: ObjectName,
    pub reason: Reason,
}

impl Problem {
    pub fn new(object: &ObjectName, reason: Reason) -> Self {
        Self { object: object.clone(), reason }
    }
}

/// Of one object so many are listed: whoever may write an object says how many mistakes it has.
const MOST_OF_ONE: usize = 20;

/// Sorted, without duplicates, and of an object with very many the first ones and how many more there are.
pub fn listed(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    let mut listed: Vec<Problem> = Vec::with_capacity(problems.len());
    for all in problems.chunk_by(|a, b| a.object == b.object) {
        let (first, more) = all.split_at(all.len().min(MOST_OF_ONE));
        listed.extend_from_slice(first);
        if let Some(Problem { object, .. }) = more.first() {
            listed.push(Problem::new(object, Reason::More { count: more.len() }));
        }
    }
    listed
}

/// Reads as one sentence: `Ingress default/old: references Service default/gone, which does not exist`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.reason)
    }
}

/// Lower case, names what it speaks of, says what to do where that is not plain, ends without a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize)]
#[serde(tag = "reason")]
pub enum Reason {
    #[error("cannot be read: {error}")]
    Unreadable { error: String },
    #[error(
        "the API server does not list the objects of this kind: {error}; until it does, those last known count, if any"
    )]
    KindNotListed { error: String },
    #[error("is written in {places}; the last one counts, remove the others")]
    Duplicate { places: String },
    #[error("host {text:?} {error}")]
    InvalidHost { text: String, error: InvalidHost },
    #[error("references Service {service}, which does not exist")]
    ServiceMissing { service: ServiceName },
    #[error("references port {port} of Service {service}, which has {available}")]
    ServicePortMissing { service: ServiceName, port: String, available: String },
    #[error(
        "references ExternalName Service {service}; allow it with `externalNameServices: true` in the configuration"
    )]
    ExternalNameNotAllowed { service: ServiceName },
    #[error("references Secret {secret}, which does not exist or is not of type kubernetes.io/tls")]
    SecretMissing { secret: String },
    #[error("references Secret {secret}, whose {error}")]
    SecretInvalid { secret: String, error: String },
    #[error("serves what was last good of Secret {secret}, {fault}")]
    SecretNoLongerGood { secret: String, fault: SecretFault },
    #[error("references {target}, which {error}")]
    AuthoritiesInvalid { target: String, error: String },
    #[error(
        "asks clients on port {port} for certificates and has no authority to verify them by: nobody gets in there"
    )]
    NoAuthority { port: u16 },
    #[error("has annotation {annotation}, and nothing is sent to Service {service} until a BackendTLSPolicy says how")]
    NotVerified { annotation: &'static str, service: ServiceName },
    #[error("is for {target}, which has {winner} already")]
    Conflict { target: String, winner: ObjectName },
    #[error("references Service {service}, which nothing is sent to because {policy} cannot take effect")]
    PolicyWithoutEffect { service: ServiceName, policy: ObjectName },
    #[error("claims {path} of host {host}, which {winner} has")]
    PathTaken { host: String, path: String, winner: ObjectName },
    #[error("host {host} has no certificate that covers it: {remedy}")]
    NoCertificate { host: HostPattern, remedy: &'static str },
    #[error("{field} is {value:?}, expected {expected}")]
    InvalidValue { field: String, value: String, expected: String },
    #[error("{field} {value:?} is not supported")]
    Unsupported { field: String, value: String },
    #[error("{what} is of kind {}, which is not supported", kind_of(group, kind))]
    KindUnsupported { what: String, group: String, kind: String },
    #[error("listener {listener} allows routes of kind {kind}, which its protocol {protocol} does not carry")]
    RouteKindInvalid { listener: String, protocol: String, kind: String },
    #[error("filters {filters} cannot be in one list; put them into rules of their own")]
    FiltersIncompatible { filters: String },
    #[error("references {target} in another namespace, which no ReferenceGrant there allows")]
    NotGranted { target: String },
    #[error("names IngressClass {class}, which does not exist")]
    IngressClassMissing { class: String },
    #[error("names GatewayClass {class}, which does not exist")]
    GatewayClassMissing { class: String },
    #[error("references {target}, which does not exist")]
    ParentMissing { target: String },
    #[error("{listener} wants {socket}, which {winner} has")]
    SocketTaken { listener: String, socket: String, winner: String },
    #[error(
        "names no IngressClass, and none of this controller's is the default: set spec.ingressClassName to {classes}"
    )]
    NoIngressClass { classes: String },
    #[error("has no address: set spec.addresses, or `gatewayApi.address` in the configuration")]
    NoAddress,
    #[error("has no address yet: {why}")]
    AddressNotAssigned { why: String },
    #[error("asks for address {address}, which no load balancer gives to its Service {service}")]
    AddressNotUsable { address: IpAddr, service: ServiceName },
    #[error("has a Service that cannot be as it should: {why}")]
    ServiceRefused { why: String },
    #[error("is not attached to {target}: {why}")]
    NotAttached { target: String, why: String },
    #[error("address {address} is not in dns.allowedAddresses of the configuration; add it or its network there")]
    AddressNotAllowed { address: IpAddr },
    #[error(
        "endpoint {name} has the CNAME target {target}, which lies in no zone: Pi-hole hands it on as it is, and most clients do not follow it; name an address or a name in a zone"
    )]
    TargetInNoZone { name: String, target: String },
    #[error("asks for more than {most} {kind} records of {name}; the first {most} count, remove the others")]
    TooManyRecords { name: String, kind: String, most: usize },
    #[error(
        "asks for more {kind} records of {name} than one answer holds; what comes first counts, remove what is not needed"
    )]
    AnswerFull { name: String, kind: String },
    #[error("{what} not served by the router yet: {instead}")]
    NotServed { what: String, instead: &'static str },
    #[error("has {count} more problems, which are not listed")]
    More { count: usize },
}

/// The core group goes without saying.
fn kind_of(group: &str, kind: &str) -> String {
    if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") }
}

/// Why a Secret gives no certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize)]
pub enum SecretFault {
    #[error("whose {0}")]
    Invalid(String),
    #[error("which does not exist any more or is not of type kubernetes.io/tls")]
    Missing,
}

impl Reason {
    /// For metric labels and conditions.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "Unreadable",
            Self::KindNotListed { .. } => "KindNotListed",
            Self::Duplicate { .. } => "Duplicate",
            Self::InvalidHost { .. } => "InvalidHost",
            Self::ServiceMissing { .. } => "ServiceMissing",
            Self::ServicePortMissing { .. } => "ServicePortMissing",
            Self::ExternalNameNotAllowed { .. } => "ExternalNameNotAllowed",
            Self::SecretMissing { .. } => "SecretMissing",
            Self::SecretInvalid { .. } => "SecretInvalid",
            Self::SecretNoLongerGood { .. } => "SecretNoLongerGood",
            Self::AuthoritiesInvalid { .. } => "AuthoritiesInvalid",
            Self::NoAuthority { .. } => "NoAuthority",
            Self::NotVerified { .. } => "NotVerified",
            Self::Conflict { .. } => "Conflict",
            Self::PolicyWithoutEffect { .. } => "PolicyWithoutEffect",
            Self::PathTaken { .. } => "PathTaken",
            Self::NoCertificate { .. } => "NoCertificate",
            Self::InvalidValue { .. } => "InvalidValue",
            Self::Unsupported { .. } => "Unsupported",
            Self::KindUnsupported { .. } => "KindUnsupported",
            Self::RouteKindInvalid { .. } => "RouteKindInvalid",
            Self::FiltersIncompatible { .. } => "FiltersIncompatible",
            Self::NotGranted { .. } => "NotGranted",
            Self::IngressClassMissing { .. } => "IngressClassMissing",
            Self::GatewayClassMissing { .. } => "GatewayClassMissing",
            Self::ParentMissing { .. } => "ParentMissing",
            Self::SocketTaken { .. } => "SocketTaken",
            Self::NoIngressClass { .. } => "NoIngressClass",
            Self::NoAddress => "NoAddress",
            Self::AddressNotAssigned { .. } => "AddressNotAssigned",
            Self::AddressNotUsable { .. } => "AddressNotUsable",
            Self::ServiceRefused { .. } => "ServiceRefused",
            Self::NotAttached { .. } => "NotAttached",
            Self::AddressNotAllowed { .. } => "AddressNotAllowed",
            Self::TargetInNoZone { .. } => "TargetInNoZone",
            Self::TooManyRecords { .. } => "TooManyRecords",
            Self::AnswerFull { .. } => "AnswerFull",
            Self::NotServed { .. } => "NotServed",
            Self::More { .. } => "More",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_object_with_very_many_the_first_are_listed_and_the_others_counted() {
        let problem = |name: &str, count| Problem::new(&ObjectName::new("Ingress", "a", name), Reason::More { count });
        let all = (0..100).flat_map(|count| [problem("many", count), problem("many", count)]);
        let listed = listed(all.chain([problem("one", 7)]).collect());
        let expected: Vec<_> =
            (0..20).chain([80]).map(|count| problem("many", count)).chain([problem("one", 7)]).collect();
        assert_eq!(listed, expected);
    }
}
