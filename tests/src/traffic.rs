//! Traffic that counts: requests of every kind at once, each answer checked to its end.
//!
//! It sends as a load balancer and its clients do: new connections go to a door that is ready, open ones are kept
//! until their door says that it closes them, and nothing that may have been sent is ever sent again.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    client::conn::{http1, http2},
    header,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::watch, task::JoinSet, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_tungstenite::tungstenite::Message;

use crate::PATIENCE;

/// The hosts that are asked for. `GRPC` has to speak h2c, and both are [`crate::backend`].
pub const WEB: &str = "web.home.example";
pub const GRPC: &str = "grpc.home.example";

const WORKERS: usize = 16;
/// Workers that share a connection of HTTP/2.
const SHARING: usize = 4;

/// Where a router is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    pub http: SocketAddr,
    pub https: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Get,
    Post,
    LargePost,
    Get2,
    Post2,
    Grpc,
    Events,
    WebSocket,
}

/// Something of everything.
pub const MIX: [Kind; 16] = [
    Kind::Get,
    Kind::Post,
    Kind::Get2,
    Kind::Get,
    Kind::Grpc,
    Kind::Get,
    Kind::Post2,
    Kind::WebSocket,
    Kind::Get,
    Kind::Get2,
    Kind::LargePost,
    Kind::Get,
    Kind::Grpc,
    Kind::Post,
    Kind::Events,
    Kind::Get2,
];

#[derive(Clone, Debug, Default)]
pub struct Report {
    kinds: BTreeMap<Kind, Count>,
    /// What went wrong, and how often.
    pub losses: BTreeMap<String, usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    sent: usize,
    ok: usize,
    /// How often one went to another connection, because the first one took no more.
    moved: usize,
    slowest: Duration,
}

impl Report {
    pub fn sent(&self) -> usize {
        self.kinds.values().map(|count| count.sent).sum()
    }

    pub fn lost(&self) -> usize {
        self.kinds.values().map(|count| count.sent - count.ok).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, Count { sent, ok, moved, slowest }) in &self.kinds {
            writeln!(f, "{:<10} {sent:>6} sent {ok:>6} ok {moved:>4} moved, slowest {slowest:?}", format!("{kind:?}"))?;
        }
        writeln!(f, "{:<10} {:>6} sent {:>6} lost", "all", self.sent(), self.lost())?;
        self.losses.iter().try_for_each(|(what, count)| writeln!(f, "{count} × {what}"))
    }
}

/// Requests under way.
pub struct Traffic {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
}

struct Shared {
    doors: watch::Receiver<Vec<Door>>,
    tls: TlsConnector,
    mix: Vec<Kind>,
    begun: AtomicUsize,
    /// How many to begin.
    most: AtomicUsize,
    report: Mutex<Report>,
}

impl Traffic {
    /// Begins, and sends `mix` over and over; `trusted` are certificates in PEM.
    ///
    /// # Panics
    /// When these are none.
    pub fn start(doors: &watch::Receiver<Vec<Door>>, trusted: &[&str], mix: &[Kind]) -> Self {
        let shared = Arc::new(Shared {
            doors: doors.clone(),
            tls: trusting(trusted),
            mix: mix.to_vec(),
            begun: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
            report: Mutex::default(),
        });
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS / SHARING {
            let http2 = Arc::default();
            for _ in 0..SHARING {
                let worker = Worker { shared: Arc::clone(&shared), http1: None, http2: Arc::clone(&http2), moved: 0 };
                workers.spawn(worker.work());
            }
        }
        Self { shared, workers }
    }

    /// How many requests have begun.
    pub fn begun(&self) -> usize {
        self.shared.begun.load(Relaxed)
    }

