//! The DNS server: answers with the address where the router serves a name.
//!
//! A query's way: `serve` receives → `reference::answer` on one load of the [`zone::Zones`] → `serve` sends.

mod explain;
mod metrics;
pub mod reference;
mod serve;
pub mod zone;

use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwapOption;
use k8s::{
    admin::Admin,
    cli::CommonArgs,
    config::Config,
    model::Model,
    problem::Problem,
    source::{self, Kinds, Source, Update},
    telemetry,
    translate::translate,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::{metrics::Metrics, zone::Zones};

/// The one shared state; None before the first complete list of objects.
pub type SharedZones = Arc<ArcSwapOption<Zones>>;

/// Names need neither certificates nor endpoints.
pub const KINDS: Kinds = Kinds { secrets: false, endpoints: false, dns_endpoints: true };

/// Serves until SIGTERM or SIGINT, or until something that cannot be mended at run time has gone wrong.
pub async fn run(args: CommonArgs, config: Config) -> anyhow::Result<()> {
    let registry = telemetry::install_metrics("gateway")?;
    let config = Arc::new(config);
    let zones = SharedZones::default();
    let model = Arc::new(ArcSwapOption::<Model>::empty());
    let explain = explain::for_admin(Arc::clone(&zones), Arc::clone(&model));
    let admin = Admin::new(registry, explain);
    admin.clone().serve(config.admin.gateway).await?;

    let metrics = Metrics::new();
    let mut server = serve::open(&config.dns.listen, Arc::clone(&zones), metrics.clone()).await?;
    for zone in &config.zones {
        info!(zone = %zone.name, "in Pi-hole: server=/{}/{}", zone.name, pi_hole_target(&config));
    }
    let state = config.state_directory.as_ref().map(|directory| directory.join("gateway.state"));
    let Source { updates, keeper } = source::open(args.origin(), KINDS, state).await?;
    let follow = follow(updates, &config, &zones, &model, &admin, &metrics);

    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    tokio::select! {
        ended = follow => return ended,
        error = server.ended() => return Err(error),
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    info!("leaving");
    admin.set_leaving();
    // Queries that are on their way to this replica still get their answer.
    tokio::time::sleep(std::time::Duration::from_secs(config.drain.delay)).await;
    server.close().await;
    keeper.finish().await;
    Ok(())
}

/// Turns every snapshot into zones; ends only with an error.
async fn follow(
    mut updates: tokio::sync::mpsc::Receiver<Update>,
    config: &Config,
    zones: &SharedZones,
    model: &ArcSwapOption<Model>,
    admin: &Admin,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let mut problems: Vec<Problem> = Vec::new();
    while let Some(update) = updates.recv().await {
        let Update::Snapshot(snapshot) = update else { continue };
        let translation = translate(&snapshot, config);
        telemetry::report_problems(&problems, &translation.problems);
        admin.set_problems(translation.problems.clone());
        admin.set_as_of(snapshot.as_of);
        problems = translation.problems;
        if model.load().as_deref() != Some(&translation.model) {
            let built = Zones::build(&translation.model, config, next_serial(zones));
            metrics.names(&built);
            info!(names = built.names().count(), "zones changed");
            zones.store(Some(Arc::new(built)));
            model.store(Some(Arc::new(translation.model)));
        }
        admin.set_ready();
    }
    anyhow::bail!("the source of objects has ended")
}

/// The time in seconds, and more than the last one: secondaries and people compare serials (RFC 1982).
fn next_serial(zones: &SharedZones) -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    // The low 32 bits are what RFC 1982 arithmetic wants.
    let now = (now & u64::from(u32::MAX)) as u32;
    zones.load().as_ref().map_or(now, |zones| now.max(zones.serial().wrapping_add(1)))
}

fn pi_hole_target(config: &Config) -> String {
    config.dns.addresses.first().map_or_else(|| "<address of this gateway>".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod fixture;
