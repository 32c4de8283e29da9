//! The DNS server: answers with the address where the router serves a name.
//!
//! A query's way: `serve` receives → [`wire::answer`] on one load of the [`view::Views`] → `serve` sends.
//! What `wire` declines goes to [`reference::respond`], on the same zones.

mod admin;
mod command;
mod explain;
mod forward;
mod forwarders;
mod metrics;
mod records;
pub mod reference;
mod serve;
pub mod view;
pub mod wire;
pub mod zone;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use arc_swap::ArcSwapOption;
use k8s::{
    admin::Admin,
    background,
    cli::CommonArgs,
    config::Config,
    model::{ClaimedAnswer, NameClaim},
    problem::{self, Problem},
    source::{self, Kinds, Source, Update},
    telemetry,
    translate::{names, translate},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

pub use self::{
    command::{explain_name, list_records},
    records::Format,
};
use crate::{metrics::Metrics, serve::Answering, view::Views};

/// The one shared state; None before the first complete list of objects.
pub type SharedViews = Arc<ArcSwapOption<Views>>;

/// Names need neither certificates nor endpoints.
pub const KINDS: Kinds = Kinds { tls: false, endpoints: false, dns_endpoints: true };

/// Serves until SIGTERM or SIGINT, or until something that cannot be mended at run time has gone wrong.
pub async fn run(args: CommonArgs, config: Config) -> anyhow::Result<()> {
    let registry = telemetry::install_metrics("gateway")?;
    let config = Arc::new(config);
    let views = SharedViews::default();
    let metrics = Arc::new(Metrics::new(&config, serve::n_sockets(&config)));
    let answering = Answering::new(Arc::clone(&views), &config, Arc::clone(&metrics));
    let admin = Admin::new(registry, admin::pages(&views, &config, &answering.policy, &metrics));
    admin.clone().serve(config.admin.gateway).await?;

    let mut server = serve::open(&config, &answering).await?;
    for (resolver, place, lines) in forwarders::snippets(&config) {
        info!("to have {resolver} ask this gateway ({place}):\n{lines}");
    }
    for zone in config.zones.iter().filter(|zone| zone.ttl < 5 || zone.negative_ttl < 5) {
        warn!(zone = %zone.name, "ttl or negativeTtl below 5: Pi-hole's cache makes nothing faster by it, and asks far more often");
    }
    let state = config.state_directory.as_ref().map(|directory| directory.join("gateway.state"));
    let Source { updates, keeper, .. } = source::open(args.origin(), KINDS, state, None).await?;
    let follow = follow(updates, &config, &views, &admin, &metrics);

    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let leave = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        info!("leaving");
        admin.set_leaving();
        // Queries that are on their way to this replica still get their answer, and the right one.
        tokio::time::sleep(Duration::from_secs(config.drain.delay)).await;
    };
    tokio::select! {
        ended = follow => return ended,
        error = server.ended() => return Err(error),
        () = leave => {}
    }
    server.close().await;
    keeper.finish().await;
    Ok(())
}

/// Turns every snapshot into zones; ends only with an error.
async fn follow(
    mut updates: tokio::sync::mpsc::Receiver<Update>,
    config: &Arc<Config>,
    views: &SharedViews,
    admin: &Admin,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let mut problems: Vec<Problem> = Vec::new();
    while let Some(update) = updates.recv().await {
        let Update::Snapshot(mut snapshot) = update else { continue };
        // Where the last one has taken long, of those that came meanwhile the newest has what was in the others.
        while let Ok(update) = updates.try_recv() {
            if let Update::Snapshot(newer) = update {
                snapshot = newer;
            }
        }
        let as_of = snapshot.as_of;
        let (found, news) = {
            let (config, views) = (Arc::clone(config), Arc::clone(views));
            background::run_once_serving(views.load().is_some(), move || {
                let (claims, found) = wanted(&snapshot, &config);
                let is_news = views.load().as_ref().is_none_or(|views| views.claims() != claims);
                let build = || {
                    let serial = serial_of(&claims, &views);
                    Views::build(claims, &config, serial)
                };
                (found, is_news.then(build))
            })
            .await?
        };
        telemetry::report_problems(&problems, &found);
        admin.set_problems(found.clone());
        admin.set_as_of(as_of);
        problems = found;
        if let Some(built) = news {
            let old = views.load_full();
            if old.as_ref().is_none_or(|old| old.serial() != built.serial()) {
                report(old.as_deref(), &built);
            }
            metrics.changed(&built, std::time::SystemTime::now());
            views.store(Some(Arc::new(built)));
            background::discard(old);
        }
        admin.set_ready();
    }
    anyhow::bail!("the source of objects has ended")
}

/// What the objects of a snapshot ask for, and what is wrong with them.
pub fn wanted(snapshot: &k8s::snapshot::Snapshot, config: &Config) -> (Vec<NameClaim>, Vec<Problem>) {
    let translation = translate(snapshot, config);
    let names = names(snapshot, &translation, config);
    let mut problems = translation.problems;
    problems.extend(names.problems);
    (names.claims, problem::listed(problems))
}

/// Says how many names there are, and which new ones keep a wildcard from answering.
fn report(old: Option<&Views>, new: &Views) {
    info!(names = records::count(new.default_zones()), "zones changed");
    let shadowed = |views: &Views| -> BTreeSet<(String, String)> {
        let all = views.default_zones().iter().flat_map(zone::Zone::shadowed);
        all.map(|(name, wildcard)| (name.to_string(), wildcard.to_string())).collect()
    };
    let known = old.map(shadowed).unwrap_or_default();
    for (name, wildcard) in shadowed(new).difference(&known) {
        warn!(
            "shadowed wildcard: {name} exists because names below it do: {wildcard} does not answer for it, nor for what is below it (RFC 4592)"
        );
    }
}

/// A serial moves where an answer does; why something is withheld is no answer.
fn serial_of(claims: &[NameClaim], views: &SharedViews) -> u32 {
    let answered = |claim: &&NameClaim| !matches!(claim.answer, ClaimedAnswer::Withheld(_));
    match views.load().as_ref() {
        Some(old) if old.claims().iter().filter(answered).eq(claims.iter().filter(answered)) => old.serial(),
        _ => next_serial(views),
    }
}

/// The time in seconds, and more than the last one: secondaries and people compare serials (RFC 1982).
fn next_serial(views: &SharedViews) -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    // The low 32 bits are what RFC 1982 arithmetic wants.
    let now = (now & u64::from(u32::MAX)) as u32;
    views.load().as_ref().map_or(now, |views| now.max(views.serial().wrapping_add(1)))
}

#[cfg(test)]
mod fixture;
