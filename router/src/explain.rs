//! Why a URL goes where it goes, or nowhere. Pure; the admin port asks.

use std::{collections::HashMap, sync::Arc};

use k8s::admin::{Admin, Content, OwnPages, Parameters};
use serde_json::{Value, json};

use crate::{
    dataplane::{Action, CellTarget, Dataplane, Gate, SharedDataplane, Socket, WeightedCell},
    framing,
    metrics::Series,
    stream::{Mode, Streams},
    table::{Headers, Request},
    upstream::{BackendCell, Endpoint, balance, clock},
};

const USAGE: &str = "ask /explain?url=https://grafana.home.example/login, and where it matters &entry=tunnel, &method=POST, &header=name:value";

/// For `/explain?url=https://grafana.home.example/login`; and the routes' own metrics.
pub fn for_admin(dataplane: SharedDataplane, series: Arc<Series>) -> OwnPages {
    let page = move |query: &Parameters, _: &Admin| explain(&dataplane.load(), query, clock::now()).map(Content::Json);
    OwnPages { pages: vec![("/explain", Box::new(page))], metrics: Some(Box::new(move || series.render())) }
}

struct Fields(HashMap<String, String>);

impl Headers for Fields {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// `now` is as `clock` has it.
fn explain(dataplane: &Dataplane, query: &Parameters, now: u64) -> Result<Value, String> {
    let url: http::Uri = query.first("url").ok_or(USAGE)?.parse().map_err(|error| format!("url: {error}; {USAGE}"))?;
    let is_https = url.scheme_str() != Some("http");
    let authority = url.authority().ok_or_else(|| format!("url: has no host; {USAGE}"))?;
    let host = framing::host(authority.as_str()).map_err(|error| error.to_string())?;
    let path = framing::path(url.path()).map_err(|error| error.to_string())?;
    let headers = query.all("header").filter_map(|value| value.split_once(':'));
    let headers =
        Fields(headers.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect());
    let request = Request {
        host: &host,
        path: &path,
        method: query.first("method").unwrap_or("GET"),
        query: url.query(),
        headers: &headers,
    };

    let entry = query.first("entry");
    let mut sockets: Vec<_> = dataplane
        .sockets
        .iter()
        .filter(|(_, socket)| socket.edge.is_tls == is_https)
        .filter(|(_, socket)| entry.is_none_or(|entry| *socket.edge.entry_point == *entry))
        .filter(|(_, socket)| url.port_u16().is_none_or(|port| port == socket.edge.port))
        .collect();
    sockets.sort_by_key(|(address, _)| **address);
    let answers: Vec<Value> = sockets
        .into_iter()
        .map(|(address, socket)| {
            let handed_on = socket.streams.as_ref().and_then(|streams| at_streams(streams, &host, now));
            let mut answer = handed_on.unwrap_or_else(|| at_socket(socket, &request, now));
            answer["entryPoint"] = json!(socket.edge.entry_point);
            answer["listensOn"] = json!(address);
            if let Some(tls) = &socket.tls {
                answer["hasCertificate"] = json!(tls.certificates.find(Some(&host)).is_some());
            }
            answer
        })
        .collect();
    Ok(json!({"host": host, "path": path, "answers": answers}))
}

/// Who of a backend's endpoints gets how much, and why not more.
fn of_endpoints(cell: &BackendCell, now: u64) -> Vec<Value> {
    let of_one = |endpoint: &Arc<Endpoint>| {
        let state = endpoint.state(true, now);
        let mut it = json!({"address": endpoint.address, "inFlight": state.in_flight});
        // It may change between two looks.
        let left = endpoint.ejection.until().saturating_sub(now);
        if left > 0 {
            it["ejectedForMs"] = json!(left);
        }
        if state.share < balance::FULL {
            it["slowStartPercent"] = json!(u32::from(state.share) * 100 / u32::from(balance::FULL));
        }
        if cell.is_ill(endpoint) {
            it["failsHealthCheck"] = json!(true);
        }
        it
    };
    cell.endpoints().iter().map(of_one).collect()
}

/// What becomes of a TLS connection that is opened with this name; None is HTTPS. TCP has no names.
fn at_streams(streams: &Streams, host: &str, now: u64) -> Option<Value> {
    let Streams::Tls(names) = streams else {
        return Some(json!({"because": "this socket takes TCP, and asks for no name"}));
    };
    let Some(listener) = names.listener(Some(host)) else {
        return Some(json!({"because": "no TLS listener of this entry point has the name: the connection is reset"}));
    };
    let mode = match listener.mode {
        Mode::Https => return None,
        Mode::Passthrough => "passthrough",
        Mode::Terminate(_) => "terminate",
    };
    let Some(action) = listener.route(Some(host)) else {
        let because = "no route of this listener has the name: the connection is reset";
        return Some(json!({"listener": listener.name, "tls": mode, "because": because}));
    };
    let (route, backends) = (action.route.to_string(), of_backends(action, now));
    Some(json!({"listener": listener.name, "tls": mode, "route": route, "backends": backends}))
}

fn of_backends(action: &Action, now: u64) -> Vec<Value> {
    let of_one = |backend: &WeightedCell| match &backend.target {
        CellTarget::Cell(cell) => {
            let endpoints = of_endpoints(cell, now);
            json!({
                "weight": backend.weight, "service": cell.backend.id.to_string(),
                "status": if endpoints.is_empty() { json!(503) } else { Value::Null }, "endpoints": endpoints,
            })
        }
        CellTarget::Invalid(why) => json!({"weight": backend.weight, "status": 500, "because": why}),
    };
    action.backends.iter().map(of_one).collect()
}

fn at_socket(socket: &Socket, request: &Request<'_, Fields>, now: u64) -> Value {
    let first = match socket.gate(request.host) {
        Some(Gate::Closed(why)) => return json!({"status": 500, "because": why}),
        Some(Gate::Guarded(all)) => all.iter().map(|it| it.auth.backend.to_string()).collect(),
        None => Vec::new(),
    };
    let Some(found) = socket.table.find(request) else {
        let because = "no route of this entry point matches host and path";
        return json!({"status": 404, "because": because, "asksFirst": first});
    };
    let action = found.value;
    let backends = of_backends(action, now);
    json!({
        "route": action.route.to_string(), "rule": action.rule, "name": action.name, "backends": backends,
        "matchedPrefix": found.prefix.map(|length| request.path.get(..length)),
        "affinity": action.affinity.as_ref().map(|affinity| format!("{affinity:?}")),
        "asksFirst": first,
        "redirectsToHttps": socket.redirect_to_https.is_some(),
        "filters": action.filters.iter().map(|filter| format!("{filter:?}")).collect::<Vec<_>>(),
    })
}
