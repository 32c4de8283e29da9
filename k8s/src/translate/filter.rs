//! Filters of an HTTPRoute's rule or backendRef.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::{
    gateway_api::{HeaderModifier, HttpHeader, HttpPathModifier, HttpRequestRedirect, HttpRouteFilter, HttpUrlRewrite},
    model::{Filter, HeaderEdits, HostName, PathRewrite, Redirect, Rewrite, Scheme},
    problem::Reason,
};

/// The first fault spoils the whole list: a rule that runs without one of its filters is not what was asked for.
pub(super) fn translate(filters: &[HttpRouteFilter]) -> Result<Vec<Filter>, Reason> {
    filters.iter().map(one).collect()
}

fn one(filter: &HttpRouteFilter) -> Result<Filter, Reason> {
    let missing = |field: &str| invalid("filters", &filter.type_, &format!("the field {field} beside this type"));
    match filter.type_.as_str() {
        "RequestHeaderModifier" => {
            let edits = filter.request_header_modifier.as_ref().ok_or_else(|| missing("requestHeaderModifier"))?;
            Ok(Filter::RequestHeaders(header_edits(edits)?))
        }
        "ResponseHeaderModifier" => {
            let edits = filter.response_header_modifier.as_ref().ok_or_else(|| missing("responseHeaderModifier"))?;
            Ok(Filter::ResponseHeaders(header_edits(edits)?))
        }
        "RequestRedirect" => {
            redirect(filter.request_redirect.as_ref().ok_or_else(|| missing("requestRedirect"))?).map(Filter::Redirect)
        }
        "URLRewrite" => rewrite(filter.url_rewrite.as_ref().ok_or_else(|| missing("urlRewrite"))?).map(Filter::Rewrite),
        other => Err(Reason::Unsupported { field: "filter".to_owned(), value: other.to_owned() }),
    }
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
