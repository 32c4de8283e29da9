//! Ingress (networking.k8s.io/v1) to routes: one for each host of each Ingress.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use foldhash::fast::RandomState;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};

use super::{
    Found, Work, access, affinity, backend_protocol,
    certificate::{self, Role},
    client_validation, created, key_of, object_name,
    service::{self, PortRef, Spoken},
};
use crate::{
    model::{
        Affinity, Attachment, Certificate, HostPattern, Labels, Match, ObjectName, PathMatch, Protocol, Route, Rule,
        Target, WeightedBackend,
    },
    problem::Reason,
};

/// What an Ingress asks for, whoever else asks for the same.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) ingress: Arc<Ingress>,
    pub(super) source: ObjectName,
    hosts: Vec<Host>,
    /// What is wrong with it, and where it leads, whatever it gets of what it asks for.
    found: Found,
}

/// What it asks for of one host, or of every one.
#[derive(Debug)]
struct Host {
    /// One or none.
    hostnames: Arc<[HostPattern]>,
    /// Where it gets everything.
    route: Arc<Route>,
    /// One for each of the route's rules.
    asks: Vec<Ask>,
}

/// A path, which is had once at a host.
#[derive(Debug)]
struct Ask {
    path: PathKey,
    /// That of a default backend, which takes what no rule takes.
    is_default: bool,
    /// What comes of it if it is had.
    found: Found,
}

type AskedRule = (Ask, Rule);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PathKey {
    Exact(Arc<str>),
    Prefix(Arc<str>),
}

/// Host and path, and whose they are.
type Claims<'a> = HashMap<(&'a [HostPattern], &'a PathKey), &'a ObjectName, RandomState>;

/// What annotations of an Ingress say for all of its backends.
struct Annotated {
    affinity: Option<Affinity>,
    /// What they speak, whatever their Services say.
    spoken: Option<Protocol>,
    is_verified: bool,
    /// Why no request may get to any of them.
    refusal: Option<Reason>,
}

impl Annotated {
    fn of(work: &mut Work<'_>, ingress: &Ingress) -> Self {
        Self {
            affinity: affinity::of_ingress(work, ingress),
            spoken: backend_protocol::of_ingress(work, ingress),
            is_verified: backend_protocol::is_verified(ingress),
            refusal: client_validation::refusal(work, ingress).or_else(|| access::refusal(ingress)),
        }
    }
}

/// What is known of an Ingress, or read now.
pub(super) fn read(work: &mut Work<'_>, ingress: &Arc<Ingress>) -> Arc<Reading> {
    if let Some(known) = work.readings.ingress(ingress) {
        return known;
    }
    work.policies.forget_asked();
    let source = object_name("Ingress", &ingress.metadata);
    let (hosts, found) = work.finding(|work| hosts(work, ingress, &source));
    let reading = Arc::new(Reading { ingress: Arc::clone(ingress), source, hosts, found });
    // What there is to say of a BackendTLSPolicy is found when it is asked for, and so is to be asked for each time.
    if !work.policies.are_asked() {
        work.readings.keep_ingress(&reading);
    }
    reading
}

fn hosts(work: &mut Work<'_>, ingress: &Ingress, source: &ObjectName) -> Vec<Host> {
    let annotated = Annotated::of(work, ingress);
    let Some(spec) = &ingress.spec else { return Vec::new() };
    // Rules of one host may stand apart; they are one route. A host without a rule stays: it is nobody else's.
    let mut hosts: Vec<(Option<HostPattern>, Vec<AskedRule>)> = Vec::new();
    for rule in spec.rules.iter().flatten() {
        let host = match rule.host.as_deref().filter(|host| !host.is_empty()) {
            None => None,
            Some(text) => match HostPattern::parse(text, Labels::One) {
                Ok(host) => Some(host),
                Err(error) => {
                    work.problem(source, Reason::InvalidHost { text: text.to_owned(), error });
                    continue;
                }
            },
        };
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        let asks: Vec<_> = paths.filter_map(|path| ask(work, source, path, &annotated)).collect();
        match hosts.iter_mut().find(|(known, _)| *known == host) {
            Some((_, known)) => known.extend(asks),
            None => hosts.push((host, asks)),
        }
    }
    if let Some(backend) = &spec.default_backend {
        let target = target(work, source, backend, &annotated);
        // At every host of its Ingress; at every host of all where the Ingress has no rules (not: none that is right).
        if spec.rules.as_ref().is_none_or(Vec::is_empty) {
            hosts.push((None, Vec::new()));
        }
        for (_, asks) in &mut hosts {
            let path = PathKey::Prefix("/".into());
            // Its own rule for everything comes before its own default.
            if asks.iter().all(|(ask, _)| ask.path != path) {
                let (rule, found) =
                    work.finding(|work| rule(work, path.to_match(), target.clone(), annotated.affinity.as_ref()));
                asks.push((Ask { path, is_default: true, found }, rule));
            }
        }
    }
    let created = created(&ingress.metadata);
    let host = |(host, asks): (Option<HostPattern>, Vec<_>)| {
        let (asks, rules) = asks.into_iter().unzip();
        let route = Route { source: source.clone(), created, rules, falls_through: false };
        Host { hostnames: host.into_iter().collect(), route: Arc::new(route), asks }
    };
    hosts.into_iter().map(host).collect()
}

