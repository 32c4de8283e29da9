//! One JSON line per request, and per connection that is not HTTP, on standard output, written by a thread of its own.

use std::{
    io::{self, Write},
    iter,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use metrics::{Counter, counter};
use serde::{Serialize, Serializer};

use crate::metrics::LOG_LINES_LOST;

/// Lines that may wait for a slow reader. More are dropped and counted: requests do not wait for logs.
const WAITING: usize = 4096;
/// How long the last lines may take at the end of the program.
const FLUSH: Duration = Duration::from_secs(1);

/// What is said of a request, in less than 2 KiB whatever the client has sent. Field names follow what homelab dashboards already read.
#[derive(Debug, Default, Serialize)]
pub struct Line<'a> {
    /// RFC 3339, UTC, when the request began.
    pub time: &'a str,
    pub request_id: &'a str,
    pub entry_point: &'a str,
    pub remote_addr: String,
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "at_most::<24, _>")]
    pub method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub vhost: &'a str,
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "at_most::<448, _>")]
    pub path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "at_most::<256, _>")]
    pub request_query: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub request_proto: &'a str,
    pub status: u16,
    pub bytes_sent: usize,
    pub request_length: usize,
    /// Seconds.
    pub duration: f64,
    /// `HTTPRoute media/jellyfin rule 0 (streams)`, with the name of the rule where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "at_most::<160, _>")]
    pub http_user_agent: &'a str,
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "at_most::<160, _>")]
    pub http_referrer: &'a str,
    /// Why the router itself answered.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_at_most::<256, _>")]
    pub error: Option<&'a str>,
}

/// What is said of a connection that is not HTTP, or of a client's datagrams, in less than 1 KiB.
#[derive(Debug, Default, Serialize)]
pub struct StreamLine<'a> {
    /// RFC 3339, UTC, when it began.
    pub time: &'a str,
    pub entry_point: &'a str,
    pub listener: &'a str,
    /// `tcp`, `udp`, `tls` that ends here, and `tls passthrough`.
    pub protocol: &'static str,
    pub remote_addr: String,
    /// What the client asked for (SNI).
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "at_most::<256, _>")]
    pub server_name: &'a str,
    /// `TLSRoute media/jellyfin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The Service and its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// From the client, and to it; without TLS where that ends here.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// Seconds.
    pub duration: f64,
    /// Why it was refused, or broke off.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_at_most::<256, _>")]
    pub error: Option<&'a str>,
}

/// What a client has made up may be as long as it likes, and a line may not.
fn at_most<const BYTES: usize, S: Serializer>(text: &&str, serializer: S) -> Result<S::Ok, S::Error> {
    match beginning(text, BYTES) {
        whole if whole.len() == text.len() => serializer.serialize_str(whole),
        part => serializer.collect_str(&format_args!("{part}…")),
    }
}

fn some_at_most<const BYTES: usize, S: Serializer>(text: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    at_most::<BYTES, S>(&text.unwrap_or_default(), serializer)
}

/// As much as fits into so many bytes of JSON, where some characters need more than their own.
fn beginning(text: &str, bytes: usize) -> &str {
    let mut left = bytes;
    let end = text.char_indices().find_map(|(at, character)| {
        let needed = match character {
            '"' | '\\' => 2,
            '\0'..='\x1f' => 6,
            _ => character.len_utf8(),
        };
        match left.checked_sub(needed) {
            Some(rest) => {
                left = rest;
                None
            }
            None => Some(at),
        }
    });
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

#[derive(Clone)]
pub struct AccessLog {
    to_write: SyncSender<ToWrite>,
    lost: Counter,
}

enum ToWrite {
    Line(Vec<u8>),
    /// Everything before this is to be written, and then the sender to be told.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// # Errors
    /// When no thread can be started.
    pub fn to_stdout() -> io::Result<Self> {
        let (to_write, waiting) = sync_channel(WAITING);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_all(&waiting))?;
        Ok(Self { to_write, lost: counter!(LOG_LINES_LOST) })
    }

    /// One whose lines are read by a test.
    #[cfg(test)]
    pub(crate) fn kept() -> (Self, Kept) {
        let (to_write, waiting) = sync_channel(WAITING);
        (Self { to_write, lost: Counter::noop() }, Kept(waiting))
    }

    pub fn write(&self, line: &impl Serialize) {
        let Ok(mut bytes) = serde_json::to_vec(line) else { return };
        bytes.push(b'\n');
        if self.to_write.try_send(ToWrite::Line(bytes)).is_err() {
            self.lost.increment(1);
        }
    }

    /// Waits until all lines are written, or for as long as a reader deserves that does not read.
    pub fn flush(&self) {
        let until = Instant::now() + FLUSH;
        let (done, written) = sync_channel(1);
        // There may be no place for it before some lines are written.
        while self.to_write.try_send(ToWrite::Flush(done.clone())).is_err() {
            if Instant::now() > until {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
pub(crate) struct Kept(Receiver<ToWrite>);

#[cfg(test)]
impl Kept {
    /// Those that were written and not taken yet.
    pub(crate) fn take(&self) -> Vec<serde_json::Value> {
        let lines = self.0.try_iter().filter_map(|it| match it {
            ToWrite::Line(line) => Some(serde_json::from_slice(&line).expect("JSON")),
            ToWrite::Flush(_) => None,
        });
        lines.collect()
    }
}

/// Writes in batches, and flushes when there is nothing more to write.
fn write_all(waiting: &Receiver<ToWrite>) {
    let mut out = io::BufWriter::new(io::stdout());
    // Standard output may be closed; requests are served without it.
    while let Ok(first) = waiting.recv() {
        for it in iter::once(first).chain(waiting.try_iter()) {
            match it {
                ToWrite::Line(line) => {
                    let _ = out.write_all(&line);
                }
                ToWrite::Flush(done) => {
                    let _ = out.flush();
                    let _ = done.try_send(());
                }
            }
        }
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_and_one_line_whatever_the_client_has_sent() {
        for text in ["a", "\"", "\\", "\n", "\u{1}", "\u{e4}", "\u{1f600}", "\u{7f}"] {
            let long = text.repeat(10_000);
            let line = Line {
                time: "2026-11-29T19:06:34.592Z",
                request_id: "9443e5773047f2a7",
                entry_point: "lan",
                remote_addr: "2001:db8:1111:2222:3333:4444:5555:6666".to_owned(),
                method: &long,
                vhost: &"a".repeat(253),
                path: &long,
                request_query: &long,
                request_proto: "HTTP/1.1",
                http_user_agent: &long,
                http_referrer: &long,
                error: Some(&long),
                ..Line::default()
            };
            let json = serde_json::to_string(&line).expect("can be written");
            assert!(json.len() < 2 << 10 && !json.contains('\n'), "{}: {json}", json.len());
            let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            assert!(read["path"].as_str().is_some_and(|path| path.ends_with('…')), "{json}");
        }
        assert_eq!(beginning("short", 5), "short");
    }
}
