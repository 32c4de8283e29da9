//! Model to dataplane: one swap, with cells and sockets that outlive it.

mod backlog;

use std::{
    collections::{BTreeMap, HashMap},
    mem::discriminant,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use k8s::{
    admin::Admin,
    background,
    config::Config,
    model::{Addressing, Backend, BackendId, EntryPoint, Listener, ListenerProtocol, Model, Redirect, Route, Scheme},
    problem::Problem,
    snapshot::Snapshot,
    source::Update,
    status::{Findings, Newest, services},
    telemetry,
    translate::{Last, Translation, endpoints, translate_after},
};
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, sleep_until},
};
use tracing::{error, info};

use self::backlog::{Backlog, set_endpoints};
use crate::{
    dataplane::{Action, DatagramSocket, Dataplane, Edge, Gate, SharedDataplane, Socket},
    listen::{App, Listeners},
    metrics::Series,
    stream::{OnlyRoute, Streams},
    table::RouteTable,
    tls::{Keys, Termination},
    upstream::{BackendCell, external_name, health_check},
};

/// How soon a socket that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// By the identity under which routes refer to them.
pub type Cells = HashMap<BackendId, Arc<BackendCell>>;

/// Applies every update; ends only with an error. Endpoints do not wait for snapshots, and of those only the newest is
/// waited for. What is to be said of the objects goes to `newest` when it has come true.
pub async fn follow<A>(
    updates: &mut Receiver<Update>,
    config: &Arc<Config>,
    dataplane: &SharedDataplane,
    series: &Arc<Series>,
    listeners: &mut Listeners<A>,
    admin: &Admin,
    newest: &Newest,
) -> anyhow::Result<()>
where
    A: App,
{
    let mut model: Option<Arc<Model>> = None;
    let mut problems: Vec<Problem> = Vec::new();
    let mut last = Arc::new(Last::default());
    let mut cells = Arc::new(Cells::new());
    let mut keys = Arc::new(Keys::default());
    let mut retry: Option<Instant> = None;
    let mut backlog = Backlog::default();
    loop {
        let update = tokio::select! {
            update = backlog.next(updates) => update,
            () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                retry = open(dataplane, listeners, admin).await;
                continue;
            }
        };
        match update {
            None => anyhow::bail!("the source of objects has ended"),
            Some(Update::Endpoints { service, slices }) => {
                set_endpoints(&cells, &service, &slices);
                newest.services.send_if_modified(|seen| seen.set_slices(&service, &slices));
            }
            Some(Update::Snapshot(snapshot)) => {
                let is_serving = model.is_some();
                let translating = {
                    let (snapshot, config) = (Arc::clone(&snapshot), Arc::clone(config));
                    let (model, last) = (model.clone(), Arc::clone(&last));
                    let work = move || translated(&snapshot, &config, model.as_deref(), &last);
                    background::run_once_serving(is_serving, work)
                };
                let Translated { news, found, mut services, last: left } =
                    backlog.during(translating, updates, &[&cells], newest).await?;
                background::discard(std::mem::replace(&mut last, left));
                telemetry::report_problems(&problems, &found.problems);
                admin.set_problems(found.problems.clone());
                problems.clone_from(&found.problems);
                if let Some(new) = news {
                    let kept = Arc::new(keep_cells(&cells, &new, &snapshot));
                    backlog.tell(&kept);
                    keys = Arc::new(keys.after(&new));
                    let compiling = {
                        let (model, cells, keys) = (Arc::clone(&new), Arc::clone(&kept), Arc::clone(&keys));
                        let series = Arc::clone(series);
                        background::run_once_serving(is_serving, move || compile(&model, &cells, &keys, &series))
                    };
                    let compiled = backlog.during(compiling, updates, &[&cells, &kept], newest).await?;
                    let routes: usize = compiled.sockets.values().map(|socket| socket.table.values().len()).sum();
                    info!(sockets = compiled.wanted().len(), rules = routes, backends = kept.len(), "routes changed");
                    let old = dataplane.swap(Arc::new(compiled));
                    retire(&cells, &kept);
                    cells = kept;
                    background::discard((old, model.replace(new)));
                    retry = open(dataplane, listeners, admin).await;
                }
                backlog.tell_seen(&mut services);
                newest.services.send_replace(services);
                background::discard(newest.findings.send_replace(Some(found)));
            }
        }
    }
}

