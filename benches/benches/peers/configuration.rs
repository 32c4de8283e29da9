//! The same routes in each proxy's own words, as its users write them: one worker, kept connections to the backends, the
//! client's address in `X-Forwarded-For`, no access log.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use benches::routes::{PREFIXES, host};
use serde_json::{Value, json};

use crate::{
    proxies::{HTTP, HTTPS},
    requests::N_HOSTS,
    tls::Certificate,
};

/// Connections that a proxy may keep to a backend: more than ever wait at once.
const KEPT: usize = 128;

pub(crate) struct Files<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) chain: &'a Path,
    pub(crate) key: &'a Path,
    /// Both in one.
    pub(crate) both: &'a Path,
}

/// Prefixes with the numbers of their routes, the longest first.
fn prefixes() -> impl Iterator<Item = (usize, &'static str)> {
    PREFIXES.into_iter().enumerate().rev()
}

pub(crate) fn nginx(address: IpAddr, backends: &[SocketAddr], files: &Files<'_>) -> String {
    let (directory, chain, key) = (files.directory.display(), files.chain.display(), files.key.display());
    let mut text = format!(
        "daemon off;
master_process off;
pid {directory}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server_names_hash_max_size 8192;
  server_names_hash_bucket_size 128;
  keepalive_requests 1000000000;
  ssl_certificate {chain};
  ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  proxy_http_version 1.1;
  proxy_set_header Connection \"\";
  proxy_set_header Host $host;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
"
    );
    // Writing to a String cannot fail, here and below.
    for (route, backend) in backends.iter().enumerate() {
        let _ = writeln!(
            text,
            "  upstream backend-{route} {{ server {backend}; keepalive {KEPT}; keepalive_requests 1000000000; }}"
        );
    }
    for number in 0..N_HOSTS {
        let host = host(number);
        let _ = writeln!(text, "  server {{\n    listen {address}:{HTTP};\n    listen {address}:{HTTPS} ssl http2;");
        let _ = writeln!(text, "    server_name {host};");
        for (route, prefix) in prefixes() {
            let _ = writeln!(text, "    location {prefix} {{ proxy_pass http://backend-{route}; }}");
        }
        text.push_str("  }\n");
    }
    text + "}\n"
}

pub(crate) fn haproxy(address: IpAddr, backends: &[SocketAddr], files: &Files<'_>, map: &Path) -> String {
    let (certificate, map) = (files.both.display(), map.display());
    let mut text = format!(
        "global
  nbthread 1
  maxconn 1024
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
frontend door
  bind {address}:{HTTP}
  bind {address}:{HTTPS} ssl crt {certificate} alpn h2,http/1.1
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
  use_backend %[base,map_beg({map},nothing)]
backend nothing
  http-request return status 404
"
    );
    for (route, backend) in backends.iter().enumerate() {
        let _ = writeln!(text, "backend backend-{route}\n  server one {backend} pool-max-conn {KEPT}");
    }
    text
}

/// The longest one counts.
pub(crate) fn haproxy_map() -> String {
    let mut text = String::new();
    for number in 0..N_HOSTS {
        for (route, prefix) in prefixes() {
            let _ = writeln!(text, "{}{prefix} backend-{route}", host(number));
        }
    }
    text
}

