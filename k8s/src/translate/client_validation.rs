//! Certificates of clients, for each port of a Gateway: `spec.tls.frontend`. An Ingress gets none.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::networking::v1::Ingress;

use super::{
    Work, annotation, authorities, object_name,
    reference_grant::{From, To, granted},
};
use crate::{
    gateway_api::{self, GROUP, Gateway},
    model::{Authorities, ClientValidation, ObjectName, ValidationMode},
    problem::Reason,
};

const SECRET: &str = "nginx.ingress.kubernetes.io/auth-tls-secret";
const VERIFY: &str = "nginx.ingress.kubernetes.io/auth-tls-verify-client";

pub(super) const ANNOTATIONS: [&str; 2] = [SECRET, VERIFY];

/// Why nobody gets what is behind an Ingress: it wants to know its clients, and the certificates of authorities are
/// asked for by port, not by host. Where a certificate is optional, as nginx has it, everybody gets in without one.
pub(super) fn refusal(work: &mut Work<'_>, ingress: &Ingress) -> Option<Reason> {
    let read = |key: &str| annotation(&ingress.metadata, key);
    let verify = read(VERIFY).map(|text| text.trim().to_ascii_lowercase());
    let asked_by = if verify.is_some() { VERIFY } else { SECRET };
    let not_served = |instead| Reason::NotServed { what: format!("annotation {asked_by} is"), instead };
    match (read(SECRET), verify.as_deref()) {
        (None, None) | (_, Some("off")) => None,
        (_, Some("optional" | "optional_no_ca")) => {
            let reason = not_served("clients are asked for no certificate, and backends are told of none");
            work.problem(&object_name("Ingress", &ingress.metadata), reason);
            None
        }
        (_, _) => Some(not_served("nobody gets in; a Gateway can ask clients for certificates, in spec.tls.frontend")),
    }
}

/// By the Gateway and the port, with what is wrong with it: a Gateway may have very many listeners on one port, and the
/// certificates of authorities may be many.
pub(super) type OfPorts = HashMap<(ObjectName, u16), (Option<Arc<ClientValidation>>, Vec<Reason>)>;

/// For the HTTPS listeners on a port, each of which is told what is wrong with it.
pub(super) fn for_port(
    work: &mut Work<'_>,
    source: &ObjectName,
    gateway: &Gateway,
    port: u16,
) -> Option<Arc<ClientValidation>> {
    let key = (source.clone(), port);
    if let Some((known, reasons)) = work.client_validations.get(&key).cloned() {
        reasons.into_iter().for_each(|reason| work.problem(source, reason));
        return known;
    }
    let before = work.problems.len();
    let found = find(work, source, gateway, port);
    let reasons = work.problems.get(before..).unwrap_or_default().iter().map(|it| it.reason.clone()).collect();
    work.client_validations.insert(key, (found.clone(), reasons));
    found
}

/// Where what is asked for cannot be had nobody gets in, and not everybody. None
/// where the certificates of authorities are not watched.
fn find(work: &mut Work<'_>, source: &ObjectName, gateway: &Gateway, port: u16) -> Option<Arc<ClientValidation>> {
    if !work.certificates.are_watched() {
        return None;
    }
    let frontend = gateway.spec.tls.as_ref()?.frontend.as_ref()?;
    let of_port = frontend.per_port.iter().find(|it| it.port == port).map(|it| &it.tls);
    let validation = of_port.unwrap_or(&frontend.default).validation.as_ref()?;
    let found = authorities(work, source, validation);
    let mode = match validation.mode.as_deref() {
        None | Some("AllowValidOnly") => ValidationMode::AllowValidOnly,
        Some("AllowInsecureFallback") => ValidationMode::AllowInsecureFallback,
        Some(other) => {
            let field = "tls.frontend validation mode".to_owned();
            work.problem(source, Reason::Unsupported { field, value: other.to_owned() });
            ValidationMode::AllowValidOnly
        }
    };
    if found.0.is_empty() {
        work.problem(source, Reason::NoAuthority { port });
    }
    // Without anybody to verify by, a fallback would be all that is left.
    let mode = if found.0.is_empty() { ValidationMode::AllowValidOnly } else { mode };
    Some(Arc::new(ClientValidation { authorities: found, mode }))
}

/// Those of all references that are right.
fn authorities(work: &mut Work<'_>, source: &ObjectName, validation: &gateway_api::ClientValidation) -> Authorities {
    let own = source.namespace.to_string();
    let mut all = Authorities::default();
    for reference in &validation.ca_certificate_refs {
        let (group, kind) = (reference.group.as_str(), reference.kind.as_str());
        let namespace = reference.namespace.as_deref().unwrap_or(&own);
        let from = From { group: GROUP, kind: "Gateway", namespace: &own };
        let to = To { group, kind, namespace, name: &reference.name };
        let found = if granted(&work.snapshot.reference_grants, &from, &to) {
            authorities::find(work, (group, kind), namespace, &reference.name)
        } else {
            Err(Reason::NotGranted { target: format!("{kind} {namespace}/{}", reference.name) })
        };
        match found {
            Ok(found) => all.0.extend(found.0.iter().cloned()),
            Err(reason) => work.problem(source, reason),
        }
    }
    all
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
    fn listeners_on_one_port_share_what_clients_are_verified_by_and_hear_what_is_wrong_with_it() {
        let frontend = "{default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: gone}]}}}";
        let gateway = format!(
            "{{apiVersion: {GROUP}/v1, kind: Gateway, metadata: {{name: home, namespace: a}}, spec: {{gatewayClassName: doorward, listeners: [], tls: {{frontend: {frontend}}}}}}}"
        );
        let kinds = Kinds { tls: true, endpoints: true, dns_endpoints: false };
        let snapshot = source::snapshot(manifest::read(&gateway).expect("a right manifest"), kinds);
        let config = config::parse("entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}").expect("a right file");
        let last = Last::default();
        let mut work = Work::new(&snapshot, &config, &last);
        let source = ObjectName::new("Gateway", "a", "home");
        let mut ask = |port| {
            let before = work.problems.len();
            let found = for_port(&mut work, &source, &snapshot.gateways[0], port).expect("clients are asked");
            (found, work.problems.split_off(before))
        };
        let ((first, wrong), (again, wrong_again), (other, _)) = (ask(443), ask(443), ask(8443));
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &other));
        assert!(wrong.len() == 2 && wrong == wrong_again, "{wrong:?}");
    }
}
