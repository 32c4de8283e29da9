//! Filters of an HTTPRoute's rule or backendRef.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::{Work, backend_ref, cors, external_auth};
use crate::{
    gateway_api::{
        HeaderModifier, HttpHeader, HttpPathModifier, HttpRequestMirror, HttpRequestRedirect, HttpRouteFilter,
        HttpUrlRewrite,
    },
    model::{Filter, HeaderEdits, HostName, Mirror, ObjectName, PathRewrite, Redirect, Rewrite, Scheme, Share, Target},
    problem::Reason,
};

/// The same for a backendRef, where the API knows no authorization.
pub(super) fn translate_of_backend(
    work: &mut Work<'_>,
    source: &ObjectName,
    filters: &[HttpRouteFilter],
) -> Result<Vec<Filter>, Arc<str>> {
    match filters.iter().find(|filter| filter.type_ == "ExternalAuth") {
        Some(filter) => {
            let reason =
                Reason::Unsupported { field: "filter of a backendRef".to_owned(), value: filter.type_.clone() };
            Err(said(work, source, reason))
        }
        None => translate(work, source, filters),
    }
}

/// What is wrong is said as a problem of `source`, too. The first fault spoils the whole list: a rule that runs without
/// one of its filters is not what was asked for.
pub(super) fn translate(
    work: &mut Work<'_>,
    source: &ObjectName,
    filters: &[HttpRouteFilter],
) -> Result<Vec<Filter>, Arc<str>> {
    let one = |filter| {
        let translated = one(work, source, filter).map_err(|fault| match fault {
            Fault::Reason(reason) => said(work, source, reason),
            Fault::Said(why) => why,
        });
        translated.transpose()
    };
    let translated = filters.iter().filter_map(one).collect::<Result<Vec<Filter>, _>>()?;
    match incompatible(&translated) {
        Some(reason) => Err(said(work, source, reason)),
        None => Ok(translated),
    }
}

enum Fault {
    Reason(Reason),
    /// It is a problem already.
    Said(Arc<str>),
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason)
    }
}

pub(super) fn said(work: &mut Work<'_>, source: &ObjectName, reason: Reason) -> Arc<str> {
    let why = reason.to_string().into();
    work.problem(source, reason);
    why
}

/// Each answers in the place of the other.
fn incompatible(filters: &[Filter]) -> Option<Reason> {
    let has = |is: fn(&Filter) -> bool| filters.iter().any(is);
    let redirects_and_rewrites =
        has(|it| matches!(it, Filter::Redirect(_))) && has(|it| matches!(it, Filter::Rewrite(_)));
    redirects_and_rewrites.then(|| Reason::FiltersIncompatible { filters: "RequestRedirect and URLRewrite".to_owned() })
}

/// None for one that is left out, and is a problem that harms nobody else.
fn one(work: &mut Work<'_>, source: &ObjectName, filter: &HttpRouteFilter) -> Result<Option<Filter>, Fault> {
    let missing = |field: &str| invalid("filters", &filter.type_, &format!("the field {field} beside this type"));
    let translated = match filter.type_.as_str() {
        "CORS" => Filter::Cors(cors::translate(filter.cors.as_ref().ok_or_else(|| missing("cors"))?)?),
        "ExternalAuth" => {
            let auth = filter.external_auth.as_ref().ok_or_else(|| missing("externalAuth"))?;
            let with = external_auth::translate(auth)?;
            let (what, spoken) = ("externalAuth.backendRef", external_auth::spoken(auth));
            match backend_ref::resolve_as(work, source, what, &auth.backend_ref, spoken) {
                Target::Backend(backend) => Filter::ExternalAuth(with(backend)),
                // Without it everybody would get in.
                Target::Invalid(why) => return Err(Fault::Said(why)),
            }
        }
        "RequestHeaderModifier" => {
            let edits = filter.request_header_modifier.as_ref().ok_or_else(|| missing("requestHeaderModifier"))?;
            Filter::RequestHeaders(header_edits(edits)?)
        }
        "ResponseHeaderModifier" => {
            let edits = filter.response_header_modifier.as_ref().ok_or_else(|| missing("responseHeaderModifier"))?;
            Filter::ResponseHeaders(header_edits(edits)?)
        }
        "RequestMirror" => {
            let mirror = filter.request_mirror.as_ref().ok_or_else(|| missing("requestMirror"))?;
            let share = share(mirror)?;
            // The API has an invalid one dropped.
            match backend_ref::resolve(work, source, "requestMirror.backendRef", &mirror.backend_ref) {
                Target::Backend(backend) => Filter::Mirror(Mirror { backend, share }),
                Target::Invalid(_) => return Ok(None),
            }
        }
        "RequestRedirect" => {
            Filter::Redirect(redirect(filter.request_redirect.as_ref().ok_or_else(|| missing("requestRedirect"))?)?)
        }
        "URLRewrite" => Filter::Rewrite(rewrite(filter.url_rewrite.as_ref().ok_or_else(|| missing("urlRewrite"))?)?),
        "ExtensionRef" => {
            let reference = filter.extension_ref.as_ref().ok_or_else(|| missing("extensionRef"))?;
            let (field, group, kind) =
                ("filter extensionRef".to_owned(), reference.group.clone(), reference.kind.clone());
            return Err(Reason::KindUnsupported { what: field, group, kind }.into());
        }
        other => return Err(Reason::Unsupported { field: "filter".to_owned(), value: other.to_owned() }.into()),
    };
    Ok(Some(translated))
}