pub(crate) fn envoy(address: IpAddr, backends: &[SocketAddr], files: &Files<'_>) -> String {
    let socket = |address: IpAddr, port: u16| json!({"socket_address": {"address": address, "port_value": port}});
    let typed = |kind: &str, mut value: Value| {
        value["@type"] = format!("type.googleapis.com/envoy.extensions.{kind}").into();
        value
    };
    let virtual_hosts: Vec<Value> = (0..N_HOSTS)
        .map(|number| {
            let routes: Vec<Value> = prefixes()
                .map(|(route, prefix)| {
                    let key = if prefix == "/" { "prefix" } else { "path_separated_prefix" };
                    json!({"match": {key: prefix}, "route": {"cluster": format!("backend-{route}")}})
                })
                .collect();
            json!({"name": format!("app-{number}"), "domains": [host(number)], "routes": routes})
        })
        .collect();
    let manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "door",
            "use_remote_address": true,
            "route_config": {"virtual_hosts": virtual_hosts},
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": typed("filters.http.router.v3.Router", json!({})),
            }],
        }),
    );
    let tls = typed(
        "transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [
                {"certificate_chain": {"filename": files.chain}, "private_key": {"filename": files.key}},
            ],
        }}),
    );
    let filters = json!([{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]);
    let transport = json!({"name": "envoy.transport_sockets.tls", "typed_config": tls});
    let clusters: Vec<Value> = backends
        .iter()
        .enumerate()
        .map(|(route, backend)| {
            let name = format!("backend-{route}");
            let endpoint = json!({"endpoint": {"address": socket(backend.ip(), backend.port())}});
            let endpoints = json!([{"lb_endpoints": [endpoint]}]);
            json!({"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}})
        })
        .collect();
    let value = json!({"static_resources": {
        "listeners": [
            {"address": socket(address, HTTP), "filter_chains": [{"filters": filters}]},
            {"address": socket(address, HTTPS), "filter_chains": [{"filters": filters, "transport_socket": transport}]},
        ],
        "clusters": clusters,
    }});
    value.to_string()
}

pub(crate) fn traefik(address: IpAddr, routes: &Path) -> String {
    let value = json!({
        "global": {"checkNewVersion": false, "sendAnonymousUsage": false},
        "entryPoints": {
            "http": {"address": format!("{address}:{HTTP}")},
            "https": {"address": format!("{address}:{HTTPS}")},
        },
        "providers": {"file": {"filename": routes}},
        "serversTransport": {"maxIdleConnsPerHost": KEPT},
        "log": {"level": "WARN"},
    });
    // YAML is a superset of JSON.
    value.to_string()
}

pub(crate) fn traefik_routes(backends: &[SocketAddr], files: &Files<'_>) -> String {
    let mut routers = serde_json::Map::new();
    for number in 0..N_HOSTS {
        for (route, prefix) in prefixes() {
            let rule = format!("Host(`{}`) && PathPrefix(`{prefix}`)", host(number));
            let plain = json!({"rule": rule, "service": format!("backend-{route}"), "entryPoints": ["http"]});
            let mut secure = plain.clone();
            secure["entryPoints"] = json!(["https"]);
            secure["tls"] = json!({});
            routers.insert(format!("http-{number}-{route}"), plain);
            routers.insert(format!("https-{number}-{route}"), secure);
        }
    }
    let services: serde_json::Map<String, Value> = backends
        .iter()
        .enumerate()
        .map(|(route, backend)| {
            let servers = json!([{"url": format!("http://{backend}")}]);
            (format!("backend-{route}"), json!({"loadBalancer": {"servers": servers}}))
        })
        .collect();
    let value = json!({
        "http": {"routers": routers, "services": services},
        "tls": {
            "certificates": [{"certFile": files.chain, "keyFile": files.key}],
            "options": {"default": {"minVersion": "VersionTLS12"}},
        },
    });
    value.to_string()
}

pub(crate) fn caddy(address: IpAddr, backends: &[SocketAddr], files: &Files<'_>) -> String {
    let routes: Vec<Value> = (0..N_HOSTS)
        .map(|number| {
            let paths: Vec<Value> = prefixes()
                .map(|(route, prefix)| {
                    let proxy = json!({
                        "handler": "reverse_proxy",
                        "upstreams": [{"dial": backends[route].to_string()}],
                        "transport": {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": KEPT}},
                    });
                    match prefix {
                        "/" => json!({"handle": [proxy]}),
                        _ => json!({"match": [{"path": [prefix, format!("{prefix}/*")]}], "handle": [proxy],
                                    "terminal": true}),
                    }
                })
                .collect();
            json!({
                "match": [{"host": [host(number)]}],
                "handle": [{"handler": "subroute", "routes": paths}],
                "terminal": true,
            })
        })
        .collect();
    let server = |port: u16| {
        json!({
            "listen": [format!("{address}:{port}")],
            "routes": routes,
            "automatic_https": {"disable": true},
            "protocols": ["h1", "h2"],
        })
    };
    let mut https = server(HTTPS);
    https["tls_connection_policies"] = json!([{"protocol_min": "tls1.2"}]);
    let value = json!({
        "admin": {"disabled": true, "config": {"persist": false}},
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": {
            "http": {"servers": {"http": server(HTTP), "https": https}},
            "tls": {"certificates": {"load_files": [{"certificate": files.chain, "key": files.key}]}},
        },
    });
    value.to_string()
}

pub(crate) fn router(address: IpAddr) -> String {
    format!(
        "zones: [home.example]
entryPoints: {{lan: {{addresses: [{address}], http: {HTTP}, https: {HTTPS}}}}}
ingress: {{classes: {{internal: lan}}}}
defaultCertificate: default/tls
dns: {{addresses: [{address}]}}
admin: {{gateway: \"{address}:9153\", router: \"{address}:9154\"}}
drain: {{delay: 0, timeout: 1}}
"
    )
}

/// What `router` makes its routes of: an Ingress for each host, and a Service for each route.
pub(crate) fn manifests(backends: &[SocketAddr], certificate: &Certificate) -> String {
    let indented = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let mut text = format!(
        "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: internal}}
spec: {{controller: doorward.dev/ingress}}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {{name: tls, namespace: default}}
stringData:
  tls.crt: |
{}  tls.key: |
{}",
        indented(&certificate.chain),
        indented(&certificate.key)
    );
    for (route, backend) in backends.iter().enumerate() {
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata: {{name: backend-{route}, namespace: default}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: backend-{route}, namespace: default, labels: {{kubernetes.io/service-name: backend-{route}}}}}
addressType: IPv4
endpoints: [{{addresses: [{}]}}]
ports: [{{port: {}}}]
",
            backend.ip(),
            backend.port()
        );
    }
    for number in 0..N_HOSTS {
        let _ = write!(
            text,
            "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: app-{number}, namespace: default}}
spec:
  ingressClassName: internal
  rules:
  - host: {}
    http:
      paths:
",
            host(number)
        );
        for (route, prefix) in prefixes() {
            let backend = format!("service: {{name: backend-{route}, port: {{number: 80}}}}");
            let _ = writeln!(text, "      - {{path: {prefix}, pathType: Prefix, backend: {{{backend}}}}}");
        }
    }
    text
}
