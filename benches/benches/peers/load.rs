//! One client that keeps a proxy busy, or asks it at a steady pace.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, sync::Mutex, task::JoinSet, time::timeout};

use crate::{
    connection::{Connection, Result},
    proxies::{HTTP, HTTPS},
    requests::Request,
    tls::Trust,
};

/// What is not answered after this long is lost.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    Http1,
    Http1Tls,
    Http2Tls,
    /// A connection and a full handshake for each request, which is HTTP/1.1.
    NewTls,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The next request as soon as there is an answer.
    Busy(Duration),
    /// One request each so often, whatever comes back; a latency counts from when the request was due.
    Calm { interval: Duration, count: usize },
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    pub(crate) took: Duration,
    /// In order of length.
    latencies: Vec<Duration>,
}

impl Outcome {
    pub(crate) fn latency(&self, part: f64) -> Duration {
        self.latencies.get((self.latencies.len() as f64 * part) as usize).copied().unwrap_or_default()
    }

    /// As if all had been asked in one go.
    pub(crate) fn join(&mut self, other: Self) {
        self.answered += other.answered;
        self.took += other.took;
        self.latencies.extend(other.latencies);
        self.latencies.sort_unstable();
    }
}

impl Load {
    pub(crate) const ALL: [Self; 4] = [Self::Http1, Self::Http1Tls, Self::Http2Tls, Self::NewTls];

    /// For people, and for the command line.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Http1 => ("HTTP/1.1, kept connections", "h1"),
            Self::Http1Tls => ("HTTP/1.1 over TLS, kept connections", "h1-tls"),
            Self::Http2Tls => ("HTTP/2 over TLS, kept connections", "h2-tls"),
            Self::NewTls => ("a new TLS connection for each request", "new-tls"),
        }
    }

    /// Connections, and requests that are on their way at once on each.
    pub(crate) fn width(self) -> (usize, usize) {
        match self {
            Self::Http1 | Self::Http1Tls => (32, 1),
            Self::Http2Tls => (8, 8),
            Self::NewTls => (16, 1),
        }
    }

    /// Far less than any of the proxies can take.
    pub(crate) fn calm(self) -> Pace {
        let interval = Duration::from_millis(if self == Self::NewTls { 5 } else { 1 });
        Pace::Calm { interval, count: 300 / interval.as_millis() as usize }
    }
}

/// Everything that a client needs to know.
pub(crate) struct Client {
    pub(crate) proxy: IpAddr,
    pub(crate) load: Load,
    pub(crate) trust: Trust,
    pub(crate) requests: Arc<[Request]>,
    /// The number of the next request.
    pub(crate) next: AtomicUsize,
}

impl Client {
    /// The connections on which [`ask`](Self::ask) asks, each used already.
    ///
    /// # Errors
    /// When an answer is not right, or none comes.
    pub(crate) async fn connect(&self) -> Result<Vec<Connection>> {
        let (count, width) = self.load.width();
        let mut connections = Vec::new();
        if self.load != Load::NewTls {
            for _ in 0..count {
                let mut connection = self.open().await?;
                connection.ask(&self.batch(width)).await?;
                connections.push(connection);
            }
        }
        Ok(connections)
    }

    /// # Errors
    /// When an answer is not right, or none comes.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        connections: Vec<Connection>,
        pace: Pace,
    ) -> Result<(Vec<Connection>, Outcome)> {
        let (count, width) = self.load.width();
        let slots = Arc::new(Mutex::new(0));
        let started = Instant::now();
        let mut workers = JoinSet::new();
        let mut connections = connections.into_iter();
        for _ in 0..count {
            let (client, slots, connection) = (Arc::clone(self), Arc::clone(&slots), connections.next());
            workers.spawn(async move { client.work(connection, pace, width, started, &slots).await });
        }
        let (mut kept, mut outcome) = (Vec::new(), Outcome::default());
        while let Some(worker) = workers.join_next().await {
            let (connection, latencies) = worker.expect("no worker panics")?;
            kept.extend(connection);
            outcome.latencies.extend(latencies);
        }
        outcome.took = started.elapsed();
        outcome.answered = outcome.latencies.len();
        outcome.latencies.sort_unstable();
        Ok((kept, outcome))
    }

    async fn work(
        &self,
        mut connection: Option<Connection>,
        pace: Pace,
        width: usize,
        started: Instant,
        slots: &Mutex<usize>,
    ) -> Result<(Option<Connection>, Vec<Duration>)> {
        let mut latencies = Vec::new();
        loop {
            let (due, width) = match pace {
                Pace::Busy(time) if started.elapsed() < time => (Instant::now(), width),
                Pace::Calm { interval, count } => match wait_for_slot(slots, started, interval, count).await {
                    Some(due) => (due, 1),
                    None => break,
                },
                Pace::Busy(_) => break,
            };
            let requests = self.batch(width);
            let asked = async {
                match &mut connection {
                    Some(connection) => connection.ask(&requests).await,
                    None => {
                        let mut connection = self.open().await?;
                        connection.ask(&requests).await?;
                        connection.close().await
                    }
                }
            };
            timeout(PATIENCE, asked).await??;
            latencies.extend(requests.iter().map(|_| due.elapsed()));
        }
        Ok((connection, latencies))
    }

    fn batch(&self, count: usize) -> Vec<&Request> {
        let first = self.next.fetch_add(count, Relaxed);
        (first..first + count).map(|number| &self.requests[number % self.requests.len()]).collect()
    }

    async fn open(&self) -> Result<Connection> {
        let port = if self.load == Load::Http1 { HTTP } else { HTTPS };
        let stream = TcpStream::connect(SocketAddr::from((self.proxy, port))).await?;
        stream.set_nodelay(true)?;
        Ok(match self.load {
            Load::Http1 => Connection::http1(stream),
            Load::Http1Tls | Load::NewTls => Connection::http1(self.trust.handshake(stream, "http/1.1").await?),
            Load::Http2Tls => Connection::http2(self.trust.handshake(stream, "h2").await?),
        })
    }
}

/// Who holds the slots never sleeps: a timer's millisecond is longer than what is measured. None after the last one.
async fn wait_for_slot(slots: &Mutex<usize>, started: Instant, interval: Duration, count: usize) -> Option<Instant> {
    let mut slots = slots.lock().await;
    let due = started + interval * u32::try_from(*slots).ok()?;
    if *slots == count {
        return None;
    }
    *slots += 1;
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
    Some(due)
}
