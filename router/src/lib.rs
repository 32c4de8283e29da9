//! The edge router: terminates TLS, finds the route, asks the backend.
//!
//! A request's way: `listen` accepts → `tls` (SNI) → `framing` checks → one load of the
//! [`dataplane`] → `table::RouteTable::find` → `filter` → `upstream` picks an endpoint → `proxy`
//! streams both ways → `access_log` and `metrics`. What is not HTTP goes from `listen` to [`stream`] and [`datagram`].

pub mod access_log;
pub mod control;
pub mod datagram;
pub mod dataplane;
pub mod explain;
pub mod filter;
#[cfg(test)]
mod fixture;
pub mod framing;
pub mod listen;
pub mod metrics;
pub mod proxy;
pub mod stream;
pub mod table;
pub mod tls;
pub mod unwind;
pub mod upstream;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use k8s::{
    admin::Admin,
    cli::CommonArgs,
    config::Config,
    source::{self, Kinds, Source},
    status::{self, Newest, observed::Observed},
    telemetry,
};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use tracing::info;

use crate::{
    access_log::AccessLog,
    dataplane::SharedDataplane,
    listen::{Apps, Limits, Listeners, Requests},
    metrics::Series,
};

pub const KINDS: Kinds = Kinds { tls: true, endpoints: true, dns_endpoints: false };

/// Serves until SIGTERM or SIGINT, or until something that cannot be mended at run time has gone wrong. Connections are
/// served on `data`, and everything else where this runs.
pub async fn run(args: CommonArgs, config: Config, access_log: bool, data: Handle) -> anyhow::Result<()> {
    // pingora makes TLS clients by the process-wide provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    upstream::check_authorities()?;
    let registry = telemetry::install_metrics("router")?;
    metrics::describe();
    tls::describe();
    let dataplane = SharedDataplane::default();
    let series = Arc::new(Series::default());
    let admin = Admin::new(registry, explain::for_admin(Arc::clone(&dataplane), Arc::clone(&series)));
    admin.clone().serve(config.admin.router).await?;

    let log = access_log.then(AccessLog::to_stdout).transpose().context("cannot start the access log")?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let requests = Arc::new(Requests::for_process(proxy::KEPT_CONNECTIONS));
    let app = proxy::app(Arc::clone(&dataplane), log.clone(), Arc::clone(&requests), threads);
    let apps = Apps {
        http: Arc::new(proxy::Caught::new(app)),
        refuse: proxy::refuse(Arc::clone(&dataplane), log.clone()),
        streams: stream::Shared { log: log.clone(), requests },
    };
    let mut listeners = Listeners::new(data, apps, Arc::clone(&dataplane), Limits::default(), config.drain);
    // The last known state has no Secrets: with it HTTPS would be opened without certificates. Until they are kept
    // in another way, a router that starts while the API server is away waits for it.
    let (observed, newest) = (Observed::default(), Newest::default());
    let Source { mut updates, client, .. } = source::open(args.origin(), KINDS, None, Some(observed.clone())).await?;
    let writing = client.map(|client| status::start(client, observed, &config, &newest));

    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let leaving = listeners.leaving();
    let leave = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("leaving");
        admin.set_leaving();
        leaving.set();
        // Whoever watches readiness sends the last requests here until it has noticed.
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(config.drain.delay)) => {}
            _ = interrupt.recv() => {}
        }
    };
    let shared = Arc::new(config.clone());
    // While the delay runs, changes are still followed.
    tokio::select! {
        ended = control::follow(&mut updates, &shared, &dataplane, &series, &mut listeners, &admin, &newest) => return ended,
        () = leave => {}
    }
    let writing = tokio::spawn(async move {
        if let Some(writing) = writing {
            writing.leave().await;
        }
    });
    // Each Ctrl-C ends what is waited for: it is a person's. SIGTERM comes again from a kubelet that was restarted.
    tokio::select! {
        () = async { tokio::join!(listeners.leave(), writing).0 } => {}
        _ = interrupt.recv() => info!("not waiting for what still runs"),
    }
    log.iter().for_each(AccessLog::flush);
    info!("left");
    Ok(())
}
