//! Ingress (networking.k8s.io/v1) to routes: one for each host of each Ingress.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};

use super::{
    Work, affinity, backend_protocol,
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

/// A path of a host (None is every host), as it can be claimed once.
type Claim = (Option<HostPattern>, PathKey);

#[derive(Clone, PartialEq, Eq, Hash)]
enum PathKey {
    Exact(String),
    Prefix(String),
}

/// The rules of one host of one Ingress.
type HostRules = (Option<HostPattern>, Vec<Rule>);

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
            refusal: client_validation::refusal(work, ingress),
        }
    }
}

/// The routes of one entry point; `ingresses` are in the order of age, because of two equal claims the older wins.
/// A default backend takes what no rule takes, so all rules come first.
pub(super) fn translate(work: &mut Work<'_>, ingresses: &[&Ingress]) -> Vec<Attachment> {
    let mut claims: HashMap<Claim, ObjectName> = HashMap::new();
    let mut hosts: Vec<Vec<HostRules>> =
        ingresses.iter().map(|ingress| rules_by_host(work, ingress, &mut claims)).collect();
    for (ingress, hosts) in ingresses.iter().zip(&mut hosts) {
        add_default_backend(work, ingress, hosts, &mut claims);
    }
    ingresses
        .iter()
        .zip(hosts)
        .flat_map(|(ingress, hosts)| hosts.into_iter().map(|(host, rules)| attachment(ingress, host, rules)))
        .collect()
}

/// Rules of one host may stand apart; they are one route. A host without a rule stays: it is nobody else's.
fn rules_by_host(work: &mut Work<'_>, ingress: &Ingress, claims: &mut HashMap<Claim, ObjectName>) -> Vec<HostRules> {
    let source = object_name("Ingress", &ingress.metadata);
    let annotated = Annotated::of(work, ingress);
    let mut hosts: Vec<HostRules> = Vec::new();
    for rule in ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()) {
        let host = match rule.host.as_deref().filter(|host| !host.is_empty()) {
            None => None,
            Some(text) => match HostPattern::parse(text, Labels::One) {
                Ok(host) => Some(host),
                Err(error) => {
                    work.problem(&source, Reason::InvalidHost { text: text.to_owned(), error });
                    continue;
                }
            },
        };
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        let rules: Vec<Rule> =
            paths.filter_map(|path| path_rule(work, &source, host.as_ref(), path, &annotated, claims)).collect();
        match hosts.iter_mut().find(|(known, _)| *known == host) {
            Some((_, known)) => known.extend(rules),
            None => hosts.push((host, rules)),
        }
    }
    hosts
}

/// At every host of its Ingress; at every host of all where the Ingress has no rules (not: none that is right).
fn add_default_backend(
    work: &mut Work<'_>,
    ingress: &Ingress,
    hosts: &mut Vec<HostRules>,
    claims: &mut HashMap<Claim, ObjectName>,
) {
    let source = object_name("Ingress", &ingress.metadata);
    let Some(spec) = &ingress.spec else { return };
    let Some(backend) = &spec.default_backend else { return };
    let annotated = Annotated::of(work, ingress);
    let target = target(work, &source, backend, &annotated);
    if spec.rules.as_ref().is_none_or(Vec::is_empty) {
        hosts.push((None, Vec::new()));
    }
    for (host, rules) in hosts {
        // Its own rule for everything comes before its own default.
        let root = (host.clone(), PathKey::Prefix("/".to_owned()));
        if claims.get(&root) != Some(&source) && claim(work, &source, root, claims) {
            rules.push(rule(work, PathMatch::Prefix("/".into()), target.clone(), annotated.affinity.as_ref()));
        }
    }
}

/// Whether what is claimed was free; it is a problem where it was not.
fn claim(work: &mut Work<'_>, source: &ObjectName, claim: Claim, claims: &mut HashMap<Claim, ObjectName>) -> bool {
    match claims.entry(claim) {
        Entry::Vacant(free) => {
            free.insert(source.clone());
            true
        }
        Entry::Occupied(taken) => {
            let (host, PathKey::Exact(path) | PathKey::Prefix(path)) = taken.key();
            let host = host.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
            let reason = Reason::PathTaken { host, path: path.clone(), winner: taken.get().clone() };
            work.problem(source, reason);
            false
        }
    }
}

fn attachment(ingress: &Ingress, host: Option<HostPattern>, rules: Vec<Rule>) -> Attachment {
    let source = object_name("Ingress", &ingress.metadata);
    let created = created(&ingress.metadata);
    let route = Arc::new(Route { source, created, rules, falls_through: false });
    Attachment { hostnames: host.into_iter().collect(), route }
}

/// None where the path is wrong or another Ingress has it; a missing Service keeps its rule, and answers an error.
fn path_rule(
    work: &mut Work<'_>,
    source: &ObjectName,
    host: Option<&HostPattern>,
    path: &HTTPIngressPath,
    annotated: &Annotated,
    claims: &mut HashMap<Claim, ObjectName>,
) -> Option<Rule> {
    let text = path.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    if !text.starts_with('/') {
        let expected = "a path that begins with /".to_owned();
        work.problem(source, Reason::InvalidValue { field: "path".to_owned(), value: text.to_owned(), expected });
        return None;
    }
    let key = match path.path_type.as_str() {
        "Exact" => PathKey::Exact(text.to_owned()),
        // What ImplementationSpecific means is ours to say.
        "Prefix" | "ImplementationSpecific" => PathKey::Prefix(without_trailing_slash(text).to_owned()),
        other => {
            let expected = "Exact, Prefix or ImplementationSpecific".to_owned();
            work.problem(
                source,
                Reason::InvalidValue { field: "pathType".to_owned(), value: other.to_owned(), expected },
            );
            return None;
        }
    };
    if !claim(work, source, (host.cloned(), key.clone()), claims) {
        return None;
    }
    let path_match = match key {
        PathKey::Exact(path) => PathMatch::Exact(path.into()),
        PathKey::Prefix(path) => PathMatch::Prefix(path.into()),
    };
    let target = target(work, source, &path.backend, annotated);
    Some(rule(work, path_match, target, annotated.affinity.as_ref()))
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
pub(super) fn certificates(work: &mut Work<'_>, ingresses: &[&Ingress]) -> Vec<Arc<Certificate>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for ingress in ingresses {
        let source = object_name("Ingress", &ingress.metadata);
        let entries = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
        for name in entries.filter_map(|entry| entry.secret_name.as_deref()).filter(|name| !name.is_empty()) {
            let certificate = certificate::find(work, &source, Role::Server, key_of(&ingress.metadata).0, name);
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
