//! BackendTLSPolicies: how the endpoints of a Service's port are verified.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{Work, authorities, condition, filter::invalid, key_of, listener::Fault, object_name, version};
use crate::{
    gateway_api::{
        BackendTlsPolicy, BackendTlsPolicySpec, BackendTlsPolicyValidation, GROUP, ParentReference,
        PolicyTargetReference, SubjectAltName,
    },
    model::{AlternativeName, Authorities, HostName, ObjectName, ServerValidation, ServiceName, TrustedBy},
    problem::{Problem, Reason},
    status::{Condition, Desired, ParentStatus, Status, Version},
};

/// By the Service they are for. Each is judged when it is first asked for: what is for nobody's routes is nobody's
/// problem.
pub(super) struct Policies<'a> {
    /// The oldest first.
    by_service: HashMap<(&'a str, &'a str), Vec<&'a BackendTlsPolicy>>,
    /// By the policy; None for one that cannot take effect.
    judged: HashMap<ObjectName, Option<Arc<ServerValidation>>>,
    /// What there is to tell of each that was asked for.
    told: BTreeMap<ObjectName, Told>,
    /// Each port is looked at once, however many rules lead there.
    ports: HashMap<Port, OfPort>,
    /// Those that the present route leads to.
    asked: HashSet<Port>,
    /// What is wrong with policies, whatever becomes of the route that asked first.
    problems: Vec<Problem>,
}

/// Of a Service, and the port's name.
type Port = (ServiceName, Option<Arc<str>>);

struct OfPort {
    found: Found,
    /// Those that are for it, whether they win or not.
    policies: Vec<ObjectName>,
    /// Those whose routes lead there.
    gateways: BTreeSet<Arc<ObjectName>>,
}

/// None where no policy is for the port. The error says why no request may be sent there: a policy that cannot take
/// effect must not turn into none.
type Found = Result<Option<Arc<ServerValidation>>, Reason>;

#[derive(Default)]
struct Told {
    version: Version,
    /// Whether it counts anywhere.
    wins: bool,
    lost: Option<Fault>,
    faults: Vec<Reason>,
}

impl<'a> Policies<'a> {
    pub(super) fn new(policies: &'a [Arc<BackendTlsPolicy>]) -> Self {
        let mut by_service: HashMap<_, Vec<&BackendTlsPolicy>> = HashMap::new();
        for policy in policies {
            let (namespace, _) = key_of(&policy.metadata);
            for name in policy.spec.target_refs.iter().filter(|it| is_service(it)).map(|it| it.name.as_str()) {
                let of_service = by_service.entry((namespace, name)).or_default();
                // One may have several targets in a Service.
                if !of_service.last().is_some_and(|last| std::ptr::eq(*last, &raw const **policy)) {
                    of_service.push(policy);
                }
            }
        }
        Self {
            by_service,
            judged: HashMap::new(),
            told: BTreeMap::new(),
            ports: HashMap::new(),
            asked: HashSet::new(),
            problems: Vec::new(),
        }
    }

    /// To be called before each route.
    pub(super) fn forget_asked(&mut self) {
        self.asked.clear();
    }

    pub(super) fn are_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// That the present route has this Gateway for a parent.
    pub(super) fn reached(&mut self, gateway: &Arc<ObjectName>) {
        for port in &self.asked {
            if let Some(of_port) = self.ports.get_mut(port) {
                of_port.gateways.insert(Arc::clone(gateway));
            }
        }
    }

    fn tell(&mut self, policy: &BackendTlsPolicy) -> &mut Told {
        let told = self.told.entry(object_name("BackendTLSPolicy", &policy.metadata)).or_default();
        told.version = version(&policy.metadata);
        told
    }
}

/// What is wrong with policies that cannot be read, whomever they are for.
pub(super) fn unreadable(policies: &[Arc<BackendTlsPolicy>]) -> impl Iterator<Item = Problem> {
    policies.iter().filter_map(|policy| {
        let error = policy.spec.unreadable.clone()?;
        Some(Problem::new(&object_name("BackendTLSPolicy", &policy.metadata), Reason::Unreadable { error }))
    })
}

/// What is said of a Service's port.
pub(super) fn of_port(work: &mut Work<'_>, service: &ServiceName, port_name: Option<&str>) -> Found {
    let Some(policies) = work.policies.by_service.get(&(&*service.namespace, &*service.name)) else { return Ok(None) };
    let policies = policies.clone();
    let port = (service.clone(), port_name.map(Arc::from));
    work.policies.asked.insert(port.clone());
    if let Some(known) = work.policies.ports.get(&port) {
        return known.found.clone();
    }
    let mut concerned = Vec::new();
    let of_others = std::mem::take(&mut work.problems);
    let found = judged_of_port(work, service, port_name, &policies, &mut concerned);
    work.policies.problems.append(&mut work.problems);
    work.problems = of_others;
    let of_port = OfPort { found: found.clone(), policies: concerned, gateways: BTreeSet::new() };
    work.policies.ports.insert(port, of_port);
    found
}

