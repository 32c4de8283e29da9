//! The admin port: `/livez`, `/readyz`, `/metrics`, `/problems`, and pages of the program's own, such as `/explain`.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use anyhow::Context;
use arc_swap::{ArcSwap, ArcSwapOption};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Method, Request, Response, StatusCode, body::Bytes, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tracing::{info, warn};

use crate::{problem::Problem, telemetry};

/// Connections open at a time. The oldest makes room for one more: whoever holds many must not keep the kubelet
/// from `/livez`.
const CONNECTIONS: usize = 64;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);

/// What the admin port shows. Cheap to clone; all clones share the same state.
#[derive(Clone)]
pub struct Admin {
    is_ready: Arc<AtomicBool>,
    /// For good, whatever else happens.
    is_leaving: Arc<AtomicBool>,
    objects: Arc<ArcSwapOption<Objects>>,
    problems: Arc<ArcSwap<Vec<Problem>>>,
    metrics: PrometheusHandle,
    own: Arc<OwnPages>,
}

/// Of when the objects are that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects {
    /// They are followed, and the last change of them came then.
    Followed { changed: SystemTime },
    /// They are the last known state, and nothing has been heard of them since the program was started.
    Restored { as_of: SystemTime },
}

/// What one program shows, and the other does not.
#[derive(Default)]
pub struct OwnPages {
    /// By their path.
    pub pages: Vec<(&'static str, Box<Page>)>,
    /// Added to `/metrics`, in the same text format.
    pub metrics: Option<Box<dyn Fn() -> String + Send + Sync>>,
}

/// From the query of a page (`name=…` or `url=…`), and what all pages know, to what it shows. The error says what
/// to ask instead.
pub type Page = dyn Fn(&Parameters, &Admin) -> Result<Content, String> + Send + Sync;

pub enum Content {
    Json(serde_json::Value),
    Text(String),
}

/// What follows the `?` of a request, percent-decoded.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The value of the first parameter of that name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Admin {
    pub fn new(metrics: PrometheusHandle, own: OwnPages) -> Self {
        Self {
            is_ready: Arc::default(),
            is_leaving: Arc::default(),
            objects: Arc::default(),
            problems: Arc::new(ArcSwap::from_pointee(Vec::new())),
            metrics,
            own: Arc::new(own),
        }
    }

    pub fn set_ready(&self) {
        if !self.is_ready.swap(true, Relaxed) {
            info!("ready");
        }
    }

    pub fn set_leaving(&self) {
        self.is_leaving.store(true, Relaxed);
    }

    /// Of when is what is served, where it is the last known state ([`Snapshot::as_of`](crate::snapshot::Snapshot::as_of)).
    pub fn set_as_of(&self, as_of: Option<SystemTime>) {
        let objects = match as_of {
            Some(as_of) => Objects::Restored { as_of },
            None => Objects::Followed { changed: SystemTime::now() },
        };
        self.objects.store(Some(Arc::new(objects)));
    }

    pub fn as_of(&self) -> Option<SystemTime> {
        match self.objects()? {
            Objects::Restored { as_of } => Some(as_of),
            Objects::Followed { .. } => None,
        }
    }

    /// None before there are any.
    pub fn objects(&self) -> Option<Objects> {
        self.objects.load().as_deref().copied()
    }

    /// The error says what is waited for.
    fn readiness(&self) -> Result<(), &'static str> {
        if self.is_leaving.load(Relaxed) {
            return Err("leaving");
        }
        if self.is_ready.load(Relaxed) { Ok(()) } else { Err("waiting for the first complete list of objects") }
    }

    fn ready_text(&self) -> String {
        match self.as_of() {
            None => "ok\n".to_owned(),
            Some(time) => format!("ok, with the last known state of {}\n", telemetry::rfc3339(time)),
        }
    }

    pub fn set_problems(&self, problems: Vec<Problem>) {
        self.problems.store(Arc::new(problems));
    }

    pub fn problems(&self) -> Arc<Vec<Problem>> {
        self.problems.load_full()
    }

    /// Binds at once, so that `/livez` answers while the first list is still coming; serves in the background.
    pub async fn serve(self, address: SocketAddr) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on the admin address {address}; set `admin` in the configuration")
        })?;
        let bound = listener.local_addr()?;
        info!(address = %bound, "admin port open");
        tokio::spawn(self.accept(listener));
        Ok(bound)
    }

    async fn accept(self, listener: TcpListener) {
        let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
        let mut warned = None;
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if telemetry::now_and_then(&mut warned) {
                        warn!(%error, "admin port: cannot accept");
                    }
                    // Out of file descriptors, most likely: the next try comes when some may be free.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            open.retain(|connection| !connection.is_finished());
            if open.len() == CONNECTIONS
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            let admin = self.clone();
            open.push_back(tokio::spawn(async move {
                let service = service_fn(|request| {
                    let response = admin.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .serve_connection(TokioIo::new(stream), service);
                // A client that goes away is no news.
                let _ = connection.await;
            }));
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".to_owned());
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" | "/healthz" => match self.readiness() {
                Ok(()) => text(StatusCode::OK, self.ready_text()),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            "/metrics" => {
                let own = self.own.metrics.as_ref().map(|render| render()).unwrap_or_default();
                text(StatusCode::OK, self.metrics.render() + &own)
            }
            "/problems" => self.list_problems(request),
            "/" => text(StatusCode::OK, format!("{}\n", self.paths())),
            path => match self.own.pages.iter().find(|(own, _)| *own == path) {
                Some((_, page)) => match page(&parameters(request.uri().query().unwrap_or_default()), self) {
                    Ok(Content::Json(value)) => json(&value),
                    Ok(Content::Text(body)) => text(StatusCode::OK, body),
                    Err(usage) => text(StatusCode::BAD_REQUEST, format!("{usage}\n")),
                },
                None => text(StatusCode::NOT_FOUND, format!("ask one of {}\n", self.paths())),
            },
        }
    }

    fn paths(&self) -> String {
        let own = self.own.pages.iter().map(|(path, _)| *path);
        ["/livez", "/readyz", "/metrics", "/problems"].into_iter().chain(own).collect::<Vec<_>>().join(" ")
    }

    fn list_problems<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let problems = self.problems.load();
        let wants_json = request
            .headers()
            .get(header::ACCEPT)
            .is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"));
        if wants_json {
            let rows: Vec<_> = problems
                .iter()
                .map(|problem| serde_json::json!({"object": problem.object, "reason": problem.reason.name(), "message": problem.to_string()}))
                .collect();
            return json(&serde_json::Value::Array(rows));
        }
        text(StatusCode::OK, problems.iter().map(|problem| format!("{problem}\n")).collect())
    }
}

