//! Which routes attach to which listeners, and what each route's parents say of that.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;

use super::{
    Found, Work, condition,
    conflict::Claims,
    created,
    infrastructure::Infrastructure,
    key_of,
    listener::{Fault, Standing, carried},
    listener_set::SetOf,
    object_name, version,
};
use crate::{
    gateway_api::{FromNamespaces, GROUP, Gateway, ParentReference},
    model::{Attachment, Certificate, HostPattern, Labels, ListenerProtocol, ObjectName, Route, Rule},
    problem::Reason,
    status::{Condition, Desired, ParentStatus, Status, Version},
};

/// A Gateway of ours, with its listeners: its own, then those of its ListenerSets in the order of precedence.
pub(super) struct Door<'a> {
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) source: Arc<ObjectName>,
    /// What it shows to backends that ask for one.
    pub(super) client_certificate: Option<Arc<Certificate>>,
    /// Why a reference of its own leads nowhere.
    pub(super) unresolved: Option<Fault>,
    pub(super) infrastructure: Infrastructure<'a>,
    pub(super) listeners: Vec<Standing<'a>>,
    pub(super) claims: Claims<'a>,
    pub(super) sets: Vec<SetOf<'a>>,
}

/// What routes of every kind have alike: who they are, and where they want to be.
pub(super) struct Claimant<'a> {
    object: Arc<dyn Any + Send + Sync>,
    source: ObjectName,
    created: i64,
    version: Version,
    parent_refs: &'a [ParentReference],
    hostnames: &'a [String],
}

impl<'a> Claimant<'a> {
    pub(super) fn new<R: Resource + Send + Sync + 'static>(
        kind: &'static str,
        route: &Arc<R>,
        parent_refs: &'a [ParentReference],
        hostnames: &'a [String],
    ) -> Self {
        let metadata = route.meta();
        let (created, version) = (created(metadata), version(metadata));
        let object = Arc::clone(route) as Arc<dyn Any + Send + Sync>;
        Self { object, source: object_name(kind, metadata), created, version, parent_refs, hostnames }
    }
}

/// What a route asks for, wherever it is attached.
pub(super) struct Reading {
    pub(super) object: Arc<dyn Any + Send + Sync>,
    hostnames: Vec<HostPattern>,
    route: Arc<Route>,
    found: Found,
}

