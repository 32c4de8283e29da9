//! Answers as backends give them, and as they should not.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Option<Head>, Malformed> {
    head(&Bytes::copy_from_slice(text.as_bytes()))
}

fn parsed(text: &str) -> Head {
    parse(text).expect("a head").expect("a whole one")
}

/// How the answer to a GET ends, with the length that is left in its head.
fn framed(fields: &str) -> Result<(Body, Option<String>), Malformed> {
    let Head { mut parts, .. } = parsed(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
    let body = Body::new(&Method::GET, parts.status, &mut parts.headers)?;
    let said =
        parts.headers.get_all(header::CONTENT_LENGTH).iter().map(|value| value.to_str().expect("text").to_owned());
    Ok((body, said.reduce(|one, other| format!("{one}|{other}"))))
}

/// A body that comes in pieces of `size` bytes, and what comes behind it.
fn read(mut body: Body, bytes: &[u8], size: usize) -> Result<(Vec<u8>, Body, Vec<u8>), Malformed> {
    let (mut whole, mut rest) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(size) {
        rest.extend_from_slice(piece);
        let mut received = Bytes::from(std::mem::take(&mut rest));
        while let Some(piece) = body.all(&mut received)? {
            assert!(!piece.is_empty(), "nothing is no piece");
            whole.extend_from_slice(&piece);
        }
        rest = received.to_vec();
    }
    Ok((whole, body, rest))
}

#[test]
fn a_head_is_taken_only_as_a_whole() {
    let text = "HTTP/1.1 404 Not Here\r\nServer: x\r\nX-A : 1\r\nx-a:\r\n\r\nbody";
    for end in 0..text.len() - 4 {
        assert!(parse(&text[..end]).expect("a beginning").is_none(), "{end}");
    }
    let Head { length, parts, reason } = parsed(text);
    assert_eq!((length, parts.status, reason.as_deref()), (text.len() - 4, StatusCode::NOT_FOUND, Some("Not Here")));
    let values: Vec<&HeaderValue> = parts.headers.get_all("x-a").iter().collect();
    assert_eq!(values, ["1", ""]);
    assert_eq!(parsed("HTTP/1.0 200\r\n\r\n").parts.version, Version::HTTP_10);
    assert_eq!(parsed("HTTP/1.1 200 OK\r\n\r\n").reason, None);
    assert_eq!(parsed("HTTP/1.1 200 OK\r\na: b\r\n  c\r\n\r\n").parts.headers["a"], "b    c");
}

#[test]
fn a_field_that_goes_on_in_another_line_is_one_line() {
    let headers = parsed("HTTP/1.1 200 OK\r\nX-A: 1\r\n  2\n\t3\r\nX-B: 4\r\n\r\n").parts.headers;
    assert_eq!([&headers["x-a"], &headers["x-b"]], ["1    2 \t3", "4"]);
    assert!(matches!(parse("HTTP/1.1 200 OK\r\nX-A: 1\r2\r\n\r\n"), Err(Malformed::Head)));
}

#[test]
fn what_is_no_answer_is_refused() {
    for text in [
        "HTTP/2.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "\x16\x03\x01 TLS",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: \x01\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
    ] {
        assert!(matches!(parse(text), Err(Malformed::Head)), "{text:?}");
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
    assert!(matches!(parse(&many), Err(Malformed::Head)));
}

#[test]
fn where_a_body_ends_is_beyond_doubt() {
    let said = |text: &str| Some(text.to_owned());
    for (fields, expected) in [
        ("Content-Length: 5\r\n", Ok((Body(At::Length { left: 5 }), said("5")))),
        ("Content-Length: 0\r\n", Ok((Body(At::Done), said("0")))),
        ("Content-Length: 5, 5\r\n", Ok((Body(At::Length { left: 5 }), said("5")))),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Ok((Body(At::Length { left: 5 }), said("5")))),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(Malformed::ContentLength)),
        ("Content-Length: 5, 6\r\n", Err(Malformed::ContentLength)),
        ("Content-Length: +5\r\n", Err(Malformed::ContentLength)),
        ("Content-Length:\r\n", Err(Malformed::ContentLength)),
        ("Content-Length: 99999999999999999999\r\n", Err(Malformed::ContentLength)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Ok((Body(At::Size), None))),
        ("", Ok((Body(At::UntilClose), None))),
    ] {
        assert_eq!(framed(fields), expected, "{fields:?}");
    }
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304), (Method::GET, 103)] {
        let mut headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from_static("7"))]);
        let status = StatusCode::from_u16(status).expect("a status");
        let body = Body::new(&method, status, &mut headers).expect("a length");
        assert!(body.is_done(), "{method} {status}");
        assert_eq!(headers[header::CONTENT_LENGTH], "7", "a HEAD says what a GET would");
    }
}

