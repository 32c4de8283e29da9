//! What asks the router to serve hosts, and with that DNS to answer for them: Ingresses and routes.

use k8s_openapi::api::networking::v1::Ingress;
use kube::core::ObjectMeta;

use crate::{
    gateway_api::ParentReference,
    model::{HostPattern, Labels, ObjectName},
    snapshot::Snapshot,
    translate::object_name,
};

pub(super) struct Asker<'a> {
    pub(super) source: ObjectName,
    pub(super) metadata: &'a ObjectMeta,
    /// Those that it names and that are right; translation says which are not.
    pub(super) hosts: Vec<HostPattern>,
    pub(super) by: By<'a>,
}

/// How it comes to an entry point.
pub(super) enum By<'a> {
    Class(&'a Ingress),
    Parents(&'a [ParentReference]),
}

/// In the order of the snapshot, kind by kind.
pub(super) fn askers(snapshot: &Snapshot) -> Vec<Asker<'_>> {
    let ingresses = snapshot.ingresses.iter().map(|ingress| {
        let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
        let hosts = rules.filter_map(|rule| rule.host.as_deref()).map(|host| HostPattern::parse(host, Labels::One));
        Asker {
            source: object_name("Ingress", &ingress.metadata),
            metadata: &ingress.metadata,
            hosts: hosts.flatten().collect(),
            by: By::Class(ingress),
        }
    });
    let http = snapshot
        .http_routes
        .iter()
        .map(|it| route("HTTPRoute", &it.metadata, &it.spec.parent_refs, &it.spec.hostnames));
    let grpc = snapshot
        .grpc_routes
        .iter()
        .map(|it| route("GRPCRoute", &it.metadata, &it.spec.parent_refs, &it.spec.hostnames));
    let tls =
        snapshot.tls_routes.iter().map(|it| route("TLSRoute", &it.metadata, &it.spec.parent_refs, &it.spec.hostnames));
    ingresses.chain(http).chain(grpc).chain(tls).collect()
}

fn route<'a>(
    kind: &'static str,
    metadata: &'a ObjectMeta,
    parents: &'a [ParentReference],
    hostnames: &[String],
) -> Asker<'a> {
    let hosts = hostnames.iter().filter_map(|text| HostPattern::parse(text, Labels::OneOrMore).ok()).collect();
    Asker { source: object_name(kind, metadata), metadata, hosts, by: By::Parents(parents) }
}
