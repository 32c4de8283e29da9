//! What keeps requests at one endpoint: annotations of Ingresses as ingress-nginx has them, our own at Services, and
//! sessionPersistence of routes.

use std::sync::Arc;

use http::HeaderName;
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};

use super::{Work, annotation, filter::invalid, http_route::duration, object_name};
use crate::{
    gateway_api::SessionPersistence,
    model::{
        Affinity, AffinityCookie, AffinityHeader, Match, ObjectName, PathMatch, SameSite, Target, WeightedBackend,
    },
    problem::Reason,
};

/// At a Service: `cookie`, `cookie NAME`, `header NAME` or `address`.
const AFFINITY: &str = "doorward.dev/affinity";
/// What it is called where nobody says.
const COOKIE: &str = "doorward-affinity";

const NGINX_AFFINITY: &str = "nginx.ingress.kubernetes.io/affinity";
const NGINX_NAME: &str = "nginx.ingress.kubernetes.io/session-cookie-name";
const NGINX_PATH: &str = "nginx.ingress.kubernetes.io/session-cookie-path";
const NGINX_MAX_AGE: &str = "nginx.ingress.kubernetes.io/session-cookie-max-age";
const NGINX_SAME_SITE: &str = "nginx.ingress.kubernetes.io/session-cookie-samesite";
const NGINX_HASH: &str = "nginx.ingress.kubernetes.io/upstream-hash-by";
const NGINX_COOKIE: &str = "INGRESSCOOKIE";

pub(super) const ANNOTATIONS: [&str; 7] =
    [AFFINITY, NGINX_AFFINITY, NGINX_NAME, NGINX_PATH, NGINX_MAX_AGE, NGINX_SAME_SITE, NGINX_HASH];

/// As an Ingress asks for its rules; a cookie's path is then each rule's, unless the Ingress names one.
pub(super) fn of_ingress(work: &mut Work<'_>, ingress: &Ingress) -> Option<Affinity> {
    let read = |key: &str| annotation(&ingress.metadata, key);
    let found = match (read(NGINX_AFFINITY), read(NGINX_HASH)) {
        (Some("cookie"), _) => nginx_cookie(read).map(Affinity::Cookie),
        (Some(other), _) => Err(invalid_annotation(NGINX_AFFINITY, other, "cookie")),
        (None, Some(text)) => nginx_hash(text),
        (None, None) => return None,
    };
    found.map_err(|reason| work.problem(&object_name("Ingress", &ingress.metadata), reason)).ok()
}

/// The rule's own, or what the first of its Services asks for that asks for any.
pub(super) fn of_rule(
    work: &mut Work<'_>,
    own: Option<&Affinity>,
    matches: &[Match],
    backends: &[WeightedBackend],
) -> Option<Affinity> {
    let mut services = backends.iter().filter_map(|backend| match &backend.target {
        Target::Backend(id) => Some(id.service.clone()),
        Target::Invalid(_) => None,
    });
    let found = own.cloned().or_else(|| {
        services.find_map(|name| {
            let service = *work.services.get(&(&*name.namespace, &*name.name))?;
            of_service(work, service)
        })
    })?;
    match found {
        Affinity::Cookie(cookie) if cookie.path.is_empty() => {
            Some(Affinity::Cookie(AffinityCookie { path: cookie_path(matches), ..cookie }))
        }
        other => Some(other),
    }
}

/// As a rule of a route asks for, which is the one in that place. None, and a problem, for what cannot be had.
pub(super) fn of_session(
    work: &mut Work<'_>,
    source: &ObjectName,
    place: usize,
    session: &SessionPersistence,
) -> Option<Affinity> {
    let found = match session.type_.as_deref().unwrap_or("Cookie") {
        "Cookie" => session_cookie(session, &format!("{source} {place}")).map(Affinity::Cookie),
        "Header" => session_header(session).map(Affinity::Session),
        other => Err(Reason::Unsupported { field: "sessionPersistence.type".to_owned(), value: other.to_owned() }),
    };
    found.map_err(|reason| work.problem(source, reason)).ok()
}

/// `whose` differs for each rule of each route.
fn session_cookie(session: &SessionPersistence, whose: &str) -> Result<AffinityCookie, Reason> {
    let cookie = session.cookie.clone().unwrap_or_default();
    let lifetime = session_lifetime(session)?;
    let name = match cookie.name.as_deref() {
        // FNV-1a: it never changes, and tells nobody what the route is called.
        None => format!(
            "{COOKIE}-{:08x}",
            whose.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        )
        .into(),
        Some(name) => cookie_name(name)
            .ok_or_else(|| invalid("sessionPersistence.cookie.name", name, "a name such as session"))?,
    };
    let path = cookie.path.as_deref().unwrap_or("/");
    if !is_cookie_path(path) {
        return Err(invalid("sessionPersistence.cookie.path", path, "a path that begins with /"));
    }
    let max_age = match cookie.lifetime_type.as_deref().unwrap_or("Session") {
        "Session" => None,
        "Permanent" if lifetime.is_some() => lifetime,
        "Permanent" => {
            let field = "sessionPersistence.absoluteTimeout";
            return Err(invalid(field, "none", "a duration, where the cookie's lifetime is Permanent"));
        }
        other => {
            let field = "sessionPersistence.cookie.lifetimeType".to_owned();
            return Err(Reason::Unsupported { field, value: other.to_owned() });
        }
    };
    Ok(AffinityCookie { name, path: path.into(), max_age, same_site: None, lifetime })
}

