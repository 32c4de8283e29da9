//! BackendTLSPolicies: how the endpoints of a Service's port are verified.

use std::{collections::HashMap, sync::Arc};

use super::{Work, authorities, filter::invalid, key_of, object_name};
use crate::{
    gateway_api::{
        BackendTlsPolicy, BackendTlsPolicySpec, BackendTlsPolicyValidation, PolicyTargetReference, SubjectAltName,
    },
    model::{AlternativeName, Authorities, HostName, ObjectName, ServerValidation, ServiceName, TrustedBy},
    problem::{Problem, Reason},
};

/// By the Service they are for. Each is judged when it is first asked for: what is for nobody's routes is nobody's
/// problem.
pub(super) struct Policies<'a> {
    /// The oldest first.
    by_service: HashMap<(&'a str, &'a str), Vec<&'a BackendTlsPolicy>>,
    /// By the policy; None for one that cannot take effect.
    judged: HashMap<ObjectName, Option<Arc<ServerValidation>>>,
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
        Self { by_service, judged: HashMap::new() }
    }
}

/// What is wrong with policies that cannot be read, whomever they are for.
pub(super) fn unreadable(policies: &[Arc<BackendTlsPolicy>]) -> impl Iterator<Item = Problem> {
    policies.iter().filter_map(|policy| {
        let error = policy.spec.unreadable.clone()?;
        Some(Problem::new(&object_name("BackendTLSPolicy", &policy.metadata), Reason::Unreadable { error }))
    })
}

/// None where no policy is for the port. The error says why no request may be sent there: a policy that cannot take
/// effect must not turn into none.
pub(super) fn of_port(
    work: &mut Work<'_>,
    service: &ServiceName,
    port_name: Option<&str>,
) -> Result<Option<Arc<ServerValidation>>, Reason> {
    let Some(policies) = work.policies.by_service.get(&(&*service.namespace, &*service.name)) else { return Ok(None) };
    let policies = policies.clone();
    let targets = |policy: &BackendTlsPolicy, section: Option<&str>| {
        let mut targets = policy.spec.target_refs.iter().filter(|it| is_service(it) && it.name == *service.name);
        targets.any(|it| it.section_name.as_deref() == section)
    };
    let for_section = |section| policies.iter().copied().filter(move |policy| targets(policy, section));
    // One for the port comes before one for the whole Service.
    let mut winner: Option<&BackendTlsPolicy> = None;
    for section in port_name.map(Some).into_iter().chain([None]) {
        let mut alike = for_section(section);
        let Some(oldest) = alike.next() else { continue };
        for loser in alike {
            let port = section.map(|name| format!(" port {name}")).unwrap_or_default();
            let reason = Reason::Conflict {
                target: format!("Service {service}{port}"),
                winner: object_name("BackendTLSPolicy", &oldest.metadata),
            };
            work.problem(&object_name("BackendTLSPolicy", &loser.metadata), reason);
        }
        winner = winner.or(Some(oldest));
    }
    let Some(winner) = winner else { return Ok(None) };
    let name = object_name("BackendTLSPolicy", &winner.metadata);
    let judged = match work.policies.judged.get(&name) {
        Some(judged) => judged.clone(),
        None => {
            let judged = judge(work, &name, &winner.spec);
            work.policies.judged.insert(name.clone(), judged.clone());
            judged
        }
    };
    let failed = || Reason::PolicyWithoutEffect { service: service.clone(), policy: name };
    judged.map(Some).ok_or_else(failed)
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
