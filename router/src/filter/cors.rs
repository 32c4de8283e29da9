//! What browsers are told about pages of other origins (the CORS protocol of the Fetch standard).

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use k8s::model::{Cors, Filter, Names, OriginHost, OriginPattern, Scheme};

/// The first one among filters.
pub fn cors<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> Option<&'a Cors> {
    filters.into_iter().find_map(|filter| match filter {
        Filter::Cors(cors) => Some(cors),
        _ => None,
    })
}

/// The header fields that answer the question which a browser asks before it sends a request. None where the request
/// is no such question. An origin that is not allowed is told nothing, which says enough.
pub fn preflight(cors: &Cors, method: &Method, asked: &HeaderMap) -> Option<HeaderMap> {
    let origin = asked.get(header::ORIGIN)?;
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| method == Method::OPTIONS)?;
    let mut answer = HeaderMap::new();
    answer.insert(header::VARY, HeaderValue::from_static(PREFLIGHT_VARIES));
    if !is_allowed(cors, origin) {
        return Some(answer);
    }
    say_origin(cors, origin, &mut answer);
    // Whatever is asked for is named, as `*` would not do with credentials, nor for Authorization.
    let wanted_headers = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let methods = said(&cors.methods, || Some(wanted.clone()));
    let headers = said(&cors.request_headers, || wanted_headers.cloned());
    let exposed = said(&cors.response_headers, || (!cors.credentials).then(|| HeaderValue::from_static("*")));
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, headers),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed),
    ] {
        answer.extend(value.map(|value| (name, value)));
    }
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, cors.max_age.into());
    Some(answer)
}

/// Says in an answer who may use it; `origin` is who asks. What the backend says of that counts for nothing.
pub fn share(cors: &Cors, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
    for name in ABOUT {
        answer.remove(name);
    }
    if !is_alike_for_all(cors) {
        answer.append(header::VARY, HeaderValue::from_static("origin"));
    }
    let Some(origin) = origin.filter(|origin| is_allowed(cors, origin)) else { return };
    say_origin(cors, origin, answer);
    let exposed = said(&cors.response_headers, || match cors.credentials {
        // It would be a name like any other.
        true => HeaderValue::try_from(names_of(answer)).ok(),
        false => Some(HeaderValue::from_static("*")),
    });
    answer.extend(exposed.map(|value| (header::ACCESS_CONTROL_EXPOSE_HEADERS, value)));
}

fn say_origin(cors: &Cors, origin: &HeaderValue, answer: &mut HeaderMap) {
    let origin = if is_alike_for_all(cors) { HeaderValue::from_static("*") } else { origin.clone() };
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if cors.credentials {
        answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// Where credentials are sent, the origin has to be named.
fn is_alike_for_all(cors: &Cors) -> bool {
    !cors.credentials && cors.origins.contains(&OriginPattern::Any)
}

/// None for no names at all.
fn said(names: &Names, any: impl FnOnce() -> Option<HeaderValue>) -> Option<HeaderValue> {
    match names {
        Names::Any => any(),
        Names::These(names) if names.is_empty() => None,
        Names::These(names) => HeaderValue::from_str(names).ok(),
    }
}

fn names_of(answer: &HeaderMap) -> String {
    let names: Vec<&str> = answer.keys().filter(|name| !ABOUT.contains(name)).map(HeaderName::as_str).collect();
    names.join(", ")
}

fn is_allowed(cors: &Cors, origin: &HeaderValue) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    cors.origins.iter().any(|pattern| match pattern {
        OriginPattern::Any => true,
        OriginPattern::Of { scheme, host, port } => is_of(origin, *scheme, host, *port),
    })
}

fn is_of(origin: &str, scheme: Scheme, host: &OriginHost, port: u16) -> bool {
    let (prefix, own_port) = match scheme {
        Scheme::Http => ("http://", 80),
        Scheme::Https => ("https://", 443),
    };
    let Some((_, authority)) = origin.split_at_checked(prefix.len()).filter(|(it, _)| it.eq_ignore_ascii_case(prefix))
    else {
        return false;
    };
    let (name, its_port) = match authority.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()),
        None => (authority, Some(own_port)),
    };
    let is_host = match host {
        OriginHost::Any => !name.is_empty(),
        OriginHost::Below(end) => {
            let beginning = name.len().checked_sub(end.len()).filter(|length| *length > 0);
            beginning.and_then(|at| name.get(at..)).is_some_and(|its| its.eq_ignore_ascii_case(end))
        }
        OriginHost::Exact(exact) => name.eq_ignore_ascii_case(exact),
    };
    is_host && its_port == Some(port)
}