/// What the program that runs with `address` as its admin port says at `path`.
///
/// # Errors
/// When nothing listens there, or its answer is another one than 200: then the answer's text.
pub async fn ask(address: SocketAddr, path: &str, parameters: &[(&str, Option<&str>)]) -> anyhow::Result<String> {
    // What is bound to every address is reached at this machine's own.
    let address = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
        _ => address,
    };
    let query: Vec<String> =
        parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", percent_encoded((*value)?)))).collect();
    let request = Request::get(format!("{path}?{}", query.join("&")))
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (status, body) = tokio::time::timeout(HEAD / 2, exchange)
        .await
        .map_err(anyhow::Error::from)
        .flatten()
        .with_context(|| {
            format!("nothing answers at the admin port {address}; is it running here? --manifests DIR asks a directory instead")
        })?;
    anyhow::ensure!(status.is_success(), "{}", body.trim_end());
    Ok(body)
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, "application/json", format!("{value:#}\n"))
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// Of `a=1&b=%2f`.
fn parameters(query: &str) -> Parameters {
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (percent_decoded(name), percent_decoded(value)));
    Parameters(pairs.collect())
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        match decoded {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::{
        model::{ObjectName, ServiceName},
        problem::Reason,
    };

    fn admin() -> Admin {
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let explain = |query: &Parameters, _: &Admin| {
            query.first("name").map(|name| Content::Json(name.into())).ok_or_else(|| "ask ?name=".to_owned())
        };
        let own = OwnPages {
            pages: vec![("/explain", Box::new(explain))],
            metrics: Some(Box::new(|| "own_total 1\n".to_owned())),
        };
        Admin::new(metrics, own)
    }

    fn get(admin: &Admin, path: &str) -> StatusCode {
        admin.answer(&Request::get(path).body(()).expect("a request")).status()
    }

    #[test]
    fn it_is_ready_only_when_told_and_not_when_leaving() {
        let admin = admin();
        assert_eq!(get(&admin, "/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get(&admin, "/livez"), StatusCode::OK);
        admin.set_ready();
        assert_eq!(get(&admin, "/readyz"), StatusCode::OK);
        admin.set_leaving();
        assert_eq!(get(&admin, "/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        admin.set_ready();
        assert_eq!(get(&admin, "/readyz"), StatusCode::SERVICE_UNAVAILABLE, "who leaves does not come back");
    }

    #[test]
    fn who_is_ready_with_the_last_known_state_says_of_when_it_is() {
        let admin = admin();
        assert_eq!(admin.ready_text(), "ok\n");
        admin.set_as_of(Some(SystemTime::UNIX_EPOCH));
        assert_eq!(admin.ready_text(), "ok, with the last known state of 1970-01-01T00:00:00.000Z\n");
        admin.set_as_of(None);
        assert_eq!(admin.ready_text(), "ok\n");
    }

    #[test]
    fn a_question_without_a_name_is_told_what_to_ask() {
        assert_eq!(get(&admin(), "/explain"), StatusCode::BAD_REQUEST);
        assert_eq!(get(&admin(), "/explain?name=a.example"), StatusCode::OK);
        assert_eq!(get(&admin(), "/explian"), StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_query_is_percent_decoded_and_garbage_stays_as_it_is() {
        for (query, value) in [("url=https%3A%2F%2Fa%2Fb+c", "https://a/b c"), ("url=%zz%4", "%zz%4"), ("url=%", "%")] {
            assert_eq!(parameters(query).first("url"), Some(value));
        }
    }

    #[tokio::test]
    async fn who_holds_connections_open_keeps_nobody_from_asking() {
        let address = admin().serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let mut held = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            held.push(TcpStream::connect(address).await.expect("open"));
        }
        // It waits for less than those connections may last.
        assert_eq!(ask(address, "/livez", &[]).await.expect("an answer"), "ok\n");
    }

    #[tokio::test]
    async fn problems_are_served_over_http_as_sentences() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let admin = admin();
        let object = ObjectName::new("Ingress", "default", "old");
        let reason = Reason::ServiceMissing { service: ServiceName::new("default", "gone") };
        admin.set_problems(vec![Problem::new(&object, reason)]);
        let address = admin.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let mut stream = TcpStream::connect(address).await.expect("open");
        stream.write_all(b"GET /problems HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(
            answer.ends_with("Ingress default/old: references Service default/gone, which does not exist\n"),
            "{answer}"
        );
    }
}