fn session_header(session: &SessionPersistence) -> Result<AffinityHeader, Reason> {
    let name = session.header.as_ref().map(|header| header.name.as_str()).unwrap_or_default();
    let found = HeaderName::try_from(name).map(|name| name.as_str().into());
    let name = found.map_err(|_| invalid("sessionPersistence.header.name", name, "a header name such as x-session"))?;
    Ok(AffinityHeader { name, lifetime: session_lifetime(session)? })
}

/// In whole seconds, rounded up; nothing lasts for none.
fn session_lifetime(session: &SessionPersistence) -> Result<Option<u64>, Reason> {
    let Some(text) = session.absolute_timeout.as_deref() else { return Ok(None) };
    let milliseconds = duration(text).filter(|milliseconds| *milliseconds > 0);
    let expected = "a duration such as 1h";
    let milliseconds = milliseconds.ok_or_else(|| invalid("sessionPersistence.absoluteTimeout", text, expected))?;
    Ok(Some(milliseconds.div_ceil(1_000)))
}

fn of_service(work: &mut Work<'_>, service: &Service) -> Option<Affinity> {
    let Some(text) = annotation(&service.metadata, AFFINITY) else {
        let kept = service.spec.as_ref().and_then(|spec| spec.session_affinity.as_deref());
        return kept.filter(|kept| *kept == "ClientIP").map(|_| Affinity::Address);
    };
    let mut words = text.split_ascii_whitespace();
    let found = match (words.next(), words.next(), words.next()) {
        (Some("address"), None, None) => Some(Affinity::Address),
        (Some("cookie"), name, None) => cookie_name(name.unwrap_or(COOKIE)).map(|name| Affinity::Cookie(cookie(name))),
        (Some("header"), Some(name), None) => header(name),
        _ => None,
    };
    if found.is_none() {
        let expected = "cookie, cookie NAME, header NAME or address";
        work.problem(&object_name("Service", &service.metadata), invalid_annotation(AFFINITY, text, expected));
    }
    found
}

fn nginx_cookie<'a>(read: impl Fn(&str) -> Option<&'a str>) -> Result<AffinityCookie, Reason> {
    let name = read(NGINX_NAME).unwrap_or(NGINX_COOKIE);
    let name = cookie_name(name).ok_or_else(|| invalid_annotation(NGINX_NAME, name, "a name such as route"))?;
    let path = match read(NGINX_PATH) {
        None => "".into(),
        Some(path) if is_cookie_path(path) => path.into(),
        Some(other) => return Err(invalid_annotation(NGINX_PATH, other, "a path that begins with /")),
    };
    let max_age = match read(NGINX_MAX_AGE).map(|text| (text, text.trim().parse())) {
        None => None,
        Some((_, Ok(seconds))) => Some(seconds).filter(|seconds: &u64| *seconds > 0),
        Some((text, Err(_))) => return Err(invalid_annotation(NGINX_MAX_AGE, text, "seconds such as 86400")),
    };
    let same_site = match read(NGINX_SAME_SITE) {
        None => None,
        Some(text) => {
            let all = [SameSite::Lax, SameSite::None, SameSite::Strict];
            let found = all.into_iter().find(|it| text.trim().eq_ignore_ascii_case(it.as_str()));
            Some(found.ok_or_else(|| invalid_annotation(NGINX_SAME_SITE, text, "Lax, None or Strict"))?)
        }
    };
    Ok(AffinityCookie { name, path, max_age, same_site, lifetime: None })
}

/// Of nginx's expressions those that name one thing.
fn nginx_hash(text: &str) -> Result<Affinity, Reason> {
    let variable = text.trim().trim_matches('"').strip_prefix('$').unwrap_or_default();
    let variable = variable.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap_or(variable);
    let found = match variable {
        "binary_remote_addr" | "client_ip" | "remote_addr" => Some(Affinity::Address),
        other => other.strip_prefix("http_").and_then(|name| header(&name.replace('_', "-"))),
    };
    found.ok_or_else(|| invalid_annotation(NGINX_HASH, text, "$remote_addr, or a header such as $http_x_user"))
}

/// Without a path until its rule is known.
fn cookie(name: Arc<str>) -> AffinityCookie {
    AffinityCookie { name, path: "".into(), max_age: None, same_site: None, lifetime: None }
}

/// Names of cookies and of header fields are both tokens; those of cookies keep their case.
fn cookie_name(text: &str) -> Option<Arc<str>> {
    HeaderName::try_from(text).ok().map(|_| text.into())
}

fn header(name: &str) -> Option<Affinity> {
    HeaderName::try_from(name).ok().map(|name| Affinity::Header(name.as_str().into()))
}

/// So that two rules of one host do not overwrite each other's.
fn cookie_path(matches: &[Match]) -> Arc<str> {
    match matches {
        [Match { path: PathMatch::Exact(path) | PathMatch::Prefix(path), .. }] if is_cookie_path(path) => {
            Arc::clone(path)
        }
        _ => "/".into(),
    }
}

fn is_cookie_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';')
}

fn invalid_annotation(key: &str, text: &str, expected: &str) -> Reason {
    invalid(&format!("annotation {key}"), text, expected)
}
