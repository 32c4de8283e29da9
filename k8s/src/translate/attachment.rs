//! Which routes attach to which listeners of a Gateway.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use kube::core::ObjectMeta;

use super::{Work, created, key_of, object_name};
use crate::{
    gateway_api::{self, GROUP, Gateway, ParentReference},
    model::{Attachment, HostPattern, Labels, Listener, ListenerProtocol, ObjectName, Route, Rule},
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

/// What routes of every kind have alike: who they are, and where they want to be.
pub(super) struct Claimant<'a> {
    pub(super) source: ObjectName,
    pub(super) created: i64,
    pub(super) parent_refs: &'a [ParentReference],
    pub(super) hostnames: &'a [String],
}

impl<'a> Claimant<'a> {
    pub(super) fn new(
        kind: &'static str,
        metadata: &ObjectMeta,
        parent_refs: &'a [ParentReference],
        hostnames: &'a [String],
    ) -> Self {
        Self { source: object_name(kind, metadata), created: created(metadata), parent_refs, hostnames }
    }
}

/// Puts a route on every listener that its parentRefs name and that takes it. `rules` is called for a route that
/// some listener takes, once. Returns whether there is one.
pub(super) fn attach(
    work: &mut Work<'_>,
    claimant: Claimant<'_>,
    doors: &mut [Door<'_>],
    rules: impl FnOnce(&mut Work<'_>, &ObjectName) -> Vec<Rule>,
) -> bool {
    let Claimant { source, created, parent_refs, hostnames: texts } = claimant;
    let mut hostnames = Vec::new();
    // What is wrong with somebody else's route is somebody else's business too.
    let is_ours = parent_refs.iter().any(|parent| door_of(parent, &source, doors).is_some());
    for text in texts {
        match HostPattern::parse(text, Labels::OneOrMore) {
            Ok(host) => hostnames.push(host),
            Err(error) if is_ours => work.problem(&source, Reason::InvalidHost { text: text.clone(), error }),
            Err(_) => {}
        }
    }
    // Hostnames that are all wrong must not turn into "every host".
    if hostnames.is_empty() && !texts.is_empty() {
        return false;
    }
    // Where it goes: the door, the listener, and the hostnames there. The rules follow, once and where needed.
    let mut places: Vec<(usize, usize, Vec<HostPattern>)> = Vec::new();
    for parent in parent_refs {
        let Some((namespace, name)) = gateway_of(parent, &source) else { continue };
        let target = format!("Gateway {namespace}/{name}");
        let Some(index) = door_of(parent, &source, doors) else {
            // A Gateway of somebody else's class is somebody else's business.
            if !work.snapshot.gateways.iter().any(|it| key_of(&it.metadata) == (namespace, name)) {
                work.problem(&source, Reason::ParentMissing { target });
            }
            continue;
        };
        let Some(door) = doors.get(index) else { continue };
        let mut refusals = Vec::new();
        let mut found = false;
        for (number, standing) in door.listeners.iter().enumerate() {
            if !names_listener(parent, standing) {
                continue;
            }
            match own_hostnames(work, door, standing, &source, &hostnames) {
                Err(refusal) => refusals.push(refusal),
                Ok(own) => {
                    found = true;
                    if !places.iter().any(|(door, listener, _)| (*door, *listener) == (index, number)) {
                        places.push((index, number, own));
                    }
                }
            }
        }
        if !found {
            // The nearest miss says most: a listener for routes of another kind was hardly meant.
            refusals.sort_by_key(|refusal| matches!(refusal, Refusal::Protocol(_)));
            let why = refusals.into_iter().next().map_or_else(|| no_listener(parent), Refusal::into_text);
            work.problem(&source, Reason::NotAttached { target, why });
        }
    }
    if places.is_empty() {
        return false;
    }
    let rules = rules(work, &source);
    let route = Arc::new(Route { source, created, rules, falls_through: true });
    for (door, listener, hostnames) in places {
        if let Some(standing) = doors.get_mut(door).and_then(|door| door.listeners.get_mut(listener)) {
            standing.listener.routes.push(Attachment { hostnames, route: Arc::clone(&route) });
        }
    }
    true
}

/// Why a listener does not take a route.
enum Refusal {
    /// Its protocol carries routes of other kinds.
    Protocol(String),
    Other(String),
}

impl Refusal {
    fn into_text(self) -> String {
        let (Self::Protocol(text) | Self::Other(text)) = self;
        text
    }
}

/// Namespace and name of the Gateway that a parentRef means; None for any other kind of parent.
pub(super) fn gateway_of<'a>(parent: &'a ParentReference, route: &'a ObjectName) -> Option<(&'a str, &'a str)> {
    let is_gateway =
        parent.group.as_deref().unwrap_or(GROUP) == GROUP && parent.kind.as_deref().unwrap_or("Gateway") == "Gateway";
    is_gateway.then(|| (parent.namespace.as_deref().unwrap_or(&route.namespace), parent.name.as_str()))
}

/// The place of the Gateway that a parentRef means, where it is one of ours.
fn door_of(parent: &ParentReference, route: &ObjectName, doors: &[Door<'_>]) -> Option<usize> {
    let target = gateway_of(parent, route)?;
    doors.iter().position(|door| key_of(&door.gateway.metadata) == target)
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
) -> Result<Vec<HostPattern>, Refusal> {
    let spec = standing.spec;
    if let Err(others) = carries(standing.listener.protocol, route.kind) {
        let refusal = format!("listener {} has the protocol {}, which carries {others}", spec.name, spec.protocol);
        return Err(Refusal::Protocol(refusal));
    }
    let allowed = spec.allowed_routes.as_ref();
    let kinds = allowed.map(|allowed| allowed.kinds.as_slice()).unwrap_or_default();
    let takes_kind =
        |kind: &gateway_api::RouteGroupKind| kind.group.as_deref().unwrap_or(GROUP) == GROUP && kind.kind == route.kind;
    if !kinds.is_empty() && !kinds.iter().any(takes_kind) {
        return Err(Refusal::Other(format!("listener {} does not take the kind {}", spec.name, route.kind)));
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
        let refusal = format!("listener {} does not take routes from namespace {}", spec.name, route.namespace);
        return Err(Refusal::Other(refusal));
    }
    let Some(listener) = &standing.listener.hostname else {
        // A server name is all that a TLS listener has to go by.
        if standing.listener.protocol.is_tls() && !standing.listener.protocol.is_http() && hostnames.is_empty() {
            let refusal = format!("neither it nor listener {} has a hostname: set spec.hostnames", spec.name);
            return Err(Refusal::Other(refusal));
        }
        return Ok(hostnames.to_vec());
    };
    let meeting: Vec<HostPattern> = hostnames.iter().filter(|own| own.intersect(listener).is_some()).cloned().collect();
    if meeting.is_empty() && !hostnames.is_empty() {
        let refusal = format!("none of its hostnames meets {listener} of listener {}", spec.name);
        return Err(Refusal::Other(refusal));
    }
    Ok(meeting)
}

/// Whether routes of a kind can be on a listener of a protocol, or the kinds that can.
fn carries(protocol: ListenerProtocol, kind: &str) -> Result<(), &'static str> {
    let (kinds, text): (&[&str], _) = match protocol {
        ListenerProtocol::Http { .. } | ListenerProtocol::Https => {
            (&["GRPCRoute", "HTTPRoute"], "GRPCRoutes and HTTPRoutes only")
        }
        ListenerProtocol::TlsPassthrough | ListenerProtocol::TlsTerminate => (&["TLSRoute"], "TLSRoutes only"),
        ListenerProtocol::Tcp => (&["TCPRoute"], "TCPRoutes only"),
        ListenerProtocol::Udp => (&["UDPRoute"], "UDPRoutes only"),
    };
    if kinds.contains(&kind) { Ok(()) } else { Err(text) }
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