/// What a snapshot comes to.
struct Translated {
    /// None where the model is the last one.
    news: Option<Arc<Model>>,
    found: Arc<Findings>,
    services: services::Seen,
    last: Arc<Last>,
}

fn translated(snapshot: &Arc<Snapshot>, config: &Config, model: Option<&Model>, last: &Last) -> Translated {
    let Translation { model: new, problems, statuses, gateway_ports, last } = translate_after(snapshot, config, last);
    Translated {
        news: (model != Some(&new)).then(|| Arc::new(new)),
        found: Arc::new(Findings::new(statuses, problems)),
        services: services::Seen::new(snapshot, config, gateway_ports),
        last: Arc::new(last),
    }
}

/// Opens what the dataplane serves. Some when something could not be opened: when to try again.
async fn open<A: App>(dataplane: &SharedDataplane, listeners: &mut Listeners<A>, admin: &Admin) -> Option<Instant> {
    let wanted = dataplane.load().wanted();
    let failures = listeners.apply(&wanted).await;
    for (address, error) in &failures {
        error!(%address, %error, "cannot listen; trying again every {} s", RETRY.as_secs());
    }
    // One address that cannot be had is no reason to send nobody here.
    if failures.len() < wanted.len() || wanted.is_empty() {
        admin.set_ready();
    }
    (!failures.is_empty()).then(|| Instant::now() + RETRY)
}

/// A cell stays for as long as its backend is spoken to in the same way, and its endpoints' state for longer.
fn keep_cells(old: &Cells, model: &Model, snapshot: &Snapshot) -> Cells {
    let cell = |id: &BackendId, backend: &Backend| {
        let known = old.get(id);
        known.filter(|cell| cell.backend == *backend).cloned().unwrap_or_else(|| {
            let slices = snapshot.endpoint_slices.get(&id.service).map(Vec::as_slice).unwrap_or_default();
            let endpoints = match &backend.addressing {
                Addressing::EndpointSlices { port_name } => endpoints(slices, port_name),
                // The name is asked for once more, and has a cell's addresses until then.
                Addressing::ExternalName { .. } => known
                    .filter(|cell| cell.backend.addressing == backend.addressing)
                    .map(|cell| cell.addresses())
                    .unwrap_or_default(),
            };
            let cell = Arc::new(BackendCell::new(backend.clone(), &endpoints, known.map(|cell| &**cell)));
            external_name::follow(&cell);
            health_check::follow(&cell);
            cell
        })
    };
    model.backends.iter().map(|(id, backend)| (id.clone(), cell(id, backend))).collect()
}

/// A stream may hold a cell for days that no route leads to any more.
fn retire(old: &Cells, new: &Cells) {
    let is_kept = |id: &BackendId, cell| new.get(id).is_some_and(|kept| Arc::ptr_eq(kept, cell));
    old.iter().filter(|(id, cell)| !is_kept(id, cell)).for_each(|(_, cell)| cell.retire());
}

