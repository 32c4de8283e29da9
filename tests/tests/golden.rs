//! Golden fixtures: manifests in, routes, names, zones and problems out, as text to read in a diff.
//!
//! Each folder of `tests/fixtures` is a case: `in.yaml`, whose first line says the behaviour, and
//! where the shared `tests/fixtures/config.yaml` does not do, a `config.yaml` of its own. After a change that
//! is meant, `UPDATE_GOLDEN=1 cargo test -p tests --test golden` writes what is expected anew: read the diff.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use gateway::zone::{Claim, Part, Zones};
use k8s::{
    config,
    gateway_api::ParentReference,
    model::{
        Addressing, Affinity, AffinityCookie, AffinityHeader, Asked, Attachment, Certificate, ClaimedAnswer,
        ExternalAuth, Filter, HostPattern, HttpQuestion, Labels, Listener, ListenerProtocol, Match, Model, NameClaim,
        PathMatch, Retry, Rule, Target, ValueMatch,
    },
    problem::Problem,
    source::{self, Kinds, manifest},
    status::{Condition, Desired, ListenerStatus, ParentStatus, Status},
    translate::{Names, endpoints, names, translate},
};

#[test]
fn every_fixture_gives_what_it_gave() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut cases: Vec<PathBuf> = fs::read_dir(&root)
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "too few fixtures below {}", root.display());
    let failures: Vec<String> = cases.iter().filter_map(|case| check(&root, case).err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn check(root: &Path, case: &Path) -> Result<(), String> {
    let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let input = read(&case.join("in.yaml"))?;
    if !input.starts_with("# ") {
        return Err(format!("{name}: the first line of in.yaml does not say the behaviour"));
    }
    let own = case.join("config.yaml");
    let config = read(&if own.exists() { own } else { root.join("config.yaml") })?;
    let config = config::parse(&config).map_err(|error| format!("{name}: {error}"))?;

    let objects = manifest::read(&input).map_err(|error| format!("{name}: {error}"))?;
    let snapshot = source::snapshot(objects, Kinds { tls: true, endpoints: true, dns_endpoints: true });
    let translation = translate(&snapshot, &config);
    let mut routes = routes(&translation.model);
    for (id, backend) in &translation.model.backends {
        let slices = snapshot.endpoint_slices.get(&id.service).map(Vec::as_slice).unwrap_or_default();
        let from = match &backend.addressing {
            Addressing::EndpointSlices { port_name } => format!("{:?}", endpoints(slices, port_name).addresses),
            Addressing::ExternalName { host, port } => format!("{host}:{port}"),
        };
        let verified = backend.validation.as_ref().map(|it| {
            let others: String = it.alternative_names.iter().map(|name| format!(" {name:?}")).collect();
            format!(" verified as {}{others} by {:?}", it.hostname, it.authorities)
        });
        let verified = verified.unwrap_or_default();
        let check = backend.health_check.as_ref().map(|it| format!(" checked at {}", it.path)).unwrap_or_default();
        writeln!(routes, "backend {id} {:?}{verified} {from}{check}", backend.protocol).expect("text");
    }
    let Names { claims, problems } = names(&snapshot, &translation, &config);
    let problems: BTreeSet<&Problem> = translation.problems.iter().chain(&problems).collect();
    let found = [
        ("routes.txt", routes),
        ("names.txt", claims.iter().map(of_claim).collect()),
        ("zone.txt", zone(&claims, &config)),
        ("status.txt", translation.statuses.iter().map(of_status).collect()),
        ("problems.txt", problems.iter().map(|problem| format!("{problem}\n")).collect()),
    ];
    let mut differences = String::new();
    for (file, text) in found {
        let path = case.join(file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
        } else {
            differences.push_str(&difference(
                &format!("{name}/{file}"),
                &fs::read_to_string(&path).unwrap_or_default(),
                &text,
            ));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

/// `Gateway network/home: Accepted Programmed ResolvedRefs=False/RefNotPermitted (why)`, and what else a status says.
fn of_status(desired: &Desired) -> String {
    let object = &desired.object;
    let of_listener = |it: &ListenerStatus| {
        let (kinds, routes) = (it.supported_kinds.join(","), it.attached_routes);
        format!("    listener {} [{kinds}] {routes} routes:{}\n", it.name, conditions(&it.conditions))
    };
    let listeners = |all: &[ListenerStatus]| all.iter().map(of_listener).collect::<String>();
    let of_parent = |it: &ParentStatus| {
        let ParentReference { kind, namespace, name, section_name, port, .. } = &it.parent;
        let kind = kind.as_deref().unwrap_or("Gateway");
        let namespace = namespace.iter().map(|it| format!("{it}/")).collect::<String>();
        let section = section_name.iter().map(|it| format!(" {it}")).collect::<String>();
        let port = port.iter().map(|it| format!(" :{it}")).collect::<String>();
        format!("    {kind} {namespace}{name}{section}{port}:{}\n", conditions(&it.conditions))
    };
    let parents = |all: &[ParentStatus]| all.iter().map(of_parent).collect::<String>();
    match &desired.status {
        Status::GatewayClass { conditions: all, .. } => format!("{object}:{}\n", conditions(all)),
        Status::Gateway { conditions: all, addresses, listeners: of, listener_sets } => {
            let addresses: Vec<String> = addresses.iter().map(|it| format!(" {it:?}")).collect();
            let sets = if *listener_sets > 0 { format!(" {listener_sets} ListenerSets") } else { String::new() };
            format!("{object}{}{sets}:{}\n{}", addresses.concat(), conditions(all), listeners(of))
        }
        Status::ListenerSet { conditions: all, listeners: of } => {
            format!("{object}:{}\n{}", conditions(all), listeners(of))
        }
        Status::Route { parents: all } => format!("{object}\n{}", parents(all)),
        Status::Policy { ancestors } => format!("{object}\n{}", parents(ancestors)),
        Status::Ingress { addresses } => format!("{object} {addresses:?}\n"),
    }
}

fn conditions(all: &[Condition]) -> String {
    let one = |it: &Condition| {
        let sign = if it.is_true { "" } else { "=False" };
        let reason = if it.is_true && it.reason == it.kind { String::new() } else { format!("/{}", it.reason) };
        let message = if it.message.is_empty() { String::new() } else { format!(" ({})", it.message) };
        format!(" {}{sign}{reason}{message}", it.kind)
    };
    all.iter().map(one).collect()
}

/// Lines that are in one text and not in the other.
fn difference(what: &str, expected: &str, found: &str) -> String {
    if expected == found {
        return String::new();
    }
    let missing =
        expected.lines().filter(|line| !found.lines().any(|other| other == *line)).map(|line| format!("  - {line}\n"));
    let new =
        found.lines().filter(|line| !expected.lines().any(|other| other == *line)).map(|line| format!("  + {line}\n"));
    format!("{what} (- expected, + found)\n{}{}", missing.collect::<String>(), new.collect::<String>())
}

/// `lan https:443 grafana.home.example  prefix /  → default/grafana:80`, a line for each match.
fn routes(model: &Model) -> String {
    let mut text = String::new();
    for entry in &model.entry_points {
        if let Some(Certificate { secret, .. }) = entry.client_certificate.as_deref() {
            writeln!(text, "{} shows backends {}/{}", entry.name, secret.namespace, secret.name).expect("text");
        }
        for listener in &entry.listeners {
            let door = format!("{} {}:{}", entry.name, listener.name, listener.port);
            let sockets: Vec<String> = listener.sockets.iter().map(ToString::to_string).collect();
            let sockets = if sockets.is_empty() { "no socket".to_owned() } else { sockets.join(" ") };
            writeln!(text, "{door} on {sockets}{}{}", of_listener(listener), certificates(listener)).expect("text");
            match &listener.authorizers {
                Ok(all) => {
                    all.iter().for_each(|it| writeln!(text, "    {} before routing", of_auth(it)).expect("text"))
                }
                Err(why) => writeln!(text, "    lets nobody in ({why})").expect("text"),
            }
            for attachment in &listener.routes {
                for (number, rule) in attachment.route.rules.iter().enumerate() {
                    // Of connections and datagrams there is nothing to match.
                    if rule.matches.is_empty() {
                        writeln!(text, "{door} {}  → {}", hosts(attachment), target(rule)).expect("text");
                    }
                    for it in &rule.matches {
                        writeln!(text, "{door} {}  {}  → {}", hosts(attachment), of_match(it), target(rule))
                            .expect("text");
                    }
                    if let Some(name) = &rule.name {
                        writeln!(text, "    rule {number} is called {name}").expect("text");
                    }
                    for filter in &rule.filters {
                        writeln!(text, "    rule {number} {}", of_filter(filter)).expect("text");
                    }
                }
            }
        }
    }
    text
}

fn of_listener(listener: &Listener) -> String {
    let redirect = match listener.protocol {
        ListenerProtocol::Http { redirect_to_https: Some(port) } => format!(" redirects to https:{port}"),
        ListenerProtocol::Http { redirect_to_https: None } | ListenerProtocol::Https => String::new(),
        other => format!(" ({other:?})"),
    };
    let hostname = listener.hostname.as_ref().map(|hostname| format!(" for {hostname}")).unwrap_or_default();
    let clients = listener.client_validation.as_ref().map(|it| {
        let n_authorities = it.authorities.0.len();
        format!(" ({:?} clients, by {n_authorities} authorities)", it.mode)
    });
    format!("{hostname}{redirect}{}", clients.unwrap_or_default())
}

fn certificates(listener: &Listener) -> String {
    let name = |it: &Arc<Certificate>| format!("{}/{}", it.secret.namespace, it.secret.name);
    let by_name = listener.certificates.iter().map(|it| format!(" [{}]", name(it)));
    let default = listener.default_certificate.iter().map(|it| format!(" [default {}]", name(it)));
    by_name.chain(default).collect()
}

fn hosts(attachment: &Attachment) -> String {
    if attachment.hostnames.is_empty() {
        return "(any host)".to_owned();
    }
    let name = |host: &HostPattern| match host {
        HostPattern::Wildcard { labels: Labels::One, .. } => format!("{host} (one label)"),
        HostPattern::Exact(_) | HostPattern::Wildcard { .. } => host.to_string(),
    };
    attachment.hostnames.iter().map(name).collect::<Vec<_>>().join(",")
}

fn of_match(it: &Match) -> String {
    let mut text = match &it.path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(path) => format!("prefix {path}"),
        PathMatch::Regex(path) => format!("regex {path}"),
        PathMatch::Call { service, method } => {
            let part = |it: &Option<ValueMatch>| match it {
                None => "(any)".to_owned(),
                Some(ValueMatch::Exact(name)) => name.to_string(),
                Some(ValueMatch::Regex(name)) => format!("~{name}"),
            };
            format!("call of {} {}", part(service), part(method))
        }
    };
    if let Some(method) = &it.method {
        write!(text, " method {method}").expect("text");
    }
    for (kind, all) in [("header", &it.headers), ("query", &it.query)] {
        for named in all {
            let (sign, value) = match &named.value {
                ValueMatch::Exact(value) => ("=", value),
                ValueMatch::Regex(value) => ("~", value),
            };
            write!(text, " {kind} {}{sign}{value}", named.name).expect("text");
        }
    }
    text
}

fn target(rule: &Rule) -> String {
    if rule.backends.is_empty() {
        return "no backend".to_owned();
    }
    let one = |backend: &k8s::model::WeightedBackend| {
        let to = match &backend.target {
            Target::Backend(id) => id.to_string(),
            Target::Invalid(why) => format!("500 ({why})"),
        };
        let weight = if rule.backends.len() > 1 { format!("{}x ", backend.weight) } else { String::new() };
        let filters: String = backend.filters.iter().map(|filter| format!(" {}", of_filter(filter))).collect();
        format!("{weight}{to}{filters}")
    };
    let timeouts = match (rule.timeouts.request, rule.timeouts.backend_request) {
        (None, None) => String::new(),
        (request, each) => format!(" within {request:?} ms, each try {each:?} ms"),
    };
    let retry = rule.retry.as_ref().map(|Retry { attempts, codes, backoff }| {
        let pause = backoff.map(|it| format!(" after {it} ms")).unwrap_or_default();
        format!(" retried {attempts} times for {codes:?}{pause}")
    });
    let retry = retry.unwrap_or_default();
    let affinity = rule.affinity.as_ref().map(of_affinity).unwrap_or_default();
    format!("{}{timeouts}{retry}{affinity}", rule.backends.iter().map(one).collect::<Vec<_>>().join(" + "))
}

fn of_affinity(affinity: &Affinity) -> String {
    match affinity {
        Affinity::Address => " kept by the client's address".to_owned(),
        Affinity::Cookie(AffinityCookie { name, path, max_age, same_site, lifetime }) => {
            let lifetime = lifetime.map(|seconds| format!(" chosen anew after {seconds} s")).unwrap_or_default();
            let max_age = max_age.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
            let same_site = same_site.map(|it| format!(" SameSite {}", it.as_str())).unwrap_or_default();
            format!(" kept by cookie {name} at {path}{max_age}{same_site}{lifetime}")
        }
        Affinity::Header(name) => format!(" kept by header {name}"),
        Affinity::Session(AffinityHeader { name, lifetime }) => {
            let lifetime = lifetime.map(|seconds| format!(" chosen anew after {seconds} s")).unwrap_or_default();
            format!(" kept by header {name} of the router's own{lifetime}")
        }
    }
}

fn of_auth(it: &ExternalAuth) -> String {
    let (backend, body) = (&it.backend, it.body);
    match &it.asked {
        Asked::Http(HttpQuestion { path, request_headers, response_headers }) => format!(
            "asks {backend} at {path:?} with {request_headers:?} and {body} bytes, tells the backend {response_headers:?}"
        ),
        Asked::Grpc { request_headers } => format!("calls {backend} with {request_headers:?} and {body} bytes"),
    }
}

fn of_filter(filter: &Filter) -> String {
    match filter {
        Filter::Cors(it) => format!("{it:?}"),
        Filter::ExternalAuth(it) => of_auth(it),
        Filter::Mirror(it) => {
            format!("mirrors {} of {} to {}", it.share.numerator, it.share.denominator, it.backend)
        }
        Filter::Redirect(it) => format!(
            "redirects {} to scheme {:?} host {:?} path {:?} port {:?}",
            it.status, it.scheme, it.hostname, it.path, it.port
        ),
        Filter::RequestHeaders(it) => {
            format!("request headers set {:?} add {:?} remove {:?}", it.set, it.add, it.remove)
        }
        Filter::ResponseHeaders(it) => {
            format!("response headers set {:?} add {:?} remove {:?}", it.set, it.add, it.remove)
        }
        Filter::Rewrite(it) => format!("rewrites host {:?} path {:?}", it.hostname, it.path),
    }
}

/// `grafana.home.example  (Ingress default/grafana, ttl 60)  → lan 192.168.8.21 https`
fn of_claim(claim: &NameClaim) -> String {
    let NameClaim { name, object, ttl, answer } = claim;
    let ttl = ttl.map(|ttl| format!(", ttl {ttl}")).unwrap_or_default();
    let answer = match answer {
        ClaimedAnswer::EntryPoint { name, addresses, https } => {
            let addresses: String = addresses.iter().map(|address| format!(" {address}")).collect();
            format!("→ {name}{addresses}{}", if *https { " https" } else { "" })
        }
        ClaimedAnswer::Records(data) => {
            format!("→ {}", data.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        ClaimedAnswer::Withheld(why) => format!("withheld: {why}"),
    };
    format!("{name}  ({object}{ttl})  {answer}\n")
}

/// `grafana.home.example A 192.168.8.21  (Ingress default/grafana on lan)`, sorted. Without what the zones hold of themselves.
fn zone(claims: &[NameClaim], config: &config::Config) -> String {
    let zones = Zones::build(claims, config, None, 1);
    let claim = |claim: &Claim| {
        let place = claim.entry_point.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
        let part = match claim.part {
            Part::Answers => "",
            Part::NoAddress => " without an address",
            Part::Outranked => " outranked",
        };
        format!("{}{place}{part}", claim.object)
    };
    let mut lines: Vec<String> = zones
        .iter()
        .flat_map(|zone| zone.nodes().map(move |(name, node)| (zone, name, node)))
        .filter(|(zone, name, node)| **name != zone.name_server && !node.claims.is_empty())
        .map(|(_, name, node)| {
            let data: Vec<String> =
                node.rrsets.iter().flat_map(|rrset| rrset.data.iter().map(ToString::to_string)).collect();
            let claims: Vec<String> = node.claims.iter().map(claim).collect();
            format!("{name} {}  ({})\n", data.join(" "), claims.join(", "))
        })
        .collect();
    lines.sort();
    lines.concat()
}
