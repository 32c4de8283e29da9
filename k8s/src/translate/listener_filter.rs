//! Filters of a listener, which come before the routes.

use std::sync::Arc;

use super::{
    Work,
    attachment::Door,
    condition,
    filter::{self, invalid},
    listener::{Fault, Verdict},
};
use crate::{
    gateway_api::{self, HttpRouteFilter},
    model::{ExternalAuth, Filter, ListenerProtocol, ObjectName},
    problem::Reason,
};

/// Those of the API that may come before the routes.
const TYPES: [&str; 2] = ["ExternalAuth", "ExtensionRef"];

/// Who has to consent, in the order of the list, which is always kept. What is wrong is said as a problem of `owner`,
/// and in the verdict where nothing else has been said there.
pub(super) fn translate(
    work: &mut Work<'_>,
    door: &Door<'_>,
    verdict: &mut Verdict,
    owner: &ObjectName,
    spec: &gateway_api::Listener,
    protocol: ListenerProtocol,
) -> Result<Vec<ExternalAuth>, Arc<str>> {
    let filters = spec.filters.as_ref().map(|filters| filters.requests.as_slice()).unwrap_or_default();
    let before = work.problems.len();
    // What is asked of policies here is asked by no route.
    work.policies.forget_asked();
    let translated = if protocol.is_http() || filters.is_empty() {
        authorizers(work, owner, spec, filters)
    } else {
        let field = format!("protocol of listener {}, which has filters,", spec.name);
        Err(filter::said(work, owner, invalid(&field, &spec.protocol, "HTTP or HTTPS")))
    };
    work.policies.reached(&door.source);
    let found = work.problems.get(before..).unwrap_or_default();
    verdict.resolved_refs = verdict.resolved_refs.take().or_else(|| condition::unresolved(found.iter()));
    verdict.accepted = verdict.accepted.take().or_else(|| condition::unsupported(found.iter()));
    let closed = translated.as_ref().err().map(|why| Fault::new("Invalid", format!("nobody gets in: {why}")));
    verdict.programmed = verdict.programmed.take().or(closed);
    translated
}

fn authorizers(
    work: &mut Work<'_>,
    owner: &ObjectName,
    spec: &gateway_api::Listener,
    filters: &[HttpRouteFilter],
) -> Result<Vec<ExternalAuth>, Arc<str>> {
    if let Some(other) = filters.iter().find(|filter| !TYPES.contains(&&*filter.type_)) {
        let reason =
            Reason::Unsupported { field: format!("listener {} filter", spec.name), value: other.type_.clone() };
        return Err(filter::said(work, owner, reason));
    }
    let authorizer = |filter| match filter {
        Filter::ExternalAuth(auth) => Some(auth),
        _ => None,
    };
    Ok(filter::translate(work, owner, filters)?.into_iter().filter_map(authorizer).collect())
}