/// `concerned`: those that are for it.
fn judged_of_port(
    work: &mut Work<'_>,
    service: &ServiceName,
    port_name: Option<&str>,
    policies: &[&BackendTlsPolicy],
    concerned: &mut Vec<ObjectName>,
) -> Found {
    let targets = |policy: &BackendTlsPolicy, section: Option<&str>| {
        let mut targets = policy.spec.target_refs.iter().filter(|it| is_service(it) && it.name == *service.name);
        targets.any(|it| it.section_name.as_deref() == section)
    };
    let for_section = |section| policies.iter().copied().filter(move |policy| targets(policy, section));
    // One for the port comes before one for the whole Service.
    let mut winner: Option<(&BackendTlsPolicy, Option<Arc<ServerValidation>>)> = None;
    for section in port_name.map(Some).into_iter().chain([None]) {
        let mut alike = for_section(section);
        let Some(oldest) = alike.next() else { continue };
        for loser in alike {
            let port = section.map(|name| format!(" port {name}")).unwrap_or_default();
            let reason = Reason::Conflict {
                target: format!("Service {service}{port}"),
                winner: object_name("BackendTLSPolicy", &oldest.metadata),
            };
            let loser_name = object_name("BackendTLSPolicy", &loser.metadata);
            work.policies.tell(loser).lost = Some(Fault::new("Conflicted", reason.to_string()));
            work.problem(&loser_name, reason);
            concerned.push(loser_name);
        }
        work.policies.tell(oldest).wins = true;
        concerned.push(object_name("BackendTLSPolicy", &oldest.metadata));
        let judged = judged(work, oldest);
        winner = winner.or(Some((oldest, judged)));
    }
    let Some((winner, judged)) = winner else { return Ok(None) };
    let failed = || Reason::PolicyWithoutEffect {
        service: service.clone(),
        policy: object_name("BackendTLSPolicy", &winner.metadata),
    };
    judged.map(Some).ok_or_else(failed)
}

/// What a policy asks for, judged when it is first asked for.
fn judged(work: &mut Work<'_>, policy: &BackendTlsPolicy) -> Option<Arc<ServerValidation>> {
    let name = object_name("BackendTLSPolicy", &policy.metadata);
    if let Some(judged) = work.policies.judged.get(&name) {
        return judged.clone();
    }
    let before = work.problems.len();
    let judged = judge(work, &name, &policy.spec);
    let found = work.problems.get(before..).unwrap_or_default();
    let faults = found.iter().map(|problem| problem.reason.clone());
    let unreadable = policy.spec.unreadable.clone().map(|error| Reason::Unreadable { error });
    let faults = faults.chain(unreadable).collect();
    work.policies.told.entry(name.clone()).or_default().faults = faults;
    work.policies.judged.insert(name, judged.clone());
    judged
}

/// What is wrong with the policies that routes have asked for, and a status for each of these: its ancestors are the
/// Gateways by which its Services are reached.
pub(super) fn add_problems_and_statuses(work: &mut Work<'_>) {
    work.problems.append(&mut work.policies.problems);
    let mut gateways: HashMap<&ObjectName, BTreeSet<&Arc<ObjectName>>> = HashMap::new();
    for of_port in work.policies.ports.values() {
        for policy in &of_port.policies {
            gateways.entry(policy).or_default().extend(&of_port.gateways);
        }
    }
    for (policy, told) in std::mem::take(&mut work.policies.told) {
        let (unresolved, refused) = condition::of_policy(&told.faults);
        let accepted = told.lost.filter(|_| !told.wins).or(refused);
        let is = |kind, fault: &Option<Fault>| match fault {
            Some(fault) => Condition::fails(kind, fault.reason, &fault.message),
            None => Condition::holds(kind),
        };
        let conditions = vec![is("Accepted", &accepted), is("ResolvedRefs", &unresolved)];
        let ancestor = |gateway: &Arc<ObjectName>| ParentStatus {
            parent: ParentReference {
                group: Some(GROUP.to_owned()),
                kind: Some(gateway.kind.to_owned()),
                namespace: Some(gateway.namespace.to_string()),
                name: gateway.name.to_string(),
                ..ParentReference::default()
            },
            conditions: conditions.clone(),
        };
        let ancestors = gateways.get(&policy).into_iter().flatten().map(|gateway| ancestor(gateway)).collect();
        work.statuses.push(Desired { object: policy, version: told.version, status: Status::Policy { ancestors } });
    }
}

fn is_service(target: &PolicyTargetReference) -> bool {
    (&*target.group, &*target.kind) == ("", "Service")
}

