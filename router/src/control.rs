//! Model to dataplane: one swap, with cells and sockets that outlive it.

mod backlog;
mod compile;

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s::{
    admin::Admin,
    background,
    config::Config,
    model::{Addressing, Backend, BackendId, Model},
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
pub use self::compile::{Actions, compile};
use crate::{
    dataplane::SharedDataplane,
    listen::{App, Listeners},
    metrics::Series,
    tls::Keys,
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
    let mut actions = Arc::new(Actions::default());
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
                        let (series, last) = (Arc::clone(series), Arc::clone(&actions));
                        background::run_once_serving(is_serving, move || compile(&model, &cells, &keys, &series, &last))
                    };
                    let (compiled, made) = backlog.during(compiling, updates, &[&cells, &kept], newest).await?;
                    let routes: usize = compiled.sockets.values().map(|socket| socket.table.values().count()).sum();
                    info!(sockets = compiled.wanted().len(), rules = routes, backends = kept.len(), "routes changed");
                    let old = dataplane.swap(Arc::new(compiled));
                    retire(&cells, &kept);
                    cells = kept;
                    background::discard((old, model.replace(new), std::mem::replace(&mut actions, Arc::new(made))));
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

#[cfg(test)]
mod tests {
    use k8s::model::{HealthCheck, Protocol, ServiceName};

    use super::*;

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
