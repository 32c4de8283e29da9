//! What is said to who authorizes by calls, and what is made of the answer.

use super::{
    message::{HeaderValue as Said, HttpStatus, QueryParameter, Status},
    *,
};

fn said(key: &str, value: &str, append: Option<bool>) -> HeaderValueOption {
    let header = Said { key: key.to_owned(), value: value.to_owned(), raw_value: Bytes::new() };
    HeaderValueOption { header: Some(header), append }
}

/// An answer with this message.
fn answer(code: i32, http_response: Option<HttpResponse>) -> Response<Bytes> {
    let message = CheckResponse { status: Some(Status { code }), http_response }.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short");
    Response::new([&[0][..], &length.to_be_bytes(), &message].concat().into())
}

fn trailers(status: &'static str) -> HeaderMap {
    [(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))].into_iter().collect()
}

fn of(answer: &Response<Bytes>) -> Option<Verdict> {
    verdict(answer, Some(&trailers("0")))
}

fn ok(ok: OkHttpResponse) -> Option<Verdict> {
    of(&answer(0, Some(HttpResponse::Ok(ok))))
}

#[test]
fn the_call_tells_of_the_request() {
    let headers: HeaderMap = [
        (header::COOKIE, HeaderValue::from_static("a=1")),
        (header::ACCEPT, HeaderValue::from_static("a/b")),
        (header::ACCEPT, HeaderValue::from_static("c/d")),
        (header::CONTENT_LENGTH, HeaderValue::from_static("3")),
    ]
    .into_iter()
    .collect();
    let told = |listed: &[&str], body: &'static [u8]| {
        let asked = Asked {
            id: "7",
            client: IpAddr::from([192, 0, 2, 1]),
            is_https: true,
            method: "PUT",
            target: "/a%2fb?q=1",
            host: "app.example",
            version: Version::HTTP_2,
            headers: &headers,
            body: Bytes::from_static(body),
        };
        let listed: Vec<Arc<str>> = listed.iter().map(|name| (*name).into()).collect();
        let call = call("auth.default.svc", &listed, asked);
        assert_eq!(call.headers()["host"], "auth.default.svc");
        let message = CheckRequest::decode(&call.body()[PREFIX..]).expect("a message");
        message.attributes.expect("attributes")
    };
    let all = told(&[], b"abc");
    let source = all.source.expect("a source").address.expect("one").socket_address.expect("one");
    assert_eq!(source.address, "192.0.2.1");
    let http = all.request.expect("a request").http.expect("of HTTP");
    let said = [&*http.id, &http.method, &http.path, &http.host, &http.scheme, &http.protocol, &http.body];
    assert_eq!((said, http.size), (["7", "PUT", "/a%2fb?q=1", "app.example", "https", "HTTP/2", "abc"], 3));
    assert_eq!((http.headers.len(), &*http.headers["accept"]), (3, "a/b, c/d"));

    let http = told(&["cookie"], b"\xff").request.expect("a request").http.expect("of HTTP");
    assert_eq!(http.headers, HashMap::from([("cookie".to_owned(), "a=1".to_owned())]));
    assert_eq!((&*http.body, &*http.raw_body), ("", &b"\xff"[..]));
}

#[test]
fn only_ok_of_a_whole_call_is_consent() {
    let whole = answer(0, None);
    assert!(matches!(of(&whole), Some(Verdict::Admitted(edits)) if edits == Edits::default()));
    let mut by_headers = whole.clone();
    by_headers.headers_mut().extend(trailers("0"));
    assert!(matches!(verdict(&by_headers, None), Some(Verdict::Admitted(_))));
    assert!(verdict(&by_headers, Some(&trailers("13"))).is_none() && verdict(&whole, None).is_none());
    for broken in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x01", b"\x01\0\0\0\0", b"\0\0\0\0\x02\xff\xff"] {
        assert!(of(&Response::new(broken.into())).is_none(), "{broken:?}");
    }
    let denied = || HttpResponse::Denied(DeniedHttpResponse::default());
    assert!(of(&answer(0, Some(denied()))).is_none(), "it says both");
    for refused in [answer(7, None), answer(16, Some(denied())), answer(16, Some(HttpResponse::Ok(<_>::default())))] {
        assert!(matches!(of(&refused), Some(Verdict::Refused(answer)) if answer.status() == 403));
    }
}

#[test]
fn who_consents_changes_headers_and_never_the_host_or_the_message() {
    let response = OkHttpResponse {
        headers: vec![
            said("X-User", "jo", None),
            said("x-group", "b", Some(true)),
            said("host", "evil.example", None),
            said(":authority", "evil.example", None),
            said("content-length", "7", None),
        ],
        headers_to_remove: ["Authorization", "host", ":path", "content-type"].map(str::to_owned).into(),
        response_headers_to_add: vec![said("set-cookie", "a=1", Some(true)), said("connection", "close", None)],
        ..OkHttpResponse::default()
    };
    let Some(Verdict::Admitted(edits)) = ok(response) else { panic!("consent") };
    let one = |name: &'static str, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let mut headers: HeaderMap = [
        one("x-user", "admin"),
        one("x-group", "a"),
        one("host", "app.example"),
        one("authorization", "Basic x"),
        one("content-type", "a/b"),
    ]
    .into_iter()
    .collect();
    admit(&edits, &mut headers);
    assert_eq!(edits.answer, [(header::SET_COOKIE, HeaderValue::from_static("a=1"), true)]);
    let expected = [
        one("x-user", "jo"),
        one("x-group", "a"),
        one("x-group", "b"),
        one("host", "app.example"),
        one("content-type", "a/b"),
    ];
    assert_eq!(headers, expected.into_iter().collect::<HeaderMap>());
}

#[test]
fn what_cannot_be_done_is_no_consent() {
    let with = |header| OkHttpResponse { headers: vec![header], ..OkHttpResponse::default() };
    let parameter = QueryParameter { key: "a".to_owned(), value: "1".to_owned() };
    for response in [
        with(said("x-user", "jo\n", None)),
        with(said(":path", "/other", None)),
        with(HeaderValueOption::default()),
        OkHttpResponse { query_parameters_to_set: vec![parameter], ..OkHttpResponse::default() },
    ] {
        assert!(ok(response.clone()).is_none(), "{response:?}");
    }
}

#[test]
fn who_is_refused_gets_what_was_said() {
    let denied = |code| DeniedHttpResponse {
        status: Some(HttpStatus { code }),
        headers: vec![
            said("Location", "https://login.example/", None),
            said("set-cookie", "a=1", Some(true)),
            said("set-cookie", "b=2", Some(true)),
            said("content-length", "999", None),
            said("transfer-encoding", "chunked", None),
        ],
        body: "log in".to_owned(),
    };
    for (code, expected) in [(302, 302), (401, 401), (100, 403), (0, 403), (-1, 403)] {
        let verdict = of(&answer(16, Some(HttpResponse::Denied(denied(code)))));
        let Some(Verdict::Refused(answer)) = verdict else { panic!("refused") };
        assert_eq!((answer.status().as_u16(), &**answer.body(), answer.headers().len()), (expected, &b"log in"[..], 3));
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
    }
}
