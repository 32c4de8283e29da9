//! One client that keeps a server busy, or asks it at a steady pace, and checks every answer.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crate::zone::Query;

/// What is not answered after this long is lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// A buffer of Linux's default size takes twice that.
const MOST_WAITING: usize = 128;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As many queries as this are on their way at any time.
    Window(usize),
    /// One query each so often, whatever comes back; but never more on their way than any socket's buffer holds.
    Every(Duration),
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    /// Answers with another rcode or number of records than is right.
    pub(crate) wrong: usize,
    pub(crate) lost: usize,
    pub(crate) took: Duration,
    /// In order of length.
    pub(crate) latencies: Vec<Duration>,
}

impl Outcome {
    pub(crate) fn latency(&self, part: f64) -> Duration {
        self.latencies.get((self.latencies.len() as f64 * part) as usize).copied().unwrap_or_default()
    }
}

/// Never sleeps: who waits for it is never slowed by waking it.
pub(crate) struct Client<'a> {
    socket: UdpSocket,
    queries: &'a [Query],
    n_sent: usize,
    /// By id: what was asked, and when.
    waiting: Vec<Option<(&'a Query, Instant)>>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(server: SocketAddr, queries: &'a [Query]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.connect(server).expect("loopback has a route");
        socket.set_nonblocking(true).expect("a socket may be non-blocking");
        Self { socket, queries, n_sent: 0, waiting: vec![None; 1 << 16] }
    }

    /// Asks `count` queries.
    ///
    /// # Errors
    /// When nobody listens.
    pub(crate) fn ask(&mut self, count: usize, pace: Pace) -> io::Result<Outcome> {
        let mut outcome =
            Outcome { answered: 0, wrong: 0, lost: 0, took: Duration::ZERO, latencies: Vec::with_capacity(count) };
        let started = Instant::now();
        let (mut sent, mut waiting, mut last_answer) = (0, 0, started);
        while sent < count || waiting > 0 {
            let now = Instant::now();
            let due = match pace {
                Pace::Window(width) => waiting < width,
                Pace::Every(interval) => started + interval * sent as u32 <= now && waiting < MOST_WAITING,
            };
            if due && sent < count && self.send(now)? {
                (sent, waiting) = (sent + 1, waiting + 1);
            }
            if let Some((asked, is_right)) = self.receive()? {
                waiting -= 1;
                last_answer = now;
                outcome.answered += 1;
                outcome.wrong += usize::from(!is_right);
                outcome.latencies.push(asked.elapsed());
            } else if waiting > 0 && now.saturating_duration_since(last_answer) > PATIENCE {
                outcome.lost += waiting;
                (waiting, last_answer) = (0, now);
                self.waiting.fill(None);
            }
        }
        outcome.took = started.elapsed();
        outcome.latencies.sort_unstable();
        Ok(outcome)
    }

    /// False where the socket takes no more now.
    fn send(&mut self, now: Instant) -> io::Result<bool> {
        let id = self.n_sent as u16;
        let query = &self.queries[self.n_sent % self.queries.len()];
        let mut bytes = [0; 512];
        let bytes = &mut bytes[..query.bytes.len()];
        bytes.copy_from_slice(&query.bytes);
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        match self.socket.send(bytes) {
            Ok(_) => {
                self.waiting[usize::from(id)] = Some((query, now));
                self.n_sent += 1;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// When the answered query was asked, and whether the answer is right; None while there is none.
    fn receive(&mut self) -> io::Result<Option<(Instant, bool)>> {
        let mut bytes = [0; 4096];
        let length = match self.socket.recv(&mut bytes) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let [id_high, id_low, flags, rcode, _, _, n_high, n_low, ..] = bytes;
        let waiting = &mut self.waiting[usize::from(u16::from_be_bytes([id_high, id_low]))];
        // One that nobody waits for is late, and was counted as lost.
        Ok(waiting.take().map(|(query, asked)| {
            let is_response = length >= query.bytes.len().min(12) && flags & 0x80 != 0;
            let n_answers = u16::from_be_bytes([n_high, n_low]);
            (asked, is_response && rcode & 15 == query.rcode && n_answers == query.n_answers)
        }))
    }
}