    /// Goes on until there were that many, if there were not, and waits for the last answer.
    ///
    /// # Panics
    /// When the client itself fails.
    pub async fn finish(mut self, at_least: usize) -> Report {
        self.shared.most.store(at_least.max(self.begun()), Relaxed);
        while let Some(ended) = self.workers.join_next().await {
            ended.expect("a worker does not panic");
        }
        self.shared.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn trusting(certificates: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for pem in certificates {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM");
        roots.add(certificate).expect("a certificate");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;

/// One request after another.
struct Worker {
    shared: Arc<Shared>,
    /// With when it was used last.
    http1: Option<(Http1, Instant)>,
    http2: Arc<tokio::sync::Mutex<Option<Http2>>>,
    moved: usize,
}

impl Worker {
    async fn work(mut self) {
        loop {
            let number = self.shared.begun.fetch_add(1, Relaxed);
            if number >= self.shared.most.load(Relaxed) {
                return;
            }
            let kind = self.shared.mix[number % self.shared.mix.len()];
            let began = Instant::now();
            let answered = timeout(PATIENCE, self.ask(kind, number)).await;
            let answered = answered.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in {PATIENCE:?}")));
            if answered.is_err() {
                self.http1 = None;
            }
            let mut report = self.shared.report.lock().unwrap_or_else(PoisonError::into_inner);
            let count = report.kinds.entry(kind).or_default();
            count.sent += 1;
            count.slowest = count.slowest.max(began.elapsed());
            count.moved += std::mem::take(&mut self.moved);
            match answered {
                Ok(()) => count.ok += 1,
                Err(error) => *report.losses.entry(format!("{kind:?}: {error:#}")).or_default() += 1,
            }
        }
    }

    async fn ask(&mut self, kind: Kind, number: usize) -> anyhow::Result<()> {
        match kind {
            Kind::Get => {
                let path = format!("/get?number={number}");
                let (_, body, _) = self.http1(&get(&path)).await?;
                is_about(&body, &path)
            }
            Kind::Post => self.post(3_000 + number % 100).await,
            // More than pingora keeps to send it again.
            Kind::LargePost => self.post(100_000 + number % 100).await,
            Kind::Get2 => {
                let path = format!("/get?number={number}");
                let (_, body, _) = self.http2(&over_tls(WEB, get(&path))).await?;
                is_about(&body, &path)
            }
            Kind::Post2 => {
                let length = 5_000 + number % 100;
                let (_, body, _) = self.http2(&over_tls(WEB, post("/count", &vec![b'x'; length]))).await?;
                is(&body, &format!("{length}\n"))
            }
            Kind::Grpc => self.grpc(number).await,
            Kind::Events => {
                let (fields, body, _) = self.http1(&get("/events/5")).await?;
                let is_stream = fields.get(header::CONTENT_TYPE).is_some_and(|it| it == "text/event-stream");
                ensure!(is_stream, "no event stream: {fields:?}");
                is(&body, &(0..5).map(|number| format!("data: {number}\n\n")).collect::<String>())
            }
            Kind::WebSocket => self.web_socket(number).await,
        }
    }

    async fn post(&mut self, length: usize) -> anyhow::Result<()> {
        let (_, body, _) = self.http1(&post("/count", &vec![b'x'; length])).await?;
        is(&body, &format!("{length}\n"))
    }

    async fn grpc(&mut self, number: usize) -> anyhow::Result<()> {
        let text = format!("message {number}");
        let length = u32::try_from(text.len()).unwrap_or_default();
        let message = [&[0][..], &length.to_be_bytes(), text.as_bytes()].concat();
        let mut request = over_tls(GRPC, post("/echo.Echo/Say", &message));
        let fields = request.headers_mut();
        fields.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/grpc"));
        fields.insert(header::TE, header::HeaderValue::from_static("trailers"));
        let (_, body, trailers) = self.http2(&request).await?;
        ensure!(body == message, "another message: {body:?}");
        let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        ensure!(status.is_some_and(|status| status == "0"), "trailers: {trailers:?}");
        Ok(())
    }

    async fn web_socket(&mut self, number: usize) -> anyhow::Result<()> {
        let stream = TcpStream::connect(self.shared.door()?.http).await.context("cannot connect")?;
        let url = format!("ws://{WEB}/socket");
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.context("no upgrade")?;
        for message in ["one", "two"].map(|word| Message::text(format!("{word} {number}"))) {
            socket.send(message.clone()).await.context("not sent")?;
            let echo = socket.next().await.context("closed")?.context("broken")?;
            ensure!(echo == message, "another echo: {echo:?}");
        }
        socket.close(None).await.context("cannot close")?;
        match socket.next().await {
            Some(Ok(Message::Close(_))) => Ok(()),
            other => bail!("closed by {other:?}"),
        }
    }

    async fn http1(&mut self, request: &Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        loop {
            let (mut sender, used) = match self.http1.take() {
                Some(open) => open,
                None => (self.shared.open_1().await?, Instant::now()),
            };
            let idle = used.elapsed();
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.send_request(request.clone()).await {
                Err(error) if is_unsent(&error) => self.moved += 1,
                response => {
                    let response = response.with_context(|| format!("no answer after {} s idle", idle.as_secs()))?;
                    let answer = read(response).await?;
                    self.http1 = Some((sender, Instant::now()));
                    return Ok(answer);
                }
            }
        }
    }

    async fn http2(&mut self, request: &Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        loop {
            let mut sender = {
                let mut open = self.http2.lock().await;
                match open.as_ref().filter(|sender| !sender.is_closed()) {
                    Some(sender) => sender.clone(),
                    None => open.insert(self.shared.open_2().await?).clone(),
                }
            };
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.send_request(request.clone()).await {
                Err(error) if is_unsent(&error) => self.moved += 1,
                response => return read(response.context("no answer")?).await,
            }
        }
    }
}

impl Shared {
    /// One that is ready; each in turn.
    fn door(&self) -> anyhow::Result<Door> {
        let doors = self.doors.borrow();
        let turn = self.begun.load(Relaxed).checked_rem(doors.len()).context("no door is ready")?;
        doors.get(turn).copied().context("no door is ready")
    }

    async fn open_1(&self) -> anyhow::Result<Http1> {
        let stream = TcpStream::connect(self.door()?.http).await.context("cannot connect")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its end shows at the sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn open_2(&self) -> anyhow::Result<Http2> {
        let stream = TcpStream::connect(self.door()?.https).await.context("cannot connect")?;
        let name = ServerName::try_from(WEB)?;
        let stream = self.tls.connect(name, stream).await.context("no TLS")?;
        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "no HTTP/2");
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Whether a request may go to another connection: it was not begun; or the other side has said that it has not looked
/// at it, and that there is nothing wrong but that it leaves (GOAWAY, RFC 9113 section 6.8).
fn is_unsent(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    let has_left =
        |cause: &h2::Error| cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR);
    error.is_canceled() || cause.is_some_and(has_left)
}

/// Fields, body and trailers of an answer that was good.
type Answer = (HeaderMap, Bytes, Option<HeaderMap>);

async fn read(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.with_context(|| format!("an answer {} that breaks off", head.status))?;
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    if head.status != 200 {
        // The line with the request's number would make each one another.
        let why = String::from_utf8_lossy(&body).lines().take(2).collect::<Vec<_>>().join(", ");
        bail!("answered with {}: {why}", head.status);
    }
    Ok((head.headers, body, trailers))
}

fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path, Bytes::new())
}

fn post(path: &str, body: &[u8]) -> Request<Full<Bytes>> {
    request("POST", path, Bytes::copy_from_slice(body))
}

fn request(method: &str, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, WEB);
    request.body(Full::new(body)).expect("a path is a URI")
}

/// The same as HTTP/2 wants it.
fn over_tls(host: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    *request.uri_mut() = format!("https://{host}{path}").parse().expect("a URI");
    request.headers_mut().remove(header::HOST);
    request
}

fn is(body: &Bytes, wanted: &str) -> anyhow::Result<()> {
    ensure!(body == wanted, "another answer: {:?}", String::from_utf8_lossy(body));
    Ok(())
}

fn is_about(body: &Bytes, path: &str) -> anyhow::Result<()> {
    let said: serde_json::Value = serde_json::from_slice(body).context("an answer that breaks off")?;
    let of = said.pointer("/path").and_then(serde_json::Value::as_str).unwrap_or_default();
    ensure!(of == path, "the answer to another request");
    Ok(())
}