const PREFLIGHT_VARIES: &str = "origin, access-control-request-method, access-control-request-headers";
const ABOUT: &[HeaderName] = &[
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: OriginHost) -> Vec<OriginPattern> {
        vec![OriginPattern::Of { scheme: Scheme::Https, host, port: 443 }]
    }

    fn these(names: &str) -> Names {
        Names::These(names.into())
    }

    fn all(credentials: bool) -> Cors {
        Cors {
            origins: vec![OriginPattern::Any],
            credentials,
            methods: Names::Any,
            request_headers: Names::Any,
            response_headers: Names::Any,
            max_age: 5,
        }
    }

    fn headers(text: &[(&'static str, &'static str)]) -> HeaderMap {
        text.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_origin_is_compared_by_scheme_host_and_port() {
        let below = || OriginHost::Below(".bar.com".into());
        for (host, origin, expected) in [
            (OriginHost::Exact("foo.com".into()), "https://foo.com", true),
            (OriginHost::Exact("foo.com".into()), "HTTPS://Foo.com:443", true),
            (OriginHost::Exact("foo.com".into()), "https://foo.com:8443", false),
            (OriginHost::Exact("foo.com".into()), "http://foo.com", false),
            (OriginHost::Exact("foo.com".into()), "https://foo.com.evil.com", false),
            (below(), "https://www.bar.com", true),
            (below(), "https://a.b.bar.com", true),
            (below(), "https://bar.com", false),
            (below(), "https://.bar.com", false),
            (below(), "https://foobar.com", false),
            (OriginHost::Any, "https://anything", true),
            (OriginHost::Any, "https://", false),
            (OriginHost::Any, "null", false),
            (OriginHost::Any, "https://a:b", false),
        ] {
            let cors = Cors { origins: of(host), ..all(false) };
            assert_eq!(is_allowed(&cors, &HeaderValue::from_static(origin)), expected, "{origin}");
        }
        assert!(is_allowed(&all(false), &HeaderValue::from_static("null")));
        assert!(!is_allowed(&Cors { origins: Vec::new(), ..all(false) }, &HeaderValue::from_static("https://a")));
    }

    #[test]
    fn a_preflight_is_answered_with_what_is_allowed() {
        let asked = headers(&[
            ("origin", "https://www.foo.com"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization, x-one"),
        ]);
        let some = Cors {
            origins: of(OriginHost::Exact("www.foo.com".into())),
            credentials: true,
            methods: these("GET, OPTIONS"),
            request_headers: these("x-one, x-two"),
            response_headers: these(""),
            max_age: 3600,
        };
        let other = Cors { origins: of(OriginHost::Exact("foo.com".into())), ..some.clone() };
        for (cors, expected) in [
            (
                some,
                &[
                    ("vary", PREFLIGHT_VARIES),
                    ("access-control-allow-origin", "https://www.foo.com"),
                    ("access-control-allow-credentials", "true"),
                    ("access-control-allow-methods", "GET, OPTIONS"),
                    ("access-control-allow-headers", "x-one, x-two"),
                    ("access-control-max-age", "3600"),
                ][..],
            ),
            (other, &[("vary", PREFLIGHT_VARIES)]),
            (
                all(true),
                &[
                    ("vary", PREFLIGHT_VARIES),
                    ("access-control-allow-origin", "https://www.foo.com"),
                    ("access-control-allow-credentials", "true"),
                    ("access-control-allow-methods", "PUT"),
                    ("access-control-allow-headers", "authorization, x-one"),
                    ("access-control-max-age", "5"),
                ],
            ),
            (
                all(false),
                &[
                    ("vary", PREFLIGHT_VARIES),
                    ("access-control-allow-origin", "*"),
                    ("access-control-allow-methods", "PUT"),
                    ("access-control-allow-headers", "authorization, x-one"),
                    ("access-control-expose-headers", "*"),
                    ("access-control-max-age", "5"),
                ],
            ),
        ] {
            assert_eq!(preflight(&cors, &Method::OPTIONS, &asked), Some(headers(expected)));
        }
        assert_eq!(preflight(&all(true), &Method::PUT, &asked), None);
        let simple = headers(&[("origin", "https://www.foo.com")]);
        assert_eq!(preflight(&all(true), &Method::OPTIONS, &simple), None);
    }

    #[test]
    fn an_answer_says_who_may_use_it_whatever_the_backend_says() {
        let origin = HeaderValue::from_static("https://a.example");
        let from_backend = || {
            headers(&[
                ("access-control-allow-origin", "*"),
                ("access-control-allow-methods", "GET"),
                ("vary", "accept"),
                ("x-one", "1"),
            ])
        };
        let told = |cors: &Cors, origin: Option<&HeaderValue>| {
            let mut answer = from_backend();
            share(cors, origin, &mut answer);
            answer
        };
        let mut expected = headers(&[
            ("vary", "accept"),
            ("x-one", "1"),
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "vary, x-one"),
        ]);
        expected.append(header::VARY, HeaderValue::from_static("origin"));
        let mut found = told(&all(true), Some(&origin));
        // The order of names is nobody's business.
        let exposed = found.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS).expect("names");
        let mut names: Vec<&str> = exposed.to_str().expect("text").split(", ").collect();
        names.sort_unstable();
        assert_eq!(names, ["vary", "x-one"]);
        expected.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
        assert_eq!(found, expected);

        let nobody = Cors { origins: Vec::new(), ..all(false) };
        let mut untold = headers(&[("vary", "accept"), ("x-one", "1")]);
        untold.append(header::VARY, HeaderValue::from_static("origin"));
        assert_eq!(told(&nobody, Some(&origin)), untold);
        assert_eq!(told(&nobody, None), untold);
        let public = told(&all(false), Some(&origin));
        assert_eq!(
            (public.get("access-control-allow-origin"), public.get_all("vary").iter().count()),
            (Some(&HeaderValue::from_static("*")), 1)
        );
    }
}