/// The routes of one entry point; `ingresses` are in the order of age, because of two equal claims the older wins.
pub(super) fn translate(work: &mut Work<'_>, ingresses: &[&Reading]) -> Vec<Attachment> {
    let mut claims = Claims::default();
    let mut lost: HashSet<*const Ask> = HashSet::new();
    ingresses.iter().for_each(|ingress| work.found(&ingress.found));
    // A default backend takes what no rule takes, so all rules come first.
    for is_default in [false, true] {
        for Reading { source, hosts, .. } in ingresses {
            for host in hosts {
                for ask in host.asks.iter().filter(|ask| ask.is_default == is_default) {
                    match claims.entry((&host.hostnames, &ask.path)) {
                        Entry::Vacant(free) => {
                            free.insert(source);
                            work.found(&ask.found);
                        }
                        Entry::Occupied(taken) => {
                            lost.insert(ask);
                            let (PathKey::Exact(path) | PathKey::Prefix(path)) = &ask.path;
                            let host = host.hostnames.first().map_or_else(|| "*".to_owned(), ToString::to_string);
                            let (path, winner) = (path.to_string(), (*taken.get()).clone());
                            work.problem(source, Reason::PathTaken { host, path, winner });
                        }
                    }
                }
            }
        }
    }
    let attachment = |host: &Host| {
        let is_had = |ask: &Ask| !lost.contains(&std::ptr::from_ref(ask));
        let route = if lost.is_empty() || host.asks.iter().all(is_had) {
            Arc::clone(&host.route)
        } else {
            let asked = host.asks.iter().zip(&host.route.rules);
            let rules = asked.filter(|(ask, _)| is_had(ask)).map(|(_, rule)| rule.clone()).collect();
            Arc::new(Route { source: host.route.source.clone(), rules, ..*host.route })
        };
        Attachment { hostnames: Arc::clone(&host.hostnames), route }
    };
    ingresses.iter().flat_map(|ingress| &ingress.hosts).map(attachment).collect()
}

/// None where the path is wrong; a missing Service keeps its rule, and answers an error.
fn ask(work: &mut Work<'_>, source: &ObjectName, path: &HTTPIngressPath, annotated: &Annotated) -> Option<AskedRule> {
    let text = path.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    if !text.starts_with('/') {
        let expected = "a path that begins with /".to_owned();
        work.problem(source, Reason::InvalidValue { field: "path".to_owned(), value: text.to_owned(), expected });
        return None;
    }
    let key = match path.path_type.as_str() {
        "Exact" => PathKey::Exact(text.into()),
        // What ImplementationSpecific means is ours to say.
        "Prefix" | "ImplementationSpecific" => PathKey::Prefix(without_trailing_slash(text).into()),
        other => {
            let expected = "Exact, Prefix or ImplementationSpecific".to_owned();
            work.problem(
                source,
                Reason::InvalidValue { field: "pathType".to_owned(), value: other.to_owned(), expected },
            );
            return None;
        }
    };
    let (rule, found) = work.finding(|work| {
        let target = target(work, source, &path.backend, annotated);
        rule(work, key.to_match(), target, annotated.affinity.as_ref())
    });
    Some((Ask { path: key, is_default: false, found }, rule))
}

impl PathKey {
    fn to_match(&self) -> PathMatch {
        match self {
            Self::Exact(path) => PathMatch::Exact(Arc::clone(path)),
            Self::Prefix(path) => PathMatch::Prefix(Arc::clone(path)),
        }
    }
}

fn rule(work: &mut Work<'_>, path: PathMatch, target: Target, affinity: Option<&Affinity>) -> Rule {
    let matches = vec![Match { path, method: None, headers: Vec::new(), query: Vec::new() }];
    let backends = vec![WeightedBackend { weight: 1, target, filters: Vec::new() }];
    let affinity = affinity::of_rule(work, affinity, &matches, &backends);
    Rule { matches, backends, affinity, ..Rule::default() }
}

fn target(work: &mut Work<'_>, source: &ObjectName, backend: &IngressBackend, annotated: &Annotated) -> Target {
    let mut invalid = |reason: Reason| {
        let target = Target::Invalid(reason.to_string().into());
        work.problem(source, reason);
        target
    };
    if let Some(reason) = &annotated.refusal {
        return invalid(reason.clone());
    }
    let Some(found) = &backend.service else {
        let resource = backend.resource.as_ref().map(|it| format!("{}/{}", it.kind, it.name)).unwrap_or_default();
        return invalid(Reason::Unsupported { field: "resource backend".to_owned(), value: resource });
    };
    let number = found.port.as_ref().and_then(|port| port.number).map(|number| number.to_string());
    let name = found.port.as_ref().and_then(|port| port.name.as_deref());
    let port = match number.as_deref().map(|text| (text, text.parse())) {
        Some((_, Ok(number))) => PortRef::Number(number),
        // No Service has such a port, and the problem names it.
        Some((text, Err(_))) => PortRef::Name(text),
        None => PortRef::Name(name.unwrap_or_default()),
    };
    let namespace = source.namespace.to_string();
    let spoken = annotated.spoken.map_or(Spoken::Declared, Spoken::Always);
    let target = service::resolve(work, source, &namespace, &found.name, port, spoken);
    if annotated.is_verified { backend_protocol::verified(work, source, target) } else { target }
}

/// Certificates that the Ingresses name, in their order, each once.
pub(super) fn certificates(work: &mut Work<'_>, ingresses: &[&Reading]) -> Vec<Arc<Certificate>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for Reading { ingress, source, .. } in ingresses {
        let entries = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
        for name in entries.filter_map(|entry| entry.secret_name.as_deref()).filter(|name| !name.is_empty()) {
            let certificate = certificate::find(work, source, Role::Server, key_of(&ingress.metadata).0, name);
            found.extend(certificate.filter(|certificate| seen.insert(certificate.secret.clone())));
        }
    }
    found
}

/// Prefixes go by path elements, where a trailing slash of the rule means nothing.
pub(super) fn without_trailing_slash(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}
