//! The rules of a GRPCRoute: of its methods the paths that requests have, and of the rest what an HTTPRoute has.

use std::sync::Arc;

use super::{Work, filter::invalid, http_route};
use crate::{
    gateway_api::{GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule, HttpRouteRule},
    model::{Match, ObjectName, PathMatch, Rule, ValueMatch},
    problem::Reason,
};

pub(super) fn translate(work: &mut Work<'_>, source: &ObjectName, rules: &[GrpcRouteRule]) -> Vec<Rule> {
    let translated = rules.iter().enumerate().filter_map(|(place, rule)| {
        let matches = http_route::understood(work, source, rule.matches.iter().map(translate_match))?;
        let rest = HttpRouteRule {
            name: rule.name.clone(),
            filters: rule.filters.clone(),
            backend_refs: rule.backend_refs.clone(),
            session_persistence: rule.session_persistence.clone(),
            ..HttpRouteRule::default()
        };
        Some(http_route::translate_rule(work, source, place, &rest, matches))
    });
    translated.collect()
}

fn translate_match(it: &GrpcRouteMatch) -> Result<Match, Reason> {
    let path = it.method.as_ref().map_or_else(|| Ok(PathMatch::Prefix("/".into())), path)?;
    Ok(Match { path, method: None, headers: http_route::header_matches(&it.headers)?, query: Vec::new() })
}

/// A call of `method` of `service` is a POST of `/service/method` (gRPC over HTTP/2, "Requests").
fn path(method: &GrpcMethodMatch) -> Result<PathMatch, Reason> {
    let GrpcMethodMatch { type_, service, method } = method;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (type_.as_deref().unwrap_or("Exact"), given(service), given(method)) {
        (_, None, None) => Ok(PathMatch::Prefix("/".into())),
        ("Exact", Some(service), Some(method)) => Ok(PathMatch::Exact(format!("/{service}/{method}").into())),
        ("Exact", Some(service), None) => Ok(PathMatch::Prefix(format!("/{service}").into())),
        ("Exact", None, Some(method)) => {
            Ok(PathMatch::Call { service: None, method: Some(ValueMatch::Exact(method.into())) })
        }
        ("RegularExpression", service, method) => {
            Ok(PathMatch::Call { service: expression(service)?, method: expression(method)? })
        }
        (other, _, _) => Err(invalid("matches.method.type", other, "Exact or RegularExpression")),
    }
}

/// It has to match all of the name.
fn expression(text: Option<String>) -> Result<Option<ValueMatch>, Reason> {
    let Some(text) = text else { return Ok(None) };
    let anchored = PathMatch::anchored(&text);
    http_route::checked_regex(&text, &anchored)?;
    Ok(Some(ValueMatch::Regex(Arc::from(anchored))))
}