/// Everything that `model` serves, by the sockets it wants.
pub fn compile(model: &Model, cells: &Cells, keys: &Keys, series: &Series) -> Dataplane {
    let mut dataplane = Dataplane::default();
    for entry_point in &model.entry_points {
        let mut by_socket: BTreeMap<SocketAddr, Vec<&Listener>> = BTreeMap::new();
        let (datagrams, streams): (Vec<_>, Vec<_>) =
            entry_point.listeners.iter().partition(|listener| listener.protocol == ListenerProtocol::Udp);
        for listener in streams {
            for socket in &listener.sockets {
                by_socket.entry(*socket).or_default().push(listener);
            }
        }
        // A route is on the sockets for HTTP and for HTTPS, and does the same there.
        let mut made: HashMap<(*const Route, usize), Arc<Action>> = HashMap::new();
        let mut make = |route: &Route, rule: usize| {
            let make = || Arc::new(Action::new(&entry_point.name, route, rule, cells, series));
            Arc::clone(made.entry((std::ptr::from_ref(route), rule)).or_insert_with(make))
        };
        for listener in datagrams.into_iter().filter(|listener| !listener.sockets.is_empty()) {
            let only = OnlyRoute::compile(listener, |route| make(route, 0));
            let socket = Arc::new(DatagramSocket { edge: edge(entry_point, listener, false, keys, series), only });
            for address in &listener.sockets {
                dataplane.datagrams.entry(*address).or_insert_with(|| Arc::clone(&socket));
            }
        }
        // Addresses of both families serve the same listeners, and so share a table.
        let mut compiled: Vec<(Vec<*const Listener>, Arc<Socket>)> = Vec::new();
        for (address, listeners) in by_socket {
            let identity: Vec<*const Listener> =
                listeners.iter().map(|listener| std::ptr::from_ref(*listener)).collect();
            let same = compiled.iter().find(|(known, _)| *known == identity).map(|(_, socket)| Arc::clone(socket));
            let socket = same.or_else(|| {
                let socket = Arc::new(compile_socket(entry_point, &listeners, cells, keys, series, &mut make)?);
                compiled.push((identity, Arc::clone(&socket)));
                Some(socket)
            });
            dataplane.sockets.extend(socket.map(|socket| (address, socket)));
        }
    }
    dataplane
}

/// None where TLS cannot end. Listeners that share a socket all begin with TLS, or all with a request in the clear, as
/// the first one does; TCP has its socket for itself.
fn compile_socket(
    entry_point: &EntryPoint,
    listeners: &[&Listener],
    cells: &Cells,
    keys: &Keys,
    series: &Series,
    mut make: impl FnMut(&Route, usize) -> Arc<Action>,
) -> Option<Socket> {
    let first = listeners.first()?;
    let shares_with_first = |listener: &&Listener| match first.protocol {
        protocol if protocol.is_tls() => listener.protocol.is_tls(),
        protocol => discriminant(&protocol) == discriminant(&listener.protocol),
    };
    let listeners: Vec<&Listener> = listeners.iter().copied().filter(shares_with_first).collect();
    let is_https = |listener: &&Listener| listener.protocol == ListenerProtocol::Https;
    let http: Vec<&Listener> = listeners.iter().copied().filter(|listener| listener.protocol.is_http()).collect();
    let redirect_to_https = match first.protocol {
        ListenerProtocol::Http { redirect_to_https } => redirect_to_https.map(to_https),
        _ => None,
    };
    let tls = match http.first().filter(|first| is_https(first)).map(|_| Termination::new(&http, keys)).transpose() {
        Ok(tls) => tls,
        Err(error) => {
            error!(port = first.port, entry_point = %entry_point.name, "cannot end TLS: {error:#}");
            return None;
        }
    };
    Some(Socket {
        edge: edge(entry_point, first, first.protocol.is_tls(), keys, series),
        redirect_to_https,
        tls,
        gates: http.iter().filter_map(|it| Some((Arc::clone(&it.name), Gate::of(it, cells)?))).collect(),
        table: RouteTable::compile(&http, &mut make),
        streams: Streams::compile(&listeners, keys, |route| make(route, 0)),
    })
}

fn edge(entry_point: &EntryPoint, listener: &Listener, is_tls: bool, keys: &Keys, series: &Series) -> Arc<Edge> {
    Arc::new(Edge {
        entry_point: Arc::clone(&entry_point.name),
        trust: entry_point.trust.clone(),
        port: listener.port,
        is_tls,
        client_certificate: entry_point.client_certificate.as_ref().and_then(|it| keys.shown(it)),
        unrouted: series.of(&entry_point.name, String::new()),
    })
}

/// 308 keeps the method and the body, where 301 lets browsers turn a POST into a GET.
fn to_https(port: u16) -> Redirect {
    Redirect { scheme: Some(Scheme::Https), hostname: None, path: None, port: Some(port), status: 308 }
}

#[cfg(test)]
mod tests {
    use k8s::model::{HealthCheck, Protocol, ServiceName, Trust};

    use super::*;
    use crate::{fixture::attach, listen::Kind};

