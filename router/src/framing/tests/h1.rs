//! What is refused and what is taken of HTTP/1, as bytes; and that two other parsers agree with us on what is taken.

use proptest::prelude::*;

use crate::framing::{
    Refusal,
    h1::Requests,
    head::{Body, FIELDS, HEAD_BYTES, Head, TARGET_BYTES},
};

/// How many requests a connection carries and where each ends, given all at once.
fn requests(mut bytes: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut requests = Requests::default();
        let taken = requests.advance(bytes)?;
        if !requests.is_at_end() {
            break;
        }
        let (request, rest) = bytes.split_at(taken);
        found.push(request);
        bytes = rest;
    }
    Ok(found)
}

fn refusal(bytes: &[u8]) -> Option<Refusal> {
    Requests::default().advance(bytes).err()
}

/// `line` behind a request line and a Host.
fn with_line(line: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a.example\r\n{line}\r\n\r\n").into_bytes()
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    for (lines, why) in [
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", Refusal::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1", Refusal::TransferEncoding),
        ("Content-Length: 1\r\nContent-Length: 1", Refusal::ContentLength),
        ("Content-Length: 1\r\nContent-Length: 2", Refusal::ContentLength),
        ("Content-Length: 1, 1", Refusal::ContentLength),
        ("Content-Length:", Refusal::ContentLength),
        ("Content-Length: +1", Refusal::ContentLength),
        ("Content-Length: 0x1", Refusal::ContentLength),
        ("Content-Length: 1 1", Refusal::ContentLength),
        ("Content-Length: -1", Refusal::ContentLength),
        ("Content-Length: 99999999999999999999", Refusal::ContentLength),
        ("Content_Length: 1", Refusal::ContentLength),
        ("Content.Length: 1", Refusal::ContentLength),
        ("Content*Length: 1", Refusal::ContentLength),
        ("Content-Length : 1", Refusal::FieldLine),
        ("Transfer-Encoding: gzip, chunked", Refusal::TransferEncoding),
        ("Transfer-Encoding: chunked, chunked", Refusal::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Refusal::TransferEncoding),
        ("Transfer-Encoding: identity", Refusal::TransferEncoding),
        ("Transfer-Encoding: xchunked", Refusal::TransferEncoding),
        ("Transfer-Encoding: \"chunked\"", Refusal::TransferEncoding),
        ("Transfer-Encoding: chunked;x=1", Refusal::TransferEncoding),
        ("Transfer-Encoding: \x0bchunked", Refusal::FieldLine),
        ("Transfer-Encoding : chunked", Refusal::FieldLine),
        ("Transfer-Encoding\t: chunked", Refusal::FieldLine),
        ("Transfer-Encoding:\r\n chunked", Refusal::TransferEncoding),
        ("Transfer_Encoding: chunked", Refusal::TransferEncoding),
        ("Transfer.Encoding: chunked", Refusal::TransferEncoding),
        (" Transfer-Encoding: chunked", Refusal::FieldLine),
        ("X: 1\r\n\tfolded", Refusal::FieldLine),
        ("X: 1\rY: 2", Refusal::FieldLine),
        ("X: 1\nY: 2", Refusal::BareLineFeed),
        ("X: 1\0", Refusal::FieldLine),
        ("X: \x7f", Refusal::FieldLine),
        ("X: \x01", Refusal::FieldLine),
        ("X", Refusal::FieldLine),
        (": 1", Refusal::FieldLine),
        ("X Y: 1", Refusal::FieldLine),
        ("X(Y): 1", Refusal::FieldLine),
        ("X\u{e4}: 1", Refusal::FieldLine),
        ("Host: a.example", Refusal::Host),
        ("host: b.example", Refusal::Host),
        ("Connection: close, Content-Length", Refusal::Connection),
        ("Connection: transfer-encoding", Refusal::Connection),
        ("Connection: host", Refusal::Connection),
        ("Expect: 200-ok", Refusal::Expectation),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1", Refusal::Upgrade),
    ] {
        assert_eq!(refusal(&with_line(lines)), Some(why), "{lines:?}");
    }
}

