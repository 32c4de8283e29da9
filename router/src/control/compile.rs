//! Model to dataplane. What was made of a route before is used again: most changes are of one.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem::discriminant,
    net::SocketAddr,
    sync::Arc,
};

use foldhash::fast::RandomState;
use k8s::model::{BackendId, EntryPoint, Listener, ListenerProtocol, Model, Redirect, Route, Scheme};
use tracing::error;

use super::Cells;
use crate::{
    dataplane::{Action, DatagramSocket, Dataplane, Edge, Gate, Socket},
    metrics::Series,
    stream::{OnlyRoute, Streams},
    table::{Part, RouteTable, Shared},
    tls::{Keys, Termination},
};

/// What the routes of each entry point are compiled to, and the cells they lead to. Routes are told by where they are,
/// which is theirs alone for as long as they are held here.
#[derive(Default)]
pub struct Actions {
    cells: Arc<Cells>,
    of_entry_points: HashMap<Arc<str>, OfRoutes>,
}

type OfRoutes = HashMap<usize, Arc<Part<Arc<Action>>>, RandomState>;

/// Everything that `model` serves, by the sockets it wants. What `last` has of routes that are the same ones, and whose
/// cells are, is as good as new.
pub fn compile(
    model: &Model,
    cells: &Arc<Cells>,
    keys: &Keys,
    series: &Series,
    last: &Actions,
) -> (Dataplane, Actions) {
    let mut dataplane = Dataplane::default();
    let mut of_entry_points = HashMap::new();
    let changed = changed(&last.cells, cells);
    let leads_to_changed = |route: &Route| !changed.is_empty() && route.backends().any(|id| changed.contains(id));
    for entry_point in &model.entry_points {
        let mut by_socket: BTreeMap<SocketAddr, Vec<&Listener>> = BTreeMap::new();
        let (datagrams, streams): (Vec<_>, Vec<_>) =
            entry_point.listeners.iter().partition(|listener| listener.protocol == ListenerProtocol::Udp);
        for listener in streams {
            for socket in &listener.sockets {
                by_socket.entry(*socket).or_default().push(listener);
            }
        }
        let known = last.of_entry_points.get(&entry_point.name);
        let mut made = OfRoutes::default();
        // A route is on the sockets for HTTP and for HTTPS, and does the same there.
        let mut part = |route: &Arc<Route>| {
            let place = Arc::as_ptr(route).addr();
            let known = || known?.get(&place).filter(|_| !leads_to_changed(route)).cloned();
            let action = |rule| Arc::new(Action::new(&entry_point.name, route, rule, cells, series));
            Arc::clone(
                made.entry(place).or_insert_with(|| known().unwrap_or_else(|| Arc::new(Part::new(route, action)))),
            )
        };
        let mut shared = Shared::default();
        for listener in datagrams.into_iter().filter(|listener| !listener.sockets.is_empty()) {
            let only = OnlyRoute::compile(listener, |route| only(&part(route), entry_point, cells, series));
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
                let socket =
                    Arc::new(compile_socket(entry_point, &listeners, cells, keys, series, &mut part, &mut shared)?);
                compiled.push((identity, Arc::clone(&socket)));
                Some(socket)
            });
            dataplane.sockets.extend(socket.map(|socket| (address, socket)));
        }
        of_entry_points.insert(Arc::clone(&entry_point.name), made);
    }
    (dataplane, Actions { cells: Arc::clone(cells), of_entry_points })
}

/// Those that one has and the other has not, or another one for.
fn changed<'a>(old: &'a Cells, new: &'a Cells) -> HashSet<&'a BackendId> {
    let only_in = |these: &'a Cells, those: &'a Cells| {
        let is_there = |id: &BackendId, cell| those.get(id).is_some_and(|it| Arc::ptr_eq(it, cell));
        these.iter().filter(move |(id, cell)| !is_there(id, cell)).map(|(id, _)| id)
    };
    only_in(old, new).chain(only_in(new, old)).collect()
}

/// Of a route of connections or datagrams, which has one rule, or none, and then no backends.
fn only(part: &Part<Arc<Action>>, entry_point: &EntryPoint, cells: &Cells, series: &Series) -> Arc<Action> {
    let without_rule = || Arc::new(Action::new(&entry_point.name, &part.route, 0, cells, series));
    part.values.first().cloned().unwrap_or_else(without_rule)
}

/// None where TLS cannot end. Listeners that share a socket all begin with TLS, or all with a request in the clear, as
/// the first one does; TCP has its socket for itself.
fn compile_socket<'a>(
    entry_point: &EntryPoint,
    listeners: &[&'a Listener],
    cells: &Cells,
    keys: &Keys,
    series: &Series,
    mut part: impl FnMut(&Arc<Route>) -> Arc<Part<Arc<Action>>>,
    shared: &mut Shared<'a, Arc<Action>>,
) -> Option<Socket> {
    let first = listeners.first()?;
    let shares_with_first = |listener: &&Listener| match first.protocol {
        protocol if protocol.is_tls() => listener.protocol.is_tls(),
        protocol => discriminant(&protocol) == discriminant(&listener.protocol),
    };
    let listeners: Vec<&'a Listener> = listeners.iter().copied().filter(shares_with_first).collect();
    let is_https = |listener: &&Listener| listener.protocol == ListenerProtocol::Https;
    let http: Vec<&'a Listener> = listeners.iter().copied().filter(|listener| listener.protocol.is_http()).collect();
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
        table: RouteTable::of_parts(&http, &mut part, shared),
        streams: Streams::compile(&listeners, keys, |route| only(&part(route), entry_point, cells, series)),
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
mod tests;
