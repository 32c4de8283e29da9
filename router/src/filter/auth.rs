//! What somebody who authorizes requests is asked, and what follows from the answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use k8s::model::HttpQuestion;

use crate::framing::read_alike;

/// What became of the question.
#[derive(Debug)]
pub enum Verdict {
    /// With what is said of the client.
    Admitted(HeaderMap),
    /// With what the client is to get.
    Refused(Response<Bytes>),
}

/// About a request for `path`, in its one form, and `query` at `host`: who decides by the path decides about the one that
/// the routes and the backend see. None where that is no target.
pub fn question(
    auth: &HttpQuestion,
    method: &Method,
    path: &str,
    query: Option<&str>,
    host: Option<&HeaderValue>,
    asked: &HeaderMap,
    body: Bytes,
) -> Option<Request<Bytes>> {
    let mut question = Request::new(body);
    *question.method_mut() = method.clone();
    let mark = if query.is_some() { "?" } else { "" };
    let target = format!("{}{path}{mark}{}", auth.path, query.unwrap_or_default());
    *question.uri_mut() = target.parse::<Uri>().ok()?;
    let headers = question.headers_mut();
    let names = auth.request_headers.iter().map(|name| &**name).chain([header::AUTHORIZATION.as_str()]);
    for name in names.filter_map(|name| HeaderName::try_from(name).ok()).filter(|name| !is_of_message(name)) {
        // It may be listed more than once.
        headers.remove(&name);
        for value in asked.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.extend(host.map(|host| (header::HOST, host.clone())));
    // How many they are is for whoever sends them to say.
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Some(question)
}

/// 200 is consent, and nothing else is.
pub fn verdict(answer: Response<Bytes>) -> Verdict {
    let (mut head, body) = answer.into_parts();
    if head.status == StatusCode::OK {
        return Verdict::Admitted(head.headers);
    }
    // The last one would send browsers to a port or a protocol that only the authorizer has.
    for name in HOP_BY_HOP.iter().chain([&header::ALT_SVC]) {
        head.headers.remove(name);
    }
    Verdict::Refused(Response::from_parts(head, body))
}

/// Tells the backend what was said of the client. The client cannot say it itself, by no name that the backend may take
/// for the same.
pub fn admit(auth: &HttpQuestion, said: &HeaderMap, asked: &mut HeaderMap) {
    let listed = || auth.response_headers.iter().map(|name| &**name);
    let is_wanted = |name: &&HeaderName| auth.response_headers.is_empty() || listed().any(|it| *it == *name.as_str());
    let told: Vec<&HeaderName> = said.keys().filter(is_wanted).filter(|name| !is_of_message(name)).collect();
    let is_told = |name: &&HeaderName| {
        let mut names = listed().chain(told.iter().map(|name| name.as_str()));
        !is_of_message(name) && names.any(|it| read_alike(it, name.as_str()))
    };
    let own: Vec<HeaderName> = asked.keys().filter(is_told).cloned().collect();
    for name in own {
        asked.remove(name);
    }
    for name in told {
        for value in said.get_all(name) {
            asked.append(name.clone(), value.clone());
        }
    }
}

/// Whether it speaks of the message it is part of, and of no other: of its connection, its body, or whom it is for.
pub(super) fn is_of_message(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || *name == header::HOST || name.as_str().starts_with("content-")
}

pub(super) static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(request: &[&str], response: &[&str]) -> HttpQuestion {
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        HttpQuestion { path: "/check".into(), request_headers: names(request), response_headers: names(response) }
    }

    fn headers(text: &[(&'static str, &'static str)]) -> HeaderMap {
        text.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_question_has_what_is_always_sent_and_what_is_listed() {
        let asked = headers(&[
            ("host", "client.example"),
            ("authorization", "Basic x"),
            ("cookie", "a=1"),
            ("x-secret", "no"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
        ]);
        let auth = auth(&["cookie", "transfer-encoding", "host", "authorization", "cookie"], &[]);
        let host = HeaderValue::from_static("app.example");
        let question =
            question(&auth, &Method::PUT, "/a%2fb", Some("q=1"), Some(&host), &asked, Bytes::new()).expect("one");
        assert_eq!((question.method(), question.uri().to_string().as_str()), (&Method::PUT, "/check/a%2fb?q=1"));
        let expected =
            [("authorization", "Basic x"), ("content-length", "0"), ("cookie", "a=1"), ("host", "app.example")];
        assert_eq!(question.headers(), &headers(&expected));
    }

    #[test]
    fn what_is_said_of_a_client_only_the_authorizer_says() {
        let asked = || headers(&[("x-user", "admin"), ("x-group", "admins"), ("x-own", "1"), ("content-type", "a/b")]);
        let said = headers(&[("x-user", "jo"), ("x-more", "2"), ("content-type", "c/d"), ("host", "auth")]);
        for (listed, expected) in [
            (&["x-user", "x-group"][..], &[("x-user", "jo"), ("x-own", "1"), ("content-type", "a/b")][..]),
            (&[], &[("x-user", "jo"), ("x-group", "admins"), ("x-own", "1"), ("content-type", "a/b"), ("x-more", "2")]),
            (&["host"], &[("x-user", "admin"), ("x-group", "admins"), ("x-own", "1"), ("content-type", "a/b")]),
        ] {
            let mut told = asked();
            admit(&auth(&[], listed), &said, &mut told);
            assert_eq!(told, headers(expected), "{listed:?}");
        }
    }

    #[test]
    fn nobody_says_anything_of_himself_by_a_name_that_is_read_alike() {
        let said = headers(&[("x-user", "jo")]);
        for listed in [&["x-user", "x-group"][..], &[]] {
            let mut told = headers(&[("x_user", "admin"), ("x.user", "admin"), ("x-user", "admin"), ("x-own", "1")]);
            admit(&auth(&[], listed), &said, &mut told);
            assert_eq!(told, headers(&[("x-own", "1"), ("x-user", "jo")]), "{listed:?}");
        }
    }

    #[test]
    fn what_is_said_of_a_client_leaves_the_message_as_it_is() {
        let asked = headers(&[("host", "app.example"), ("content-length", "7"), ("transfer-encoding", "chunked")]);
        let said = headers(&[("host", "auth"), ("content-length", "2")]);
        let mut told = asked.clone();
        admit(&auth(&[], &["host", "content-length", "transfer-encoding"]), &said, &mut told);
        assert_eq!(told, asked);
    }

    #[test]
    fn only_200_is_consent() {
        for (status, is_consent) in [(200, true), (204, false), (302, false), (401, false), (500, false)] {
            let answer = Response::builder()
                .status(status)
                .header("keep-alive", "timeout=5")
                .header("alt-svc", "h3")
                .header("x-why", "1");
            match verdict(answer.body(Bytes::new()).expect("an answer")) {
                Verdict::Admitted(_) => assert!(is_consent, "{status}"),
                Verdict::Refused(answer) => {
                    assert!(!is_consent && answer.headers() == &headers(&[("x-why", "1")]), "{status}");
                }
            }
        }
    }
}
