//! The rules of a GRPCRoute: of its methods the paths that requests have, and of the rest what an HTTPRoute has.

use super::{Work, filter::invalid, http_route};
use crate::{
    gateway_api::{GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule, HttpPathMatch, HttpRouteMatch, HttpRouteRule},
    model::{ObjectName, Rule},
    problem::Reason,
};

pub(super) fn translate(work: &mut Work<'_>, source: &ObjectName, rules: &[GrpcRouteRule]) -> Vec<Rule> {
    let rules: Vec<HttpRouteRule> = rules
        .iter()
        .filter_map(|rule| {
            let matches: Vec<HttpRouteMatch> = rule
                .matches
                .iter()
                .filter_map(|it| as_http(it).map_err(|reason| work.problem(source, reason)).ok())
                .collect();
            // One whose matches are all wrong would turn into one that matches everything.
            (matches.is_empty() == rule.matches.is_empty()).then(|| HttpRouteRule {
                name: rule.name.clone(),
                matches,
                filters: rule.filters.clone(),
                backend_refs: rule.backend_refs.clone(),
                session_persistence: rule.session_persistence.clone(),
                ..HttpRouteRule::default()
            })
        })
        .collect();
    http_route::translate(work, source, &rules)
}

/// A call of `method` of `service` is a POST of `/service/method` (gRPC over HTTP/2, "Requests").
fn as_http(it: &GrpcRouteMatch) -> Result<HttpRouteMatch, Reason> {
    let path = it.method.as_ref().map(path).transpose()?.flatten();
    Ok(HttpRouteMatch { path, headers: it.headers.clone(), ..HttpRouteMatch::default() })
}

/// None for every method of every service.
fn path(method: &GrpcMethodMatch) -> Result<Option<HttpPathMatch>, Reason> {
    let GrpcMethodMatch { type_, service, method } = method;
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (service, method) = (text(service), text(method));
    let of = |type_: &str, value: String| Some(HttpPathMatch { type_: Some(type_.to_owned()), value: Some(value) });
    match (type_.as_deref().unwrap_or("Exact"), service, method) {
        (_, None, None) => Ok(None),
        ("Exact", Some(service), Some(method)) => Ok(of("Exact", format!("/{service}/{method}"))),
        ("Exact", Some(service), None) => Ok(of("PathPrefix", format!("/{service}"))),
        ("Exact", None, Some(method)) => Ok(of("RegularExpression", format!("/[^/]+/{}", regex::escape(&method)))),
        ("RegularExpression", service, method) => {
            let any = || "[^/]+".to_owned();
            let (service, method) = (service.unwrap_or_else(any), method.unwrap_or_else(any));
            Ok(of("RegularExpression", format!("/(?:{service})/(?:{method})")))
        }
        (other, _, _) => Err(invalid("matches.method.type", other, "Exact or RegularExpression")),
    }
}