/// Of all requests, where nobody says of how many.
fn share(mirror: &HttpRequestMirror) -> Result<Share, Reason> {
    let (field, numerator, denominator) = match (mirror.percent, &mirror.fraction) {
        (None, None) => return Ok(Share { numerator: 1, denominator: 1 }),
        (Some(percent), None) => ("requestMirror.percent", percent, 100),
        (None, Some(fraction)) => ("requestMirror.fraction", fraction.numerator, fraction.denominator.unwrap_or(100)),
        (Some(percent), Some(_)) => {
            return Err(invalid("requestMirror.percent", &percent.to_string(), "no fraction beside it"));
        }
    };
    if denominator == 0 || numerator > denominator {
        return Err(invalid(field, &format!("{numerator} of {denominator}"), "no more than all"));
    }
    Ok(Share { numerator, denominator })
}

fn header_edits(modifier: &HeaderModifier) -> Result<HeaderEdits, Reason> {
    let pairs = |headers: &[HttpHeader]| {
        headers
            .iter()
            .map(|header| {
                HeaderValue::from_str(&header.value)
                    .map_err(|_| invalid("header value", &header.value, "printable characters"))?;
                Ok((header_name(&header.name)?, Arc::from(header.value.as_str())))
            })
            .collect::<Result<Vec<_>, Reason>>()
    };
    Ok(HeaderEdits {
        set: pairs(&modifier.set)?,
        add: pairs(&modifier.add)?,
        remove: modifier.remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?,
    })
}

/// In lower case.
pub(super) fn header_name(text: &str) -> Result<Arc<str>, Reason> {
    HeaderName::try_from(text)
        .map(|name| name.as_str().into())
        .map_err(|_| invalid("header name", text, "a header name such as x-real-ip"))
}

fn redirect(redirect: &HttpRequestRedirect) -> Result<Redirect, Reason> {
    let scheme = match redirect.scheme.as_deref() {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(other) => return Err(invalid("requestRedirect.scheme", other, "http or https")),
    };
    let status = redirect.status_code.unwrap_or(302);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Err(invalid("requestRedirect.statusCode", &status.to_string(), "301, 302, 303, 307 or 308"));
    }
    Ok(Redirect {
        scheme,
        hostname: redirect.hostname.as_deref().map(hostname).transpose()?,
        path: redirect.path.as_ref().map(path_rewrite).transpose()?,
        port: redirect.port,
        status,
    })
}

fn rewrite(rewrite: &HttpUrlRewrite) -> Result<Rewrite, Reason> {
    Ok(Rewrite {
        hostname: rewrite.hostname.as_deref().map(hostname).transpose()?,
        path: rewrite.path.as_ref().map(path_rewrite).transpose()?,
    })
}

fn hostname(text: &str) -> Result<Arc<str>, Reason> {
    let parsed = text.parse::<HostName>();
    parsed.map(|host| host.as_str().into()).map_err(|error| Reason::InvalidHost { text: text.to_owned(), error })
}

fn path_rewrite(modifier: &HttpPathModifier) -> Result<PathRewrite, Reason> {
    let (text, wrap): (_, fn(Arc<str>) -> PathRewrite) = match modifier.type_.as_str() {
        "ReplaceFullPath" => (modifier.replace_full_path.as_deref(), PathRewrite::Full),
        "ReplacePrefixMatch" => (modifier.replace_prefix_match.as_deref(), PathRewrite::Prefix),
        other => return Err(Reason::Unsupported { field: "path modifier".to_owned(), value: other.to_owned() }),
    };
    let text = text.unwrap_or_default();
    // It becomes part of a request line or a Location.
    if text.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'#')
        || !(text.is_empty() || text.starts_with('/'))
    {
        return Err(invalid("path modifier", text, "a path that begins with /, percent-encoded where needed"));
    }
    Ok(wrap(text.into()))
}

pub(super) fn invalid(field: &str, value: &str, expected: &str) -> Reason {
    Reason::InvalidValue { field: field.to_owned(), value: value.to_owned(), expected: expected.to_owned() }
}
