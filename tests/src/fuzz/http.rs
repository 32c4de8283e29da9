//! HTTP as `router` takes it apart, beside what other parsers make of it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::TokioIo;
use router::framing::{
    h1::Requests,
    h2::{Allowance, PREFACE},
    head::{Body, FIELDS, Head},
};
use tokio::{io::AsyncWriteExt, runtime::Runtime};

/// A request as a parser has read it.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    method: String,
    /// Path and query.
    target: String,
    body: Vec<u8>,
}

/// What would be misread by whoever takes another end for the request's.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n";

/// A connection's bytes: what is taken is read in the same way by httparse and by hyper, however it comes in pieces.
/// Returns how many requests there are before something is refused or incomplete.
///
/// # Panics
/// When it is not.
pub fn http1(bytes: &[u8]) -> usize {
    let (mut rest, mut n_requests) = (bytes, 0);
    while !rest.is_empty() {
        let mut requests = Requests::default();
        let whole = requests.advance(rest);
        assert_eq!(whole.is_err(), in_pieces(rest, 1 + n_requests).is_none(), "in pieces");
        let Ok(taken) = whole else { break };
        if !requests.is_at_end() {
            break;
        }
        let (request, after) = rest.split_at_checked(taken).expect("no more than there is");
        assert_eq!(in_pieces(rest, 1 + n_requests), Some(taken), "in pieces");
        check(request);
        rest = after;
        n_requests += 1;
    }
    n_requests
}

/// How much is taken of bytes that come so many at a time; none where they are refused.
fn in_pieces(bytes: &[u8], size: usize) -> Option<usize> {
    let (mut requests, mut taken) = (Requests::default(), 0);
    let pieces = (1..).map(|number| bytes.len().min(number * size));
    for end in pieces {
        taken += requests.advance(bytes.get(taken..end).unwrap_or_default()).ok()?;
        if end == bytes.len() {
            break;
        }
    }
    Some(taken)
}

fn check(request: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut other = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(end)) = other.parse(request) else { panic!("httparse does not take it") };
    let (head, body) = request.split_at_checked(end).expect("no more than there is");
    let head = Head::parse(head).expect("it was taken");
    assert_eq!((other.method, other.path), (Some(head.method), Some(head.target)));
    assert_eq!(other.version, Some(u8::from(!head.is_http_10)));
    let others: Vec<_> = other.headers.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(others, head.fields.iter().collect::<Vec<_>>());

    let body = match head.body {
        Body::None => Vec::new(),
        Body::Length(_) => body.to_vec(),
        Body::Chunked => chunks(body).expect("it was taken"),
    };
    let target = match head.target.split_once("://") {
        Some((_, rest)) if !head.target.starts_with('/') => {
            let rest = rest.get(rest.find(['/', '?']).unwrap_or(rest.len())..).unwrap_or_default();
            if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") }
        }
        _ => head.target.to_owned(),
    };
    let wanted = Read { method: head.method.to_owned(), target, body };
    let ends_connection = head.is_http_10
        || head.fields.iter().any(|(name, value)| {
            let options = String::from_utf8_lossy(value).to_ascii_lowercase();
            name.eq_ignore_ascii_case("connection") && options.split(',').any(|option| option.trim() == "close")
        });
    let mut read = by_hyper(&[request, NEXT].concat()).into_iter();
    assert_eq!(read.next(), Some(wanted), "hyper");
    let next = Read { method: "GET".to_owned(), target: "/next".to_owned(), body: Vec::new() };
    match read.next() {
        Some(second) => assert_eq!(second, next, "hyper's next one"),
        None => assert!(ends_connection, "hyper does not find the next one"),
    }
    assert_eq!(read.next(), None);
}

/// The content of a body that is known to be well formed.
fn chunks(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let end = body.windows(2).position(|end| end == b"\r\n")?;
        let line = std::str::from_utf8(body.get(..end)?.split(|byte| *byte == b';').next()?).ok()?;
        let size = usize::from_str_radix(line, 16).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.extend_from_slice(body.get(end + 2..end + 2 + size)?);
        body = body.get(end + 2 + size + 2..)?;
    }
}

fn by_hyper(bytes: &[u8]) -> Vec<Read> {
    thread_local! {
        static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    let found = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let found = Arc::clone(&found);
        async move {
            let (head, body) = request.into_parts();
            let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            // What breaks off is no request.
            if let Ok(body) = body.collect().await {
                let read = Read { method: head.method.to_string(), target, body: body.to_bytes().to_vec() };
                found.lock().unwrap_or_else(PoisonError::into_inner).push(read);
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            // Everything fits, so that nobody waits for the other.
            let (mut client, server) = tokio::io::duplex(1 << 20);
            client.write_all(bytes).await.expect("there is place");
            client.shutdown().await.expect("open");
            let connection = Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
            // It may refuse what it is sent; what it has found until then is compared.
            let _ = connection.await;
        });
    });
    std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A client's bytes of HTTP/2: what is counted does not depend on how they come in pieces, and there is an end to what
/// costs and asks for nothing.
///
/// # Panics
/// When it does, or there is none.
pub fn http2(bytes: &[u8]) {
    let client = [PREFACE, bytes].concat();
    let counted = |size: usize| {
        let mut allowance = Allowance::default();
        client.chunks(size).all(|piece| allowance.received(piece, Duration::ZERO).is_ok())
    };
    let is_taken = counted(client.len());
    for size in [1, 7, 9, 1000] {
        assert_eq!(counted(size), is_taken, "in pieces of {size}");
    }
    let (n_free, n_costly) = count(bytes);
    assert!(n_costly <= 400 + 16 * n_free || !is_taken, "{n_costly} frames for nothing");
    assert!(n_costly > 16 || is_taken, "{n_costly} are too many");

    // As what is sent to a client, too, and between what it sends.
    let mut allowance = Allowance::default();
    for (number, piece) in bytes.chunks(11).enumerate() {
        let age = Duration::from_millis(10 * number as u64);
        if allowance.sent(piece, age).and_then(|()| allowance.received(piece, age)).is_err() {
            break;
        }
    }
}

/// Frames that may begin or carry a request, and all others.
fn count(mut bytes: &[u8]) -> (usize, usize) {
    let (mut n_free, mut n_costly) = (0, 0);
    while let Some(([a, b, c, kind, flags, ..], rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        match kind {
            1 => n_free += 1,
            0 if length > 0 || flags & 1 != 0 => n_free += 1,
            _ => n_costly += 1,
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    (n_free, n_costly)
}
