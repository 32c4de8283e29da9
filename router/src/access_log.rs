//! One JSON line per request on standard output, written by a thread of its own.

use std::{
    io::{self, Write},
    iter,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use metrics::{Counter, counter};
use serde::Serialize;

use crate::metrics::LOG_LINES_LOST;

/// Lines that may wait for a slow reader. More are dropped and counted: requests do not wait for logs.
const WAITING: usize = 4096;
/// How long the last lines may take at the end of the program.
const FLUSH: Duration = Duration::from_secs(1);

/// What is said of a request. Field names follow what homelab dashboards already read.
#[derive(Debug, Default, Serialize)]
pub struct Line<'a> {
    /// RFC 3339, UTC, when the request began.
    pub time: &'a str,
    pub request_id: &'a str,
    pub entry_point: &'a str,
    pub remote_addr: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub vhost: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub request_query: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub request_proto: &'a str,
    pub status: u16,
    pub bytes_sent: usize,
    pub request_length: usize,
    /// Seconds.
    pub duration: f64,
    /// `HTTPRoute media/jellyfin rule 0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub http_user_agent: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub http_referrer: &'a str,
    /// Why the router itself answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
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

    pub fn write(&self, line: &Line<'_>) {
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
