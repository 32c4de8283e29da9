//! Tables of what is taken, what is refused, and what it becomes.

mod h1;

use http::Uri;
use k8s::model::Trust;

use super::*;

#[test]
fn a_host_loses_its_port_its_case_and_its_root_dot() {
    for (text, expected) in [
        ("a.example", Ok("a.example")),
        ("A.Example:8443", Ok("a.example")),
        ("a.example.", Ok("a.example")),
        ("[::1]:80", Ok("[::1]")),
        ("192.168.8.21", Ok("192.168.8.21")),
        ("", Err(Refusal::Host)),
        (":80", Err(Refusal::Host)),
        ("user@a.example", Err(Refusal::Host)),
        ("a.example,b.example", Err(Refusal::Host)),
        ("a.example:80:80", Err(Refusal::Host)),
        ("a.example:x", Err(Refusal::Host)),
        ("a example", Err(Refusal::Host)),
        ("a/b", Err(Refusal::Host)),
        ("[::1", Err(Refusal::Host)),
        ("[x]", Err(Refusal::Host)),
    ] {
        assert_eq!(host(text).as_deref(), expected.as_ref().map(|it| *it), "{text}");
    }
}

#[test]
fn a_path_has_one_form_or_is_refused() {
    for (text, expected) in [
        ("/", Ok("/")),
        ("/a//b/", Ok("/a//b/")),
        ("/%61%2Db", Ok("/a-b")),
        ("/a%2Fb", Ok("/a%2Fb")),
        ("/a%20b", Ok("/a%20b")),
        ("/%C3%A4", Ok("/%C3%A4")),
        ("/.well-known/x", Ok("/.well-known/x")),
        ("/...", Ok("/...")),
        ("", Err(Refusal::Target)),
        ("*", Err(Refusal::Target)),
        ("http://a/", Err(Refusal::Target)),
        ("/a/../b", Err(Refusal::PathDotSegment)),
        ("/a/%2e%2E/b", Err(Refusal::PathDotSegment)),
        ("/a/..;x/b", Err(Refusal::PathDotSegment)),
        ("/.", Err(Refusal::PathDotSegment)),
        ("/a%00", Err(Refusal::PathEncoding)),
        ("/a%5Cb", Err(Refusal::PathEncoding)),
        ("/a%0a", Err(Refusal::PathEncoding)),
        ("/a%2", Err(Refusal::PathEncoding)),
        ("/a%+1", Err(Refusal::PathEncoding)),
        ("/a\\b", Err(Refusal::PathCharacter)),
        ("/a b", Err(Refusal::PathCharacter)),
        ("/ä", Err(Refusal::PathCharacter)),
    ] {
        assert_eq!(path(text).as_deref(), expected.as_ref().map(|it| *it), "{text}");
    }
}

#[test]
fn what_has_no_bytes_of_http_1_is_held_to_the_same() {
    let check = |method: &str, target: &str, version: Version, fields: &[(&'static str, &'static str)]| {
        let uri = Uri::builder().scheme("http").authority("a.example").path_and_query(target).build();
        let mut request = http::Request::builder().method(method).uri(uri.expect("a target")).version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(&request.body(()).expect("a request").into_parts().0)
    };
    let with = |fields: &[_]| check("POST", "/", Version::HTTP_11, fields);
    for (fields, expected) in [
        (vec![("content-length", "3")], Ok(())),
        (vec![("transfer-encoding", "chunked")], Ok(())),
        (vec![("expect", "100-Continue")], Ok(())),
        (vec![("content-length", "3"), ("content-length", "3")], Err(Refusal::ContentLength)),
        (vec![("content-length", "3, 3")], Err(Refusal::ContentLength)),
        (vec![("content-length", "+3")], Err(Refusal::ContentLength)),
        (vec![("content-length", "")], Err(Refusal::ContentLength)),
        (vec![("content_length", "3")], Err(Refusal::ContentLength)),
        (vec![("content.length", "3")], Err(Refusal::ContentLength)),
        (vec![("transfer_encoding", "chunked")], Err(Refusal::TransferEncoding)),
        (vec![("transfer-encoding", "chunked"), ("content-length", "3")], Err(Refusal::TransferEncoding)),
        (vec![("transfer-encoding", "gzip, chunked")], Err(Refusal::TransferEncoding)),
        (vec![("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], Err(Refusal::TransferEncoding)),
        (vec![("transfer-encoding", "xchunked")], Err(Refusal::TransferEncoding)),
        (vec![("expect", "200-ok")], Err(Refusal::Expectation)),
        (vec![("x", "1"); head::FIELDS + 1], Err(Refusal::TooManyFields)),
    ] {
        assert_eq!(with(&fields), expected, "{fields:?}");
    }
    let chunked = [("transfer-encoding", "chunked")];
    for version in [Version::HTTP_10, Version::HTTP_2] {
        assert_eq!(check("POST", "/", version, &chunked), Err(Refusal::TransferEncoding));
    }
    let long = format!("/{}", "a".repeat(head::TARGET_BYTES));
    for (method, target, expected) in [
        ("get", "/", Refusal::RequestLine),
        ("TRACE", "/", Refusal::Method),
        ("CONNECT", "/", Refusal::Method),
        ("GET", &*long, Refusal::TargetTooLong),
        ("GET", "?x=1", Refusal::Target),
        ("OPTIONS", "*", Refusal::Target),
    ] {
        assert_eq!(check(method, target, Version::HTTP_2, &[]), Err(expected), "{method} {target}");
    }
}

#[test]
fn fields_that_only_the_router_may_assert_are_known_in_every_spelling() {
    for (name, trusted, asserted) in [
        ("x-forwarded-for", true, true),
        ("X_Forwarded-Host", true, true),
        ("x.real.ip", true, true),
        ("x-authentik-username", true, true),
        ("cf-connecting-ip", false, true),
        ("cf-connecting-ip", true, false),
        ("CF_Ray", false, true),
        ("user-agent", false, false),
        ("authorization", false, false),
        ("forwarded-by", false, false),
    ] {
        assert_eq!(is_asserted(name, trusted), asserted, "{name} {trusted}");
    }
}

#[test]
fn a_clients_address_is_believed_from_trusted_peers_alone() {
    let trust = Trust {
        sources: vec!["10.69.0.0/16".parse().expect("a network")],
        client_address: Some("cf-connecting-ip".into()),
        ..Trust::default()
    };
    let mut headers = HeaderMap::new();
    headers.insert("cf-connecting-ip", HeaderValue::from_static("203.0.113.7"));
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    let from = |peer: &str| client(&trust, peer.parse().expect("an address"), false, &headers);
    assert_eq!(from("10.69.1.2:9").address.to_string(), "203.0.113.7");
    assert!(from("10.69.1.2:9").is_https);
    assert_eq!(from("192.168.8.9:9").address.to_string(), "192.168.8.9");
    assert!(!from("192.168.8.9:9").is_https && !from("192.168.8.9:9").is_trusted);
}
