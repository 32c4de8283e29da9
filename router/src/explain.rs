//! Why a URL goes where it goes, or nowhere. Pure; the admin port asks.

use std::collections::HashMap;

use k8s::admin::{Admin, Content, OwnPages, Parameters};
use serde_json::{Value, json};

use crate::{
    dataplane::{CellTarget, Dataplane, SharedDataplane, Socket},
    framing,
    table::{Headers, Request},
};

const USAGE: &str = "ask /explain?url=https://grafana.home.example/login, and where it matters &entry=tunnel, &method=POST, &header=name:value";

/// For `/explain?url=https://grafana.home.example/login`.
pub fn for_admin(dataplane: SharedDataplane) -> OwnPages {
    let page = move |query: &Parameters, _: &Admin| explain(&dataplane.load(), query).map(Content::Json);
    OwnPages { pages: vec![("/explain", Box::new(page))], metrics: None }
}

struct Fields(HashMap<String, String>);

impl Headers for Fields {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn explain(dataplane: &Dataplane, query: &Parameters) -> Result<Value, String> {
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
            let mut answer = at_socket(socket, &request);
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

fn at_socket(socket: &Socket, request: &Request<'_, Fields>) -> Value {
    let Some(found) = socket.table.find(request) else {
        return json!({"status": 404, "because": "no route of this entry point matches host and path"});
    };
    let action = found.value;
    let backends: Vec<Value> = action
        .backends
        .iter()
        .map(|backend| match &backend.target {
            CellTarget::Cell(cell) => json!({
                "weight": backend.weight, "service": cell.backend.id.to_string(), "endpoints": cell.addresses(),
                "status": if cell.addresses().is_empty() { json!(503) } else { Value::Null },
            }),
            CellTarget::Invalid(why) => json!({"weight": backend.weight, "status": 500, "because": why}),
        })
        .collect();
    json!({
        "route": action.route.to_string(), "rule": action.rule, "backends": backends,
        "matchedPrefix": found.prefix.map(|length| request.path.get(..length)),
        "redirectsToHttps": socket.redirect_to_https.is_some(),
        "filters": action.filters.iter().map(|filter| format!("{filter:?}")).collect::<Vec<_>>(),
    })
}