    fn listener(protocol: ListenerProtocol, port: u16) -> Listener {
        Listener {
            name: port.to_string().as_str().into(),
            port,
            sockets: vec![SocketAddr::from(([192, 168, 8, 24], port))],
            protocol,
            hostname: None,
            certificates: Vec::new(),
            default_certificate: None,
            client_validation: None,
            authorizers: Ok(Vec::new()),
            routes: Vec::new(),
        }
    }

    #[test]
    fn listeners_open_sockets_of_their_kinds_and_those_with_tls_share_theirs() {
        let listeners = [
            (ListenerProtocol::TlsPassthrough, 443),
            (ListenerProtocol::Https, 443),
            (ListenerProtocol::TlsTerminate, 8443),
            (ListenerProtocol::Http { redirect_to_https: None }, 80),
            (ListenerProtocol::Tcp, 53),
            (ListenerProtocol::Udp, 53),
        ];
        let listeners = listeners.map(|(protocol, port)| listener(protocol, port)).into();
        let entry_point = EntryPoint {
            name: "network/home".into(),
            addresses: Vec::new(),
            trust: Trust::default(),
            client_certificate: None,
            listeners,
        };
        let model = Model { entry_points: vec![entry_point], ..Model::default() };
        let compiled = compile(&model, &Cells::new(), &Keys::default(), &Series::default());
        let mut wanted: Vec<_> = compiled.wanted().iter().map(|it| (it.address.port(), it.kind)).collect();
        wanted.sort();
        let expected = [(53, Kind::Tcp), (53, Kind::Udp), (80, Kind::Http), (443, Kind::Tls), (8443, Kind::Tls)];
        assert_eq!(wanted, expected);
        let tls = |port: u16| compiled.sockets[&SocketAddr::from(([192, 168, 8, 24], port))].tls.is_some();
        assert!(tls(443) && !tls(8443), "HTTP in TLS only where a listener wants it");
    }

    #[test]
    fn a_route_on_two_sockets_is_made_once() {
        let (mut http, mut https) =
            (listener(ListenerProtocol::Http { redirect_to_https: None }, 80), listener(ListenerProtocol::Https, 443));
        attach(&mut http, 1, &["a.home.example"], &[]);
        https.routes.clone_from(&http.routes);
        let entry_point = EntryPoint {
            name: "lan".into(),
            addresses: Vec::new(),
            trust: Trust::default(),
            client_certificate: None,
            listeners: vec![http, https],
        };
        let model = Model { entry_points: vec![entry_point], ..Model::default() };
        let compiled = compile(&model, &Cells::new(), &Keys::default(), &Series::default());
        let actions: Vec<_> = compiled.sockets.values().flat_map(|socket| socket.table.values()).collect();
        assert!(matches!(&actions[..], [one, other] if Arc::ptr_eq(one, other)), "{actions:?}");
    }

    #[tokio::test]
    async fn nobody_asks_on_behalf_of_a_cell_that_was_replaced_and_that_a_stream_still_holds() {
        let model = |protocol| {
            let backend = |name, protocol| Backend {
                id: BackendId { service: ServiceName::new("default", name), port: 80, spoken: None },
                protocol,
                validation: None,
                addressing: Addressing::EndpointSlices { port_name: "".into() },
                uid: "7d1a0a2e".into(),
                health_check: Some(HealthCheck { path: "/healthz".into() }),
            };
            let backends = [backend("same", Protocol::Http), backend("other", protocol)];
            Model { backends: backends.map(|it| (it.id.clone(), it)).into(), ..Model::default() }
        };
        let snapshot = Snapshot::default();
        let old = keep_cells(&Cells::new(), &model(Protocol::Http), &snapshot);
        let new = keep_cells(&old, &model(Protocol::H2c), &snapshot);
        retire(&old, &new);
        // Whoever asks holds its cell weakly.
        let asking = |cells: &Cells| {
            let mut asking: Vec<_> =
                cells.iter().map(|(id, cell)| (id.service.name.to_string(), Arc::weak_count(cell))).collect();
            asking.sort();
            asking
        };
        let is = |same: usize, other: usize| vec![("other".to_owned(), other), ("same".to_owned(), same)];
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!((asking(&old), asking(&new)), (is(1, 0), is(1, 1)));
    }
}
