//! A small API server: lists and watches of what it was given, over plain HTTP, and it can be stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{Method, Request, Response, StatusCode, body::Frame, body::Incoming, header, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

type Body = BoxBody<Bytes, Infallible>;

/// Every list that nothing was put in is empty, so that each kind is one that the cluster has.
pub struct ApiServer {
    address: SocketAddr,
    objects: Arc<Mutex<Objects>>,
    /// None while it is stopped.
    running: Option<Runtime>,
}

/// What happened, from the beginning. The place of an event is its resourceVersion.
struct Objects {
    events: Vec<Event>,
    /// How many there are.
    happened: watch::Sender<usize>,
    /// Resources that nobody may read: `backendtlspolicies`.
    forbidden: BTreeSet<&'static str>,
}

struct Event {
    /// Of the list that the object is in: `/api/v1/services`.
    path: String,
    what: &'static str,
    object: Value,
}

impl ApiServer {
    /// # Panics
    /// When the address is taken.
    pub fn start(address: SocketAddr) -> Self {
        let objects = Objects { events: Vec::new(), happened: watch::Sender::new(0), forbidden: BTreeSet::new() };
        let mut server = Self { address, objects: Arc::new(Mutex::new(objects)), running: None };
        server.start_again();
        server
    }

    /// Ends every connection; what it holds stays.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// # Panics
    /// When the address is taken.
    pub fn start_again(&mut self) {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(self.address)).expect("a free port");
        runtime.spawn(accept(listener, Arc::clone(&self.objects)));
        self.running = Some(runtime);
    }

    /// Every object of a manifest that names its namespaces.
    ///
    /// # Panics
    /// When it is no YAML.
    pub fn apply(&self, manifest: &str) {
        self.happen("MODIFIED", manifest);
    }

    /// # Panics
    /// When it is no YAML.
    pub fn delete(&self, manifest: &str) {
        self.happen("DELETED", manifest);
    }

    /// Lists and watches of a resource that begin from now on are refused, or not any more.
    ///
    /// # Panics
    /// When another thread has, with the objects.
    pub fn forbid(&self, resource: &'static str, is_forbidden: bool) {
        let mut all = self.objects.lock().expect("nobody panics with it");
        if is_forbidden {
            all.forbidden.insert(resource);
        } else {
            all.forbidden.remove(resource);
        }
    }

    fn happen(&self, what: &'static str, manifest: &str) {
        let objects: Vec<Value> = serde_saphyr::from_multiple(manifest).expect("YAML");
        let mut all = self.objects.lock().expect("nobody panics with it");
        for mut object in objects.into_iter().filter(|object| !object.is_null()) {
            object["metadata"]["resourceVersion"] = (all.events.len() + 1).to_string().into();
            all.events.push(Event { path: list_of(&object), what, object });
        }
        all.happened.send_replace(all.events.len());
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The path of the list of all objects of its kind.
fn list_of(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (api, kind) = (text("apiVersion"), text("kind").to_lowercase());
    let root = if api.contains('/') { "apis" } else { "api" };
    let plural = match kind.strip_suffix("cy") {
        Some(stem) => format!("{stem}cies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    format!("/{root}/{api}/{plural}")
}

async fn accept(listener: TcpListener, objects: Arc<Mutex<Objects>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let objects = Arc::clone(&objects);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let response = answer(&request, &objects);
                async move { Ok::<_, Infallible>(response) }
            });
            // A client that goes away is no news.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(request: &Request<Incoming>, objects: &Arc<Mutex<Objects>>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let parameter = |name: &str| {
        let all = request.uri().query().unwrap_or_default().split('&');
        all.filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value)
    };
    let resource = path.rsplit('/').next().unwrap_or_default();
    if objects.lock().expect("nobody panics with it").forbidden.contains(resource) {
        return forbidden(resource);
    }
    // It knows lists alone: no object by its name, and nothing is written.
    let of_one = ["/leases/", "/customresourcedefinitions/"];
    if request.method() != Method::GET || of_one.iter().any(|resource| path.contains(resource)) {
        return not_found();
    }
    let body = if parameter("watch") == Some("true") {
        let number = |name| parameter(name).and_then(|text| text.parse().ok());
        let since = number("resourceVersion").unwrap_or_default();
        let patience = Duration::from_secs(number("timeoutSeconds").unwrap_or(30) as u64);
        let end = tokio::time::sleep(patience);
        BodyExt::boxed(StreamBody::new(events(path, since, Arc::clone(objects)).take_until(end)))
    } else {
        Full::from(list(&path, objects).to_string()).boxed()
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn forbidden(resource: &str) -> Response<Body> {
    failure(StatusCode::FORBIDDEN, "Forbidden", &format!("{resource} is forbidden: nobody may read it"))
}

fn not_found() -> Response<Body> {
    failure(StatusCode::NOT_FOUND, "NotFound", "there are lists, and nothing else")
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code.as_u16()});
    let mut response = Response::new(Full::from(status.to_string()).boxed());
    *response.status_mut() = code;
    response
}

fn list(path: &str, objects: &Mutex<Objects>) -> Value {
    let all = objects.lock().expect("nobody panics with it");
    let mut items = BTreeMap::new();
    for Event { what, object, .. } in all.events.iter().filter(|event| event.path == path) {
        let name = ["namespace", "name"].map(|field| object["metadata"][field].to_string());
        match *what {
            "DELETED" => items.remove(&name),
            _ => items.insert(name, object),
        };
    }
    let items: Vec<&Value> = items.into_values().collect();
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": all.events.len().to_string()}, "items": items})
}

/// Those of a list after the first `since` of all, and each one that follows.
fn events(
    path: String,
    since: usize,
    objects: Arc<Mutex<Objects>>,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let happened = objects.lock().expect("nobody panics with it").happened.subscribe();
    stream::unfold((since, happened), move |(next, mut happened)| {
        let (path, objects) = (path.clone(), Arc::clone(&objects));
        async move {
            let count = *happened.wait_for(|count| *count > next).await.ok()?;
            let all = objects.lock().expect("nobody panics with it");
            let new = all.events[next..count].iter().filter(|event| event.path == path);
            let lines: String = new
                .map(|Event { what, object, .. }| format!("{}\n", json!({"type": what, "object": object})))
                .collect();
            Some((Ok(Frame::data(lines.into())), (count, happened)))
        }
    })
}
