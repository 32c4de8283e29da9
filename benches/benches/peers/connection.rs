//! A client's connection, which checks every answer. No library's client is cheap enough to keep the fastest proxy busy
//! from one core that it shares with the backend.

use std::io::{Error, ErrorKind};

use benches::routes::PREFIXES;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    backend::{self, BODY_LENGTH, head_end},
    requests::{Request, http2_fields},
};

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// TCP, or TLS on it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    /// None is HTTP/1.1.
    http2: Option<Http2>,
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// The numbers of streams, which grow by two.
struct Http2 {
    next: u32,
}

/// More than one connection of a bench is sent, so that windows never end (RFC 9113 section 6.9).
const WINDOW: u32 = 0x7fff_ffff;
const DEFAULT_WINDOW: u32 = 65_535;
const FRAME_HEAD: usize = 9;

mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;

    /// Of SETTINGS and PING.
    pub(super) const ACK: u8 = 1;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
    pub(super) const PADDED: u8 = 8;
}

/// Where an answer is as far as it has come.
#[derive(Clone, Copy, Default)]
struct Answer {
    has_head: bool,
    length: usize,
    has_ended: bool,
}

impl Connection {
    pub(crate) fn http1(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), http2: None, sent: Vec::new(), received: Vec::with_capacity(16_384) }
    }

    pub(crate) fn http2(stream: impl Stream + 'static) -> Self {
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // No push, and the window of each stream.
        let settings = [&[0, 2, 0, 0, 0, 0, 0, 4][..], &WINDOW.to_be_bytes()].concat();
        push_frame(&mut sent, frame::SETTINGS, 0, 0, &settings);
        push_frame(&mut sent, frame::WINDOW_UPDATE, 0, 0, &(WINDOW - DEFAULT_WINDOW).to_be_bytes());
        Self { stream: Box::new(stream), http2: Some(Http2 { next: 1 }), sent, received: Vec::with_capacity(32_768) }
    }

    /// Asks all of them, over HTTP/2 at once, and waits for the answers.
    ///
    /// # Errors
    /// When one is not right, or none comes.
    pub(crate) async fn ask(&mut self, requests: &[&Request]) -> Result<()> {
        if self.http2.is_some() {
            return self.ask_http2(requests).await;
        }
        for request in requests {
            self.stream.write_all(&request.http1).await?;
            self.stream.flush().await?;
            self.read_http1(request.route).await?;
        }
        Ok(())
    }

    /// Says that nothing will follow.
    ///
    /// # Errors
    /// When the other side has gone.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.stream.shutdown().await
    }

    async fn read_http1(&mut self, route: usize) -> Result<()> {
        let start = loop {
            self.receive().await?;
            if let Some(end) = head_end(&self.received) {
                break end;
            }
        };
        let (head, _) = self.received.split_at(start);
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let is_right =
            head.starts_with("http/1.1 200 ") && head.contains(&format!("\r\ncontent-length: {BODY_LENGTH}\r\n"));
        ensure(is_right, || format!("the answer begins with {head}"))?;
        while self.received.len() < start + BODY_LENGTH {
            self.receive().await?;
        }
        ensure(self.received.len() == start + BODY_LENGTH, || "more than one answer".to_owned())?;
        check_body(&self.received[start..], route)?;
        self.received.clear();
        Ok(())
    }

    async fn ask_http2(&mut self, requests: &[&Request]) -> Result<()> {
        let Some(Http2 { next }) = &mut self.http2 else { return Ok(()) };
        let first = *next;
        for request in requests {
            let block = [&request.http2[..], &http2_fields(*next == 1)].concat();
            push_frame(&mut self.sent, frame::HEADERS, frame::END_STREAM | frame::END_HEADERS, *next, &block);
            *next += 2;
        }
        let mut answers = vec![Answer::default(); requests.len()];
        while answers.iter().any(|answer| !answer.has_ended) {
            self.stream.write_all(&self.sent).await?;
            self.stream.flush().await?;
            self.sent.clear();
            self.receive().await?;
            let mut start = 0;
            while let Some((kind, flags, stream, payload)) = frame_at(&self.received[start..]) {
                start += FRAME_HEAD + payload.len();
                match kind {
                    frame::SETTINGS | frame::PING if flags & frame::ACK == 0 => {
                        let echo = if kind == frame::PING { payload } else { &[] };
                        push_frame(&mut self.sent, kind, frame::ACK, 0, echo);
                    }
                    frame::SETTINGS | frame::PING | frame::WINDOW_UPDATE => {}
                    frame::DATA | frame::HEADERS if flags & frame::PADDED == 0 && stream >= first => {
                        let number = (stream - first) as usize / 2;
                        let (Some(answer), Some(request)) = (answers.get_mut(number), requests.get(number)) else {
                            return Err(wrong(format!("stream {stream} was not asked for")));
                        };
                        take(answer, kind, flags, payload, request.route)?;
                    }
                    _ => return Err(wrong(format!("a frame of type {kind}, flags {flags}: {payload:?}"))),
                }
            }
            self.received.drain(..start);
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(wrong("the connection was closed".to_owned())),
            _ => Ok(()),
        }
    }
}

/// What a frame says of the answer that it belongs to.
fn take(answer: &mut Answer, kind: u8, flags: u8, payload: &[u8], route: usize) -> Result<()> {
    if kind == frame::HEADERS {
        ensure(!answer.has_head && flags & frame::END_HEADERS != 0, || "another head".to_owned())?;
        ensure(is_ok(payload), || format!("the head is {payload:02x?}"))?;
        answer.has_head = true;
    } else {
        ensure(answer.has_head, || "a body without a head".to_owned())?;
        check_body(payload, route)?;
        answer.length += payload.len();
    }
    if flags & frame::END_STREAM != 0 {
        ensure(answer.length == BODY_LENGTH, || format!("a body of {} bytes", answer.length))?;
        answer.has_ended = true;
    }
    Ok(())
}

/// Whether a header block begins with status 200, which the static table has. A new size of the dynamic table may
/// stand before it (RFC 7541 section 6.3).
fn is_ok(block: &[u8]) -> bool {
    let rest = match block {
        [0x3f, rest @ ..] => {
            let size = rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
            rest.get(size..).unwrap_or_default()
        }
        [0x20..0x3f, rest @ ..] => rest,
        whole => whole,
    };
    rest.first() == Some(&0x88)
}

fn check_body(body: &[u8], route: usize) -> Result<()> {
    let mark = backend::mark(route);
    ensure(body.first().is_none_or(|byte| *byte == mark), || format!("not the backend of {}", PREFIXES[route]))
}

/// Type, flags, stream and payload of the first frame, once it has come whole (RFC 9113 section 4.1).
fn frame_at(bytes: &[u8]) -> Option<(u8, u8, u32, &[u8])> {
    let [l0, l1, l2, kind, flags, s0, s1, s2, s3, rest @ ..] = bytes else { return None };
    let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
    Some((*kind, *flags, u32::from_be_bytes([*s0 & 0x7f, *s1, *s2, *s3]), rest.get(..length)?))
}

fn push_frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    bytes.extend(length);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

fn ensure(is_right: bool, what: impl FnOnce() -> String) -> Result<()> {
    if is_right { Ok(()) } else { Err(wrong(what())) }
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