/// None, and what is wrong with it, for one that cannot take effect.
fn judge(work: &mut Work<'_>, policy: &ObjectName, spec: &BackendTlsPolicySpec) -> Option<Arc<ServerValidation>> {
    if spec.unreadable.is_some() {
        return None;
    }
    let BackendTlsPolicyValidation { ca_certificate_refs, well_known_ca_certificates, hostname, subject_alt_names } =
        &spec.validation;
    let hostname = match hostname.parse::<HostName>() {
        // The router's TLS would take a certificate for another name, with `-` in its place.
        Ok(_) if hostname.contains('_') => {
            work.problem(policy, invalid("validation.hostname", hostname, "a host name without an underscore"));
            None
        }
        Ok(hostname) => Some(hostname),
        Err(error) => {
            work.problem(policy, Reason::InvalidHost { text: hostname.clone(), error });
            None
        }
    };
    let alternative_names: Vec<Option<AlternativeName>> = subject_alt_names
        .iter()
        .map(|it| alternative_name(it).map_err(|reason| work.problem(policy, reason)).ok())
        .collect();
    // With one of them left out, a certificate could be refused that was meant; without any, one taken that was not.
    let alternative_names: Option<Vec<AlternativeName>> = alternative_names.into_iter().collect();
    let mut found = Vec::new();
    for reference in ca_certificate_refs {
        match authorities::find(work, (&reference.group, &reference.kind), &policy.namespace, &reference.name) {
            Ok(authorities) => found.push(authorities),
            Err(reason) => work.problem(policy, reason),
        }
    }
    let trusted_by = match (ca_certificate_refs.as_slice(), well_known_ca_certificates.as_deref()) {
        ([], Some("System")) => Some(TrustedBy::System),
        ([], well_known) => {
            let expected = "System, or authorities in validation.caCertificateRefs";
            let value = well_known.unwrap_or_default();
            work.problem(policy, invalid("validation.wellKnownCACertificates", value, expected));
            None
        }
        (_, _) => all_of(&found).map(TrustedBy::These),
    };
    let (authorities, hostname, mut alternative_names) = (trusted_by?, hostname?, alternative_names?);
    // To say the same twice changes nothing.
    if alternative_names == [AlternativeName::Hostname(hostname.clone())] {
        alternative_names.clear();
    }
    Some(Arc::new(ServerValidation { authorities, hostname, alternative_names }))
}

/// None of no bundle. One alone is shared by all that refer to it.
fn all_of(bundles: &[Arc<Authorities>]) -> Option<Arc<Authorities>> {
    match bundles {
        [] => None,
        [one] => Some(Arc::clone(one)),
        several => Some(Arc::new(Authorities(several.iter().flat_map(|it| it.0.iter().cloned()).collect()))),
    }
}

fn alternative_name(name: &SubjectAltName) -> Result<AlternativeName, Reason> {
    match (name.type_.as_str(), name.hostname.as_deref(), name.uri.as_deref()) {
        ("Hostname", Some(text), _) if text.contains('*') => {
            let field = "wildcard in validation.subjectAltNames".to_owned();
            Err(Reason::Unsupported { field, value: text.to_owned() })
        }
        ("Hostname", Some(text), _) => match text.parse() {
            Ok(hostname) => Ok(AlternativeName::Hostname(hostname)),
            Err(error) => Err(Reason::InvalidHost { text: text.to_owned(), error }),
        },
        ("URI", _, Some(uri)) if !uri.is_empty() => Ok(AlternativeName::Uri(uri.into())),
        (kind, _, _) => {
            Err(invalid("validation.subjectAltNames type", kind, "Hostname or URI, and the field of that name"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        source::{self, Kinds, manifest},
        translate::Last,
    };

    #[test]
    fn a_port_is_looked_at_once_however_many_rules_lead_there() {
        let policy = |name: &str| {
            format!(
                "{{apiVersion: {GROUP}/v1, kind: BackendTLSPolicy, metadata: {{name: {name}, namespace: shop}}, spec: {{targetRefs: [{{group: '', kind: Service, name: app}}], validation: {{hostname: app.example, wellKnownCACertificates: System}}}}}}\n---\n"
            )
        };
        let manifests: String = ["a", "b", "c"].map(policy).concat();
        let kinds = Kinds { tls: true, endpoints: true, dns_endpoints: false };
        let snapshot = source::snapshot(manifest::read(&manifests).expect("right manifests"), kinds);
        let config = config::parse("entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}").expect("a right file");
        let last = Last::default();
        let mut work = Work::new(&snapshot, &config, &last);
        let service = ServiceName::new("shop", "app");
        let [first, second] = ["home", "other"].map(|name| Arc::new(ObjectName::new("Gateway", "shop", name)));
        for gateway in [&first, &first, &second] {
            work.policies.forget_asked();
            assert!(of_port(&mut work, &service, Some("https")).expect("a policy that is right").is_some());
            work.policies.reached(gateway);
        }
        add_problems_and_statuses(&mut work);
        assert_eq!(work.problems.len(), 2, "one of each that lost");
        let ancestors = work.statuses.iter().map(|desired| match &desired.status {
            Status::Policy { ancestors } => ancestors.iter().map(|it| it.parent.name.clone()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        });
        assert_eq!(ancestors.collect::<Vec<_>>(), vec![["home", "other"]; 3]);
    }
}