#[test]
fn chunks_are_joined_and_what_follows_is_left() {
    let bytes = b"4;x=y\r\nWiki\r\n5  \r\npedia\r\n0\r\nA: b\r\n\r\nHTTP";
    for size in 1..=bytes.len() {
        let (whole, body, rest) = read(Body(At::Size), bytes, size).expect("chunks");
        assert_eq!((&whole[..], body.is_done(), &rest[..]), (&b"Wikipedia"[..], true, &b"HTTP"[..]), "{size}");
    }
}

#[test]
fn the_last_piece_is_known_to_be_the_last_where_its_end_came_with_it() {
    for bytes in [&b"4\r\nWiki\r\n0\r\n\r\n"[..], b"1\r\nW\r\n2\r\nik\r\n1\r\ni\r\n0\r\n\r\n"] {
        let (mut received, mut body) = (Bytes::from_static(bytes), Body(At::Size));
        assert_eq!(body.all(&mut received), Ok(Some(Bytes::from_static(b"Wiki"))));
        assert!(body.is_done() && received.is_empty());
    }
}

#[test]
fn what_comes_before_something_that_is_no_chunk_is_heard() {
    for bytes in [&b"1\r\nW\r\n3\r\niki\r\nx\r\n"[..], b"4\r\nWikipedia\r\n"] {
        let (mut received, mut body) = (Bytes::from_static(bytes), Body(At::Size));
        assert_eq!(body.all(&mut received), Ok(Some(Bytes::from_static(b"Wiki"))));
        assert_eq!(body.all(&mut received), Err(Malformed::Chunk));
    }
}

#[test]
fn what_is_no_chunk_is_refused() {
    let long = [&b"1;"[..], &[b'x'; LINE]].concat();
    let malformed =
        [&b"4\r\nWikipedia\r\n"[..], b"x\r\n", b"-1\r\n", b"11111111111111111\r\n", b"\r\n\r\n", b";x\r\n\r\n", &long];
    for bytes in malformed {
        assert_eq!(read(Body(At::Size), bytes, 7), Err(Malformed::Chunk), "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(read(Body(At::Trailers), &[b'a'; LINE + 2], 100), Err(Malformed::Chunk));
}

#[test]
fn a_connection_is_kept_unless_either_side_says_otherwise() {
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n", false),
        ("HTTP/1.0 200 OK\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", true),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nTransfer-Encoding: chunked\r\n", false),
    ] {
        let parts = parsed(&format!("{head}\r\n")).parts;
        assert_eq!(is_kept(parts.version, &parts.headers), expected, "{head}");
    }
}

proptest! {
    /// Whatever a backend sends, and in whatever pieces.
    #[test]
    fn nothing_received_makes_it_panic_or_last_for_ever(bytes: Vec<u8>, size in 1..50_usize) {
        let _ = head(&Bytes::from(bytes.clone()));
        for at in [At::Size, At::DataEnd, At::Trailers, At::Length { left: 20 }, At::Data { left: 9 }, At::UntilClose] {
            let _ = read(Body(at), &bytes, size);
        }
    }

    #[test]
    fn any_body_is_the_same_in_any_chunks(body: Vec<u8>, chunk in 1..40_usize, size in 1..40_usize) {
        let mut bytes: Vec<u8> = Vec::new();
        for piece in body.chunks(chunk) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let (whole, end, rest) = read(Body(At::Size), &bytes, size).expect("chunks");
        prop_assert_eq!((whole, end.is_done(), rest.is_empty()), (body, true, true));
    }
}
