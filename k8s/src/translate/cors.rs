//! The CORS filter.

use http::{HeaderName, Method};

use super::filter::invalid;
use crate::{
    gateway_api::HttpCors,
    model::{Cors, Names, OriginHost, OriginPattern, Scheme},
    problem::Reason,
};

/// What a browser may remember where nobody says for how long, in seconds.
const MAX_AGE: u32 = 5;

pub(super) fn translate(cors: &HttpCors) -> Result<Cors, Reason> {
    let HttpCors { allow_origins, allow_credentials, allow_methods, allow_headers, expose_headers, max_age } = cors;
    let is_header = |text: &str| HeaderName::try_from(text).is_ok();
    Ok(Cors {
        origins: allow_origins.iter().map(|text| origin(text)).collect::<Result<_, _>>()?,
        credentials: allow_credentials.unwrap_or(false),
        methods: names("cors.allowMethods", allow_methods, |text| Method::try_from(text).is_ok())?,
        request_headers: names("cors.allowHeaders", allow_headers, is_header)?,
        response_headers: names("cors.exposeHeaders", expose_headers, is_header)?,
        max_age: max_age.unwrap_or(MAX_AGE),
    })
}

fn names(field: &str, texts: &[String], is_right: impl Fn(&str) -> bool) -> Result<Names, Reason> {
    if texts.iter().any(|text| text == "*") {
        return Ok(Names::Any);
    }
    match texts.iter().find(|text| !is_right(text)) {
        Some(wrong) => Err(invalid(field, wrong, "a name, or * alone")),
        None => Ok(Names::These(texts.join(", ").into())),
    }
}

/// `*`, or a scheme, a host that may begin with a wildcard, and perhaps a port.
fn origin(text: &str) -> Result<OriginPattern, Reason> {
    if text == "*" {
        return Ok(OriginPattern::Any);
    }
    parse(&text.to_ascii_lowercase())
        .ok_or_else(|| invalid("cors.allowOrigins", text, "*, or an origin such as https://*.home.example:8443"))
}

fn parse(text: &str) -> Option<OriginPattern> {
    let (scheme, authority) = text.split_once("://")?;
    let (scheme, own_port) = match scheme {
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        _ => return None,
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (authority, own_port),
    };
    let is_name = |host: &str| {
        let labels =
            |label: &str| !label.is_empty() && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        host.split('.').all(labels)
    };
    let host = match (host, host.strip_prefix('*')) {
        ("*", _) => OriginHost::Any,
        (_, Some(below)) => {
            OriginHost::Below(below.strip_prefix('.').filter(|rest| is_name(rest)).map(|_| below.into())?)
        }
        (_, None) => OriginHost::Exact(Some(host).filter(|host| is_name(host))?.into()),
    };
    Some(OriginPattern::Of { scheme, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        let of = |scheme, host, port| Some(OriginPattern::Of { scheme, host, port });
        for (text, expected) in [
            ("*", Some(OriginPattern::Any)),
            ("https://App.example", of(Scheme::Https, OriginHost::Exact("app.example".into()), 443)),
            ("http://app.example:8080", of(Scheme::Http, OriginHost::Exact("app.example".into()), 8080)),
            ("https://*.example", of(Scheme::Https, OriginHost::Below(".example".into()), 443)),
            ("http://*", of(Scheme::Http, OriginHost::Any, 80)),
            ("http://192.0.2.1", of(Scheme::Http, OriginHost::Exact("192.0.2.1".into()), 80)),
            ("app.example", None),
            ("ftp://app.example", None),
            ("https://", None),
            ("https://*app.example", None),
            ("https://a.*.example", None),
            ("https://app.example:0", None),
            ("https://app.example:65536", None),
            ("https://app.example/", None),
            ("https://user@app.example", None),
        ] {
            assert_eq!(origin(text).ok(), expected, "{text}");
        }
    }
}