#[test]
fn request_lines_and_hosts_are_read_by_the_letter() {
    for (head, why) in [
        ("GET / HTTP/1.1\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\r\nHost: a.example,b.example\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\r\nHost: a example\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\nHost: a.example\n\n", Refusal::BareLineFeed),
        ("\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::BareLineFeed),
        (" GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::RequestLine),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::RequestLine),
        ("GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::RequestLine),
        ("GET / x HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::RequestLine),
        ("GET\t/\tHTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a.example\r\n\r\n", Refusal::RequestLine),
        ("GET /\r\n\r\n", Refusal::RequestLine),
        ("get / HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::RequestLine),
        ("G:T / HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::RequestLine),
        ("GET / http/1.1\r\nHost: a.example\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.2\r\nHost: a.example\r\n\r\n", Refusal::Version),
        ("GET / HTTP/2.0\r\nHost: a.example\r\n\r\n", Refusal::Version),
        ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::Method),
        ("TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::Method),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::Target),
        ("GET a HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::Target),
        ("GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::Target),
        ("GET ftp://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::Target),
        ("GET /#x HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::PathCharacter),
        ("GET /\\x HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::PathCharacter),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::PathCharacter),
        ("GET /<x> HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::PathCharacter),
        ("GET /`x` HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::PathCharacter),
        ("GET /?a=\"b\" HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::PathCharacter),
        ("GET /\0 HTTP/1.1\r\nHost: a.example\r\n\r\n", Refusal::PathCharacter),
        ("POST / HTTP/1.0\r\nHost: a.example\r\n\r\n", Refusal::LengthRequired),
        ("POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::TransferEncoding),
    ] {
        assert_eq!(refusal(head.as_bytes()), Some(why), "{head:?}");
    }
}

#[test]
fn what_is_large_is_refused_before_it_is_complete() {
    let target = format!("GET /{}", "a".repeat(TARGET_BYTES + 100));
    let head = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(HEAD_BYTES));
    let fields = with_line(&vec!["X: 1"; FIELDS].join("\r\n"));
    assert_eq!(refusal(target.as_bytes()), Some(Refusal::TargetTooLong));
    assert_eq!(refusal(head.as_bytes()), Some(Refusal::HeadTooLarge));
    assert_eq!(refusal(&fields), Some(Refusal::TooManyFields));
    let fits = format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "a".repeat(TARGET_BYTES - 1));
    assert_eq!(refusal(fits.as_bytes()), None);
}

#[test]
fn chunks_are_read_by_the_letter() {
    let chunked = |body: &str| [&*with_line("Transfer-Encoding: chunked"), body.as_bytes()].concat();
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "005\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: 1\r\nY:\r\n\r\n",
        "5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n",
    ] {
        let bytes = [chunked(body), b"GET".to_vec()].concat();
        assert_eq!(requests(&bytes).expect("taken"), [&bytes[..bytes.len() - 3]], "{body:?}");
    }
    for body in [
        "\r\n",
        "x\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5\nhello\r\n",
        "5;a\nb\r\nhello\r\n",
        "5;\"\n\"\r\nhello\r\n",
        "5;\0\r\nhello\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nx",
        "0\r\nX\r\n\r\n",
        "0\r\n X: 1\r\n\r\n",
        "0\r\nX: 1\n\r\n",
        "0\r\n\n",
    ] {
        assert_eq!(refusal(&chunked(body)), Some(Refusal::Chunk), "{body:?}");
    }
}

#[test]
fn what_is_well_formed_is_taken() {
    for (request, method, target, body, is_upgrade) in [
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET", "/", Body::None, false),
        ("\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET", "/", Body::None, false),
        (
            "GET /a?b=c%20d HTTP/1.0\r\nHost: a.example:80\r\nX:\t a\u{e4} \t\r\n\r\n",
            "GET",
            "/a?b=c%20d",
            Body::None,
            false,
        ),
        ("GET /\"{^|}'?`{^|}'? HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/\"{^|}'?`{^|}'?", Body::None, false),
        ("GET http://A.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET", "http://A.example/x", Body::None, false),
        ("M-SEARCH / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "M-SEARCH", "/", Body::None, false),
        ("PUT / HTTP/1.1\r\nhost:a.example\r\ncontent-length:3\r\n\r\n", "PUT", "/", Body::Length(3), false),
        ("PUT / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\n\r\n", "PUT", "/", Body::Chunked, false),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET",
            "/",
            Body::None,
            true,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", "GET", "/", Body::None, true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "GET", "/", Body::None, false),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "GET", "/", Body::None, false),
    ] {
        let head = Head::parse(request.as_bytes()).expect(request);
        let found = (head.method, head.target, head.body, head.is_upgrade);
        assert_eq!(found, (method, target, body, is_upgrade), "{request:?}");
    }
}

#[test]
fn the_next_request_begins_where_this_one_ends() {
    let one = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
    let two = b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let three = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let all = [&one[..], two, three].concat();
    assert_eq!(requests(&all).expect("taken"), [&one[..], two, three]);
}

/// Requests, and pieces that break them.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "PUT http://a.example/ HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "Host: a.example\r\n",
        "Host: b\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "content-length:10\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Content.Length: 5\r\n",
        "Connection: close\r\n",
        "Connection: upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Expect: 100-continue\r\n",
        "X: y\r\n",
        " folded\r\n",
        "X : y\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "\0",
        ":",
        ";",
        "hello",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "5;x=\"\n\"\r\n",
        "A\r\n",
        "X: 1\r\n\r\n",
        "\u{e4}",
        "%00",
        "#",
    ];
    let usual = ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n"];
    let piece = prop_oneof![
        6 => prop::sample::select(pieces.map(str::as_bytes).map(<[u8]>::to_vec).to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    (prop::sample::select(usual.to_vec()), prop::collection::vec(piece, 0..10))
        .prop_map(|(line, pieces)| [line.as_bytes(), b"Host: a.example\r\n", &pieces.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_does_not_matter_how_bytes_are_cut(bytes in bytes(), cut in 1..40_usize) {
        let mut whole = Requests::default();
        let expected = whole.advance(&bytes);
        let (mut cut_up, mut taken, mut given) = (Requests::default(), 0, 0);
        let mut found = Ok(0);
        while given < bytes.len() && found.is_ok() {
            given = bytes.len().min(given + cut);
            found = cut_up.advance(&bytes[taken..given]).map(|more| { taken += more; taken });
        }
        match (expected, found) {
            (Ok(expected), Ok(_)) => prop_assert_eq!((expected, &whole), (taken, &cut_up)),
            (Err(_), Err(_)) => {}
            (expected, found) => prop_assert!(false, "{expected:?} {found:?}"),
        }
    }

    /// httparse, which pingora reads with, must find the same head; hyper's server the same requests and bodies
    /// (tests/src/fuzz.rs).
    #[test]
    fn httparse_reads_what_is_taken_in_the_same_way(bytes in bytes()) {
        if let Ok(requests) = requests(&bytes) {
            for request in requests {
                let mut fields = [httparse::EMPTY_HEADER; FIELDS];
                let mut other = httparse::Request::new(&mut fields);
                let end = match other.parse(request) {
                    Ok(httparse::Status::Complete(end)) => end,
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                };
                let head = Head::parse(&request[..end]).expect("taken before");
                prop_assert_eq!(other.method, Some(head.method));
                prop_assert_eq!(other.path, Some(head.target));
                prop_assert_eq!(other.version, Some(u8::from(!head.is_http_10)));
                let others: Vec<_> = other.headers.iter().map(|field| (field.name, field.value)).collect();
                prop_assert_eq!(others, head.fields.iter().collect::<Vec<_>>());
                let length = request.len() - end;
                match head.body {
                    Body::None => prop_assert_eq!(length, 0),
                    Body::Length(said) => prop_assert_eq!(length as u64, said),
                    Body::Chunked => prop_assert!(length > 0),
                }
            }
        }
    }
}
