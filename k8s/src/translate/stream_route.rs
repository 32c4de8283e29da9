//! The rule of a TLSRoute, TCPRoute or UDPRoute: where connections or datagrams go.

use super::{Work, backend_ref};
use crate::{
    gateway_api::StreamRouteRule,
    model::{ObjectName, Rule, WeightedBackend},
    problem::Reason,
};

/// One, as there is nothing to tell several apart by.
pub(super) fn translate(work: &mut Work<'_>, source: &ObjectName, rules: &[StreamRouteRule]) -> Vec<Rule> {
    if rules.len() > 1 {
        let what = "every rule but the first is".to_owned();
        work.problem(source, Reason::NotServed { what, instead: "there is nothing to tell them apart by" });
    }
    let backends = rules.iter().take(1).flat_map(|rule| &rule.backend_refs).map(|backend| WeightedBackend {
        weight: backend.weight.unwrap_or(1),
        target: backend_ref::resolve(work, source, "backendRef", &backend.target),
        filters: Vec::new(),
    });
    let backends = backends.collect();
    let name = rules.first().and_then(|rule| rule.name.as_deref()).map(Into::into);
    vec![Rule { name, backends, ..Rule::default() }]
}
