//! BackendTLSPolicies: how the endpoints of a Service's port are verified.

use std::{collections::HashMap, sync::Arc};

use super::{Work, authorities, filter::invalid, key_of, object_name};
use crate::{
    gateway_api::{
        BackendTlsPolicy, BackendTlsPolicySpec, BackendTlsPolicyValidation, PolicyTargetReference, SubjectAltName,
    },
    model::{Authorities, HostName, ObjectName, ServerValidation, ServiceName, TrustedBy},
    problem::Reason,
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
    let BackendTlsPolicyValidation { ca_certificate_refs, well_known_ca_certificates, hostname, subject_alt_names } =
        &spec.validation;
    let hostname = match hostname.parse::<HostName>() {
        Ok(hostname) => Some(hostname),
        Err(error) => {
            work.problem(policy, Reason::InvalidHost { text: hostname.clone(), error });
            None
        }
    };
    // They take the place of the hostname, which is then only asked for. There is no way yet to verify other names than
    // the one that is asked for.
    let is_hostname =
        |it: &&SubjectAltName| it.type_ == "Hostname" && it.hostname.as_ref() == Some(&spec.validation.hostname);
    let mut others = subject_alt_names.iter().filter(|it| !is_hostname(it)).peekable();
    let is_verifiable = others.peek().is_none();
    if let Some(other) = others.next() {
        let value = other.hostname.as_ref().or(other.uri.as_ref()).cloned().unwrap_or_default();
        let field = "validation.subjectAltNames other than validation.hostname:".to_owned();
        work.problem(policy, Reason::Unsupported { field, value });
    }
    let mut found = Authorities::default();
    for reference in ca_certificate_refs {
        match authorities::find(work, (&reference.group, &reference.kind), &policy.namespace, &reference.name) {
            Ok(Authorities(more)) => found.0.extend(more),
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
        (_, _) => (!found.0.is_empty()).then(|| TrustedBy::These(Arc::new(found))),
    };
    Some(Arc::new(ServerValidation { authorities: trusted_by?, hostname: hostname.filter(|_| is_verifiable)? }))
}