/// What is known of a route, or read now.
fn read(
    work: &mut Work<'_>,
    claimant: &Claimant<'_>,
    rules: impl FnOnce(&mut Work<'_>, &ObjectName) -> Vec<Rule>,
) -> Arc<Reading> {
    work.policies.forget_asked();
    if let Some(known) = work.readings.route(&claimant.object) {
        return known;
    }
    let Claimant { object, source, created, hostnames: texts, .. } = claimant;
    let ((hostnames, rules), found) = work.finding(|work| {
        let mut hostnames = Vec::new();
        for text in *texts {
            match HostPattern::parse(text, Labels::OneOrMore) {
                Ok(host) => hostnames.push(host),
                Err(error) => work.problem(source, Reason::InvalidHost { text: text.clone(), error }),
            }
        }
        let rules = if is_nowhere(&hostnames, texts) { Vec::new() } else { rules(work, source) };
        (hostnames, rules)
    });
    let route = Arc::new(Route { source: source.clone(), created: *created, rules, falls_through: true });
    let reading = Arc::new(Reading { object: Arc::clone(object), hostnames, route, found });
    // As with Ingresses.
    if !work.policies.are_asked() {
        work.readings.keep_route(&reading);
    }
    reading
}

/// Hostnames that are all wrong must not turn into "every host".
fn is_nowhere(hostnames: &[HostPattern], texts: &[String]) -> bool {
    hostnames.is_empty() && !texts.is_empty()
}

/// Puts a route on every listener that its parentRefs name and that takes it. `rules` is called at most once, for a route
/// that has a parent of ours.
pub(super) fn attach(
    work: &mut Work<'_>,
    claimant: &Claimant<'_>,
    doors: &mut [Door<'_>],
    rules: impl FnOnce(&mut Work<'_>, &ObjectName) -> Vec<Rule>,
) {
    let Claimant { source, parent_refs, hostnames: texts, .. } = claimant;
    let before = work.problems.len();
    // What is wrong with somebody else's route is somebody else's business.
    let mut parents: Vec<(&ParentReference, Parent)> = Vec::new();
    for reference in *parent_refs {
        match parent_of(reference, source, doors) {
            Some(parent) => parents.push((reference, parent)),
            None => report_missing(work, reference, source),
        }
    }
    if parents.is_empty() {
        return;
    }
    let reading = read(work, claimant, rules);
    let Reading { hostnames, route, found, .. } = &*reading;
    work.found(found);
    let is_nowhere = is_nowhere(hostnames, texts);
    // What is wrong with a policy on the way is the policy's.
    let found = || work.problems.get(before..).into_iter().flatten().filter(|problem| problem.object == *source);
    let unresolved = condition::unresolved(found());
    let unsupported = condition::unsupported(found());
    // Where all that it asks for cannot be had, it is refused; it answers all the same, with errors.
    let refused = unsupported.as_ref().filter(|_| route.rules.iter().all(Rule::is_spoilt));

    let mut statuses = Vec::new();
    for (reference, parent) in parents {
        let place = if is_nowhere { Err(no_hostname()) } else { Ok(()) }
            .and_then(|()| put(work, doors, reference, parent, hostnames, route, refused.is_none()));
        let (accepted, target) = (place.err(), doors.get(parent.door).map(|door| door.name_of(parent)));
        if let (Some(Fault { message, .. }), Some(target)) = (&accepted, target) {
            work.problem(&route.source, Reason::NotAttached { target, why: message.clone() });
        }
        if let (None, Some(door)) = (&accepted, doors.get(parent.door)) {
            work.policies.reached(&door.source);
        }
        let mut conditions = vec![
            match accepted.as_ref().or(refused) {
                Some(fault) => Condition::fails("Accepted", fault.reason, &fault.message),
                None => Condition::holds("Accepted"),
            },
            match &unresolved {
                Some(fault) => Condition::fails("ResolvedRefs", fault.reason, &fault.message),
                None => Condition::holds("ResolvedRefs"),
            },
        ];
        if let (None, None, Some(Fault { reason, message })) = (&accepted, refused, &unsupported) {
            let message = message.clone();
            conditions.push(Condition { kind: "PartiallyInvalid", is_true: true, reason, message });
        }
        statuses.push(ParentStatus { parent: reference.clone(), conditions });
    }
    let (object, version) = (route.source.clone(), claimant.version.clone());
    work.statuses.push(Desired { object, version, status: Status::Route { parents: statuses } });
}

/// A parent of ours.
#[derive(Clone, Copy)]
struct Parent {
    door: usize,
    /// The ListenerSet, of those of the door.
    set: Option<usize>,
}

impl<'a> Door<'a> {
    /// Those of the Gateway itself.
    pub(super) fn own(&self) -> &[Standing<'a>] {
        self.listeners.get(..self.gateway.spec.listeners.len()).unwrap_or_default()
    }

    fn name_of(&self, parent: Parent) -> String {
        let set = parent.set.and_then(|set| self.sets.get(set)).map(|set| &set.source);
        set.unwrap_or(&self.source).to_string()
    }
}

fn parent_of(parent: &ParentReference, route: &ObjectName, doors: &[Door<'_>]) -> Option<Parent> {
    if let Some(target) = gateway_of(parent, route) {
        let door = doors.iter().position(|door| key_of(&door.gateway.metadata) == target)?;
        return Some(Parent { door, set: None });
    }
    let target = listener_set_of(parent, route)?;
    doors.iter().enumerate().find_map(|(door, it)| {
        let set = it.sets.iter().position(|set| (&*set.source.namespace, &*set.source.name) == target)?;
        Some(Parent { door, set: Some(set) })
    })
}

/// One of somebody else's class is somebody else's business.
pub(super) fn report_missing(work: &mut Work<'_>, parent: &ParentReference, route: &ObjectName) {
    let snapshot = work.snapshot;
    let target = if let Some((namespace, name)) = gateway_of(parent, route) {
        let is_there = snapshot.gateways.iter().any(|it| key_of(&it.metadata) == (namespace, name));
        (!is_there).then(|| format!("Gateway {namespace}/{name}"))
    } else if let Some((namespace, name)) = listener_set_of(parent, route) {
        let is_there = snapshot.listener_sets.iter().any(|it| key_of(&it.metadata) == (namespace, name));
        (!is_there).then(|| format!("ListenerSet {namespace}/{name}"))
    } else {
        None
    };
    if let Some(target) = target {
        work.problem(route, Reason::ParentMissing { target });
    }
}

/// Namespace and name of the Gateway that a parentRef means; None for any other kind of parent.
pub(super) fn gateway_of<'a>(parent: &'a ParentReference, of: &'a ObjectName) -> Option<(&'a str, &'a str)> {
    target(parent, of, "Gateway")
}

/// The same of a ListenerSet.
pub(super) fn listener_set_of<'a>(parent: &'a ParentReference, of: &'a ObjectName) -> Option<(&'a str, &'a str)> {
    target(parent, of, "ListenerSet")
}

fn target<'a>(parent: &'a ParentReference, of: &'a ObjectName, kind: &str) -> Option<(&'a str, &'a str)> {
    let is_it =
        parent.group.as_deref().unwrap_or(GROUP) == GROUP && parent.kind.as_deref().unwrap_or("Gateway") == kind;
    is_it.then(|| (parent.namespace.as_deref().unwrap_or(&of.namespace), parent.name.as_str()))
}

fn no_hostname() -> Fault {
    Fault::new("NoMatchingListenerHostname", "none of its hostnames is right")
}

/// On all listeners that the reference names and that take the route; an error where there is none.
fn put(
    work: &Work<'_>,
    doors: &mut [Door<'_>],
    reference: &ParentReference,
    parent: Parent,
    hostnames: &[HostPattern],
    route: &Arc<Route>,
    counts: bool,
) -> Result<(), Fault> {
    let Some(door) = doors.get_mut(parent.door) else { return Err(no_listener(reference)) };
    let named = match parent.set.map(|set| door.sets.get(set)) {
        None => 0..door.gateway.spec.listeners.len(),
        Some(Some(set)) => match &set.refusal {
            Some(fault) => return Err(Fault::new("NotAllowedByListeners", fault.message.clone())),
            None => set.listeners.clone(),
        },
        Some(None) => return Err(no_listener(reference)),
    };
    let mut refusals = Vec::new();
    let mut found = false;
    let named = door.listeners.get_mut(named).into_iter().flatten();
    for standing in named.filter(|standing| names_listener(reference, standing)) {
        match own_hostnames(work, standing, &route.source, hostnames) {
            Err(refusal) => refusals.push(refusal),
            Ok(hostnames) => {
                found = true;
                let Some(listener) = &mut standing.listener else { continue };
                // A route counts once, however often it names the listener.
                if !listener.routes.last().is_some_and(|last| Arc::ptr_eq(&last.route, route)) {
                    listener.routes.push(Attachment { hostnames: hostnames.into(), route: Arc::clone(route) });
                    standing.attached += usize::from(counts);
                }
            }
        }
    }
    if found {
        return Ok(());
    }
    // The nearest miss says most: a listener for routes of another kind was hardly meant.
    refusals.sort_by_key(|refusal| match refusal.reason {
        "NoMatchingListenerHostname" => 0,
        "NotAllowedByListeners" if !refusal.message.contains("has the protocol") => 1,
        _ => 2,
    });
    Err(refusals.into_iter().next().unwrap_or_else(|| no_listener(reference)))
}

fn names_listener(parent: &ParentReference, standing: &Standing<'_>) -> bool {
    parent.section_name.as_deref().is_none_or(|name| name == standing.spec.name)
        && parent.port.is_none_or(|port| port == standing.spec.port)
}

fn no_listener(parent: &ParentReference) -> Fault {
    let message = match (parent.section_name.as_deref(), parent.port) {
        (Some(name), Some(port)) => format!("it has no listener {name} on port {port}"),
        (Some(name), None) => format!("it has no listener {name}"),
        (None, Some(port)) => format!("it has no listener on port {port}"),
        (None, None) => "it has no listener".to_owned(),
    };
    Fault::new("NoMatchingParent", message)
}

/// Those of the route's hostnames that meet the listener's, or why the listener does not take the route.
fn own_hostnames(
    work: &Work<'_>,
    standing: &Standing<'_>,
    route: &ObjectName,
    hostnames: &[HostPattern],
) -> Result<Vec<HostPattern>, Fault> {
    let spec = standing.spec;
    let not_allowed = |message| Err(Fault::new("NotAllowedByListeners", message));
    let Some(listener) = standing.listener.as_ref().filter(|_| standing.is_accepted()) else {
        return not_allowed(format!("listener {} does not work", spec.name));
    };
    let carried = carried(listener.protocol);
    if !carried.contains(&route.kind) {
        let (name, protocol, kinds) = (&spec.name, &spec.protocol, carried.join("s and "));
        return not_allowed(format!("listener {name} has the protocol {protocol}, which carries {kinds}s only"));
    }
    if !standing.kinds.contains(&route.kind) {
        return not_allowed(format!("listener {} does not take the kind {}", spec.name, route.kind));
    }
    let from = spec.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    if !takes_namespace(work, from, "Same", &standing.owner.namespace, &route.namespace) {
        return not_allowed(format!("listener {} does not take routes from namespace {}", spec.name, route.namespace));
    }
    let no_match = |message| Err(Fault::new("NoMatchingListenerHostname", message));
    let Some(hostname) = &listener.hostname else {
        // A server name is all that a TLS listener has to go by.
        let is_tls = matches!(listener.protocol, ListenerProtocol::TlsPassthrough | ListenerProtocol::TlsTerminate);
        if is_tls && hostnames.is_empty() {
            return no_match(format!("neither it nor listener {} has a hostname: set spec.hostnames", spec.name));
        }
        return Ok(hostnames.to_vec());
    };
    let meeting: Vec<HostPattern> = hostnames.iter().filter(|own| own.intersect(hostname).is_some()).cloned().collect();
    if meeting.is_empty() && !hostnames.is_empty() {
        return no_match(format!("none of its hostnames meets {hostname} of listener {}", spec.name));
    }
    Ok(meeting)
}

/// Whether objects of a namespace are taken by one in the namespace `own`.
pub(super) fn takes_namespace(
    work: &Work<'_>,
    from: Option<&FromNamespaces>,
    unset: &str,
    own: &str,
    namespace: &str,
) -> bool {
    match from.and_then(|from| from.from.as_deref()).unwrap_or(unset) {
        "All" => true,
        "Same" => own == namespace,
        "Selector" => {
            let labels = work.namespaces.get(namespace).and_then(|it| it.metadata.labels.as_ref());
            let empty = BTreeMap::new();
            from.and_then(|from| from.selector.as_ref())
                .is_some_and(|selector| selects(selector, labels.unwrap_or(&empty)))
        }
        _ => false,
    }
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
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
