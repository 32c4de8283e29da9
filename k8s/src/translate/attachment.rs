//! Which routes attach to which listeners of a Gateway.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::{Work, http_route, names, object_name};
use crate::{
    gateway_api::{self, GROUP, Gateway, HttpRoute, ParentReference},
    model::{Attachment, HostPattern, Labels, Listener, ObjectName, Route},
    problem::Reason,
};

/// A listener that stands, with the spec it comes from.
pub(super) struct Standing<'a> {
    pub(super) spec: &'a gateway_api::Listener,
    pub(super) listener: Listener,
}

/// A Gateway of ours, with what stands of it.
pub(super) struct Door<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) listeners: Vec<Standing<'a>>,
}

/// Puts a route on every listener that its parentRefs name and that takes it.
pub(super) fn attach(work: &mut Work<'_>, route: &HttpRoute, doors: &mut [Door<'_>]) {
    let source = object_name("HTTPRoute", &route.metadata);
    let mut translated: Option<Arc<Route>> = None;
    let mut hostnames = Vec::new();
    // What is wrong with somebody else's route is somebody else's business too.
    let is_ours = route.spec.parent_refs.iter().any(|parent| door_of(parent, &source, doors).is_some());
    for text in &route.spec.hostnames {
        match HostPattern::parse(text, Labels::OneOrMore) {
            Ok(host) => hostnames.push(host),
            Err(error) if is_ours => work.problem(&source, Reason::InvalidHost { text: text.clone(), error }),
            Err(_) => {}
        }
    }
    // Hostnames that are all wrong must not turn into "every host".
    if hostnames.is_empty() && !route.spec.hostnames.is_empty() {
        return;
    }
    let mut attached: HashSet<(usize, usize)> = HashSet::new();
    for parent in &route.spec.parent_refs {
        let Some((namespace, name)) = gateway_of(parent, &source) else { continue };
        let target = format!("Gateway {namespace}/{name}");
        let Some(index) = door_of(parent, &source, doors) else {
            // A Gateway of somebody else's class is somebody else's business.
            if !work.snapshot.gateways.iter().any(|it| names(&it.metadata) == (namespace, name)) {
                work.problem(&source, Reason::ParentMissing { target });
            }
            continue;
        };
        let mut refusals = Vec::new();
        let mut found = false;
        for number in 0..doors[index].listeners.len() {
            let standing = &doors[index].listeners[number];
            if !names_listener(parent, standing) {
                continue;
            }
            match own_hostnames(work, &doors[index], standing, &source, &hostnames) {
                Err(why) => refusals.push(why),
                Ok(own) => {
                    found = true;
                    if attached.insert((index, number)) {
                        let route = translated.get_or_insert_with(|| Arc::new(http_route::translate(work, route)));
                        let attachment = Attachment { hostnames: own, route: Arc::clone(route) };
                        doors[index].listeners[number].listener.routes.push(attachment);
                    }
                }
            }
        }
        if !found {
            let why = refusals.into_iter().next().unwrap_or_else(|| no_listener(parent));
            work.problem(&source, Reason::NotAttached { target, why });
        }
    }
}

/// Namespace and name of the Gateway that a parentRef means; None for any other kind of parent.
fn gateway_of<'a>(parent: &'a ParentReference, route: &'a ObjectName) -> Option<(&'a str, &'a str)> {
    let is_gateway =
        parent.group.as_deref().unwrap_or(GROUP) == GROUP && parent.kind.as_deref().unwrap_or("Gateway") == "Gateway";
    is_gateway.then(|| (parent.namespace.as_deref().unwrap_or(&route.namespace), parent.name.as_str()))
}

/// The place of the Gateway that a parentRef means, where it is one of ours.
fn door_of(parent: &ParentReference, route: &ObjectName, doors: &[Door<'_>]) -> Option<usize> {
    let target = gateway_of(parent, route)?;
    doors.iter().position(|door| names(&door.gateway.metadata) == target)
}

fn names_listener(parent: &ParentReference, standing: &Standing<'_>) -> bool {
    parent.section_name.as_deref().is_none_or(|name| name == standing.spec.name)
        && parent.port.is_none_or(|port| port == standing.spec.port)
}

fn no_listener(parent: &ParentReference) -> String {
    match (parent.section_name.as_deref(), parent.port) {
        (Some(name), Some(port)) => format!("it has no working listener {name} on port {port}"),
        (Some(name), None) => format!("it has no working listener {name}"),
        (None, Some(port)) => format!("it has no working listener on port {port}"),
        (None, None) => "it has no working listener".to_owned(),
    }
}

/// Those of the route's hostnames that meet the listener's, or why the listener does not take the route.
fn own_hostnames(
    work: &Work<'_>,
    door: &Door<'_>,
    standing: &Standing<'_>,
    route: &ObjectName,
    hostnames: &[HostPattern],
) -> Result<Vec<HostPattern>, String> {
    let spec = standing.spec;
    let allowed = spec.allowed_routes.as_ref();
    let kinds = allowed.map(|allowed| allowed.kinds.as_slice()).unwrap_or_default();
    let takes_kind =
        |kind: &gateway_api::RouteGroupKind| kind.group.as_deref().unwrap_or(GROUP) == GROUP && kind.kind == route.kind;
    if !kinds.is_empty() && !kinds.iter().any(takes_kind) {
        return Err(format!("listener {} does not take the kind {}", spec.name, route.kind));
    }
    let from = allowed.and_then(|allowed| allowed.namespaces.as_ref());
    let takes_namespace = match from.and_then(|from| from.from.as_deref()).unwrap_or("Same") {
        "All" => true,
        "Same" => door.gateway.metadata.namespace.as_deref() == Some(&*route.namespace),
        "Selector" => {
            let labels = work.namespaces.get(&*route.namespace).and_then(|it| it.metadata.labels.as_ref());
            let empty = BTreeMap::new();
            from.and_then(|from| from.selector.as_ref())
                .is_some_and(|selector| selects(selector, labels.unwrap_or(&empty)))
        }
        _ => false,
    };
    if !takes_namespace {
        return Err(format!("listener {} does not take routes from namespace {}", spec.name, route.namespace));
    }
    let Some(listener) = &standing.listener.hostname else { return Ok(hostnames.to_vec()) };
    let meeting: Vec<HostPattern> = hostnames.iter().filter(|own| own.intersect(listener).is_some()).cloned().collect();
    if meeting.is_empty() && !hostnames.is_empty() {
        return Err(format!("none of its hostnames meets {listener} of listener {}", spec.name));
    }
    Ok(meeting)
}

fn selects(
    selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    labels: &BTreeMap<String, String>,
) -> bool {
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|expression| {
            let value = labels.get(&expression.key);
            let listed = |value: &String| expression.values.iter().flatten().any(|listed| listed == value);
            match expression.operator.as_str() {
                "DoesNotExist" => value.is_none(),
                "Exists" => value.is_some(),
                "In" => value.is_some_and(listed),
                "NotIn" => !value.is_some_and(listed),
                _ => false,
            }
        })
}
